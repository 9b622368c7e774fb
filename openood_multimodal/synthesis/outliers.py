"""What a synthesis returns."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class Outliers(NamedTuple):
    """Synthesised outliers, and how each was made.

    Attributes:
        embeddings: ``[K, D]``, without gradient; K is the synthesis's own.
        info: what the synthesis has to say of them, name → tensor.
    """

    embeddings: Tensor
    info: Mapping[str, Tensor] = MappingProxyType({})
