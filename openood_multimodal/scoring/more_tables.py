"""Tables beside that of OOD detection: failure detection and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import UserError
from ..evaluators.calibration import calibration_metrics
from ..evaluators.failure import autc, failure_metrics, open_set_metrics
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME
from ..naming import did_you_mean
from ..postprocessors.softmax import log_softmax
from ..postprocessors.temperature import best_temperature
from ..vocabulary import MORE_METRICS
from .inputs import logits_of
from .run import Result
from .task import Task

COLUMNS = {
    "failure": ("postprocessor", "dataset", "metric", "value", "ci_low", "ci_high"),
    "calibration": ("probabilities", "temperature", "metric", "value", "ci_low", "ci_high"),
}
"""Table → columns of its CSV."""

Rows = list[dict[str, Any]]


def check_kinds(metrics: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of tables that are asked for, each once.

    Raises:
        UserError: for an unknown one.
    """
    kinds = tuple(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    for kind in kinds:
        if kind not in MORE_METRICS:
            raise UserError(
                f"metrics name '{kind}'; there are {', '.join(MORE_METRICS)}.{did_you_mean(str(kind), MORE_METRICS)}"
            )
    return kinds


def more_tables(
    kinds: Sequence[str], results: Sequence[Result], task: Task, seed: int = 0
) -> dict[str, Rows]:
    """Return table → rows with its `COLUMNS`; values aren't in percent.

    Args:
        kinds: of `MORE_METRICS`.
        results: of every score.
        task: what was scored.
        seed: of bootstrap intervals.
    """
    made = {"failure": lambda: _failure(results, seed), "calibration": lambda: _calibration(task, seed)}
    return {kind: made[kind]() for kind in kinds}


def _failure(results: Sequence[Result], seed: int) -> Rows:
    rows = []
    for result in results:
        known = result.scores[ID_NAME]
        right = known.pred == known.label
        found = {ID_NAME: failure_metrics(known.conf, right, seed=seed)}
        for name in result.metrics:
            conf_ood = result.scores[name].conf
            found[name] = open_set_metrics(known.conf, right, conf_ood)
            val = result.val_conf
            if val is not None and val.max() > val.min():
                found[name]["AUTC"] = autc(known.conf, conf_ood, float(val.min()), float(val.max()))
        for name, metrics in found.items():
            rows += _rows({"postprocessor": result.postprocessor, "dataset": name}, metrics)
    return rows


def _calibration(task: Task, seed: int) -> Rows:
    """Return the calibration of the fused softmax on the ID test set, as it is and with temperature scaling."""
    temperatures = {"as they are": 1.0}
    if task.val is not None:
        val = task.val.embeddings
        temperatures["scaled on val"] = best_temperature(logits_of(val, task.head), val.labels)
    test = task.test.embeddings
    logits, rows = logits_of(test, task.head), []
    for name, temperature in temperatures.items():
        found = calibration_metrics(log_softmax(logits / temperature), test.labels, seed=seed)
        rows += _rows({"probabilities": name, "temperature": temperature}, found)
    return rows


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
