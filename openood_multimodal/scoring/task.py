"""What is scored, checked: sets, head and slices belong together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arrays import LinearHead, Slices, check_labels, empty_classes
from ..errors import UserError
from ..evaluators.outputs import ID_NAME
from ..files.paths import file_name
from ..vocabulary import AVERAGE, CSID, OOD_VAL, TEST_GROUPS
from .inputs import InputSet, as_slices, read_head, read_set

RESERVED = (ID_NAME, AVERAGE, *TEST_GROUPS)
"""Names that results use themselves."""

_PROBE_ROWS = 64
_HEAD_TOLERANCE = 0.05  # relative; float16 and TF32 stay well below


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
        ood_val: name → OOD validation set, for a search for parameters; no metric is computed on it.
        csid: name → covariate-shifted ID set, which counts as ID beside the test set (full-spectrum evaluation).
    """

    test: InputSet
    ood: dict[str, InputSet]
    train: InputSet | None
    val: InputSet | None
    head: LinearHead | None
    slices: Slices
    shaped: str | None
    ood_val: dict[str, InputSet] = field(default_factory=dict)
    csid: dict[str, InputSet] = field(default_factory=dict)

    def sets(self) -> Iterator[InputSet]:
        """Yield all sets."""
        yield from (each for _, each in self.named_sets())

    def named_sets(self) -> Iterator[tuple[str, InputSet]]:
        """Yield all sets with their names: ``train``, ``val``, ``test``, ``csid <name>``, ``ood_val <name>``,
        ``ood <name>``.
        """
        for name, each in (("train", self.train), ("val", self.val), ("test", self.test)):
            if each is not None:
                yield name, each
        for name, each in self.csid.items():
            yield f"{CSID} {name}", each
        for name, each in self.ood_val.items():
            yield f"{OOD_VAL} {name}", each
        for name, each in self.ood.items():
            yield f"ood {name}", each

    def fitting(self, fit_on: str) -> InputSet | None:
        """Return the set that scores are fitted to: ``"train"`` or ``"val"``."""
        return self.val if fit_on == "val" else self.train


def check_ood_names(names: Sequence[str], csid: Sequence[str] = ()) -> None:
    """Check the names of OOD sets, and of covariate-shifted ID sets: they become rows and files.

    Raises:
        UserError: for no set, a reserved or doubled name (also one that differs in case only), or one that
            can't be a file name.
    """
    if not names:
        raise UserError("there is no OOD set; give at least one.")
    seen: dict[str, str] = {}
    for what, name in [*(("an OOD set", each) for each in names), *(("a csid set", each) for each in csid)]:
        if not isinstance(name, str):
            raise UserError(f"the name of {what} must be text, got {name!r}.")
        if name.casefold() in RESERVED:
            raise UserError(
                f"{what} can't be called '{name}': results use the names {', '.join(RESERVED)} themselves."
            )
        file_name(name, what.partition(" ")[2])
        if name.casefold() in seen:
            raise UserError(
                f"two {'test' if what == 'a csid set' else 'OOD'} sets are called '{seen[name.casefold()]}' and "
                f"'{name}'; names must differ, not in case alone, since they become file names."
            )
        seen[name.casefold()] = name


def read_task(
    train: Any,
    val: Any,
    test: Any,
    ood: Sequence[tuple[str, Any]],
    head: Any = None,
    ood_val: Sequence[tuple[str, Any]] = (),
    csid: Sequence[tuple[str, Any]] = (),
) -> Task:
    """Read sets and head; see `inputs`.  None where there is no such set."""
    known = read_set(test, "test")
    return Task(
        known,
        {name: read_set(each, name, ood=True) for name, each in ood},
        read_set(train, "train") if train is not None else None,
        read_set(val, "val") if val is not None else None,
        read_head(head) if head is not None else None,
        {},
        known.shaped,
        {name: read_set(each, f"{OOD_VAL} {name}", ood=True) for name, each in ood_val},
        {name: read_set(each, f"{CSID} {name}") for name, each in csid},
    )


def checked(task: Task, slices: Mapping[str, Any] | None) -> Task:
    """Check that sets, head and slices belong together; return the task with the slices in all sets.

    Args:
        task: as read.
        slices: modality → width, or → ``(start, stop)``; None: what the sets say.

    Raises:
        UserError: when widths, numbers of classes, slices or kinds of features differ, a label is none of the
            classes, or there is neither a head nor logits.
    """
    test, ood, train, val = task.test, task.ood, task.train, task.val
    _check_shaping(task)
    _check_checkpoints(task)
    _check_widths(task)
    num_classes = _num_classes(task)
    for each in (train, val, test, *task.csid.values()):
        if each is not None and not each.unlabelled:
            check_labels(each.embeddings.labels, num_classes, each.where)
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
        ood_val={name: cut(each) for name, each in task.ood_val.items()},
        csid={name: cut(each) for name, each in task.csid.items()},
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
                f"{each.where} has no logits, so the head is needed: give head= with weight "
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
