"""A2D and the outlier losses against slow literal versions, closed forms, finite differences and extremes."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.losses import PROTOCOLS, a2d_loss, outlier_discrepancy_loss, outlier_entropy_loss
from openood_multimodal.registry import DISCREPANCIES

NAMES = ("hellinger", "l1", "l2", "wasserstein")
CODE, PAPER = "multiood-code", "multiood-paper"


def softmax(row):
    powers = [math.exp(v - max(row)) for v in row]
    return [v / sum(powers) for v in powers]


def literal_discrepancy(p, q, name, protocol):
    """Two lists of B lists of K probabilities → number, term by term."""
    batch, classes = len(p), len(p[0])
    total = 0.0
    if name == "wasserstein":
        for one, two in ((p, q), (q, p)):
            for row in one:
                total += min(math.dist(row, other) for other in two) / 2
        return total / batch
    for a, b in zip(p, q, strict=True):
        if name == "hellinger":
            floor = 1e-6 if protocol == CODE else 0.0
            squares = [
                (math.sqrt(max(x, floor)) - math.sqrt(max(y, floor))) ** 2 for x, y in zip(a, b, strict=True)
            ]
            total += math.sqrt(sum(squares) / 2)
        elif name == "l1":
            term = sum(abs(x - y) for x, y in zip(a, b, strict=True))
            total += term / classes if protocol == CODE else term
        else:
            term = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
            total += term / classes if protocol == CODE else math.sqrt(term)
    return total / batch


def literal_loss(logits, labels, name, protocol):
    """Minus the mean over pairs; ``labels`` None for outliers."""
    predictions = []
    for modality in logits:
        rows = []
        for i, row in enumerate(modality):
            if labels is None:
                rows.append(softmax(row))
            elif protocol == CODE:
                rows.append(softmax([v for c, v in enumerate(row) if c != labels[i]]))
            else:
                rows.append([v for c, v in enumerate(softmax(row)) if c != labels[i]])
        predictions.append(rows)
    pairs = list(combinations(predictions, 2))
    return -sum(literal_discrepancy(p, q, name, protocol) for p, q in pairs) / len(pairs)


def literal_entropy(logits, protocol):
    values = []
    for modality in logits:
        for row in modality:
            p = softmax(row)
            if protocol == CODE:
                values.append(-sum(v * math.log(v + 1e-9) for v in p) / math.log(len(p)))
            else:
                values.append(-sum(v * math.log(v) for v in p if v > 0))
    return -sum(values) / len(values)


def make(modalities, batch, classes, dtype=torch.float64, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(modalities, batch, classes, generator=generator, dtype=torch.float64) * scale
    labels = torch.randint(classes, (batch,), generator=generator)
    return [each.to(dtype).requires_grad_() for each in logits], labels


@pytest.mark.parametrize("protocol", [CODE, PAPER])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("modalities", "batch", "classes"), [(2, 1, 2), (2, 7, 5), (3, 4, 3), (6, 5, 9)])
def test_equals_the_literal_version(modalities, batch, classes, dtype, name, protocol):
    logits, labels = make(modalities, batch, classes, dtype)
    plain = [each.tolist() for each in logits]
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    result = a2d_loss(logits, labels, name, protocol)
    assert result.dtype == dtype
    assert result.shape == ()
    assert result.item() == pytest.approx(literal_loss(plain, labels.tolist(), name, protocol), abs=tolerance)
    result = outlier_discrepancy_loss(logits, name, protocol)
    assert result.item() == pytest.approx(literal_loss(plain, None, name, protocol), abs=tolerance)
    result = outlier_entropy_loss(logits, protocol)
    assert result.item() == pytest.approx(literal_entropy(plain, protocol), abs=tolerance)


def test_many_outliers_against_the_literal_nearest_prediction():
    """More rows than torch.cdist's threshold for its inexact formula (25)."""
    logits, _ = make(2, 40, 6)
    expected = literal_loss([each.tolist() for each in logits], None, "wasserstein", CODE)
    assert outlier_discrepancy_loss(logits, "wasserstein").item() == pytest.approx(expected, abs=1e-12)


def closed(protocol, name):
    """C = 3, label 0, video (ln 2, 0, ln 3), flow (ln 2, ln 3, 0); p = (2, 1, 3)/6, q = (2, 3, 1)/6.

    Without the true class the code has (1, 3)/4 and (3, 1)/4, the paper (1, 3)/6 and (3, 1)/6.
    """
    root = math.sqrt(3) - 1
    return {
        (CODE, "hellinger"): root / 2,
        (PAPER, "hellinger"): root / math.sqrt(6),
        (CODE, "l1"): 1 / 2,
        (PAPER, "l1"): 2 / 3,
        (CODE, "l2"): 1 / 4,
        (PAPER, "l2"): math.sqrt(2) / 3,
        (CODE, "wasserstein"): math.sqrt(2) / 2,
        (PAPER, "wasserstein"): math.sqrt(2) / 3,
    }[protocol, name]


@pytest.mark.parametrize("protocol", [CODE, PAPER])
@pytest.mark.parametrize("name", NAMES)
def test_closed_form(name, protocol):
    video = torch.tensor([[2.0, 1.0, 3.0]], dtype=torch.float64).log()
    flow = torch.tensor([[2.0, 3.0, 1.0]], dtype=torch.float64).log()
    result = a2d_loss([video, flow], torch.tensor([0]), name, protocol)
    assert result.item() == pytest.approx(-closed(protocol, name), abs=1e-12)


def test_three_modalities_closed_form():
    """Opposite certainties, and a third halfway: pairs at distances 1, h, h."""
    logits = [
        torch.tensor([[0.0, a, b]], dtype=torch.float64) for a, b in ((1e4, 0.0), (0.0, 1e4), (0.0, 0.0))
    ]
    half = math.sqrt(1 - math.sqrt(0.5))
    result = a2d_loss(logits, torch.tensor([0]), "hellinger", CODE).item()
    assert result == pytest.approx(-(1 + 2 * half) / 3, abs=2e-3)  # the floor of 1e-6 costs 1e-3 a root


def test_entropy_closed_form():
    uniform = torch.zeros(3, 8, dtype=torch.float64)
    certain = torch.tensor([[1e4, 0.0]], dtype=torch.float64)
    assert outlier_entropy_loss([uniform], PAPER).item() == pytest.approx(-math.log(8))
    assert outlier_entropy_loss([uniform, uniform], CODE).item() == pytest.approx(-1, abs=1e-7)
    assert outlier_entropy_loss([certain], PAPER).item() == 0
    assert outlier_entropy_loss([certain], CODE).item() == pytest.approx(0, abs=2e-9)


def test_the_order_of_modalities_does_not_matter():
    logits, labels = make(4, 5, 6)
    for name in NAMES:
        forward = a2d_loss(logits, labels, name)
        assert a2d_loss(logits[::-1], labels, name).item() == pytest.approx(forward.item(), abs=1e-14)


@pytest.mark.parametrize("protocol", [CODE, PAPER])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modalities", [2, 3])
def test_gradients_against_finite_differences(modalities, name, protocol):
    logits, labels = make(modalities, 4, 5)
    assert torch.autograd.gradcheck(lambda *each: a2d_loss(each, labels, name, protocol), logits)
    assert torch.autograd.gradcheck(lambda *each: outlier_discrepancy_loss(each, name, protocol), logits)
    assert torch.autograd.gradcheck(lambda *each: outlier_entropy_loss(each, protocol), logits)


@pytest.mark.parametrize("protocol", [CODE, PAPER])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 5, 30])
@pytest.mark.parametrize("batch", [1, 3, 30])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_identical_modalities_give_zero_and_no_gradient(scale, batch, classes, dtype, name, protocol):
    (one, _), labels = make(2, batch, classes, dtype, scale)
    two = one.detach().clone().requires_grad_()
    for loss in (
        a2d_loss([one, two], labels, name, protocol),
        outlier_discrepancy_loss([one, two], name, protocol),
    ):
        gradients = torch.autograd.grad(loss, [one, two])
        assert loss.item() == 0
        assert all((g == 0).all() for g in gradients)


@pytest.mark.parametrize("protocol", [CODE, PAPER])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("batch", [1, 4])
def test_extreme_logits_stay_finite(batch, classes, dtype, name, protocol):
    generator = torch.Generator().manual_seed(batch * classes)
    signs = torch.randint(-1, 2, (3, batch, classes), generator=generator).to(dtype)
    logits = [(1e4 * each).requires_grad_() for each in signs]
    labels = torch.randint(classes, (batch,), generator=generator)
    for loss in (
        a2d_loss(logits, labels, name, protocol),
        outlier_discrepancy_loss(logits, name, protocol),
        outlier_entropy_loss(logits, protocol),
    ):
        assert loss.isfinite()
        # allow_unused isn't needed: every loss depends on every modality
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, logits))


@pytest.mark.parametrize("protocol", [CODE, PAPER])
def test_nearly_identical_modalities_have_a_bounded_gradient(protocol):
    """Near 0 the distance is a norm: its gradient must neither blow up nor vanish."""
    one = torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=torch.float64)
    for step in (1e-3, 1e-6, 1e-9):
        two = (one + step * torch.tensor([[0.0, 1.0, -1.0, 0.5]])).requires_grad_()
        loss = a2d_loss([one, two], torch.tensor([0]), "hellinger", protocol)
        (gradient,) = torch.autograd.grad(loss, [two])
        assert 0.05 < gradient.norm() < 1


def test_two_classes_leave_nothing_to_disagree_on_in_the_code_but_something_in_the_paper():
    logits, labels = make(2, 5, 2)
    assert a2d_loss(logits, labels, protocol=CODE).item() == 0
    assert a2d_loss(logits, labels, protocol=PAPER).item() < 0


def test_the_true_class_has_no_influence_in_the_code():
    logits, labels = make(2, 4, 5)
    changed = [each.detach().clone() for each in logits]
    for each in changed:
        each[torch.arange(4), labels] += 3
    for name in NAMES:
        assert a2d_loss(changed, labels, name).item() == a2d_loss(logits, labels, name).item()


def test_a_discrepancy_of_ones_own_works_under_both_protocols():
    name = "test_total_variation"

    @DISCREPANCIES.register(name)
    def total_variation(p, q):
        return (p - q).abs().sum(-1).mean(-1) / 2

    try:
        logits, labels = make(3, 4, 5)
        for protocol in PROTOCOLS:
            expected = a2d_loss(logits, labels, "l1", PAPER) if protocol == PAPER else None
            result = a2d_loss(logits, labels, name, protocol)
            assert result < 0
            if expected is not None:
                assert result.item() == pytest.approx(expected.item() / 2, abs=1e-12)
            assert outlier_discrepancy_loss(logits, name, protocol).item() == pytest.approx(
                outlier_discrepancy_loss(logits, "l1", PAPER).item() / 2, abs=1e-12
            )
    finally:
        del DISCREPANCIES._entries[name]


def test_a_discrepancy_may_return_one_scalar_but_not_one_value_a_sample():
    DISCREPANCIES.register("test_scalar")(lambda p, q: (p - q).square().mean())
    DISCREPANCIES.register("test_per_sample")(lambda p, q: (p - q).square().mean(-1))
    try:
        logits, labels = make(3, 4, 5)
        assert a2d_loss(logits, labels, "test_scalar").item() == pytest.approx(
            a2d_loss(logits, labels, "l2").item(), abs=1e-12
        )
        with pytest.raises(UserError, match=r"'test_per_sample' returned \[3, 4\]"):
            a2d_loss(logits, labels, "test_per_sample")
    finally:
        del DISCREPANCIES._entries["test_scalar"], DISCREPANCIES._entries["test_per_sample"]


def test_a_protocols_own_names_are_registered_too():
    assert set(NAMES) <= set(DISCREPANCIES.names())
    for protocol in map(PROTOCOLS.get, PROTOCOLS):
        assert set(protocol.discrepancies) == set(NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discrepancy": "helinger"}, "Did you mean 'hellinger'"),
        ({"protocol": "multiod-code"}, "Did you mean 'multiood-code'"),
        ({"modality_logits": [torch.zeros(4, 3)]}, "at least 2"),
        ({"modality_logits": []}, "at least 2"),
        (
            {"modality_logits": [torch.zeros(4, 3), torch.zeros(4, 2)]},
            r"modality_logits\[1\] has shape \[4, 2\]",
        ),
        ({"modality_logits": [torch.zeros(4, 1)] * 2}, "C = 1"),
        ({"modality_logits": [torch.zeros(0, 3)] * 2, "labels": torch.zeros(0).long()}, "no samples"),
        ({"modality_logits": [torch.zeros(4, 3).long()] * 2}, "floating-point"),
        ({"modality_logits": {"video": torch.zeros(4, 3)}}, "not a tensor"),
        ({"labels": torch.tensor([0, 1, 2, 3])}, r"labels\[3\] is 3, outside the 3 classes"),
        ({"labels": torch.tensor([0, -1, 2, 2])}, r"labels\[1\] is -1"),
        ({"labels": torch.tensor([0, 1])}, "B = 4"),
        ({"labels": torch.zeros(4)}, "integers"),
    ],
)
def test_mistakes_are_told_apart(change, message):
    arguments = {"modality_logits": [torch.zeros(4, 3)] * 2, "labels": torch.zeros(4).long()} | change
    with pytest.raises(UserError, match=message):
        a2d_loss(**arguments)


def test_entropy_takes_a_single_modality_but_not_none():
    assert outlier_entropy_loss([torch.zeros(2, 3)], PAPER).item() == pytest.approx(-np.log(3))
    with pytest.raises(UserError, match="at least 1"):
        outlier_entropy_loss([])
