"""TagOOD's class centres, on embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from literal_scores import make_case

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.metrics import auroc
from openood_multimodal.postprocessors.class_centres import ClassCentres


def test_it_is_the_largest_mean_cosine_with_a_class_mean() -> None:
    problem = make_case("more_rows_than_columns")
    score = ClassCentres(epochs=2).fit(problem.train, None, problem.head)
    train, test = (score._encoded(each.features) for each in (problem.train, problem.test))
    centres = [train[problem.train.labels == c].mean(axis=0) for c in range(4)]
    expected = []
    for f in test:
        cosines = [
            np.mean([f[p] @ c[p] / np.linalg.norm(f[p]) / np.linalg.norm(c[p]) for p in range(4)])
            for c in centres
        ]
        expected.append(max(cosines))
    np.testing.assert_allclose(score.score(problem.test).conf, expected, rtol=1e-9)


def test_training_separates_and_is_the_seed_s() -> None:
    rng = np.random.default_rng(0)
    problem = make_case("more_rows_than_columns")
    far = replace(problem.test, features=np.abs(rng.standard_normal(problem.test.features.shape)))
    before = torch.get_rng_state()
    fitted = [ClassCentres(seed=seed).fit(problem.train, None, problem.head) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    known = [score.score(problem.test).conf for score in fitted]
    np.testing.assert_array_equal(known[0], known[1])
    assert not np.array_equal(known[0], known[2])
    assert auroc(known[0], fitted[0].score(far).conf) > 0.9


def test_what_can_not_be_trained() -> None:
    problem = make_case("more_rows_than_columns")
    without = replace(problem.train, labels=np.minimum(problem.train.labels, 2))
    with pytest.raises(
        UserError, match=r"class_centres: class 3 of 4 has no training row.*; set dataset\.num_classes to 3"
    ):
        ClassCentres().fit(without, None, problem.head)
    with pytest.raises(UserError, match=r"training diverged; set a smaller class_centres\.lr"):
        ClassCentres(lr=1e30).fit(problem.train, None, problem.head)
