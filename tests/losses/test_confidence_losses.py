"""ACR's losses and blocks: against literal versions in plain Python, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.losses import adaptive_confidence_loss, mixed_cross_entropy
from openood_multimodal.synthesis import mix_blocks


def logits(heads, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(2 * torch.randn(heads, 5, classes, generator=generator, dtype=torch.float64))


def softmax(row):
    top = [math.exp(z) for z in row]
    return [each / sum(top) for each in top]


@pytest.mark.parametrize("modalities", [1, 2, 3, 6])
@pytest.mark.parametrize("classes", [2, 4])
def test_adaptive_confidence(modalities, classes):
    fused, *heads = logits(modalities + 1, classes)
    expected = 0.0
    for head in heads:
        for own, whole in zip(head.tolist(), fused.tolist(), strict=True):
            expected += max(0.0, max(softmax(own)) - max(softmax(whole))) / 5 / modalities
    assert expected > 0
    assert adaptive_confidence_loss(fused, heads).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(
        lambda *z: adaptive_confidence_loss(z[0], z[1:]), [each.requires_grad_() for each in (fused, *heads)]
    )


def test_a_modality_less_confident_than_the_whole_costs_nothing():
    fused = torch.tensor([[5.0, 0.0]], requires_grad=True)
    loss = adaptive_confidence_loss(fused, [torch.tensor([[0.0, 1.0]])])
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, fused)
    assert not gradient.any()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_cross_entropy(share):
    (z,) = logits(1)
    labels = torch.tensor([0, 2, 1, 0, 2])
    expected = 0.0
    for row, label in zip(z.tolist(), labels.tolist(), strict=True):
        p = softmax(row)
        expected -= ((1 - share) * math.log(p[label]) + share * math.log(p[-1])) / 5
    assert mixed_cross_entropy(z, labels, share).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda z: mixed_cross_entropy(z, labels, share), z.requires_grad_())


@pytest.mark.parametrize("widths", [(3, 5), (4, 2, 3), (2, 3, 2, 4, 2, 2)])
def test_blocks(widths):
    """Each modality holds a block of one other, in place of its own, and gives its own to one other."""
    embeddings = [
        (100.0 * m + torch.arange(width)).repeat(3, 1).requires_grad_() for m, width in enumerate(widths)
    ]
    seen = set()
    for seed in range(30):
        mixed = mix_blocks(embeddings, 2, torch.Generator().manual_seed(seed))
        givers = []
        for m, (z, before) in enumerate(zip(mixed, embeddings, strict=True)):
            assert z.shape == before.shape
            assert torch.equal(z, z[:1].expand_as(z))
            moved = (z[0] != before[0]).nonzero().flatten().tolist()
            assert moved == list(range(moved[0], moved[0] + 2))
            values = z[0, moved].tolist()
            assert values[1] == values[0] + 1
            givers.append(int(values[0]) // 100)
            assert givers[-1] != m
            seen.add((m, moved[0]))
        assert sorted(givers) == list(range(len(widths)))
    assert seen == {(m, start) for m, width in enumerate(widths) for start in range(width - 1)}
    torch.cat(mixed, dim=1).sum().backward()
    assert all(torch.equal(each.grad, torch.ones_like(each)) for each in embeddings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adaptive_confidence_loss(torch.zeros(2, 3), []), "modality_logits is empty"),
        (lambda: mixed_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]), 0.5), r"labels\[1\] is 2"),
        (lambda: mixed_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), 1.5), "share must be in"),
        (lambda: mix_blocks([torch.zeros(2, 3)], 1), "holds 1 modality"),
        (lambda: mix_blocks([torch.zeros(2, 3), torch.zeros(2, 2)], 3), "the narrowest modality has 2"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()
