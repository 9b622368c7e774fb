"""`stress`: the scores under test-time conditions, in one table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Embeddings
from ..datasets.manifest import Manifest
from ..errors import UserError
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME, OODResult, SetScores, percent
from ..evaluators.sets import evaluate_sets
from ..naming import did_you_mean
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.run import ALL, NATIVE, Parameters, run
from ..vocabulary import AVERAGE, METRICS
from .conditions import (
    CLEAN,
    Columns,
    Condition,
    Timeline,
    apply_condition,
    check_apply_to,
    default_conditions,
    parse_condition,
)
from .recording import Recorder, about_from
from .run import Result
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
    timelines: Mapping[str, Timeline]
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
        return apply_condition(
            condition, embeddings, self.task.head, self.columns, self.seed, key[1], self.timelines.get(key[1])
        )


@dataclass(frozen=True)
class Stressed:
    """The result of one score under one condition.

    Attributes:
        condition: its text.
        applied_to: one of `vocabulary.APPLY_TO`.
        found: metrics.
        record: a record's field ``condition``.
        result: as `scoring.run` has it.
    """

    condition: str
    applied_to: str
    found: OODResult
    record: Mapping[str, Any] | None
    result: Result

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
    manifests: Mapping[str, str | os.PathLike[str]] | None = None,
    records: str | os.PathLike[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> list[Stressed]:
    """Fit the scores once, and evaluate them under every condition; arguments as in `stress`."""
    said = about_from(about)
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
    for embeddings in (task.test, *task.ood.values()):
        if embeddings.made_from.get("condition"):
            raise UserError(
                f"{embeddings.where} was extracted under a condition already; give the clean set."
            )
    named = {CLEAN: None, **{str(each): each for each in parsed.values() if each is not None}}
    timelines = _timelines(task, manifests or {}, apply_to, [each for each in named.values() if each])
    recorder = Recorder(task, said, preset, fit_on, parameters or {})
    if records is not None:
        recorder.check_folder(records)
    fit = task.fitting(fit_on) or task.val
    if fit is None:
        raise UserError("means and deviations of columns are the training set's: give train=.")
    given = settings if settings is not None else ScoringSettings()
    options = ScoringOptions(given.threads, given.device, given.chunk_rows, given.precision, checked=True)
    stressed = _Stressed(task, named, apply_to, Columns.of(fit.embeddings.features), timelines, seed)
    train, val = (None if each is None else each.embeddings for each in (task.fitting(fit_on), task.val))
    scored = run(jobs, train, val, task.head, stressed, options)  # type: ignore[arg-type]
    labels = {
        name: np.asarray(each.embeddings.labels) for name, each in {ID_NAME: task.test, **task.ood}.items()
    }
    results = []
    for condition, parsed_as in named.items():
        record = None if parsed_as is None else parsed_as.as_record(apply_to, seed)
        notes = _unmoved(parsed_as, timelines) if parsed_as is not None and parsed_as.kind == "shift" else []
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
                intervals=intervals or records is not None,
                seed=seed,
            )
            result = Result(job, sets, found, (*job.score.notes, *notes))
            results.append(Stressed(condition, "-" if record is None else apply_to, found, record, result))
    if records is not None:
        recorder.write(records, [r for each in results for r in recorder.records([each.result], each.record)])
    return results


def _unmoved(condition: Condition, timelines: Mapping[str, Timeline]) -> list[str]:
    """Return a note on each set some of whose clips have no other one to take."""
    counts = {
        name: each.unmoved(int(condition.value), f"{condition} on {name}") for name, each in timelines.items()
    }
    return [
        f"{condition}: {count} of {len(timelines[name].starts)} samples of {name} have no such clip and keep their own"
        for name, count in counts.items()
        if count
    ]


def _timelines(
    task: Task,
    manifests: Mapping[str, str | os.PathLike[str]],
    apply_to: str,
    conditions: Sequence[Condition],
) -> dict[str, Timeline]:
    """Return set → its timeline, where a condition shifts in time; `ID_NAME` for the test set."""
    sets = {"test": task.test, **task.ood}
    for name in manifests:
        if name not in sets:
            raise UserError(f"manifests: there is no set '{name}'.{did_you_mean(name, sets)}")
    shift = next((each for each in conditions if each.kind == "shift"), None)
    if shift is None:
        return {}
    wanted = [name for name in sets if apply_to == "both" or (apply_to == "id") == (name == "test")]
    lacking = [name for name in wanted if name not in manifests]
    if lacking:
        raise UserError(
            f"{shift}: embeddings don't say which clips follow one another in a recording; give the manifests of "
            f"{', '.join(lacking)} (columns group and start): manifests="
        )
    return {
        ID_NAME if name == "test" else name: Timeline.of(
            Manifest.read(manifests[name]), sets[name].embeddings, name
        )
        for name in wanted
    }


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
    manifests: Mapping[str, str | os.PathLike[str]] | None = None,
    records: str | os.PathLike[str] | None = None,
    about: Mapping[str, Any] | None = None,
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
        manifests: ``test`` or an OOD set's name → its manifest, for shifts in time.
        records: folder for result records, as `evaluate` writes them; each says its condition.
        about: as in `evaluate`; ``seed`` there is the training's.

    Returns:
        One row a condition, score and OOD set, and the average over sets; metrics in percent.

    Raises:
        UserError: as `evaluate`; for an unknown modality or condition, a severity that is none of 1 to 5, all
            modalities missing, no head, or unknown slices; for a shift in time without manifests.
    """
    sources = Sources(train, val, test, list(ood.items()), head, slices)
    results = run_conditions(
        sources,
        postprocessors,
        conditions,
        apply_to,
        preset,
        parameters,
        fit_on,
        intervals=False,
        seed=seed,
        manifests=manifests,
        records=records,
        about=about,
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
