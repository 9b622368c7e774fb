"""Multimodal feature synthesis of ACR (CVPR 2026): blocks of channels change places between modalities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UserError


def mix_blocks(
    embeddings: Sequence[Tensor], count: int, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Replace ``count`` consecutive channels of each modality by a block of another one, the same for the whole batch.

    Two modalities swap a block each, at independently drawn places.  The method was published for two; M are put into a
    random order, and each receives the block of the next, the last that of the first.  Gradients pass.

    Args:
        embeddings: M >= 2 tensors ``[B, D_k]``.
        count: channels, 1 to the least width.
        generator: on the CPU; None takes torch's global one.

    Raises:
        UserError: for fewer than two modalities, or a ``count`` that doesn't fit.
    """
    narrowest = min((each.shape[1] for each in embeddings), default=0)
    if len(embeddings) < 2:
        raise UserError(f"embeddings holds {len(embeddings)} modality; exchanging blocks needs at least 2.")
    if not 1 <= count <= narrowest:
        raise UserError(f"blocks of {count} channels were asked for; the narrowest modality has {narrowest}.")
    order = torch.randperm(len(embeddings), generator=generator).tolist()
    starts = [int(torch.randint(z.shape[1] - count + 1, (), generator=generator)) for z in embeddings]
    blocks = [z[:, start : start + count] for z, start in zip(embeddings, starts, strict=True)]
    mixed = list(embeddings)
    for receiver, giver in zip(order, order[1:] + order[:1], strict=True):
        z, start = embeddings[receiver], starts[receiver]
        mixed[receiver] = torch.cat((z[:, :start], blocks[giver], z[:, start + count :]), dim=1)
    return mixed
