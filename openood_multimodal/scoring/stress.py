"""`stress`: the scores under test-time conditions, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Embeddings
from ..errors import UserError
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME, OODResult, SetScores, percent
from ..evaluators.sets import evaluate_sets
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.run import ALL, NATIVE, Parameters, run
from ..vocabulary import AVERAGE, METRICS
from .conditions import (
    CLEAN,
    Columns,
    Condition,
    apply_condition,
    check_apply_to,
    default_conditions,
    parse_condition,
)
from .table import COLUMNS, Sources, prepare, result_table
from .task import Task

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("condition", "applied_to", "postprocessor", "dataset")


@dataclass(frozen=True)
class _Stressed(Mapping[tuple[str, str], Embeddings]):
    """(condition, set) → embeddings, made when they are asked for: one set under one condition is held at once."""

    task: Task
    conditions: Mapping[str, Condition | None]
    apply_to: str
    columns: Columns
    seed: int

    def _sets(self) -> dict[str, Embeddings]:
        return {name: each.embeddings for name, each in {ID_NAME: self.task.test, **self.task.ood}.items()}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name in self.conditions:
            for of in self._sets():
                if name == CLEAN or self.apply_to == "both" or (self.apply_to == "id") == (of == ID_NAME):
                    yield name, of

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: tuple[str, str]) -> Embeddings:
        condition, embeddings = self.conditions[key[0]], self._sets()[key[1]]
        if condition is None:
            return embeddings
        assert self.task.head is not None
        return apply_condition(condition, embeddings, self.task.head, self.columns, self.seed, key[1])


@dataclass(frozen=True)
class Stressed:
    """The result of one score under one condition.

    Attributes:
        condition: its text.
        applied_to: one of `vocabulary.APPLY_TO`.
        found: metrics.
    """

    condition: str
    applied_to: str
    found: OODResult

    def rows(self) -> list[dict[str, Any]]:
        """Return a row an OOD set, and one of their mean where there are several: `KEYS`, metric → `Metric`."""
        rows = self.found.rows()
        rows = rows if len(self.found[AVERAGE]) > 1 else rows[:-1]
        return [{"condition": self.condition, "applied_to": self.applied_to, **row} for row in rows]


def run_conditions(
    sources: Sources,
    names: str | Iterable[str | Postprocessor] | None,
    conditions: Sequence[str] | None,
    apply_to: str = "both",
    preset: str = "openood",
    parameters: Parameters | None = None,
    fit_on: str = "train",
    engine: str = NATIVE,
    *,
    intervals: bool = True,
    settings: ScoringSettings | None = None,
    seed: int = 0,
) -> list[Stressed]:
    """Fit the scores once, and evaluate them under every condition; arguments as in `stress`."""
    check_apply_to(apply_to)
    if names == ALL:
        raise UserError("name the scores: 'all' can't be stressed.")
    task, jobs, _, _ = prepare(sources, names, preset, parameters or {}, fit_on, engine)
    if not task.slices:
        raise UserError("conditions change one modality's columns: give slices=, e.g. video:2304,flow:2048.")
    if task.head is None:
        raise UserError("conditions change the embeddings, and only the head gives their logits: give head=.")
    modalities = tuple(task.slices)
    reading = [job.name for job in jobs if getattr(job.score, "reads_modality_logits", False)]
    if reading and not set(modalities) <= task.head.modality_heads.keys():
        raise UserError(
            f"{', '.join(reading)} read logits of each modality's own head: give a head with weight.<modality> and "
            f"bias.<modality> of {', '.join(modalities)}, or leave them out."
        )
    asked = list(dict.fromkeys(default_conditions(modalities) if conditions is None else conditions))
    if not asked:
        raise UserError("there is no condition; name some, or leave them out for the default ones.")
    parsed = {text: parse_condition(text, modalities) for text in asked}
    named = {CLEAN: None, **{str(each): each for each in parsed.values() if each is not None}}
    fit = task.fitting(fit_on) or task.val
    if fit is None:
        raise UserError("means and deviations of columns are the training set's: give train=.")
    given = settings if settings is not None else ScoringSettings()
    options = ScoringOptions(given.threads, given.device, given.chunk_rows, given.precision, checked=True)
    stressed = _Stressed(task, named, apply_to, Columns.of(fit.embeddings.features), seed)
    train, val = (None if each is None else each.embeddings for each in (task.fitting(fit_on), task.val))
    scored = run(jobs, train, val, task.head, stressed, options)  # type: ignore[arg-type]
    labels = {
        name: np.asarray(each.embeddings.labels) for name, each in {ID_NAME: task.test, **task.ood}.items()
    }
    results = []
    for condition in named:
        for job, of_sets in zip(jobs, scored, strict=True):
            by_key: Mapping[Any, Any] = of_sets
            sets = {
                name: SetScores(**by_key.get((condition, name), by_key[CLEAN, name])._asdict(), label=label)
                for name, label in labels.items()
            }
            found = evaluate_sets(
                sets[ID_NAME],
                {name: sets[name] for name in task.ood},
                postprocessor=job.name,
                intervals=intervals,
                seed=seed,
            )
            results.append(Stressed(condition, "-" if condition == CLEAN else apply_to, found))
    return results


def stress(
    train: Any,
    test: Any,
    ood: Mapping[str, Any],
    head: Any,
    val: Any = None,
    postprocessors: str | Iterable[str | Postprocessor] | None = None,
    conditions: Sequence[str] | None = None,
    apply_to: str = "both",
    *,
    preset: str = "openood",
    parameters: Parameters | None = None,
    slices: Mapping[str, Any] | None = None,
    fit_on: str = "train",
    seed: int = 0,
) -> pd.DataFrame:
    """Score sets under test-time conditions and return a table; sets, head and scores as in `evaluate`.

    The scores are fitted to the training set as it is.  Then a condition changes the test embeddings, and the head
    computes the logits again.

    Args:
        train: ID training set; also gives the columns' means and deviations (without it, ``val`` does).
        test: ID test set.
        ood: name → OOD set.
        head: the fusion head, with the modalities' own heads where a score reads their logits.
        val: ID validation set.
        postprocessors: names; None: the nine of `evaluate`.
        conditions: see `conditions.parse_condition`; None: `conditions.default_conditions`.  ``clean`` is always there.
        apply_to: ``"both"``, ``"id"`` or ``"ood"``: which test sets a condition changes.
        preset: of parameters.
        parameters: score → parameters.
        slices: modality → width, where the sets don't say.
        fit_on: ``"train"`` or ``"val"``.
        seed: of noise and swapping.

    Returns:
        One row a condition, score and OOD set, and the average over sets; metrics in percent.

    Raises:
        UserError: as `evaluate`; for an unknown modality or condition, a severity that is none of 1 to 5, all
            modalities missing, no head, or unknown slices.
    """
    sources = Sources(train, val, test, list(ood.items()), head, slices)
    results = run_conditions(
        sources, postprocessors, conditions, apply_to, preset, parameters, fit_on, intervals=False, seed=seed
    )
    rows = [row for each in results for row in each.rows()]
    return result_table(
        [{key: row[key] for key in KEYS} | {c: 100 * row[c].value for c in COLUMNS} for row in rows]
    )


def csv_rows(results: Sequence[Stressed]) -> tuple[list[str], list[dict[str, str]]]:
    """Return columns and rows of the CSV: `KEYS`, then every metric with its bounds, in percent."""
    columns = [*KEYS, *(f"{name}{end}" for name in METRICS for end in ("", "_ci_low", "_ci_high"))]
    rows = []
    for row in (row for each in results for row in each.rows()):
        line = {key: str(row[key]) for key in KEYS}
        for name in METRICS:
            metric: Metric = row[name]
            line[name] = percent(metric)
            for bound in ("ci_low", "ci_high"):
                value = getattr(metric, bound)
                line[f"{name}_{bound}"] = "" if value is None else percent(value)
        rows.append(line)
    return columns, rows
