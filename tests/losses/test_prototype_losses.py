"""DPU's losses and prototypes: against literal versions in plain Python, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.losses import (
    a2d_loss,
    invariant_contrastive_losses,
    prototype_loss,
    sample_discrepancies,
    updated_prototypes,
)
from openood_multimodal.registry import DISCREPANCIES

LABELS = torch.tensor([0, 2, 0, 2, 1, 0])


def tensors(modalities, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(modalities, 6, width, generator=generator, dtype=torch.float64))


def cosine(a, b):
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def literal_contrast(embeddings, labels, temperature, margin):
    contrasts, variances, size = 0.0, 0.0, len(labels)
    for z in embeddings:
        rows = z.tolist()
        top = [[0.0] * size for _ in rows]
        for i in range(size):
            for j in range(size):
                angle = math.acos(min(cosine(rows[i], rows[j]), 1 - 1e-7))
                angle += margin if labels[i] == labels[j] else 0.0
                top[i][j] = math.exp(math.cos(angle) / temperature)
        column = [sum(top[i][j] for i in range(size)) for j in range(size)]
        for i in range(size):
            p = [top[i][j] / column[j] for j in range(size) if labels[i] == labels[j]]
            mean = sum(p) / len(p)
            contrasts -= sum(map(math.log, p)) / size / len(embeddings)
            variances += sum((each - mean) ** 2 for each in p) / len(p) / size / len(embeddings)
    return contrasts, variances


@pytest.mark.parametrize("modalities", [1, 2, 3, 6])
@pytest.mark.parametrize("labels", [LABELS, torch.zeros(6).long(), torch.arange(6)])
def test_contrast_and_its_variance(modalities, labels):
    embeddings = [each[:, : 2 + k % 3] for k, each in enumerate(tensors(modalities))]
    found = invariant_contrastive_losses(embeddings, labels, temperature=0.4, margin=0.2)
    expected = literal_contrast(embeddings, labels.tolist(), 0.4, 0.2)
    assert [each.item() for each in found] == pytest.approx(expected)
    leaves = [each.clone().requires_grad_() for each in embeddings]
    for number in range(2):
        assert torch.autograd.gradcheck(
            lambda *z, number=number: invariant_contrastive_losses(z, labels, 0.4, 0.2)[number], leaves
        )


def test_both_terms_of_the_contrast_train_the_encoders():
    """In the released code neither does."""
    z = tensors(1)[0].requires_grad_()
    for loss in invariant_contrastive_losses([z], LABELS):
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        assert gradient.abs().max() > 1e-6


@pytest.mark.parametrize("classes", [3, 5])
def test_prototypes(classes):
    (z,) = tensors(1)
    z = z * torch.tensor([0.1, 1.0, 5.0, 20.0], dtype=torch.float64)
    before = torch.randn(classes, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = before.tolist()
    for c in range(3):
        rows = [row for row, y in zip(z.tolist(), LABELS.tolist(), strict=True) if y == c]
        for d in range(4):
            mean = sum(row[d] for row in rows) / len(rows)
            variance = sum((row[d] - mean) ** 2 for row in rows) / len(rows)
            speed = min(max(1 / (variance + 1e-6), 0.01), 0.5) / len(rows)
            expected[c][d] = 0.7 * expected[c][d] + 0.3 * (mean - expected[c][d]) * speed
    kept = before.clone()
    found = updated_prototypes(before, z.requires_grad_(), LABELS, momentum=0.7)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(before, kept)
    assert not found.requires_grad
    distances = [
        -math.log(max(cosine(row, expected[y]), 1e-6))
        for row, y in zip(z.tolist(), LABELS.tolist(), strict=True)
    ]
    assert prototype_loss(z, found, LABELS).item() == pytest.approx(sum(distances) / 6)


def test_an_embedding_away_from_its_prototype_has_a_finite_loss():
    z, prototypes = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.1]])
    assert prototype_loss(z, prototypes, torch.tensor([0])).item() == pytest.approx(-math.log(1e-6))


@pytest.mark.parametrize("protocol", ["multiood-code", "multiood-paper"])
@pytest.mark.parametrize("modalities", [2, 3, 6])
def test_discrepancies_of_samples(modalities, protocol):
    logits = tensors(modalities)
    for name in ("hellinger", "l1", "l2"):
        each = sample_discrepancies(logits, LABELS, name, protocol)
        assert each.shape == (6,)
        assert -each.mean().item() == pytest.approx(a2d_loss(logits, LABELS, name, protocol).item())
        alone = [z[2:3] for z in logits]
        assert each[2].item() == pytest.approx(-a2d_loss(alone, LABELS[2:3], name, protocol).item())
    alone = [
        -a2d_loss([z[i : i + 1] for z in logits], LABELS[i : i + 1], "wasserstein", protocol)
        for i in range(6)
    ]
    torch.testing.assert_close(
        sample_discrepancies(logits, LABELS, "wasserstein", protocol), torch.stack(alone)
    )


def test_a_discrepancy_without_values_for_samples_is_refused(monkeypatch):
    monkeypatch.setitem(DISCREPANCIES._entries, "one_scalar", lambda p, q: (p - q).square().mean())
    with pytest.raises(UserError, match="'one_scalar' has no value for a single sample"):
        sample_discrepancies(tensors(2), LABELS, "one_scalar")
