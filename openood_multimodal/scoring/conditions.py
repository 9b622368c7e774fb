"""Test-time conditions of embeddings: a modality that is missing, noisy, another clip's, or shifted in time.

`parse_condition` also reads those of the input, which ``registry.CONDITIONS`` holds and clip preprocessors apply.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead
from ..errors import UserError
from ..linalg.rows import Floats, block_slices, feature_blocks
from ..naming import did_you_mean
from ..registry import CONDITIONS
from ..vocabulary import APPLY_TO, LEVELS

CLEAN = "clean"
VALUES = {
    "missing": ("zero", "mean", "nearest"),
    "noise": ("1", "2", "3", "4", "5"),
    "swap": ("other", "same"),
    "shift": (),
}
"""Kind → values; the first is the default, but noise has none.  A shift is any whole number of clips but 0."""

NOISE = {1: 0.25, 2: 0.5, 3: 1.0, 4: 2.0, 5: 4.0}
"""Severity → standard deviation of the noise, in standard deviations of the column on the training set."""

_FORM = re.compile(r"(?P<kind>[a-z0-9_]+):(?P<modalities>[^=:]+)(?:=(?P<value>[^=]+))?")


@dataclass(frozen=True)
class Condition:
    """What is done to the samples of a set.

    Attributes:
        kind: a key of `VALUES`, or a name in ``registry.CONDITIONS``.
        modalities: that are changed.
        value: severity or variant, as text; "" where the kind has none.
        level: ``"embedding"`` or ``"input"``.
    """

    kind: str
    modalities: tuple[str, ...]
    value: str
    level: str = LEVELS[0]

    def __str__(self) -> str:
        return f"{self.kind}:{'+'.join(self.modalities)}" + (f"={self.value}" if self.value else "")

    @property
    def severity(self) -> float | str | None:
        """A number where ``value`` is one, its text, or None where there is none."""
        try:
            number = float(self.value)
        except ValueError:
            return self.value or None
        return int(number) if number.is_integer() else number

    def as_record(self, applied_to: str, seed: int) -> dict[str, Any]:
        """Return a record's field ``condition``."""
        return {
            "kind": self.kind,
            "modalities": list(self.modalities),
            "severity": self.severity,
            "level": self.level,
            "applied_to": applied_to,
            "seed": seed,
        }


@dataclass(frozen=True)
class Columns:
    """Mean and standard deviation ``[D]`` of the training set's columns, and its features ``[N, D]``."""

    mean: Floats
    deviation: Floats
    features: NDArray[np.floating]

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Columns:
        """Return those of ``features`` ``[N, D]``, read a block of rows at a time."""
        mean = sum(block.sum(axis=0) for _, block in feature_blocks(features)) / len(features)
        squares = sum(((block - mean) ** 2).sum(axis=0) for _, block in feature_blocks(features))
        return cls(np.asarray(mean), np.sqrt(np.asarray(squares) / len(features)), features)


@dataclass(frozen=True)
class Timeline:
    """The recording of each sample of a set, and the second at which it begins there; NaN where it isn't known."""

    recordings: Sequence[str]
    starts: Floats

    @classmethod
    def of(cls, manifest: Any, embeddings: Embeddings, name: str) -> Timeline:
        """Return that of embeddings whose clips a manifest lists.

        Args:
            manifest: a `datasets.Manifest`.
            embeddings: with names of clips, or a row for each of the manifest's.
            name: of the set, for messages.

        Raises:
            UserError: when the manifest lists other clips.
        """
        clips = embeddings.clips or (manifest.clips if len(manifest.clips) == len(embeddings) else ())
        rows = {clip: row for row, clip in enumerate(manifest.clips)}
        if not clips or not all(clip in rows for clip in clips):
            raise UserError(
                f"{manifest.source} doesn't list the clips of '{name}'; name that set's manifest."
            )
        chosen = [rows[clip] for clip in clips]
        return cls([manifest.groups[row] for row in chosen], manifest.starts[chosen])

    def partners(self, by: int, where: str) -> NDArray[np.int64]:
        """Return ``[N]``: the clip that comes ``by`` clips later in the recording, the row itself where none does.

        Raises:
            UserError: where none does for any row.
        """
        partner = np.arange(len(self.starts))
        of: dict[str, list[int]] = {}
        for row, recording in enumerate(self.recordings):
            if recording and not np.isnan(self.starts[row]):
                of.setdefault(recording, []).append(row)
        for rows in of.values():
            ordered = sorted(rows, key=lambda row: (self.starts[row], row))
            for place, row in enumerate(ordered):
                if 0 <= place + by < len(ordered):
                    partner[row] = ordered[place + by]
        if (partner == np.arange(len(partner))).all():
            raise UserError(
                f"{where}: no clip has another one {abs(by)} {'later' if by > 0 else 'earlier'} in its recording "
                "(columns group and start of the manifest), so nothing can be shifted."
            )
        return partner

    def unmoved(self, by: int, where: str) -> int:
        """Return how many rows `partners` leaves as they are."""
        return int((self.partners(by, where) == np.arange(len(self.starts))).sum())


def parse_condition(text: str, modalities: Sequence[str], level: str = LEVELS[0]) -> Condition | None:
    """Return the condition that ``text`` names, None for ``clean``.

    Args:
        text: ``missing:video``, ``missing:video+audio=mean``, ``noise:flow=3``, ``swap:audio=same``, ``shift:audio=1``;
            at the level ``input``, ``KIND:MODALITY=SEVERITY`` with a kind of ``registry.CONDITIONS``.
        modalities: that there are.
        level: ``"embedding"`` or ``"input"``.

    Raises:
        UserError: for another form, an unknown kind, modality or value, a severity outside its range, or all
            modalities missing, swapped or shifted.
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
    kinds, others = (
        (tuple(VALUES), tuple(CONDITIONS)) if level == LEVELS[0] else (tuple(CONDITIONS), tuple(VALUES))
    )
    if kind not in kinds:
        hint = did_you_mean(kind, kinds)
        if kind in others:
            hint = f" '{kind}' is a condition of the {LEVELS[level == LEVELS[0]]} level."
        raise UserError(
            f"there is no condition '{kind}' at the {level} level; there are {', '.join(kinds)}.{hint}"
        )
    names = tuple(name for name in modalities if name in found["modalities"].split("+"))
    for name in found["modalities"].split("+"):
        if name not in modalities:
            raise UserError(
                f"{text}: there is no modality '{name}'; there are {', '.join(modalities)}."
                f"{did_you_mean(name, modalities)}"
            )
    if level != LEVELS[0]:
        CONDITIONS.get(kind)(value)  # refuses a severity outside its range
        condition = Condition(kind, names, value or "", level)
        if CONDITIONS.get(kind).removes and len(names) == len(modalities):
            raise UserError(f"{text}: all modalities would be missing; leave at least one as it is.")
        return condition
    value = _checked_value(text, kind, value, names[0])
    if kind != "noise" and len(names) == len(modalities):
        what = {
            "missing": "missing, so nothing is left to score",
            "swap": "another clip's, which is that clip",
            "shift": "another clip's, which is that clip",
        }
        raise UserError(f"{text}: all modalities would be {what[kind]}; leave at least one as it is.")
    return Condition(kind, names, value)


def _checked_value(text: str, kind: str, value: str | None, modality: str) -> str:
    if kind == "noise":
        if value not in VALUES[kind]:
            raise UserError(
                f"{text}: the severity must be a whole number from 1 to 5, e.g. noise:{modality}=3."
            )
        return value
    if kind == "shift":
        if value is None or not re.fullmatch(r"-?[1-9][0-9]{0,5}", value):
            raise UserError(
                f"{text}: say by how many clips of the same recording, later or earlier, e.g. shift:{modality}=1 or "
                f"shift:{modality}=-1."
            )
        return value
    value = VALUES[kind][0] if value is None else value
    if value not in VALUES[kind]:
        raise UserError(
            f"{text}: '{value}' is none of {', '.join(VALUES[kind])}.{did_you_mean(value, VALUES[kind])}"
        )
    return value


def default_conditions(modalities: Sequence[str]) -> list[str]:
    """Return clean, and each modality by itself missing, at two severities of noise, and conflicting."""
    each = ["missing:{}=zero", "missing:{}=mean", "noise:{}=2", "noise:{}=4", "swap:{}=other", "swap:{}=same"]
    usable = each if len(modalities) > 1 else each[2:4]
    return [CLEAN, *(form.format(name) for name in modalities for form in usable)]


def apply_condition(
    condition: Condition,
    embeddings: Embeddings,
    head: LinearHead,
    columns: Columns,
    seed: int,
    name: str,
    timeline: Timeline | None = None,
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
        timeline: of the set, for a shift in time.

    Raises:
        UserError: where swapping finds no other class, or shifting no other clip of a recording.
    """
    features = np.array(embeddings.features)
    what = zlib.crc32(f"{condition.kind} {condition.modalities} {name}".encode())
    rng = np.random.default_rng([seed, what])
    where = f"{condition} on {name}"
    parts = [slice(*embeddings.slices[modality]) for modality in condition.modalities]
    partner: NDArray[np.int64] | None = None
    source = features
    if condition.kind == "swap":
        classes = embeddings.labels
        if (classes < 0).any():
            classes = _logits(head, features).argmax(axis=1)
        partner = _partners(classes, condition.value == "same", rng, where)
    elif condition.kind == "shift":
        if timeline is None:
            raise UserError(
                f"{where}: embeddings don't say which clips follow one another; give their manifest."
            )
        partner = timeline.partners(int(condition.value), where)
    elif condition.value == "nearest":
        left = np.ones(features.shape[1], dtype=bool)
        for part in parts:
            left[part] = False
        partner, source = _nearest(features, columns.features, left), columns.features
    for part in parts:
        if partner is not None:
            features[:, part] = source[:, part][partner]
        elif condition.kind == "missing":
            features[:, part] = 0.0 if condition.value == "zero" else columns.mean[part]
        else:
            width = (NOISE[int(condition.value)] * columns.deviation[part]).astype(features.dtype)
            for rows in block_slices(len(features), len(width)):
                noise = rng.standard_normal(features[rows, part].shape, dtype=np.float32)
                features[rows, part] += width * noise.astype(features.dtype, copy=False)
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


def _nearest(
    features: NDArray[np.floating], train: NDArray[np.floating], left: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return ``[N]``: the training row whose columns ``left`` are nearest (Euclidean; the first of equal ones)."""
    best = np.full(len(features), np.inf)
    nearest = np.zeros(len(features), dtype=np.int64)
    for of_train, block in feature_blocks(train):
        known = block[:, left]
        half = 0.5 * (known**2).sum(axis=1)
        for rows in block_slices(len(features), len(known)):
            distance = (
                half - features[rows][:, left].astype(np.float64) @ known.T
            )  # but for the row's own length
            place = distance.argmin(axis=1)
            value = distance[np.arange(len(place)), place]
            better = value < best[rows]
            best[rows] = np.where(better, value, best[rows])
            nearest[rows] = np.where(better, place + (of_train.start or 0), nearest[rows])
    return nearest


def _logits(head: LinearHead, features: NDArray[np.floating]) -> Floats:
    logits = np.empty((len(features), head.num_classes))
    for rows, block in feature_blocks(features):
        logits[rows] = head.logits(block)
    return logits


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
