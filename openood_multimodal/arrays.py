"""What flows between extraction, scoring and evaluation: plain arrays with names.

These are neutral ground: the store makes them, postprocessors read them, evaluators read what those return,
and none of the three imports another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

Slices = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of one set of clips.

    Attributes:
        features: float ``[N, D]``, the concatenated embeddings of all modalities.  May be a memory map.
        labels: int64 ``[N]``; -1 where a clip belongs to no in-distribution class.
        logits: float ``[N, C]`` or None, where the head has to be asked.
        modality_logits: float ``[N, M, C]`` or None.
        slices: modality → ``(start, stop)`` columns of ``features``, in order; empty if unknown.
        clips: names of the clips, or empty.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]
    logits: NDArray[Any] | None = None
    modality_logits: NDArray[Any] | None = None
    slices: Slices = field(default_factory=dict)
    clips: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise UserError(f"features must be [N, D], got shape {self.features.shape}.")
        if self.labels.shape != (len(self.features),):
            raise UserError(f"labels must be [{len(self.features)}], got shape {self.labels.shape}.")
        for name, array in (("logits", self.logits), ("modality_logits", self.modality_logits)):
            if array is not None and len(array) != len(self.features):
                raise UserError(f"{name} have {len(array)} rows, features {len(self.features)}.")

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
    """

    weight: NDArray[Any]
    bias: NDArray[Any]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != (len(self.weight),):
            raise UserError(
                f"a head needs weight [C, D] and bias [C], got {self.weight.shape} and {self.bias.shape}."
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
        """Return ``[N, C]`` logits of ``[N, D]`` features, in the features' precision."""
        dtype = features.dtype if features.dtype.kind == "f" else np.dtype(np.float32)
        return features @ self.weight.T.astype(dtype, copy=False) + self.bias.astype(dtype, copy=False)


class Scores(NamedTuple):
    """What a postprocessor returns: ``pred`` int64 ``[N]`` and ``conf`` float ``[N]``; higher ``conf`` means
    more in-distribution.
    """

    pred: NDArray[np.int64]
    conf: NDArray[Any]


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
