"""Losses of other multimodal training tasks, which MultiOOD compares A2D with (its Table 10).

The paper names the tasks and cites their sources; its code has none of them.  See ``docs/losses.md`` for what is taken
from where.  All are scalars to be minimised, unweighted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import log_softmax, normalize

from ..errors import UserError
from .checks import check_labels, stack_embeddings, stack_logits


def supervised_contrastive_loss(
    projections: Sequence[Tensor], labels: Tensor, temperature: float = 0.1
) -> Tensor:
    """Return the supervised contrastive loss of all modalities' embeddings (Khosla et al., NeurIPS 2020, Eq. 2).

    Every sample has one view a modality, and every view is an anchor once.  Its positives are the other views of its
    sample and all views of the samples of its class; the denominator holds all views but its own.  The loss is the mean
    over anchors of minus the mean log-probability of the positives.

    Args:
        projections: M >= 2 floating-point tensors ``[B, E]`` of one width, of any norm: they are normalised here.
        labels: integer ``[B]``.
        temperature: > 0.

    Raises:
        UserError: on shapes that don't fit, fewer than two modalities or a temperature that isn't positive.
    """
    _check_temperature(temperature)
    views = stack_embeddings(projections)  # [M, B, E]
    modalities, batch, _ = views.shape
    check_labels(labels, batch)
    flat, classes = normalize(views.flatten(0, 1), dim=1), labels.repeat(modalities)
    own = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    log_p = log_softmax((flat @ flat.T / temperature).masked_fill(own, -torch.inf), dim=1)
    positive = (classes.unsqueeze(0) == classes.unsqueeze(1)) & ~own
    return -(log_p.masked_fill(~positive, 0.0).sum(1) / positive.sum(1)).mean()


def relative_norm_alignment_loss(embeddings: Sequence[Tensor]) -> Tensor:
    """Return the relative norm alignment loss (Planamente et al., WACV 2022, Eq. 2), averaged over modality pairs.

    For modalities i < j it is ``(n_i / n_j − 1)²``, n the mean Euclidean norm of a modality's embeddings in the batch.

    Args:
        embeddings: M >= 2 floating-point tensors ``[B, D_k]``; widths may differ.

    Raises:
        UserError: on shapes that don't fit, or fewer than two modalities.
    """
    checked = [stack_embeddings([each], at_least=1)[0] for each in embeddings]
    if len(checked) < 2:
        raise UserError(f"embeddings holds {len(checked)} modality; aligning norms needs at least 2.")
    norms = torch.stack([vector_norm(each, dim=1).mean() for each in checked])
    first, second = torch.triu_indices(len(norms), len(norms), offset=1, device=norms.device)
    return (norms[first] / norms[second].clamp_min(1e-12) - 1).square().mean()


def cross_modal_distillation_loss(modality_logits: Sequence[Tensor], temperature: float = 2.0) -> Tensor:
    """Return how far each modality's prediction is from every other's, which it is taught by, averaged over pairs.

    For teacher i and student j ≠ i it is ``T² KL(softmax(z_i / T) ‖ softmax(z_j / T))``, batch mean; no gradient
    reaches the teacher.  Gupta et al. (CVPR 2016) transfer supervision between modalities; the form with softened
    predictions is Hinton et al.'s (2015).

    Args:
        modality_logits: M >= 2 floating-point tensors ``[B, C]``.
        temperature: T > 0.

    Raises:
        UserError: on shapes that don't fit, fewer than two modalities or a temperature that isn't positive.
    """
    _check_temperature(temperature)
    log_p = log_softmax(stack_logits(modality_logits, at_least=2) / temperature, dim=-1)  # [M, B, C]
    teachers = log_p.detach()
    every_pair = teachers.exp().unsqueeze(1) * (teachers.unsqueeze(1) - log_p.unsqueeze(0))  # [M, M, B, C]
    pairs = len(log_p) * (len(log_p) - 1)  # a modality is 0 away from itself
    return temperature**2 * every_pair.sum(-1).mean(-1).sum() / pairs


def cross_modal_translation_loss(translated: Sequence[Tensor], embeddings: Sequence[Tensor]) -> Tensor:
    """Return the mean distance of translated embeddings to those that they should equal, all of unit norm.

    The form is that of SimMMDG (Dong et al., NeurIPS 2023), whose first author is MultiOOD's.  Gradients reach both
    sides.

    Args:
        translated: P >= 1 floating-point tensors ``[B, D]``: one modality's embedding, predicted from another's.
        embeddings: P tensors, of the predicted modality; tensor p has the shape of ``translated[p]``.

    Raises:
        UserError: on shapes that don't fit, or when there is no pair.
    """
    if len(translated) != len(embeddings) or not translated:
        raise UserError(
            f"translated holds {len(translated)} tensors and embeddings {len(embeddings)}; "
            "pass one target for each translation, and at least one."
        )
    distances = []
    for pair in zip(translated, embeddings, strict=True):
        there, here = normalize(stack_embeddings(pair), dim=-1)
        distances.append(vector_norm(there - here, dim=1).mean())
    return torch.stack(distances).mean()


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise UserError(f"temperature must be > 0, got {temperature}.")
