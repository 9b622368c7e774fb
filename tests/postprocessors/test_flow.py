"""The normalizing flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from literal_scores import make_case

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.metrics import auroc
from openood_multimodal.postprocessors.flow import Flow, couple


def test_the_density_is_that_of_a_change_of_variables() -> None:
    problem = make_case("more_rows_than_columns")
    score = Flow(dim=5, epochs=3, hidden=16).fit(problem.train, None, problem.head)
    values = torch.from_numpy((problem.test.features - problem.train.features.mean(axis=0)) @ score._whiten)
    expected = []
    for v in values:
        jacobian = torch.func.jacrev(lambda x: couple(score._net, x[None])[0][0])(v)
        mapped = couple(score._net, v[None])[0][0]
        density = torch.linalg.slogdet(jacobian).logabsdet - 0.5 * mapped.square().sum()
        expected.append(float(density.detach()))
    np.testing.assert_allclose(score.score(problem.test).conf, expected, rtol=1e-8)


def test_training_raises_the_likelihood_and_is_the_seed_s() -> None:
    problem = make_case("more_rows_than_columns")
    before = torch.get_rng_state()
    fits = [Flow(epochs=epochs).fit(problem.train, None, problem.head) for epochs in (1, 40)]
    likelihood = [score.score(problem.train).conf.mean() for score in fits]
    assert likelihood[1] > likelihood[0] + 0.5
    fitted = [Flow(seed=seed, epochs=2).fit(problem.train, None, problem.head) for seed in (0, 0, 1)]
    found = [score.score(problem.test).conf for score in fitted]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert torch.equal(before, torch.get_rng_state())
    far = replace(problem.test, features=problem.test.features + 3.0)
    assert auroc(found[0], fitted[0].score(far).conf) > 0.95


def test_what_can_not_be_fitted() -> None:
    problem = make_case("more_rows_than_columns")
    flat = replace(problem.train, features=np.ones((96, 24)))
    with pytest.raises(UserError, match="vary in fewer than 2 directions"):
        Flow().fit(flat, None, problem.head)
    with pytest.raises(UserError, match=r"training diverged; set a smaller flow\.lr"):
        Flow(lr=1e30).fit(problem.train, None, problem.head)
