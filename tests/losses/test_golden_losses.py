"""Losses against figures of the authors' own training step (see tests/golden/make_losses.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from openood_multimodal.losses import (
    a2d_loss,
    logit_norm_cross_entropy,
    outlier_discrepancy_loss,
    outlier_entropy_loss,
)

CASES = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["losses"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"M{len(c['logits'])}")
def test_equals_the_authors_figures(case):
    logits = list(torch.tensor(case["logits"], dtype=torch.float64))
    labels = torch.tensor(case["labels"])
    for name, expected in case["a2d"].items():
        assert a2d_loss(logits, labels, name).item() == pytest.approx(expected, rel=1e-7), name
    for name, expected in case["outlier_discrepancy"].items():
        assert outlier_discrepancy_loss(logits, name).item() == pytest.approx(expected, rel=1e-7), name
    assert outlier_entropy_loss(logits).item() == pytest.approx(case["outlier_entropy"], rel=1e-6)
    for each, expected in zip(logits, case["logit_norm"], strict=True):
        assert logit_norm_cross_entropy(each, labels).item() == pytest.approx(expected, rel=1e-12)


def test_both_numbers_of_modalities_are_there():
    assert {len(case["logits"]) for case in CASES} == {2, 3}
    assert {name for case in CASES for name in case["a2d"]} == {"l1", "l2", "hellinger", "wasserstein"}
