"""Losses of auxiliary outliers: literal versions, gradients, two classes."""

from __future__ import annotations

import math

import pytest
import torch

from openood_multimodal import losses
from openood_multimodal.errors import UserError


def logits(classes, batch=5, seed=0):
    return 3 * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_p(row):
    top = math.log(sum(math.exp(z) for z in row))
    return [z - top for z in row]


def energy(row):
    return -math.log(sum(math.exp(z) for z in row))


LABELS = torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.parametrize("classes", [2, 4])
def test_against_literal_versions(classes):
    known, unknown = logits(classes), logits(classes, batch=3, seed=1)
    exposure = -sum(sum(log_p(row)) / classes for row in unknown.tolist()) / 3
    assert losses.outlier_exposure_loss(unknown).item() == pytest.approx(exposure)
    margin = sum(max(0, energy(row) + 3) ** 2 for row in known.tolist()) / 5
    margin += sum(max(0, -2 - energy(row)) ** 2 for row in unknown.tolist()) / 3
    assert losses.energy_margin_loss(known, unknown, -3.0, -2.0).item() == pytest.approx(margin)
    absent = -sum(log_p(row)[-1] for row in unknown.tolist()) / 3
    assert losses.absent_class_loss(unknown).item() == pytest.approx(absent)
    for share in (0.0, 0.3, 1.0):
        mixed = 0.0
        for row, label in zip(known.tolist(), LABELS.tolist(), strict=True):
            for c, value in enumerate(log_p(row)):
                mixed -= (share * (c == label) + (1 - share) / classes) * value / 5
        assert losses.mixed_outlier_loss(known, LABELS, share).item() == pytest.approx(mixed)


def test_what_is_least():
    assert losses.outlier_exposure_loss(torch.zeros(2, 3)).item() == pytest.approx(math.log(3))
    assert losses.energy_margin_loss(torch.full((2, 3), 30.0), torch.zeros(2, 3)).item() == 0


def test_gradients():
    known, unknown = logits(3).requires_grad_(), logits(3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(losses.outlier_exposure_loss, unknown)
    assert torch.autograd.gradcheck(losses.absent_class_loss, unknown)
    assert torch.autograd.gradcheck(lambda z: losses.mixed_outlier_loss(z, LABELS, 0.3), known)
    assert torch.autograd.gradcheck(
        lambda a, b: losses.energy_margin_loss(a, b, -3.0, -2.0), (known, unknown)
    )


def test_refusals():
    with pytest.raises(UserError, match=r"margin_in is 1.0 and margin_out 0.0"):
        losses.energy_margin_loss(logits(2), logits(2), 1.0, 0.0)
    with pytest.raises(UserError, match=r"share must be in \[0, 1\], got 1.5"):
        losses.mixed_outlier_loss(logits(2), LABELS, 1.5)
    with pytest.raises(UserError, match=r"labels\[1\] is 5"):
        losses.mixed_outlier_loss(logits(2), torch.tensor([0, 5, 0, 0, 0]), 0.5)
