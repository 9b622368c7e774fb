"""Every registered component passes its check."""

from __future__ import annotations

import pytest
import torch

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.networks import build_network
from openood_multimodal.registry import (
    DATASETS,
    DISCREPANCIES,
    EVALUATORS,
    NETWORKS,
    POSTPROCESSORS,
    PREPROCESSORS,
    SYNTHESES,
    TRAINERS,
)
from openood_multimodal.testing import (
    check_dataset,
    check_discrepancy,
    check_evaluator,
    check_network,
    check_postprocessor,
    check_preprocessor,
    check_synthesis,
    check_trainer,
)


def batch(size=6):
    generator = torch.Generator().manual_seed(0)
    return ModalityBatch(
        (name, torch.randn(size, dim, generator=generator)) for name, dim in (("a", 5), ("b", 3))
    )


@pytest.mark.parametrize("name", TRAINERS.names())
def test_trainers(name):
    check_trainer(TRAINERS.get(name))


@pytest.mark.parametrize("discrepancy", DISCREPANCIES.names())
@pytest.mark.parametrize("protocol", ["multiood-code", "multiood-paper"])
def test_trainers_with_every_discrepancy(discrepancy, protocol):
    check_trainer(TRAINERS.get("a2d_npmix"), {"discrepancy": discrepancy, "protocol": protocol})


NETWORK_ARGUMENTS = {"mlp_fusion": {"modalities": ["a", "b"], "input_dims": {"a": 5, "b": 3}}}


@pytest.mark.parametrize("name", NETWORKS.names())
def test_networks(name):
    if name not in NETWORK_ARGUMENTS:
        pytest.fail(f"say in NETWORK_ARGUMENTS how '{name}' is constructed")
    net = build_network({"name": name, "num_classes": 4, **NETWORK_ARGUMENTS[name]})
    check_network(net, batch())


@pytest.mark.parametrize("name", DISCREPANCIES.names())
def test_discrepancies(name):
    check_discrepancy(name)


@pytest.mark.parametrize("name", SYNTHESES.names())
def test_syntheses(name):
    check_synthesis(SYNTHESES.get(name)())


@pytest.mark.parametrize("preset", ["openood", "multiood"])
@pytest.mark.parametrize("name", POSTPROCESSORS.names())
def test_postprocessors(name, preset):
    room = {"vim": {"dim": 10}}  # the check's embeddings have 48 columns
    check_postprocessor(POSTPROCESSORS.get(name).from_preset(preset, **room.get(name, {})))


@pytest.mark.parametrize("name", EVALUATORS.names())
def test_evaluators(name):
    check_evaluator(EVALUATORS.get(name), name)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", PREPROCESSORS.names())
def test_preprocessors(name, split):
    check_preprocessor(PREPROCESSORS.get(name)({"preprocessor": {"name": name}, "seed": 1}, split), batch())


REQUESTS = [
    ("synthetic", {"benchmark": "synthetic_far", "split": "train"}, 6),
    ("synthetic", {"benchmark": "synthetic_far", "split": "farood", "set": "synthetic_noise"}, 6),
    ("htad", {"benchmark": "htad_4_3", "split": "val", "partition": 3, "seed": 2}, 4),
    ("mfeat", {"benchmark": "mfeat_5_5", "split": "test", "modalities": ["zer", "mor", "pix"]}, 5),
]


@pytest.mark.parametrize(("data", "request_", "classes"), REQUESTS, ids=lambda each: str(each)[:60])
def test_data_sets(tiny, data, request_, classes):
    tiny.train(data=data)  # skips where the data package is absent
    (name,) = DATASETS.names()
    dataset = DATASETS.get(name)(name="check", imglist_pth=request_, data_dir="", num_classes=classes)
    check_dataset(dataset)
    assert all(torch.isfinite(each).all() for each in dataset[0]["data"].values())


def test_a_data_set_through_worker_processes():
    augment = PREPROCESSORS.get("multimodal_noise")({"seed": 3}, "train")
    request = {"benchmark": "synthetic_far", "split": "train"}
    dataset = DATASETS.get("MultimodalTabularDataset")("check", request, "", 6, preprocessor=augment)
    check_dataset(dataset, num_workers=2)
