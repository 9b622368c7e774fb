"""Arrays that are not plain and dense: the right thing, or an error; never their values without their meaning."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse

import openood_multimodal
from openood_multimodal.arrays import Embeddings
from openood_multimodal.dense import dense
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.metrics import compute_ood_metrics

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(6, 4))


def masked(*places):
    array = np.ma.masked_array(ROWS.copy(), mask=False)
    for place in places:
        array[place] = np.ma.masked
    return array


def structured():
    return np.zeros(6, dtype=[("a", "f4"), ("b", "f4")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masked((2, 1)), "1 value is masked"),
        (lambda: masked((2, 1), 4), "5 values are masked"),
        (lambda: list(masked((2, 1))), "masked"),
        (lambda: sparse.csr_matrix(ROWS), "sparse"),
        (lambda: sparse.coo_array(ROWS), "sparse"),
        (structured, "structured array with the fields a, b"),
        (lambda: np.rec.array(structured()), "structured"),
        (lambda: torch.tensor(ROWS).to_sparse(), "sparse tensor"),
        (lambda: torch.tensor(ROWS).to_sparse_csr(), "sparse tensor"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8), "quantised tensor"),
        (lambda: torch.masked.masked_tensor(torch.ones(2), torch.tensor([True, False])), "masked tensor"),
        (lambda: torch.empty(2, device="meta"), "can't make an array"),
        (lambda: [[1.0], [1.0, 2.0]], "can't make an array"),
    ],
)
def test_refused(make, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = make()
        with pytest.raises(UserError, match=rf"^test: features.*{message}"):
            dense(value, "test: features")


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(ROWS).to(torch.float8_e4m3fn),
        torch.tensor(ROWS).to(torch.float8_e5m2),
        torch.tensor(ROWS).bfloat16(),
        torch.tensor(ROWS, requires_grad=True),
        masked(),
        np.matrix(ROWS),
        ROWS.tolist(),
        np.asfortranarray(ROWS),
        ROWS.astype(">f4"),
    ],
)
def test_taken_with_its_values(value):
    wanted = value.detach().double().numpy() if hasattr(value, "detach") else np.asarray(value)
    found = dense(value, "x")
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, wanted)


def table(test, labels):
    head = (np.eye(2, 4), np.zeros(2))
    return openood_multimodal.evaluate(
        None, (test, labels), {"o": ROWS + 1}, head, postprocessors="ebo", intervals=False
    )


def test_masked_values_reach_no_score():
    known = np.arange(6) % 2
    for test, labels in ((masked((0, 0)), known), (ROWS, np.ma.masked_array(known, [1, *[0] * 5]))):
        with pytest.raises(UserError, match="masked"):
            table(test, labels)
    with pytest.raises(UserError, match="masked"):
        Embeddings(masked((0, 0)), np.zeros(6, dtype=np.int64))
    with pytest.raises(UserError, match="masked"):
        compute_ood_metrics(np.ma.masked_less(ROWS[:, 0], 0), ROWS[:, 1], np.zeros(6, int), np.zeros(6, int))


def test_probabilities_for_logits_are_doubted(recwarn):
    logits = torch.softmax(torch.tensor(rng.normal(size=(6, 2))), 1).numpy()
    each = Embeddings(ROWS, np.arange(6) % 2, logits=logits)
    openood_multimodal.evaluate(None, each, {"o": each}, None, postprocessors="ebo", intervals=False)
    (said,) = [str(w.message) for w in recwarn if "probabilities" in str(w.message)]
    assert "the logits look like probabilities" in said
    assert "test" in said
    recwarn.clear()
    other = Embeddings(ROWS, np.arange(6) % 2, logits=logits * 1.5)
    openood_multimodal.evaluate(None, other, {"o": other}, None, postprocessors="ebo", intervals=False)
    assert not [w for w in recwarn if "probabilities" in str(w.message)]


def test_normalised_features_are_doubted_where_norms_count(recwarn):
    normal = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
    head = (np.eye(2, 4), np.zeros(2))
    for name, count in (("react", 1), ("ebo", 0)):
        recwarn.clear()
        openood_multimodal.evaluate(
            (normal, np.arange(6) % 2),
            (normal, np.arange(6) % 2),
            {"o": normal},
            head,
            postprocessors=name,
            intervals=False,
        )
        assert len([w for w in recwarn if "L2-normalised" in str(w.message)]) == count
