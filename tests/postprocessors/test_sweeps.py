"""What a search may try."""

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors.sweeps import within_limits
from openood_multimodal.registry import POSTPROCESSORS


def test_values_above_a_limit_are_left_out_and_named():
    sweep = {"K_list": (50, 420, 500, 1000), "x_list": [1]}
    kept, notes = within_limits("knn", sweep, {"K": 420, "dim": 3})
    assert kept == {"K_list": [50, 420], "x_list": [1]}
    assert notes == ["knn: K = 500, 1000 of the sweep not tried; at most 420 is possible here"]


def test_a_sweep_none_of_whose_values_is_possible_stays():
    assert within_limits("knn", {"K_list": [50, 100]}, {"K": 9}) == ({"K_list": [50, 100]}, [])


@pytest.mark.parametrize(("name", "parameter", "most"), [("knn", "K", 20), ("vim", "dim", 5)])
def test_limits_are_the_largest_values_that_work(name, parameter, most):
    rng = np.random.default_rng(0)
    train = Embeddings(rng.normal(size=(20, 6)).astype(np.float32), np.arange(20) % 2)
    head = LinearHead(rng.normal(size=(2, 6)).astype(np.float32), np.zeros(2, np.float32))
    score = POSTPROCESSORS.get(name)(**{parameter: 1})
    assert score.limits == {}
    assert score.fit(train, None, head).limits == {parameter: most}
    POSTPROCESSORS.get(name)(**{parameter: most}).fit(train, None, head)
    with pytest.raises(UserError, match=f"{parameter}={most + 1}"):
        POSTPROCESSORS.get(name)(**{parameter: most + 1}).fit(train, None, head)
