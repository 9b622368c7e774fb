"""Run the scores of a task: confidences of every set, metrics of every OOD set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ..doubts import PROBABILITIES, look_like_probabilities, look_normalised
from ..evaluators.metrics import Metric
from ..evaluators.outputs import ID_NAME, OODResult, SetScores
from ..evaluators.sets import evaluate_sets
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.run import Chosen, named, run
from ..postprocessors.search import Searched
from ..progress import progress_bar
from ..shards import Shards
from ..vocabulary import AVERAGE
from .search import Validation
from .shared_rows import shared_rows
from .task import Task

Metrics = dict[str, Metric]


@dataclass(frozen=True)
class Result:
    """One score's outcome.

    Attributes:
        chosen: the score.
        scores: ``"id"``, each covariate-shifted ID set and each OOD set → pred, conf, label.
        found: metrics and digests of the OOD sets.
        notes: what a reader has to know.
        searched: what a search for its parameters found, or None.
        val_conf: confidences of the validation set, where asked for and there is one.
    """

    chosen: Chosen
    scores: dict[str, SetScores]
    found: OODResult
    notes: tuple[str, ...]
    searched: Searched | None = None
    val_conf: NDArray[Any] | None = None

    @property
    def postprocessor(self) -> str:
        """The score's name in tables."""
        return self.chosen.name

    @property
    def parameters(self) -> dict[str, Any]:
        """Those in force."""
        return dict(self.chosen.score.parameters)

    @property
    def metrics(self) -> dict[str, Metrics]:
        """OOD set → metrics."""
        return self.found[AVERAGE]

    @property
    def average(self) -> Metrics | None:
        """The mean over OOD sets, or None where there is one set."""
        return self.found.means[AVERAGE] if len(self.metrics) > 1 else None

    def rows(self) -> list[dict[str, Any]]:
        """Return ``{"postprocessor", "dataset", metric → Metric}`` an OOD set, and then the average."""
        rows = self.found.rows()
        return rows if self.average else rows[:-1]


@dataclass
class Warnings:
    """Warnings met on the way, each once, with where it was met."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line a warning."""
        return [f"{text.rstrip('.')} ({', '.join(places)})." for text, places in self.places.items()]

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Collect the warnings of a block."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for each in caught:
            places = self.places.setdefault(str(each.message), [])
            if place not in places:
                places.append(place)


_VAL = ""  # no OOD set is called so

_OF_NORMS = ("vim", "react", "ash")
"""Scores whose default parameters were chosen for embeddings of their own lengths."""


def _doubt(task: Task, names: Sequence[str], caught: Warnings) -> None:
    """Warn of logits that look like probabilities, and of embeddings that look L2-normalised."""
    of_norms = [name for name in names if name.partition(":")[0].partition("-")[0] in _OF_NORMS]
    for each in task.sets():
        own = each.embeddings
        for what, logits in (("logits", own.logits), ("modality_logits", own.modality_logits)):
            if logits is not None and look_like_probabilities(logits):
                with caught.at(each.where):
                    warnings.warn(PROBABILITIES.format(what=what), stacklevel=2)
        parts = {"": slice(0, own.dim)} | {f" of {name}": slice(*part) for name, part in own.slices.items()}
        normalised = [name for name, part in parts.items() if look_normalised(own.features[:, part])]
        if normalised and of_norms:
            with caught.at(each.where):
                warnings.warn(
                    f"the features{normalised[0]} look L2-normalised (every row has the length 1), and the defaults of "
                    f"{', '.join(of_norms)} are for features of their own lengths; give them as the head gets them",
                    stacklevel=2,
                )


def run_jobs(
    jobs: Sequence[Chosen],
    task: Task,
    fit_on: str,
    *,
    intervals: bool,
    seed: int = 0,
    settings: ScoringSettings | None = None,
    progress: bool = False,
    left_out: dict[str, str] | None = None,
    validation: Validation | None = None,
    score_val: bool = False,
    client: Any = None,
    failure: bool = False,
) -> tuple[list[Result], Warnings]:
    """Fit and evaluate every score; native ones together, so that what they share is computed once.

    Args:
        jobs: the scores.
        task: what to score; its sets hold finite values.
        fit_on: ``"train"`` or ``"val"``: the set that fitted scores learn from.
        intervals: whether to compute 95 % intervals.
        seed: of the bootstrap intervals.
        settings: threads, device, rows held at once, precision.
        progress: whether to show bars (on a terminal), with rows per second.
        left_out: where given, scores that can't be fitted are put there, name → reason; the results are ranked then, by
            their mean AUROC over the OOD sets.
        validation: what parameters are searched on, or None: they are the preset's.
        score_val: whether to score the validation set, too, where there is one.
        client: a ``dask.distributed.Client``, whose workers compute; None: this process does.
        failure: whether to compute failure detection, too; scores the validation set as well.

    Raises:
        UserError: when a score can't be fitted to the data, for instance K > N; for a device that isn't there.
    """
    caught = Warnings()
    given = asdict(settings if settings is not None else ScoringSettings())
    shards = Shards(client) if client is not None else None
    options = ScoringOptions(**given, progress=progress, checked=True, shards=shards)
    _doubt(task, [job.name for job in jobs], caught)
    shared = shared_rows((name, each.embeddings) for name, each in task.named_sets())

    @contextmanager
    def around(job: Chosen) -> Iterator[None]:
        with caught.at(job.name), named(job, jobs) if left_out is None else nullcontext():
            yield

    train, val = (None if each is None else each.embeddings for each in (task.fitting(fit_on), task.val))
    sets = {name: each.embeddings for name, each in {ID_NAME: task.test, **task.csid, **task.ood}.items()}
    if (score_val or failure) and val is not None:
        sets[_VAL] = val
    search = validation.search(jobs) if validation is not None else None
    found = run(jobs, train, val, task.head, sets, options, around, left_out, search)
    jobs = [job for job in jobs if job.name not in (left_out or ())]
    results = []
    bar = progress_bar(jobs, desc="Evaluate", unit="score", leave=False, quiet=not progress)
    for job, of_sets in zip(bar, found, strict=True):
        scores = {
            name: SetScores(*each, np.asarray(sets[name].labels, dtype=np.int64))
            for name, each in of_sets.items()
        }
        of_val = scores.pop(_VAL, None)
        val_conf = None if of_val is None else of_val.conf
        result = evaluate_sets(
            scores[ID_NAME],
            {name: scores[name] for name in task.ood},
            postprocessor=job.name,
            intervals=intervals,
            seed=seed,
            csid={name: scores[name] for name in task.csid},
            around=lambda name, job=job: caught.at(f"{job.name} on {name}"),  # type: ignore[misc]
            failure=failure,
            val_conf=val_conf,
        )
        notes = [*job.score.notes, *shared, *result.csid_notes()]
        notes += [
            f"{name} was extracted under {each.made_from['condition']}"
            for name, each in task.csid.items()
            if "condition" in each.made_from
        ]
        if task.shaped:
            notes.append(f"{job.name}: features already shaped by {task.shaped}, scored by their energy.")
        searched = search.found.get(job.name) if search is not None else None
        if searched is not None and validation is not None:
            notes.insert(0, f"{job.name}: {validation.note(searched)}")
        results.append(Result(job, scores, result, tuple(notes), searched, val_conf))
    if left_out is not None:
        results.sort(key=lambda each: -each.found.means[AVERAGE]["AUROC"].value)
    return results, caught


def described(validation: Validation, results: Sequence[Result]) -> dict[str, Any]:
    """Return what was searched on, tried and chosen, as JSON; see `Validation.described`."""
    return validation.described(
        (each.postprocessor, each.searched) for each in results if each.searched is not None
    )


def rank_correlation(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Return score → score → Spearman's rank correlation of their confidences over all scored samples."""
    ranks = [
        scipy.stats.rankdata(np.concatenate([each.conf for each in result.scores.values()]))
        for result in results
    ]
    names = [result.postprocessor for result in results]
    if len(names) < 2:
        return {name: {name: 1.0} for name in names}
    with np.errstate(invalid="ignore"):  # a score whose confidences are all equal has none: NaN
        found = np.corrcoef(np.stack(ranks))
    return {
        one: dict(zip(names, map(float, row), strict=True)) for one, row in zip(names, found, strict=True)
    }
