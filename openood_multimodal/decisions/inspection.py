"""`inspect_scores`: where scores go wrong: by class, by sample, between scores, between modalities, in the labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..datasets.manifest import Manifest
from ..errors import ArgumentError, UserError
from ..evaluators.outputs import ID_NAME, SetScores
from ..files.npz import read_arrays
from ..linalg.rows import Floats
from ..naming import did_you_mean
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringSettings
from ..postprocessors.run import ALL, Parameters
from ..scoring.run import run_jobs
from ..scoring.table import Sources, prepare
from ..vocabulary import ID_SETS
from . import rules
from .inspection_tables import COLUMNS, TEST, Looked, Rows, tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Inspection:
    """What `inspect_scores` found.

    Attributes:
        tables: name → rows, see `COLUMNS`; a table that the inputs don't allow is absent, and ``notes`` say why.
        tpr: share of the samples of ``threshold_set`` that each score accepts.
        threshold_set: ``"val"`` or ``"test"``.
        notes: what a reader has to know.
        files: set → its manifest ("" for rows of a table) and the folder of its clips ("" for the manifest's), where
            known.
        config: of the run that was inspected; how its clips are read.
    """

    tables: Mapping[str, Rows]
    tpr: float
    threshold_set: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None

    def frame(self, name: str) -> pd.DataFrame:
        """Return a table as a `pandas.DataFrame`."""
        import pandas as pd

        if name not in self.tables:
            raise UserError(f"there is no table '{name}'.{did_you_mean(name, self.tables)}")
        return pd.DataFrame(self.tables[name], columns=list(COLUMNS[name]))


def inspect_scores(
    train: Any,
    test: Any,
    ood: Mapping[str, Any],
    head: Any,
    val: Any = None,
    postprocessors: str | Iterable[str | Postprocessor] | None = None,
    *,
    tpr: float = 0.95,
    worst: int = 10,
    manifests: Mapping[str, str | os.PathLike[str] | Manifest] | None = None,
    label_errors: bool = True,
    preset: str = "openood",
    parameters: Parameters | None = None,
    slices: Mapping[str, Any] | None = None,
    fit_on: str = "train",
    settings: ScoringSettings | None = None,
    progress: bool = False,
) -> Inspection:
    """Tell where scores go wrong; sets, head and scores are those of `evaluate`.

    A score accepts a sample that reaches the threshold of a share ``tpr`` of the ID validation samples (of the ID test
    samples where there is no validation set, or the score is fitted to it).

    Args:
        train: ID training set.
        test: ID test set.
        ood: name → OOD set.  Labels in it, other than -1, name its classes where it has no manifest.
        head: the linear layer.
        val: ID validation set.
        postprocessors: names; None: the nine of `evaluate`.
        tpr: share of ID samples to be accepted, above 0 and below 1.
        worst: samples listed of each kind.
        manifests: ``"train"``, ``"val"``, ``"test"`` or an OOD set → its manifest, for the names of classes and clips.
        label_errors: whether to look for label errors, where there is a training set.
        preset: of parameters.
        parameters: score → parameters.
        slices: modality → width, where the sets don't say.
        fit_on: ``"train"`` or ``"val"``.
        settings: threads, device, rows held at once.
        progress: show bars.

    Raises:
        UserError: as `evaluate`; for ``postprocessors="all"``; for a manifest of other samples.
    """
    check_asked(tpr, worst)
    if not isinstance(ood, Mapping):
        raise UserError(f"ood must be a dict, name → set, got {type(ood).__name__}.")
    for name in set(ood) & set(ID_SETS):
        raise UserError(f"an OOD set can't be called '{name}', as an ID set is; give it another name.")
    if postprocessors == ALL:
        raise UserError("'all' can't be inspected; name the scores.")
    given = {TEST: test, "train": train, "val": val, **ood}
    _check_manifests(manifests or {}, [name for name, each in given.items() if each is not None])
    sources = Sources(train, val, test, list(ood.items()), head, slices)
    task, jobs, _, _ = prepare(sources, postprocessors, preset, parameters or {}, fit_on)
    from_val = task.val is not None and fit_on != "val"
    results, caught = run_jobs(
        jobs, task, fit_on, intervals=False, settings=settings, progress=progress, score_val=from_val
    )
    scores = {
        each.postprocessor: {(TEST if of == ID_NAME else of): found for of, found in each.scores.items()}
        for each in results
    }
    return inspected(
        scores,
        {each.postprocessor: np.asarray(each.val_conf) for each in results} if from_val else None,
        {name.removeprefix("ood "): each.embeddings for name, each in task.named_sets()},
        task.head,
        tpr=tpr,
        worst=worst,
        manifests=manifests or {},
        ood_classes={name: _own_labels(source) for name, source in ood.items()},
        notes=[*caught.lines(), *dict.fromkeys(note for each in results for note in each.notes)],
        label_errors=label_errors,
        progress=progress,
    )


def check_asked(tpr: object, worst: object) -> None:
    """Raise `ArgumentError` unless ``tpr`` is a fraction and ``worst`` a number of samples."""
    rules.check_tpr(tpr)
    if isinstance(worst, bool) or not isinstance(worst, int) or worst < 1:
        raise ArgumentError("worst", f"must be a whole number of at least 1, got {worst!r}.")


def inspected(
    scores: Mapping[str, Mapping[str, SetScores]],
    val_conf: Mapping[str, NDArray[Any]] | None,
    sets: Mapping[str, Embeddings],
    head: LinearHead | None,
    *,
    tpr: float,
    worst: int,
    manifests: Mapping[str, str | os.PathLike[str] | Manifest],
    ood_classes: Mapping[str, NDArray[Any] | None] | None = None,
    notes: Sequence[str] = (),
    label_errors: bool = True,
    progress: bool = False,
) -> Inspection:
    """Return the tables of scores that are there already.

    Args:
        scores: score → ``"test"`` and OOD sets → pred, conf, label.
        val_conf: score → confidences of the ID validation set; None: thresholds are from the ID test set.
        sets: embeddings, as far as there are any.
        head: the linear layer, or None where the sets have logits.
        tpr: as in `inspect_scores`, as what follows.
        worst: samples listed of each kind.
        manifests: set → manifest.
        ood_classes: OOD set → the class of each sample, where it has no manifest.
        notes: what a reader has to know already.
        label_errors: whether to look for label errors.
        progress: show bars.
    """
    told = list(notes)
    reference: dict[str, Floats] = {
        name: np.sort(
            np.asarray(of_sets[TEST].conf if val_conf is None else val_conf[name], dtype=np.float64)
        )
        for name, of_sets in scores.items()
    }
    if val_conf is None:
        told.append("Thresholds are from the ID test set, not from a validation set.")
    least, n = rules.rows_needed(tpr), len(next(iter(reference.values())))
    if n < least:
        told.append(
            f"The set that thresholds are from has {n} samples; rejecting a share of {1 - tpr:.4g} takes {least}."
        )
    labels = {name: each.labels for name, each in sets.items()}
    labels |= {name: each.label for name, each in next(iter(scores.values())).items()}
    _check_manifests(manifests, labels)
    clips: dict[str, Sequence[str]] = {}
    classes: dict[str, Sequence[str]] = {}
    names = [str(number) for number in range(_count(scores, labels, sets, head))]
    for name, of_set in labels.items():
        stored = sets[name].clips if name in sets else ()
        given, own = manifests.get(name), (ood_classes or {}).get(name)
        clips[name], classes[name] = stored, [""] * len(of_set)
        if given is not None:
            manifest = given if isinstance(given, Manifest) else Manifest.read(given)
            clips[name], classes[name] = _described(name, manifest, stored, of_set)
        elif (
            own is not None and own.shape == of_set.shape and not (own.dtype.kind in "if" and (own < 0).all())
        ):
            classes[name] = list(map(str, own.tolist()))
        if name not in ID_SETS and not any(classes[name]):
            told.append(f"{name} has no class labels, so it counts as one class; give its manifest.")
    for name in set(ID_SETS) & set(labels):
        if any(classes[name]):
            for label, row in zip(*np.unique(labels[name], return_index=True), strict=True):
                names[label] = classes[name][row] or names[label]
    if not any(any(classes[name]) for name in set(ID_SETS) & set(labels)):
        told.append("ID classes are numbers, as nothing names them; give the manifest of an ID set.")
    for name in set(ID_SETS) & set(labels):
        classes[name] = [names[label] for label in labels[name].tolist()]
    thresholds = {name: rules.threshold_at(conf, tpr) for name, conf in reference.items()}
    looked = Looked(scores, reference, thresholds, sets, head, clips, classes, names, worst, told)
    found = dict(tables(looked, label_errors, progress))
    files = {
        name: (os.fspath(each), "") for name, each in manifests.items() if not isinstance(each, Manifest)
    }
    return Inspection(found, tpr, TEST if val_conf is None else "val", tuple(looked.notes), files)


def _check_manifests(manifests: Iterable[str], sets: Iterable[str]) -> None:
    known = sorted(sets)
    for name in manifests:
        if name not in known:
            raise ArgumentError("manifests", f"names no set of these: '{name}'.{did_you_mean(name, known)}")


def _described(
    name: str, manifest: Manifest, clips: Sequence[str], labels: NDArray[np.int64]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of clips and classes of a set's samples, by its manifest."""
    rows, remedy = list(range(len(labels))), "give the manifest that the embeddings were made from."
    source = manifest.source or "its manifest"
    if clips:
        place = {clip: row for row, clip in enumerate(manifest.clips)}
        lacking = [clip for clip in clips if clip not in place]
        if lacking:
            raise UserError(
                f"{source} lacks {len(lacking)} of the {len(clips)} clips of {name}, '{lacking[0]}' for one; "
                f"{remedy}"
            )
        rows = [place[clip] for clip in clips]
    elif len(manifest) != len(labels):
        raise UserError(f"{source} has {len(manifest)} rows, {name} has {len(labels)}; {remedy}")
    if name in ID_SETS and (wrong := np.flatnonzero(manifest.labels[rows] != labels)).size:
        row = int(wrong[0])
        raise UserError(
            f"{name} row {row}: the label is {labels[row]}, but {manifest.labels[rows[row]]} in {source}; "
            f"{remedy}"
        )
    return [manifest.clips[row] for row in rows], [manifest.class_names[row] for row in rows]


def _own_labels(source: Any) -> NDArray[Any] | None:
    """Return the labels that an OOD set holds, which scoring leaves out, or None where it has none."""
    labels = None
    if isinstance(source, str | os.PathLike) and not os.path.isdir(source):
        labels = read_arrays(source, [], ["labels"]).values.get("labels")
    elif isinstance(source, Embeddings):
        labels = source.labels
    elif isinstance(source, tuple) and len(source) == 2:
        labels = source[1]
    return None if labels is None else np.asarray(labels)


def _count(
    scores: Mapping[str, Mapping[str, SetScores]],
    labels: Mapping[str, NDArray[np.int64]],
    sets: Mapping[str, Embeddings],
    head: LinearHead | None,
) -> int:
    """Return the number of classes, as far as heads, logits, predictions and labels show it."""
    seen = [int(each.pred.max()) + 1 for of_sets in scores.values() for each in of_sets.values()]
    seen += [int(each.max()) + 1 for each in labels.values()]
    seen += [each.logits.shape[1] for each in sets.values() if each.logits is not None]
    return max(*seen, head.num_classes if head is not None else 0)
