"""The losses of other multimodal tasks: against literal versions in plain Python, and their gradients."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.losses import (
    cross_modal_distillation_loss,
    cross_modal_translation_loss,
    relative_norm_alignment_loss,
    supervised_contrastive_loss,
)

MODALITIES = (2, 3, 6)


def tensors(modalities, batch=5, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(modalities, batch, width, generator=generator, dtype=torch.float64))


def norm(row):
    return math.sqrt(sum(x * x for x in row))


def unit(row):
    return [x / norm(row) for x in row]


def softmax(row, temperature):
    top = [math.exp(z / temperature) for z in row]
    return [each / sum(top) for each in top]


def literal_contrast(projections, labels, temperature):
    views = [(unit(row.tolist()), y) for z in projections for row, y in zip(z, labels.tolist(), strict=True)]
    total = 0.0
    for i, (anchor, label) in enumerate(views):
        similar = [sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature for other, _ in views]
        below = sum(math.exp(s) for j, s in enumerate(similar) if j != i)
        positives = [j for j, (_, y) in enumerate(views) if j != i and y == label]
        total -= sum(math.log(math.exp(similar[j]) / below) for j in positives) / len(positives)
    return total / len(views)


def literal_norms(embeddings):
    means = [sum(norm(row) for row in z.tolist()) / len(z) for z in embeddings]
    pairs = list(combinations(means, 2))
    return sum((first / second - 1) ** 2 for first, second in pairs) / len(pairs)


def literal_distillation(logits, temperature):
    pairs = list(permutations(logits, 2))
    total = 0.0
    for teacher, student in pairs:
        for z_i, z_j in zip(teacher.tolist(), student.tolist(), strict=True):
            p, q = softmax(z_i, temperature), softmax(z_j, temperature)
            divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            total += temperature**2 * divergence / len(teacher)
    return total / len(pairs)


def literal_translation(translated, embeddings):
    total = 0.0
    for there, here in zip(translated, embeddings, strict=True):
        rows = list(zip(there.tolist(), here.tolist(), strict=True))
        for a, b in rows:
            total += norm([x - y for x, y in zip(unit(a), unit(b), strict=True)]) / len(rows)
    return total / len(translated)


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [1, 0, 1, 0, 0]])
def test_supervised_contrast(modalities, labels):
    labels = torch.tensor(labels)
    found = supervised_contrastive_loss(tensors(modalities), labels, temperature=0.3)
    assert found.item() == pytest.approx(literal_contrast(tensors(modalities), labels, 0.3))


@pytest.mark.parametrize("modalities", MODALITIES)
def test_norm_alignment(modalities):
    embeddings = [each[:, : 1 + k % 4] * (k + 1) for k, each in enumerate(tensors(modalities))]
    assert relative_norm_alignment_loss(embeddings).item() == pytest.approx(literal_norms(embeddings))


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("classes", [2, 4])
def test_distillation(modalities, classes):
    logits = tensors(modalities, width=classes)
    for temperature in (1.0, 2.5):
        found = cross_modal_distillation_loss(logits, temperature)
        assert found.item() == pytest.approx(literal_distillation(logits, temperature))


@pytest.mark.parametrize("pairs", [1, 2, 6])
def test_translation(pairs):
    translated = [each[:, : 1 + k % 4] for k, each in enumerate(tensors(pairs))]
    targets = [each[:, : 1 + k % 4] for k, each in enumerate(tensors(pairs, seed=1))]
    found = cross_modal_translation_loss(translated, targets)
    assert found.item() == pytest.approx(literal_translation(translated, targets))


@pytest.mark.parametrize("modalities", MODALITIES)
def test_gradients(modalities):
    labels = torch.tensor([0, 1, 0, 2, 1])
    values = [each.requires_grad_() for each in tensors(modalities)]
    for loss in (
        lambda *z: supervised_contrastive_loss(z, labels, 0.5),
        lambda *z: relative_norm_alignment_loss(z),
        lambda *z: cross_modal_translation_loss(z[:1], z[1:2]),
    ):
        assert torch.autograd.gradcheck(loss, values)


def test_a_teacher_gets_no_gradient():
    """The gradient of each student is T (softmax(z_j / T) − softmax(z_i / T)) / (B pairs), summed over its teachers."""
    logits = [each.requires_grad_() for each in tensors(3)]
    cross_modal_distillation_loss(logits, temperature=2.0).backward()
    p = [(each.detach() / 2).softmax(-1) for each in logits]
    for j, student in enumerate(logits):
        expected = sum(2.0 * (p[j] - p[i]) / (5 * 6) for i in range(3) if i != j)
        torch.testing.assert_close(student.grad, expected)


def test_equal_modalities_cost_nothing_and_have_finite_gradients():
    z = tensors(1)[0].requires_grad_()
    same = [z, z.clone()]
    for loss in (
        relative_norm_alignment_loss(same),
        cross_modal_distillation_loss(same),
        cross_modal_translation_loss(same[:1], same[1:]),
    ):
        assert loss.item() == pytest.approx(0.0, abs=1e-12)
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        assert torch.isfinite(gradient).all()


def test_zeros_and_half_precision():
    zeros = [torch.zeros(3, 4, requires_grad=True) for _ in range(2)]
    for loss in (
        supervised_contrastive_loss(zeros, torch.tensor([0, 1, 1])),
        relative_norm_alignment_loss(zeros),
        cross_modal_translation_loss(zeros[:1], zeros[1:]),
    ):
        assert torch.isfinite(loss)
        assert all(torch.isfinite(each).all() for each in torch.autograd.grad(loss, zeros))
    half = [each.half() for each in tensors(2)]
    for loss in (
        supervised_contrastive_loss(half, torch.tensor([0, 1, 0, 2, 1])),
        relative_norm_alignment_loss(half),
        cross_modal_distillation_loss(half),
    ):
        assert loss.dtype == torch.float32


ROWS = torch.zeros(3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supervised_contrastive_loss([ROWS], torch.zeros(3).long()), "holds 1 modality"),
        (lambda: supervised_contrastive_loss([ROWS, ROWS], torch.zeros(2).long()), "labels must be a tensor"),
        (
            lambda: supervised_contrastive_loss([ROWS, ROWS], torch.zeros(3).long(), 0.0),
            "temperature must be",
        ),
        (lambda: supervised_contrastive_loss([ROWS, ROWS[:, 1:]], torch.zeros(3).long()), r"embeddings\[1\]"),
        (lambda: relative_norm_alignment_loss([ROWS]), "aligning norms needs at least 2"),
        (lambda: relative_norm_alignment_loss([ROWS, ROWS[0]]), "floating-point tensor"),
        (lambda: cross_modal_distillation_loss([ROWS]), "holds 1 modality"),
        (lambda: cross_modal_distillation_loss([ROWS, ROWS], -1.0), "temperature must be > 0"),
        (lambda: cross_modal_translation_loss([ROWS], []), "translated holds 1 tensors and embeddings 0"),
        (lambda: cross_modal_translation_loss([ROWS], [ROWS[:2]]), r"has shape \[2, 4\]"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
