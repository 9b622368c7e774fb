"""What a user may set about how scores compute, and what the caller of a run knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import UserError
from ..naming import did_you_mean
from ..shards import Shards
from .params import require_whole

PRECISIONS = ("auto", "float32", "float64")


@dataclass(frozen=True)
class ScoringSettings:
    """What a user may set about how scores compute; nothing here changes what they compute.

    Attributes:
        threads: threads of BLAS, OpenMP and torch while scores run; None leaves them as they are.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``.
        chunk_rows: rows of embeddings held at once, while fitting and scoring; None: 64 MB of float64 each.
        precision: changes nothing: ``"auto"``, ``"float32"`` and ``"float64"`` all compute in float64, and are
            accepted for configs and commands of versions that also had products in float32.

    Raises:
        UserError: for a value outside these.
    """

    threads: int | None = None
    device: str = "cpu"
    chunk_rows: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.threads is not None:
            require_whole("threads", self.threads, 1)
        if self.chunk_rows is not None:
            require_whole("chunk_rows", self.chunk_rows, 1)
        if self.precision not in PRECISIONS:
            raise UserError(
                f"precision is '{self.precision}'.{did_you_mean(str(self.precision), PRECISIONS)}"
            )
        kind, colon, number = str(self.device).partition(":")
        if kind not in ("cpu", "cuda") or (colon and (kind == "cpu" or not number.isdecimal())):
            raise UserError(f"device is '{self.device}'; write cpu, cuda or cuda:0.")


@dataclass(frozen=True)
class ScoringOptions(ScoringSettings):
    """The settings, and what the caller knows.

    Attributes:
        progress: show a bar with rows per second, on a terminal.
        checked: the sets are known to hold finite values only, and aren't looked at again.
        shards: the workers of a cluster that compute, or None: this process does.
    """

    progress: bool = False
    checked: bool = False
    shards: Shards | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards is not None and self.device != "cpu":
            raise UserError(
                f"device is '{self.device}', and the workers of a cluster compute on their CPUs; give cpu."
            )

    @property
    def of_worker(self) -> ScoringOptions:
        """The options of a task on a worker."""
        return replace(self, progress=False, shards=None)
