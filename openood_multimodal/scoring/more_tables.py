"""Tables beside that of OOD detection: failure detection and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..evaluators.calibration import CalibrationResult, calibration_of
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME, OODResult
from ..files import atomic
from ..vocabulary import ID_FAILURE_METRICS
from .inputs import logits_of
from .task import Task

COLUMNS = {
    "failure": ("postprocessor", "dataset", "metric", "value", "ci_low", "ci_high"),
    "calibration": ("probabilities", "temperature", "metric", "value", "ci_low", "ci_high"),
}
"""Table → columns of its CSV."""

Rows = list[dict[str, Any]]


def more_tables(
    kinds: Sequence[str], results: Sequence[OODResult], calibration: CalibrationResult | None
) -> dict[str, Rows]:
    """Return table → rows with its `COLUMNS`; values aren't in percent.

    Args:
        kinds: of `MORE_METRICS`.
        results: of every score.
        calibration: of the fused softmax, where ``kinds`` have it.
    """
    made = {"failure": lambda: _failure(results), "calibration": lambda: _calibration(calibration)}
    return {kind: made[kind]() for kind in kinds}


def _failure(results: Sequence[OODResult]) -> Rows:
    rows = []
    for result in results:
        for place, (name, each) in enumerate(result.failure.items()):
            parts: dict[str, dict[str, Metric]] = {ID_NAME: {}, name: {}}
            for metric, value in each.metrics.items():
                parts[ID_NAME if metric in ID_FAILURE_METRICS else name][metric] = value
            if place:
                del parts[ID_NAME]  # the same for every OOD set
            for dataset, metrics in parts.items():
                rows += _rows({"postprocessor": result.postprocessor, "dataset": dataset}, metrics)
    return rows


def _calibration(found: CalibrationResult | None) -> Rows:
    if found is None:
        return []
    rows = _rows({"probabilities": "as they are", "temperature": 1.0}, found.metrics)
    return rows + _rows(
        {"probabilities": "scaled on val", "temperature": found.temperature}, found.scaled or {}
    )


def calibration_of_task(task: Task, seed: int = 0) -> CalibrationResult:
    """Return `calibration_of_sets` of what was scored."""
    val = None if task.val is None else task.val.embeddings
    known = [each.embeddings for each in (task.test, *task.csid.values())]
    return calibration_of_sets(known, val, task.head, seed=seed)


def calibration_of_sets(
    known: Sequence[Embeddings], val: Embeddings | None, head: LinearHead | None, **options: Any
) -> CalibrationResult:
    """Return the calibration of the fused softmax on ID samples, with temperature scaling where there is ``val``.

    Args:
        known: ID test set, and covariate-shifted ones that count as ID.
        val: ID validation set, or None.
        head: for sets without logits.
        options: of `evaluators.calibration.calibration_of`: resamples and seed.

    Raises:
        UserError: where there are neither logits nor a head.
    """

    def both(*sets: Embeddings) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return (
            np.concatenate([logits_of(each, head) for each in sets]),
            np.concatenate([np.asarray(each.labels) for each in sets]),
        )

    return calibration_of(*both(*known), None if val is None else both(val), **options)


def write_tables(folder: Path, tables: Mapping[str, Rows]) -> None:
    """Write each of `more_tables` as ``<name>.csv`` into ``folder``."""
    for name, rows in tables.items():
        atomic.write_csv(folder / f"{name}.csv", COLUMNS[name], rows)


def _rows(keys: dict[str, Any], metrics: dict[str, Metric]) -> Rows:
    return [{**keys, "metric": name, **each.as_dict()} for name, each in metrics.items()]


def blocks(kind: str, rows: Rows) -> list[list[list[str]]]:
    """Return the table as blocks of lines for a screen, each with a header: sets that have the same metrics."""
    keys = COLUMNS[kind][:2]
    values: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        label = tuple(f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in keys)
        values.setdefault(label, {})[row["metric"]] = f"{row['value']:.4f}"
    by_header: dict[bool, list[tuple[tuple[str, ...], dict[str, str]]]] = {}
    for label, each in values.items():
        by_header.setdefault(label[1] == ID_NAME, []).append((label, each))
    found = []
    for lines in by_header.values():
        names = list(dict.fromkeys(name for _, each in lines for name in each))
        found.append(
            [[*keys, *names], *([*label, *(each.get(n, "-") for n in names)] for label, each in lines)]
        )
    return found
