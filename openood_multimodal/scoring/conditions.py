"""Test-time conditions at the level of embeddings: a modality that is missing, noisy, or another clip's."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..linalg.rows import Floats, feature_blocks
from ..naming import did_you_mean
from ..vocabulary import APPLY_TO

CLEAN = "clean"
VALUES = {"missing": ("zero", "mean"), "noise": ("1", "2", "3", "4", "5"), "swap": ("other", "same")}
"""Kind → values; the first is the default, but noise has none."""

NOISE = {1: 0.25, 2: 0.5, 3: 1.0, 4: 2.0, 5: 4.0}
"""Severity → standard deviation of the noise, in standard deviations of the column on the training set."""

_FORM = re.compile(r"(?P<kind>[a-z]+):(?P<modalities>[^=:]+)(?:=(?P<value>[^=]+))?")


@dataclass(frozen=True)
class Condition:
    """What is done to the embeddings of a set.

    Attributes:
        kind: a key of `VALUES`.
        modalities: whose columns are changed.
        value: one of `VALUES` of its kind.
    """

    kind: str
    modalities: tuple[str, ...]
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{'+'.join(self.modalities)}={self.value}"


@dataclass(frozen=True)
class Columns:
    """Mean and standard deviation ``[D]`` of the training set's columns."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Columns:
        """Return those of ``features`` ``[N, D]``, read a block of rows at a time."""
        mean = sum(block.sum(axis=0) for _, block in feature_blocks(features)) / len(features)
        squares = sum(((block - mean) ** 2).sum(axis=0) for _, block in feature_blocks(features))
        return cls(np.asarray(mean), np.sqrt(np.asarray(squares) / len(features)))


def parse_condition(text: str, modalities: Sequence[str]) -> Condition | None:
    """Return the condition that ``text`` names, None for ``clean``.

    Args:
        text: ``missing:video``, ``missing:video+audio=mean``, ``noise:flow=3``, ``swap:audio=same``.
        modalities: that there are.

    Raises:
        UserError: for another form, an unknown kind, modality or value, a severity that is none of 1 to 5, or all
            modalities missing or swapped.
    """
    if text == CLEAN:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise UserError(
            "a condition is written KIND:MODALITY=VALUE, e.g. missing:video, noise:flow=3, swap:audio=same; "
            f"got '{text}'."
        )
    kind, value = found["kind"], found["value"]
    if kind not in VALUES:
        raise UserError(
            f"there is no condition '{kind}'; there are {', '.join(VALUES)}.{did_you_mean(kind, VALUES)}"
        )
    names = tuple(name for name in modalities if name in found["modalities"].split("+"))
    for name in found["modalities"].split("+"):
        if name not in modalities:
            raise UserError(
                f"{text}: there is no modality '{name}'; there are {', '.join(modalities)}."
                f"{did_you_mean(name, modalities)}"
            )
    if kind == "noise":
        if value not in VALUES[kind]:
            raise UserError(
                f"{text}: the severity must be a whole number from 1 to 5, e.g. noise:{names[0]}=3."
            )
    elif value is None:
        value = VALUES[kind][0]
    elif value not in VALUES[kind]:
        raise UserError(
            f"{text}: '{value}' is none of {', '.join(VALUES[kind])}.{did_you_mean(value, VALUES[kind])}"
        )
    if kind != "noise" and len(names) == len(modalities):
        what = (
            "missing, so nothing is left to score"
            if kind == "missing"
            else "another clip's, which is that clip"
        )
        raise UserError(f"{text}: all modalities would be {what}; leave at least one as it is.")
    return Condition(kind, names, value)


def default_conditions(modalities: Sequence[str]) -> list[str]:
    """Return clean, and each modality by itself missing, at two severities of noise, and conflicting."""
    each = ["missing:{}=zero", "missing:{}=mean", "noise:{}=2", "noise:{}=4", "swap:{}=other", "swap:{}=same"]
    usable = each if len(modalities) > 1 else each[2:4]
    return [CLEAN, *(form.format(name) for name in modalities for form in usable)]


def apply_condition(
    condition: Condition, embeddings: Embeddings, head: LinearHead, columns: Columns, seed: int, name: str
) -> Embeddings:
    """Return a copy of ``embeddings`` under the condition, with logits of the head.

    Logits of modality heads are computed again where the head knows them all, and absent otherwise.  The same noise,
    scaled, is used at all severities.

    Args:
        condition: what is done.
        embeddings: with slices.  Where labels are -1, predicted classes stand for classes when swapping.
        head: the fusion head.
        columns: of the training set.
        seed: of noise and of swapping.
        name: of the set; other sets draw other numbers.

    Raises:
        UserError: where swapping finds no other class.
    """
    features = np.array(embeddings.features)
    what = zlib.crc32(f"{condition.kind} {condition.modalities} {name}".encode())
    rng = np.random.default_rng([seed, what])
    partner: NDArray[np.int64] | None = None
    if condition.kind == "swap":
        classes = embeddings.labels
        if (classes < 0).any():
            classes = _logits(head, features).argmax(axis=1)
        partner = _partners(classes, condition.value == "same", rng, f"{condition} on {name}")
    for modality in condition.modalities:
        part = slice(*embeddings.slices[modality])
        if partner is not None:
            features[:, part] = features[partner, part]
        elif condition.kind == "missing":
            features[:, part] = 0.0 if condition.value == "zero" else columns.mean[part]
        else:
            width = (NOISE[int(condition.value)] * columns.deviation[part]).astype(features.dtype)
            for rows, _ in feature_blocks(features[:, part]):
                shape = features[rows, part].shape
                features[rows, part] += width * rng.standard_normal(shape, dtype=np.float32).astype(
                    features.dtype
                )
    own = None
    if embeddings.modality_logits is not None and set(embeddings.modalities) <= head.modality_heads.keys():
        own = np.stack(
            [
                _logits(head.modality_heads[each], features[:, slice(*embeddings.slices[each])])
                for each in embeddings.modalities
            ],
            axis=1,
        )
    return replace(embeddings, features=features, logits=_logits(head, features), modality_logits=own)


def _logits(head: LinearHead, features: NDArray[np.floating]) -> Floats:
    return np.concatenate([head.logits(block) for _, block in feature_blocks(features)])


def _partners(
    classes: NDArray[np.int64], same: bool, rng: np.random.Generator, where: str
) -> NDArray[np.int64]:
    """Return ``[N]``: for each row another one, of the same class or of another class, at random.

    A row that is alone in its class keeps its own when the class is to be the same.
    """
    order = rng.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # classes together, random within
    ordered = classes[order]
    start = np.searchsorted(ordered, ordered, side="left")
    end = np.searchsorted(ordered, ordered, side="right")
    place, n = np.arange(len(order)), len(order)
    if same:
        chosen = np.where(place + 1 < end, place + 1, start)  # a cycle through the class
    else:
        if (end - start == n).any():
            raise UserError(f"{where}: all samples are of one class, so none has another class's.")
        chosen = (end + rng.integers(0, n - (end - start))) % n
    partners = np.empty(n, dtype=np.int64)
    partners[order] = order[chosen]
    return partners


def check_apply_to(apply_to: str) -> None:
    """Raise `UserError` unless ``apply_to`` is one of `APPLY_TO`."""
    if apply_to not in APPLY_TO:
        raise UserError(
            f"apply_to is '{apply_to}'; there are {', '.join(APPLY_TO)}.{did_you_mean(apply_to, APPLY_TO)}"
        )
