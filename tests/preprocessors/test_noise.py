"""Preprocessors: identity, and noise that depends on (seed, epoch, index) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import GaussianNoise, MultimodalPreprocessor
from openood_multimodal.preprocessors.noise import standard_normal
from openood_multimodal.registry import PREPROCESSORS


def batch(count: int) -> ModalityBatch:
    return ModalityBatch({"a": torch.zeros(count, 3), "b": torch.zeros(count, 2, 2)})


def noise(split: str = "train", **params: object) -> GaussianNoise:
    return GaussianNoise({"preprocessor": {"name": "multimodal_noise", **params}, "seed": 9}, split)


def test_names() -> None:
    assert PREPROCESSORS.get("multimodal_base") is MultimodalPreprocessor
    assert PREPROCESSORS.get("multimodal_noise") is GaussianNoise


def test_base_changes_nothing() -> None:
    data = batch(2)
    assert MultimodalPreprocessor({}, "train")(data, 0, 1, [0, 1]) is data


def test_seed_comes_from_the_config() -> None:
    assert noise().seed == 9
    assert MultimodalPreprocessor({"seed": None}, "train").seed == 0


@pytest.mark.parametrize("split", ["val", "test", "nearood"])
def test_only_training_is_jittered(split: str) -> None:
    data = batch(2)
    assert noise(split)(data, 0, 1, [0, 1]) is data


def test_depends_on_seed_epoch_and_index_alone() -> None:
    jitter = noise(noise_std=0.5)
    whole = jitter(batch(4), 1, 2, [10, 11, 12, 13])
    turned = jitter(batch(3), 1, 2, [13, 99, 10])
    for name in ("a", "b"):
        assert torch.equal(turned[name][0], whole[name][3])
        assert torch.equal(turned[name][2], whole[name][0])
    alone = jitter(batch(1), 1, 2, [12])
    assert torch.equal(alone["a"][0], whole["a"][2])
    for seed, epoch, index in ((2, 2, 10), (1, 3, 10), (1, 2, 11)):
        assert not torch.equal(jitter(batch(1), seed, epoch, [index])["a"][0], whole["a"][0])


def test_input_is_kept_and_shapes_too() -> None:
    data = batch(2)
    result = noise()(data, 0, 0, [0, 1])
    assert type(result) is ModalityBatch
    assert {name: tuple(tensor.shape) for name, tensor in result.items()} == {"a": (2, 3), "b": (2, 2, 2)}
    assert result["a"].dtype == torch.float32
    assert not data["a"].any()


def test_is_standard_normal_times_std() -> None:
    draws = np.concatenate(
        [standard_normal(3, epoch, index, 50) for epoch in range(20) for index in range(20)]
    )
    assert kstest(draws, "norm").pvalue > 0.01
    drawn = noise(noise_std=0.25)(batch(1), 3, 4, [5])
    np.testing.assert_allclose(drawn["a"].numpy()[0], standard_normal(3, 4, 5, 7)[:3] * np.float32(0.25))


def test_streams_of_neighbours_differ() -> None:
    draws = {
        (s, e, i): standard_normal(s, e, i, 4).tobytes() for s in range(4) for e in range(4) for i in range(4)
    }
    assert len(set(draws.values())) == 64
    assert standard_normal(0, 0, 0, 1) != standard_normal(0, 0, 2**40, 1)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"noise_sd": 1.0}, "noise_sd.*Did you mean 'noise_std'"),
        ({"noise_std": -0.1}, "from 0 to"),
        ({"noise_std": float("nan")}, "from 0 to"),
        ({"noise_std": 1e300}, "from 0 to"),
        ({"noise_std": "big"}, "must be a number"),
    ],
)
def test_refuses(params: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        noise(**params)
