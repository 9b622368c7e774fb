"""A batch that is made whole by the dataset, and passes through torch's plain ``default_collate``.

A dataset whose samples are rows of a tensor can gather a batch with one call, much faster than B samples are
stacked.  OpenOOD builds its loaders without a ``collate_fn``, so the dataset's ``__getitems__`` returns
``[Collated(batch)]``, and this module teaches ``default_collate`` (through its documented
``default_collate_fn_map``) to unwrap it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data._utils.collate import default_collate_fn_map


@dataclass(frozen=True)
class Collated:
    """Marks ``batch`` as collated already.

    Attributes:
        batch:
            ``{"data": ModalityBatch, "label": LongTensor [B], "index": LongTensor [B], "clip": list[str]}``.
    """

    batch: dict[str, Any]


def unwrap(samples: Sequence[Collated], *, collate_fn_map: Any = None) -> dict[str, Any]:
    """Return the batch of a list that holds one `Collated`.

    Raises:
        ValueError: when there is more than one: each is a whole batch, so they can't be stacked.
    """
    if len(samples) != 1:
        raise ValueError(f"expected one collated batch, got {len(samples)}.")
    return samples[0].batch


default_collate_fn_map[Collated] = unwrap
