"""Run scores on checked sets: confidences of every set, metrics of every OOD set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from ..arrays import Embeddings, LinearHead, Scores, Slices, empty_classes
from ..doubts import PROBABILITIES, look_like_probabilities, look_normalised
from ..engines import engine_of
from ..errors import UserError
from ..evaluators.metrics import Metric, compute_ood_metrics, mean_metrics
from ..evaluators.outputs import SetScores
from ..files.paths import file_name
from ..linalg.threads import computing
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringOptions, ScoringSettings
from ..postprocessors.plan import fit_all, naming, score_all
from ..vocabulary import AVERAGE, TEST_GROUPS
from .choice import Job
from .inputs import InputSet, as_slices, check_classes
from .shared_rows import shared_rows

RESERVED = ("id", AVERAGE, *TEST_GROUPS)
"""Names that results use themselves."""

_PROBE_ROWS = 64
_HEAD_TOLERANCE = 0.05  # relative; float16 and TF32 stay well below

Metrics = dict[str, Metric]


@dataclass(frozen=True)
class Task:
    """Everything that is scored, with widths, classes and columns known to agree.

    Attributes:
        test: the ID test set.
        ood: name → OOD set.
        train: the ID training set, or None.
        val: the ID validation set, or None.
        head: the fusion head, or None where all sets have logits.
        slices: modality → columns; empty if unknown.
        shaped: how the features have been shaped already, or None.
    """

    test: InputSet
    ood: dict[str, InputSet]
    train: InputSet | None
    val: InputSet | None
    head: LinearHead | None
    slices: Slices
    shaped: str | None

    def sets(self) -> Iterator[InputSet]:
        """Yield all sets."""
        yield from (each for _, each in self.named_sets())

    def named_sets(self) -> Iterator[tuple[str, InputSet]]:
        """Yield all sets with their names: ``train``, ``val``, ``test``, ``ood <name>``."""
        for name, each in (("train", self.train), ("val", self.val), ("test", self.test)):
            if each is not None:
                yield name, each
        for name, each in self.ood.items():
            yield f"ood {name}", each


@dataclass(frozen=True)
class Result:
    """One score's outcome.

    Attributes:
        postprocessor: its name in tables.
        parameters: those in force.
        scores: ``"id"`` and each OOD set → pred, conf, label.
        metrics: OOD set → metrics.
        notes: what a reader has to know.
        engine: name and version of what computed it.
    """

    postprocessor: str
    parameters: dict[str, Any]
    scores: dict[str, SetScores]
    metrics: dict[str, Metrics]
    notes: tuple[str, ...]
    engine: dict[str, str]

    @property
    def average(self) -> Metrics | None:
        """The mean over OOD sets, or None where there is one set."""
        return mean_metrics(list(self.metrics.values())) if len(self.metrics) > 1 else None

    def rows(self) -> list[dict[str, Any]]:
        """Return ``{"postprocessor", "dataset", metric → Metric}`` an OOD set, and then the average."""
        named = [*self.metrics.items(), *([(AVERAGE, self.average)] if self.average else [])]
        return [
            {"postprocessor": self.postprocessor, "dataset": name, **(metrics or {})}
            for name, metrics in named
        ]


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


def check_ood_names(names: Sequence[str]) -> None:
    """Check the names of OOD sets: they become rows and files.

    Raises:
        UserError: for no set, a reserved or doubled name (also one that differs in case only), or one that
            can't be a file name.
    """
    if not names:
        raise UserError("there is no OOD set; give at least one.")
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"the name of an OOD set must be text, got {name!r}.")
        if name.casefold() in RESERVED:
            raise UserError(
                f"an OOD set can't be called '{name}': results use the names {', '.join(RESERVED)} themselves."
            )
        file_name(name, "OOD set")
        if name.casefold() in seen:
            raise UserError(
                f"two OOD sets are called '{seen[name.casefold()]}' and '{name}'; names must differ, not in "
                "case alone, since they become file names."
            )
        seen[name.casefold()] = name


def make_task(
    test: InputSet,
    ood: Mapping[str, InputSet],
    train: InputSet | None,
    val: InputSet | None,
    head: LinearHead | None,
    slices: Mapping[str, Any] | None,
) -> Task:
    """Check that sets, head and slices belong together.

    Raises:
        UserError: when widths, numbers of classes, slices or kinds of features differ, a label is none of the
            classes, or there is neither a head nor logits.
    """
    task = Task(test, dict(ood), train, val, head, {}, test.shaped)
    _check_shaping(task)
    _check_checkpoints(task)
    _check_widths(task)
    num_classes = _num_classes(task)
    for each in (train, val, test):
        if each is not None:
            check_classes(each, num_classes)
    if train is not None and (lacking := empty_classes(train.embeddings.labels, num_classes)):
        warnings.warn(
            f"{train.where}: {lacking} no row; scores that are fitted on every class (mds) can't be used.",
            stacklevel=2,
        )
    _check_modalities(task, num_classes)
    known = _slices(task, slices)
    if not known:
        return task

    def cut(each: InputSet) -> InputSet:
        unnamed = all(name.startswith("modality_") for name in each.embeddings.modalities)
        names = tuple(known) if unnamed else each.embeddings.modalities
        try:
            return replace(each, embeddings=replace(each.embeddings, slices=known, modalities=names))
        except UserError as error:
            raise UserError(f"{each.where}: {error}") from error

    return replace(
        task,
        test=cut(test),
        ood={name: cut(each) for name, each in ood.items()},
        train=cut(train) if train is not None else None,
        val=cut(val) if val is not None else None,
        slices=known,
    )


def _check_shaping(task: Task) -> None:
    for each in task.sets():
        if each.shaped != task.shaped:
            one, other = (s or "nothing" for s in (each.shaped, task.shaped))
            raise UserError(
                f"{each.where} holds features shaped by {one}, {task.test.where} by {other}; "
                "score sets of one kind together."
            )


def _check_checkpoints(task: Task) -> None:
    known = [each for each in task.sets() if "checkpoint" in each.made_from]
    for each in known:
        if each.made_from["checkpoint"] != known[0].made_from["checkpoint"]:
            raise UserError(
                f"{each.where} and {known[0].where} are embeddings of two checkpoints; score those of one."
            )


def _check_widths(task: Task) -> None:
    dim = task.test.embeddings.dim
    if task.head is not None and task.head.dim != dim:
        raise UserError(
            f"the head's weight has {task.head.dim} columns, but {task.test.where} has features of {dim}; "
            "give the head that was trained on these embeddings."
        )
    for each in task.sets():
        if each.embeddings.dim != dim:
            raise UserError(
                f"{each.where} has features of {each.embeddings.dim} columns, {task.test.where} of {dim}."
            )


def _check_modalities(task: Task, num_classes: int) -> None:
    """Check that modality logits have the same modalities in all sets, and the classes of the head."""
    first: InputSet | None = None
    for each in task.sets():
        own = each.embeddings.modality_logits
        if own is None:
            continue
        if own.shape[2] != num_classes:
            raise UserError(
                f"{each.where}: modality_logits have {own.shape[2]} classes (shape {list(own.shape)}), but there "
                f"are {num_classes}."
            )
        if first is not None and first.embeddings.modalities != each.embeddings.modalities:
            one, other = (", ".join(e.embeddings.modalities) for e in (each, first))
            raise UserError(f"{each.where} has logits of the modalities {one}, {first.where} of {other}.")
        first = each


def _num_classes(task: Task) -> int:
    head, count = task.head, None
    for each in task.sets():
        logits = each.embeddings.logits
        if head is not None and logits is not None:
            _check_head_made(head, each)
        elif head is None and logits is None:
            raise UserError(
                f"{each.where} has no logits, so the head is needed: give --head (in Python head=) with weight "
                "[C, D] and bias [C]."
            )
        elif head is None and logits is not None:
            count = logits.shape[1] if count is None else count
            if logits.shape[1] != count:
                raise UserError(
                    f"{each.where} has logits of {logits.shape[1]} classes, other sets of {count}."
                )
    return head.num_classes if head is not None else int(count or 0)


def _check_head_made(head: LinearHead, each: InputSet) -> None:
    """Refuse a head that can't have made the stored logits: scores of both kinds would not go together."""
    features, logits = each.embeddings.features[:_PROBE_ROWS], each.embeddings.logits
    assert logits is not None
    if logits.shape[1] != head.num_classes:
        raise UserError(
            f"the head has {head.num_classes} classes, {each.where} has logits of {logits.shape[1]}."
        )
    expected = head.logits(np.asarray(features, dtype=np.float64))
    stored = np.asarray(logits[:_PROBE_ROWS], dtype=np.float64)
    difference = float(np.sqrt(np.mean((expected - stored) ** 2)))
    size = float(np.sqrt(np.mean(stored**2)))
    if difference > _HEAD_TOLERANCE * size:
        raise UserError(
            f"the head did not make the logits stored in {each.where}: they differ by {difference:.3g} on "
            f"average, at a size of {size:.3g}. Give the head of the same checkpoint."
        )


def _slices(task: Task, given: Mapping[str, Any] | None) -> Slices:
    known: Slices = as_slices(given, task.test.embeddings.dim) if given else {}
    whose = "slices"
    for each in task.sets():
        own = dict(each.embeddings.slices)
        if own and known and list(own.items()) != list(known.items()):
            raise UserError(
                f"{each.where} says that its columns are {_text(own)}, but {whose} {_text(known)}."
            )
        if own:
            known, whose = own, f"{each.where} says"
    return known


def _text(slices: Slices) -> str:
    return ",".join(f"{modality}:{stop - start}" for modality, (start, stop) in slices.items())


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
    jobs: Sequence[Job],
    task: Task,
    fit_on: str,
    *,
    intervals: bool,
    seed: int = 0,
    settings: ScoringSettings | None = None,
    progress: bool = False,
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

    Raises:
        UserError: when a score can't be fitted to the data, for instance K > N; for a device that isn't there.
    """
    caught = Warnings()
    given = asdict(settings if settings is not None else ScoringSettings())
    options = ScoringOptions(**given, progress=progress, checked=True)
    fit, val = _embeddings(task.val if fit_on == "val" else task.train), _embeddings(task.val)
    sets = {"id": task.test, **task.ood}
    results = []
    _doubt(task, [job.name for job in jobs], caught)
    shared = shared_rows((name, each.embeddings) for name, each in task.named_sets())
    with computing(options.threads):
        known = _native_scores(jobs, fit, val, task, sets, options, caught)
        with tqdm(
            jobs, desc="Evaluate", unit="score", leave=False, disable=None if progress else True
        ) as bar:
            for job in bar:
                bar.set_postfix_str(job.name)
                if id(job) in known:
                    scores = known[id(job)]
                else:
                    with caught.at(job.name), _named(job, jobs):
                        job.score.fit(fit, val, task.head)
                        scores = {name: _labelled(job.score.score(each.embeddings), each)
                                  for name, each in sets.items()}  # fmt: skip
                metrics = {}
                for name in task.ood:
                    with caught.at(f"{job.name} on {name}"):
                        metrics[name] = _metrics(job.name, name, scores["id"], scores[name], intervals, seed)
                notes = [*job.score.notes, *shared]
                if task.shaped:
                    notes.append(
                        f"{job.name}: features already shaped by {task.shaped}, scored by their energy."
                    )
                results.append(
                    Result(
                        job.name, job.score.parameters, scores, metrics, tuple(notes), engine_of(job.score)
                    )
                )
    return results, caught


def _native_scores(
    jobs: Sequence[Job],
    fit: Embeddings | None,
    val: Embeddings | None,
    task: Task,
    sets: Mapping[str, InputSet],
    options: ScoringOptions,
    caught: Warnings,
) -> dict[int, dict[str, SetScores]]:
    """Fit and apply the native scores together; return the job's identity → set → scores."""
    native = [job for job in jobs if isinstance(job.score, Postprocessor)]
    by_score = {id(job.score): job for job in native}
    scores = [job.score for job in native]

    @contextmanager
    def around(score: Postprocessor) -> Iterator[None]:
        job = by_score[id(score)]
        with caught.at(job.name), _named(job, jobs):
            yield

    fit_all(scores, fit, val, task.head, options, around)
    found = score_all(scores, {name: each.embeddings for name, each in sets.items()}, options, around)
    return {
        id(job): {name: _labelled(found[name][i], each) for name, each in sets.items()}
        for i, job in enumerate(native)
    }


def _named(job: Job, jobs: Sequence[Job]) -> AbstractContextManager[None]:
    return naming(job.name, [each.written for each in jobs if each is not job])


def _embeddings(each: InputSet | None) -> Embeddings | None:
    return None if each is None else each.embeddings


def _labelled(scores: Scores, each: InputSet) -> SetScores:
    return SetScores(scores.pred, scores.conf, np.asarray(each.embeddings.labels, dtype=np.int64))


def _metrics(
    job: str, name: str, known: SetScores, unknown: SetScores, intervals: bool, seed: int
) -> Metrics:
    try:
        return compute_ood_metrics(
            known.conf, unknown.conf, known.pred, known.label, intervals=intervals, seed=seed
        )
    except UserError as error:
        raise UserError(f"{job} on {name}: {error}") from error
