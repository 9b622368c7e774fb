"""LogitNorm and the mean over heads."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from openood_multimodal.errors import UserError
from openood_multimodal.losses import logit_norm_cross_entropy, multihead_cross_entropy


def test_logit_norm_closed_form():
    logits = torch.tensor([[3.0, 4.0], [-4.0, 3.0]], dtype=torch.float64)  # norms 5
    expected = (math.log(1 + math.exp((0.8 - 0.6) / 0.04)) + math.log(1 + math.exp((-0.8 - 0.6) / 0.04))) / 2
    assert logit_norm_cross_entropy(logits, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-6)


def test_logit_norm_forgets_the_scale():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    small, large = (logit_norm_cross_entropy(s * logits, labels).item() for s in (1, 1e4))
    assert small == pytest.approx(large, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logit_norm_stays_finite(scale, dtype):
    logits = (torch.randn(3, 4).to(dtype) * scale).requires_grad_()
    loss = logit_norm_cross_entropy(logits, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_logit_norm_gradient():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: logit_norm_cross_entropy(x, torch.tensor([0, 1, 2]), 0.5), [logits]
    )


@pytest.mark.parametrize("modalities", [1, 2, 3, 6])
@pytest.mark.parametrize("cross_entropy", [F.cross_entropy, logit_norm_cross_entropy])
def test_multihead_is_the_plain_mean(modalities, cross_entropy):
    heads = torch.randn(modalities + 1, 4, 3, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1])
    expected = sum(cross_entropy(each, labels) for each in heads) / (modalities + 1)
    result = multihead_cross_entropy(heads[0], list(heads[1:]), labels, cross_entropy)
    assert result.item() == pytest.approx(expected.item(), rel=1e-12)


def test_mistakes():
    labels = torch.tensor([0, 1])
    with pytest.raises(UserError, match="empty"):
        multihead_cross_entropy(torch.zeros(2, 3), [], labels)
    with pytest.raises(UserError, match=r"modality_logits\[0\] has shape \[2, 4\]"):
        multihead_cross_entropy(torch.zeros(2, 3), [torch.zeros(2, 4)], labels)
    with pytest.raises(UserError, match="tau"):
        logit_norm_cross_entropy(torch.zeros(2, 3), labels, tau=0.0)
