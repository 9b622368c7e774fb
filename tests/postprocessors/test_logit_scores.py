"""msp, ebo, mls, gen: against literal float64 and arbitrary-precision versions, and at the extremes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import EBO, GEN, MLS, MSP


def of_logits(logits: np.ndarray) -> Embeddings:
    return Embeddings(np.zeros((len(logits), 1), "f4"), np.full(len(logits), -1), logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.fixture
def logits() -> np.ndarray:
    return 3 * np.random.default_rng(1).standard_normal((50, 6))


def test_msp_is_the_log_odds_of_the_largest_probability(logits: np.ndarray) -> None:
    pred, conf = MSP().fit().score(of_logits(logits))
    p = softmax(logits).max(axis=1)
    np.testing.assert_allclose(conf, np.log(p / (1 - p)), rtol=1e-10)
    np.testing.assert_array_equal(pred, logits.argmax(axis=1))
    assert pred.dtype == np.int64


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_ebo_is_the_free_energy(logits: np.ndarray, temperature: float) -> None:
    conf = EBO(temperature=temperature).fit().score(of_logits(logits)).conf
    np.testing.assert_allclose(
        conf, temperature * np.log(np.exp(logits / temperature).sum(axis=1)), rtol=1e-12
    )


def test_mls_is_the_largest_logit(logits: np.ndarray) -> None:
    np.testing.assert_array_equal(MLS().fit().score(of_logits(logits)).conf, logits.max(axis=1))


@pytest.mark.parametrize("gamma", [0.01, 0.1, 1, 10])
@pytest.mark.parametrize("top", [1, 2, 6, 100, None])
def test_gen_is_the_generalised_entropy(logits: np.ndarray, gamma: float, top: int | None) -> None:
    conf = GEN(gamma=gamma, M=top).fit().score(of_logits(logits)).conf
    for row, value in zip(softmax(logits), conf, strict=True):
        largest = sorted(row)[-(top or 6) :]
        expected = sum(p**gamma * (1 - p) ** gamma for p in largest)
        assert value == pytest.approx(-np.log(expected), rel=1e-9, abs=1e-9)


def test_saturated_probabilities_keep_the_exact_order() -> None:
    # float32 softmax gives 1 for each of these; float64 for all but the first two
    gaps = np.array([20.0, 30.0, 40.0, 41.0, 100.0, 100.5, 700.0, 800.0, 5000.0, 20000.0])
    logits = np.zeros((len(gaps), 4), dtype=np.float32)
    logits[:, 0] = gaps / 2
    logits[:, 1:] = -gaps[:, None] / 2 + np.array([0.0, -1.0, -2.0])
    for score in (MSP(), GEN(), GEN(gamma=10)):
        conf = score.fit().score(of_logits(logits)).conf
        assert np.isfinite(conf).all()
        assert (np.diff(conf) > 0).all(), score


def test_against_arbitrary_precision() -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((12, 5)) * rng.choice([1.0, 10.0, 40.0], size=(12, 1))
    msp = MSP().fit().score(of_logits(logits)).conf
    gen = GEN().fit().score(of_logits(logits)).conf
    for row, odds, entropy in zip(logits, msp, gen, strict=True):
        terms = [mpmath.exp(mpmath.mpf(float(z))) for z in row]
        top = int(row.argmax())
        with mpmath.workdps(80):
            others = sum(t for j, t in enumerate(terms) if j != top)
            assert odds == pytest.approx(float(mpmath.log(terms[top] / others)), rel=1e-13, abs=1e-13)
            total = sum(terms)
            g = sum(
                (t / total * (sum(u for i, u in enumerate(terms) if i != j) / total)) ** mpmath.mpf("0.1")
                for j, t in enumerate(terms)
            )
            assert entropy == pytest.approx(float(-mpmath.log(g)), rel=1e-12, abs=1e-12)


def test_nearer_to_exact_order_than_float32_probabilities() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((400, 10)).astype(np.float32)
    logits[:, 0] += rng.uniform(15, 40, 400).astype(np.float32)
    plain = torch.softmax(torch.from_numpy(logits), dim=1).max(dim=1).values.numpy()
    ours = MSP().fit().score(of_logits(logits)).conf
    assert len(np.unique(plain)) < 100  # the ties that this score is meant to avoid
    assert len(np.unique(ours)) == 400


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 6)),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
@settings(max_examples=60, deadline=None)
def test_finite_at_any_logit(logits: np.ndarray) -> None:
    for score in (MSP(), EBO(), MLS(), GEN(), GEN(gamma=10, M=2)):
        conf = score.fit().score(of_logits(logits)).conf
        assert conf.shape == (len(logits),)
        assert np.isfinite(conf).all()


@given(st.integers(2, 8), st.floats(-50, 50), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_softmax_scores_ignore_a_shift_and_energy_follows_it(classes: int, shift: float, seed: int) -> None:
    logits = 4 * np.random.default_rng(seed).standard_normal((4, classes))
    for score, moved in ((MSP(), 0.0), (GEN(), 0.0), (EBO(), shift), (MLS(), shift)):
        score.fit()
        before, after = score.score(of_logits(logits)).conf, score.score(of_logits(logits + shift)).conf
        np.testing.assert_allclose(after, before + moved, atol=1e-10)


@pytest.mark.parametrize("score", [MSP(), GEN(), EBO(), MLS()], ids=lambda s: s.name)
def test_one_class_scores_without_complaint(score: MSP) -> None:
    conf = score.fit().score(of_logits(np.array([[1.0], [2.0]]))).conf
    assert np.isfinite(conf).all()


def test_out_of_range_parameters() -> None:
    for make, text in (
        (lambda: EBO(temperature=0), "temperature must be above 0"),
        (lambda: GEN(gamma=-1), "gamma must be above 0"),
        (lambda: GEN(M=0), "M must be at least 1"),
        (lambda: GEN(M=2.5), "M must be a whole number"),
        (lambda: EBO(temperature="hot"), "temperature must be a number"),
        (lambda: EBO(temperature=float("nan")), "temperature must be"),
    ):
        with pytest.raises(UserError, match=text):
            make()


def test_logits_that_overflow_are_named_by_their_row() -> None:
    features = np.ones((1300, 2), "f4")
    features[1234] = 1e30
    with pytest.raises(UserError, match="logits hold inf at row 1234, column 1"):
        MSP().fit(head=LinearHead(np.array([[0.0, 1.0], [1e290, 0.0]]), np.zeros(2))).score(
            Embeddings(features, np.zeros(1300, dtype=np.int64))
        )
