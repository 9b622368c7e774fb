"""What flows between extraction, scoring and evaluation: plain arrays with names.

These are neutral ground: the store makes them, postprocessors read them, evaluators read what those return,
and none of the three imports another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError
from .naming import did_you_mean

Slices = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of one set of clips.

    Attributes:
        features: float ``[N, D]``, the concatenated embeddings of all modalities.  May be a memory map.
        labels: int64 ``[N]``; -1 where a clip belongs to no in-distribution class.
        logits: float ``[N, C]`` or None, where the head has to be asked.
        modality_logits: float ``[N, M, C]``, the logits of each modality's own head, or None.
        slices: modality → ``(start, stop)`` columns of ``features``, in order; empty if unknown.
        clips: names of the clips, or empty.
        modalities: names of the M modalities, in order; by default those of ``slices``, else modality_1, ....

    Raises:
        UserError: when shapes or names don't fit together.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]
    logits: NDArray[Any] | None = None
    modality_logits: NDArray[Any] | None = None
    slices: Slices = field(default_factory=dict)
    clips: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.features, self.labels, self.logits, self.modality_logits):
            if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
                raise UserError(
                    "embeddings hold masked values; leave their rows out, or fill them: .filled(...)."
                )
        if self.features.ndim != 2:
            raise UserError(f"features must be [N, D], got shape {self.features.shape}.")
        if self.labels.shape != (len(self.features),):
            raise UserError(f"labels must be [{len(self.features)}], got shape {self.labels.shape}.")
        for name, array in (("logits", self.logits), ("modality_logits", self.modality_logits)):
            if array is not None and len(array) != len(self.features):
                raise UserError(f"{name} have {len(array)} rows, features {len(self.features)}.")
        if self.slices and self.modalities and tuple(self.slices) != self.modalities:
            raise UserError(
                f"modalities are {', '.join(self.modalities)}, but slices name {', '.join(self.slices)}; "
                "both must name the same modalities in the same order."
            )
        if self.modality_logits is not None:
            self._check_modality_logits(self.modality_logits.shape)
        if not self.modalities:
            unnamed = 0 if self.slices or self.modality_logits is None else self.modality_logits.shape[1]
            names = tuple(self.slices) or tuple(f"modality_{k + 1}" for k in range(unnamed))
            object.__setattr__(self, "modalities", names)

    def _check_modality_logits(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise UserError(f"modality_logits must be [N, M, C], got shape {shape}.")
        names = self.modalities or tuple(self.slices)
        if names and shape[1] != len(names):
            raise UserError(
                f"modality_logits have {shape[1]} modalities (shape {shape}), but there are {len(names)}: "
                f"{', '.join(names)}."
            )
        if self.logits is not None and shape[2] != self.logits.shape[1]:
            raise UserError(
                f"modality_logits have {shape[2]} classes (shape {shape}), but logits {self.logits.shape[1]}."
            )

    def modality(self, name: str) -> Embeddings:
        """Return what is known of one modality alone: its columns and its own head's logits, both as views.

        Raises:
            UserError: for an unknown modality.

        >>> import numpy as np
        >>> slices = {"video": (0, 2), "flow": (2, 5)}
        >>> both = Embeddings(np.zeros((4, 5)), np.zeros(4, dtype=np.int64), slices=slices)
        >>> both.modality("flow").features.shape
        (4, 3)
        """
        if name not in self.modalities:
            raise UserError(f"there is no modality called '{name}'.{did_you_mean(name, self.modalities)}")
        start, stop = self.slices.get(name, (0, 0))
        own = None if self.modality_logits is None else self.modality_logits[:, self.modalities.index(name)]
        return Embeddings(self.features[:, start:stop], self.labels, own, clips=self.clips)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        """D, the width of the concatenated embedding."""
        return int(self.features.shape[1])


@dataclass(frozen=True)
class LinearHead:
    """The fusion head: ``logits = features @ weight.T + bias``.

    Attributes:
        weight: float ``[C, D]``.
        bias: float ``[C]``.
        modality_heads: modality → that modality's own head, ``[C, D_k]`` and ``[C]``; empty if unknown.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    modality_heads: Mapping[str, LinearHead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != (len(self.weight),):
            raise UserError(
                f"a head needs weight [C, D] and bias [C], got {self.weight.shape} and {self.bias.shape}."
            )
        for name, each in self.modality_heads.items():
            if each.num_classes != self.num_classes:
                raise UserError(
                    f"the head of modality '{name}' has {each.num_classes} classes, the fusion head "
                    f"{self.num_classes}."
                )

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.weight)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.weight.shape[1])

    def logits(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return ``[N, C]`` logits of ``[N, D]`` features, in the features' precision.

        >>> import numpy as np
        >>> LinearHead(np.eye(2), np.array([0.0, 1.0])).logits(np.array([[3.0, 4.0]])).tolist()
        [[3.0, 5.0]]
        """
        dtype = features.dtype if features.dtype.kind == "f" else np.dtype(np.float32)
        weight, bias = (each.astype(dtype, copy=False) for each in (self.weight, self.bias))
        # the smaller factor first: most BLAS are faster so
        product = (weight @ features.T).T if len(weight) < len(features) else features @ weight.T
        return np.add(product, bias, order="C")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``weight``, ``bias`` and each modality's ``weight.<modality>``, ``bias.<modality>``: the keys of
        a head's ``.npz``.
        """
        own = {"weight": self.weight, "bias": self.bias}
        for name, each in self.modality_heads.items():
            own |= {f"weight.{name}": each.weight, f"bias.{name}": each.bias}
        return own


class Scores(NamedTuple):
    """What a postprocessor returns: ``pred`` int64 ``[N]`` and ``conf`` float ``[N]``; higher ``conf`` means
    more in-distribution.
    """

    pred: NDArray[np.int64]
    conf: NDArray[Any]


def check_labels(labels: NDArray[np.int64], num_classes: int, where: str) -> None:
    """Check that every label is one of the classes 0 … ``num_classes`` - 1.

    Args:
        labels: ``[N]``.
        num_classes: C.
        where: what they are the labels of, for messages.

    Raises:
        UserError: naming the first row whose label isn't.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = int(outside[0])
        raise UserError(
            f"{where}: the label {int(labels[row])} in row {row} is none of the {num_classes} classes "
            f"(0 to {num_classes - 1})."
        )


def check_slices(slices: Slices, dim: int | None = None) -> None:
    """Check that slices follow one another from column 0 and, where ``dim`` is given, cover so many columns.

    Raises:
        UserError: when they leave a gap, overlap, or end elsewhere.
    """
    end = 0
    for modality, (start, stop) in slices.items():
        if start != end or stop <= start:
            raise UserError(
                f"slices must follow one another from column 0 without gaps; '{modality}' is {start} to {stop} where "
                f"{end} should begin."
            )
        end = stop
    if dim is not None and end != dim:
        raise UserError(f"the slices cover {end} columns, but the features have {dim}.")


def arrays_digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays: dtype, shape and values; memory maps are read a block of rows at a time."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        step = max(1, _DIGEST_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[start : start + step]).data)
    return digest.hexdigest()


_DIGEST_BYTES = 16 * 2**20


def empty_classes(labels: ArrayLike, num_classes: int, class_names: Sequence[str] = ()) -> str:
    """Return the beginning of a sentence about the classes that no label names; "" where each class has one.

    Args:
        labels: whole numbers ``[N]``; negative ones (OOD) don't count.
        num_classes: C; the classes are 0 to C - 1.
        class_names: by label, as far as known.
    """
    values = np.asarray(labels)
    counts = np.bincount(values[values >= 0].astype(np.int64), minlength=num_classes)[:num_classes]
    empty = np.flatnonzero(counts == 0).tolist()
    if not empty:
        return ""
    shown = [
        f"{each} ('{class_names[each]}')" if each < len(class_names) else str(each) for each in empty[:5]
    ]
    more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
    one = len(empty) == 1
    return f"{'class' if one else 'classes'} {', '.join(shown)}{more} of {num_classes} {'has' if one else 'have'}"


def without_empty_classes(labels: ArrayLike, what: str) -> str:
    """Return what to do about `empty_classes`: the end of a sentence.

    Args:
        labels: whole numbers ``[N]``; negative ones (OOD) don't count.
        what: what the classes lack, e.g. ``"rows"``.
    """
    values = np.asarray(labels)
    known = np.unique(values[values >= 0])
    count = f"set dataset.num_classes to {len(known)}"
    if len(known) and known[-1] == len(known) - 1:  # only the last classes are empty
        return f"{count}, or add {what} of them"
    return f"add {what} of them, or renumber the labels from 0 without gaps and {count}"
