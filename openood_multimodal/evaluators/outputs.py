"""What an evaluation returns, and its files: ``ood.csv``, ``scores/``, ``results.csv``.

All are written in one step and replace what an earlier run left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import arrays_digest
from ..errors import UserError
from ..files import atomic
from ..files.paths import file_name, resolve_inside
from ..vocabulary import OPENOOD_METRICS
from .failure import FailureResult
from .metrics import Metric
from .recordings import UnseenResult

ID_NAME = "id"
"""File name of the ID set's scores; no OOD set may be called so."""

Metrics = dict[str, Metric]


class SetScores(NamedTuple):
    """Scores of one set, as ``scores/<postprocessor>/<set>.npz`` holds them.

    Attributes:
        pred: int64 ``[N]``, predicted classes.
        conf: float ``[N]``, higher = more in-distribution.
        label: int64 ``[N]``, true classes; -1 throughout for an OOD set.
    """

    pred: NDArray[np.int64]
    conf: NDArray[Any]
    label: NDArray[np.int64]


@dataclass(frozen=True)
class OODResult(Mapping[str, dict[str, Metrics]]):
    """Metrics of one postprocessor: itself the mapping group → OOD set → metric name → `Metric`.

    Attributes:
        metrics: that mapping; groups are ``nearood`` and ``farood``.
        means: group → mean over its sets (no bounds).
        n_id: ID samples.
        n_ood: OOD set → samples.
        postprocessor: its name.
        hyperparameters: what the automatic search chose, or None where there was none.
        unseen: OOD set → metrics on the clips whose recording was not in training, where recordings are known.
        digests: OOD set → `scores_digest` of the ID sets' and its own scores.
        accuracy: ``"id"`` and each covariate-shifted ID set → accuracy, 0 to 1; the metric ``ACC`` is of all of them.
        failure: OOD set → failure detection, where asked for.
    """

    metrics: dict[str, dict[str, Metrics]]
    means: dict[str, Metrics]
    n_id: int
    n_ood: dict[str, int]
    postprocessor: str
    hyperparameters: dict[str, Any] | None = field(default=None)
    unseen: dict[str, UnseenResult] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    failure: dict[str, FailureResult] = field(default_factory=dict)

    def __getitem__(self, group: str) -> dict[str, Metrics]:
        return self.metrics[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def rows(self) -> list[dict[str, Any]]:
        """Return rows for `write_results_csv`: each group's sets, then its mean under the group's name."""
        named = [item for group, sets in self.items() for item in [*sets.items(), (group, self.means[group])]]
        return [{"postprocessor": self.postprocessor, "dataset": name, **values} for name, values in named]

    def csid_notes(self) -> list[str]:
        """Return what readers of full-spectrum results have to know: which sets count as ID, and their accuracies."""
        csid = [name for name in self.accuracy if name != ID_NAME]
        accuracies = ", ".join(f"{name} {percent(value)}" for name, value in self.accuracy.items())
        return (
            [
                f"full spectrum: ID includes {', '.join(csid)}; accuracy of each ID set in percent: {accuracies}"
            ]
            if csid
            else []
        )


def percent(metric: Metric | float) -> str:
    """Return a fraction as percent with two decimals, as OpenOOD prints it."""
    value = metric.value if isinstance(metric, Metric) else metric
    return f"{100 * value:.2f}"


def write_ood_csv(output_dir: str | os.PathLike[str], result: OODResult) -> Path:
    """Write ``<output_dir>/<postprocessor>/ood.csv`` in OpenOOD's columns and return its path."""
    path = Path(output_dir) / file_name(result.postprocessor, "postprocessor") / "ood.csv"
    atomic.write_csv(
        path, ("dataset", *OPENOOD_METRICS), [_csv_row(row, ("dataset",)) for row in result.rows()]
    )
    return path


def write_results_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of several postprocessors, percent with two decimals.

    Args:
        path: the file; replaced.
        rows: each with ``postprocessor``, ``dataset`` and OpenOOD's metrics (`Metric` or fraction); other
            keys are left out.

    Raises:
        UserError: when a row lacks a column.
    """
    keys = ("postprocessor", "dataset")
    atomic.write_csv(path, (*keys, *OPENOOD_METRICS), [_csv_row(row, keys) for row in rows])


def _csv_row(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, str]:
    missing = [name for name in (*keys, *OPENOOD_METRICS) if name not in row]
    if missing:
        raise UserError(f"a row of the results table lacks {', '.join(missing)}: {dict(row)}.")
    return {**{key: str(row[key]) for key in keys}, **{name: percent(row[name]) for name in OPENOOD_METRICS}}


def scores_digest(known: SetScores, unknown: SetScores) -> str:
    """Return the SHA-256 of every sample's scores, ID set first: what a record's metrics were computed from."""
    return arrays_digest([np.asarray(column, dtype) for each in (known, unknown)
                          for column, dtype in zip(each, ("<i8", "<f8", "<i8"), strict=True)])  # fmt: skip


def write_scores(
    output_dir: str | os.PathLike[str], postprocessor: str, name: str, scores: SetScores
) -> Path:
    """Write ``<output_dir>/scores/<postprocessor>/<name>.npz`` (pred, conf, label) and return its path."""
    relative = f"{file_name(postprocessor, 'postprocessor')}/{file_name(name, 'OOD set')}.npz"
    path = resolve_inside(Path(output_dir) / "scores", relative)
    atomic.write_npz(path, scores._asdict())
    return path
