"""One run: a network is trained and tested in a folder of its own; the folder says how far the run has come.

The cells of a suite (`suites.SuiteRun`) and the rows of the paper's tables (`table_runs.TableRun`) are runs.  A run
does what its `commands` do, one ``openood-mm run`` after the other.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..config import Config, load_config
from ..errors import UserError
from ..files import holding, read_json, text_sha256
from ..files.atomic import write_json
from ..files.paths import remove, remove_tree
from ..registry import PIPELINES
from .checks import check_run
from .digest import first_difference

TRAINING = "training"
"""Folder of the training in a run's folder."""


class Command(NamedTuple):
    """One ``openood-mm run``.

    Attributes:
        files: what follows ``--config``.
        words: the overrides.
        pipeline: that runs a config which names none.
    """

    files: Sequence[str]
    words: Sequence[str]
    pipeline: str = "multimodal_test"

    def config(self) -> Config:
        """Return the config that the command runs.

        Raises:
            UserError: for a file, key or value that doesn't exist.
        """
        return load_config(self.files, self.words)

    def run(self) -> None:
        """Run it in this process."""
        config = self.config()
        PIPELINES.get((config.get("pipeline") or {}).get("name") or self.pipeline)(config).run()

    def __str__(self) -> str:
        return f"openood-mm run {shlex.join(['--config', *self.files, *self.words])}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(ABC):
    """A training and the tests of its network.

    Attributes:
        seed: of the training.
    """

    seed: int

    replaces_other_settings: ClassVar[bool] = False
    """Whether a run of other settings in the folder is replaced; else it is refused."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The run's name, without its seed."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The run's own folder."""

    @property
    def trains(self) -> bool:
        """Whether the network is trained, and not given."""
        return True

    @abstractmethod
    def training_command(self) -> Command:
        """Return the training, also where a trained network is given."""

    @abstractmethod
    def test_commands(self) -> list[Command]:
        """Return the tests: extraction of embeddings, scores, records."""

    @abstractmethod
    def settings(self) -> Any:
        """Return all that decides the results, wherever data and outputs are; its digest marks a finished run."""

    def training_settings(self) -> Any:
        """Return the part of `settings` that decides which network is trained."""
        return self.settings()

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what the marks in the folder say of the run, for readers."""

    def commands(self) -> list[Command]:
        """Return what the run does: its training, unless a trained network is given, and its tests."""
        return [*([self.training_command()] if self.trains else []), *self.test_commands()]

    @property
    def checkpoint(self) -> Path:
        """The network that is tested."""
        return self.folder / TRAINING / "best.ckpt"

    def digest(self) -> str:
        """Return the SHA-256 of `settings`."""
        return _digest(self.settings())

    def is_done(self) -> bool:
        """Whether the folder holds the finished records of these settings."""
        mark = _read(self.folder / "done.json")
        return mark is not None and self.digest() == mark.get("digest", mark.get("job"))

    def is_begun(self) -> bool:
        """Whether the run has been started."""
        return (self.folder / "job.json").is_file()

    def is_trained(self) -> bool:
        """Whether there is a network of these settings to test: only a finished training has a last checkpoint."""
        if not all((self.folder / TRAINING / name).is_file() for name in ("best.ckpt", "last.ckpt")):
            return False
        begun = _read(self.folder / "job.json") or {}
        return not self.replaces_other_settings or begun.get("training_digest") == _digest(
            self.training_settings()
        )

    def state(self, lacking: Sequence[str] = ()) -> str:
        """Return how far the run has come, and whether it can go on.

        Args:
            lacking: what it still needs and is not there.
        """
        if self.is_done():
            return "done"
        begun = "trained" if self.is_trained() else "begun" if self.is_begun() else "not begun"
        return f"{begun}; missing: {', '.join(dict.fromkeys(lacking))}" if lacking else f"{begun}; can run"

    def plan(self, lacking: Sequence[str] = ()) -> str:
        """Return the lines of a dry run: `state`, and the commands."""
        return "\n  ".join([f"{self}: {self.state(lacking)}", *map(str, self.commands())])

    def check(self) -> None:
        """Check what the configs name, without looking at data or weights.

        Raises:
            UserError: naming the key.
        """
        check_run(self.training_command().config(), [each.config() for each in self.test_commands()])

    def check_folder(self) -> None:
        """Refuse a folder in which a run of other settings has begun.

        Raises:
            UserError: naming the first setting that differs.
        """
        begun = _read(self.folder / "job.json")
        if begun is None or self.replaces_other_settings:
            return
        settings = json.loads(json.dumps(self.settings(), default=str))
        difference = first_difference(begun.get("settings", {}), settings)
        if difference is not None:
            raise UserError(
                f"{self.folder} holds a run of other settings ({difference}); give another --output-dir, or delete "
                "that folder."
            )

    def run(self) -> None:
        """Train, extract, score; go on where an earlier run of the same settings stopped.

        A second process on the same run waits, and finds it done.  Where a run is replaced whose training is this
        one's, and its networks were kept, only the tests run.

        Raises:
            UserError: when the folder holds a run of other settings, and whatever training and tests raise.
        """
        with holding(self.folder.parent, f".{self.folder.name}.lock"):  # not in it: it may be replaced
            if self.is_done():
                return
            self.check_folder()
            settings = self.settings()
            digest = _digest(settings)
            trained = self.replaces_other_settings and self.is_trained()
            if self.replaces_other_settings and self.folder.exists() and not self._goes_on(digest):
                self._clear(but=TRAINING if trained else None)
            begun = (
                {"digest": digest, "training_digest": _digest(self.training_settings())}
                if self.replaces_other_settings
                else {"settings": settings}
            )
            write_json(
                self.folder / "job.json", json.loads(json.dumps({**self.about(), **begun}, default=str))
            )
            for command in self.test_commands() if trained else self.commands():
                command.run()
            self.tidy()
            write_json(self.folder / "done.json", {**self.about(), "digest": digest})

    def _goes_on(self, digest: str) -> bool:
        """Whether these settings were begun here, and not finished: a finished run keeps no state to go on from."""
        begun = _read(self.folder / "job.json") or {}
        return begun.get("digest") == digest and not (self.folder / "done.json").exists()

    def _clear(self, but: str | None) -> None:
        """Remove what the folder holds, but for the folder ``but`` in it; the mark of a finished run first."""
        remove(self.folder, "done.json")
        for path in [each for each in self.folder.iterdir() if each.name != but]:
            (remove_tree if path.is_dir() and not path.is_symlink() else remove)(self.folder, path.name)

    def tidy(self) -> None:  # noqa: B027 - nothing, unless a planner wants it
        """Remove what a finished run doesn't keep."""

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"


def words_of(settings: Mapping[str, str]) -> list[str]:
    """Return settings, dotted key → text, as override words."""
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def _digest(settings: Any) -> str:
    return text_sha256(json.dumps(settings, sort_keys=True, default=str))


def _read(path: Path) -> Mapping[str, Any] | None:
    with contextlib.suppress(UserError):  # missing or damaged: then the run is made again
        content = read_json(path)
        return content if isinstance(content, dict) else None
    return None


def check_runs(runs: Iterable[Run]) -> None:
    """Check every run, so that a mistake shows before the first training; runs that differ in seed alone, once.

    Raises:
        UserError: as `Run.check`.
    """
    for run in {run.name: run for run in runs}.values():
        run.check()
