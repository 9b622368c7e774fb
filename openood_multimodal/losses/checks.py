"""Cheap checks of what a loss is given.  Nothing here waits for an accelerator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UserError

_HALF = (torch.float16, torch.bfloat16)


def stack_logits(modality_logits: Sequence[Tensor], at_least: int) -> Tensor:
    """Return ``[M, B, C]`` from M tensors ``[B, C]``.  Half precision is raised to float32.

    Raises:
        UserError: fewer than ``at_least`` modalities, shapes that differ or aren't ``[B, C]``, B = 0,
            C < 2, or tensors that aren't floating point.
    """
    logits = list(modality_logits)
    for m, each in enumerate(logits):
        if not isinstance(each, Tensor):
            raise UserError(
                f"modality_logits[{m}] is a {type(each).__name__}, not a tensor; "
                "pass a sequence of tensors [B, C], for a mapping list(logits.values())."
            )
        if each.ndim != 2 or not each.is_floating_point():
            raise UserError(
                f"modality_logits[{m}] must be a floating-point tensor [B, C], "
                f"got {each.dtype} of shape {list(each.shape)}."
            )
        if each.shape != logits[0].shape:
            raise UserError(
                f"modality_logits[{m}] has shape {list(each.shape)}, modality_logits[0] "
                f"{list(logits[0].shape)}; every modality needs logits of the same samples and classes."
            )
    if len(logits) < at_least:
        remedy = (
            "a discrepancy needs at least 2; with one modality train without it (multimodal_baseline)"
            if at_least == 2
            else "pass at least 1"
        )
        raise UserError(f"modality_logits holds {len(logits)} modality; {remedy}.")
    batch, classes = logits[0].shape
    if batch < 1:
        raise UserError("modality_logits holds no samples (B = 0); skip an empty batch.")
    if classes < 2:
        raise UserError(f"modality_logits has C = {classes} class; these losses need at least 2.")
    stacked = torch.stack(logits)
    return stacked.float() if stacked.dtype in _HALF else stacked


def check_labels(labels: Tensor, batch: int, classes: int) -> None:
    """Check that ``labels`` is an integer tensor ``[batch]``; on a CPU also that it lies in ``[0, classes)``.

    On an accelerator the range isn't checked, because reading it back would stall every step.
    """
    if not isinstance(labels, Tensor) or labels.shape != (batch,):
        shape = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"labels must be a tensor [B] with B = {batch}, as the logits have; got {shape}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"labels must be integers (class indices), got {labels.dtype}.")
    if labels.device.type == "cpu":
        low, high = (int(v) for v in torch.aminmax(labels))
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            row = int((labels == wrong).nonzero()[0])
            raise UserError(
                f"labels[{row}] is {wrong}, outside the {classes} classes of the logits (0 to {classes - 1})."
            )
