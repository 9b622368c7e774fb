"""The shared arrays refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings, LinearHead, Scores
from openood_multimodal.errors import UserError


def test_embeddings():
    each = Embeddings(np.zeros((4, 3)), np.zeros(4, np.int64), logits=np.zeros((4, 2)))
    assert (len(each), each.dim) == (4, 3)
    assert each.modality_logits is None
    assert (each.clips, dict(each.slices)) == ((), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros(4)}, r"features must be \[N, D\]"),
        ({"labels": np.zeros(3)}, r"labels must be \[4\]"),
        ({"labels": np.zeros((4, 1))}, r"labels must be \[4\]"),
        ({"logits": np.zeros((3, 2))}, "logits have 3 rows, features 4"),
        ({"modality_logits": np.zeros((5, 2, 2))}, "modality_logits have 5 rows, features 4"),
    ],
)
def test_embeddings_that_do_not_fit(change, message):
    with pytest.raises(UserError, match=message):
        Embeddings(**{"features": np.zeros((4, 3)), "labels": np.zeros(4, np.int64), **change})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_head(dtype):
    random = np.random.default_rng(0)
    head = LinearHead(random.normal(size=(3, 5)), random.normal(size=3))
    assert (head.num_classes, head.dim) == (3, 5)
    features = random.normal(size=(7, 5)).astype(dtype)
    logits = head.logits(features)
    assert logits.dtype == dtype
    expected = np.einsum("nd,cd->nc", features.astype(float), head.weight) + head.bias
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    for weight, bias in (((3,), (3,)), ((3, 5), (5,)), ((3, 5), (3, 1))):
        with pytest.raises(UserError, match="a head needs"):
            LinearHead(np.zeros(weight), np.zeros(bias))


def test_scores_unpack():
    pred, conf = Scores(np.zeros(2, np.int64), np.ones(2))
    assert (pred.sum(), conf.sum()) == (0, 2)
