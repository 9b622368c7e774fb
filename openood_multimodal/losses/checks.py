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
    stacked = _stack(
        modality_logits,
        "modality_logits",
        "[B, C]",
        at_least,
        "a discrepancy needs at least 2; with one modality train without it (multimodal_baseline)",
    )
    if stacked.shape[2] < 2:
        raise UserError(f"modality_logits has C = {stacked.shape[2]} class; these losses need at least 2.")
    return stacked


def stack_embeddings(embeddings: Sequence[Tensor], at_least: int = 2) -> Tensor:
    """Return ``[M, B, E]`` from M tensors ``[B, E]``.  Half precision is raised to float32.

    Raises:
        UserError: fewer than ``at_least`` tensors, shapes that differ or aren't ``[B, E]``, B = 0, or tensors that
            aren't floating point.
    """
    return _stack(embeddings, "embeddings", "[B, E]", at_least, "comparing modalities needs at least 2")


def _stack(values: Sequence[Tensor], name: str, axes: str, at_least: int, remedy: str) -> Tensor:
    tensors = list(values)
    for m, each in enumerate(tensors):
        if not isinstance(each, Tensor):
            raise UserError(
                f"{name}[{m}] is a {type(each).__name__}, not a tensor; "
                f"pass a sequence of tensors {axes}, for a mapping list({name.rpartition('_')[2]}.values())."
            )
        if each.ndim != 2 or not each.is_floating_point():
            raise UserError(
                f"{name}[{m}] must be a floating-point tensor {axes}, got {each.dtype} of shape {list(each.shape)}."
            )
        if each.shape != tensors[0].shape:
            raise UserError(
                f"{name}[{m}] has shape {list(each.shape)}, {name}[0] {list(tensors[0].shape)}; "
                "every modality needs those of the same samples, and as many columns."
            )
    if len(tensors) < at_least:
        raise UserError(
            f"{name} holds {len(tensors)} modality; {remedy if at_least == 2 else 'pass at least 1'}."
        )
    if not len(tensors[0]):
        raise UserError(f"{name} holds no samples (B = 0); skip an empty batch.")
    stacked = torch.stack(tensors)
    return stacked.float() if stacked.dtype in _HALF else stacked


def check_labels(labels: Tensor, batch: int, classes: int | None = None) -> None:
    """Check that ``labels`` is an integer tensor ``[batch]``; on a CPU also that it lies in ``[0, classes)``.

    Without ``classes``, any integers will do.

    On an accelerator the range isn't checked, because reading it back would stall every step.
    """
    if not isinstance(labels, Tensor) or labels.shape != (batch,):
        shape = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"labels must be a tensor [B] with B = {batch}, as the logits have; got {shape}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"labels must be integers (class indices), got {labels.dtype}.")
    if classes is not None and labels.device.type == "cpu":
        low, high = (int(v) for v in torch.aminmax(labels))
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            row = int((labels == wrong).nonzero()[0])
            raise UserError(
                f"labels[{row}] is {wrong}, outside the {classes} classes of the logits (0 to {classes - 1})."
            )
