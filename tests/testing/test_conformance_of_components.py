"""Every registered component passes its check."""

from __future__ import annotations

import re

import pytest
import torch
from quick_scores import QUICK

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.moving_shapes import generate
from openood_multimodal.networks import build_network
from openood_multimodal.postprocessors.spec import build_score
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
    check_odd_inputs,
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


def clip_batch(size=6):
    generator = torch.Generator().manual_seed(0)
    shapes = {"video": (3, 8, 32, 32), "flow": (2, 4, 32, 32)}
    return ModalityBatch(
        (name, torch.randn(size, *shape, generator=generator)) for name, shape in shapes.items()
    )


SMALL = {"depth": 18, "base_channels": 8}
CLIP_ENCODERS = {
    "video": {"name": "slowfast_r50", **SMALL},
    "flow": {"name": "slowonly_r50_flow", **SMALL},
}
NETWORKS_AND_BATCHES = {
    "mlp_fusion": ({"modalities": ["a", "b"], "input_dims": {"a": 5, "b": 3}}, batch),
    "clip_fusion": ({"modalities": ["video", "flow"], "encoders": CLIP_ENCODERS}, clip_batch),
}


@pytest.mark.parametrize("name", NETWORKS.names())
def test_networks(name):
    if name not in NETWORKS_AND_BATCHES:
        pytest.fail(f"say in NETWORKS_AND_BATCHES how '{name}' is constructed")
    arguments, make_batch = NETWORKS_AND_BATCHES[name]
    check_network(build_network({"name": name, "num_classes": 4, **arguments}), make_batch())


@pytest.mark.parametrize("name", DISCREPANCIES.names())
def test_discrepancies(name):
    check_discrepancy(name)


@pytest.mark.parametrize("name", SYNTHESES.names())
def test_syntheses(name):
    check_synthesis(SYNTHESES.get(name)())


@pytest.mark.parametrize("preset", ["openood", "multiood"])
@pytest.mark.parametrize("name", POSTPROCESSORS.names())
def test_postprocessors(name, preset):
    room = {"vim": {"dim": 10}, "residual": {"dim": 10}}  # the check's embeddings have 48 columns
    written = getattr(POSTPROCESSORS.get(name), "example", name)  # a combination needs something to combine
    check_postprocessor(build_score(re.sub(r"\bknn\b", "knn(K=5)", written), preset, room.get(name)))


REFUSED = {"vim": {"duplicated rows"}, "nl_invariants": {"duplicated rows"}}
"""Scores and odd inputs for which an error is the right answer."""


@pytest.mark.parametrize("name", POSTPROCESSORS.names())
def test_postprocessors_on_odd_inputs(name):
    written = getattr(POSTPROCESSORS.get(name), "example", name)
    refused = check_odd_inputs(
        build_score(re.sub(r"\bknn\b", "knn(K=5)", written), "openood", QUICK.get(name))
    )
    assert set(refused) == REFUSED.get(name, set())
    assert all(message.startswith(name) for message in refused.values())


@pytest.mark.parametrize(
    "written",
    [
        "per_modality(knn(K=5),normalize=rank,combine=min)",
        "per_modality(vim(dim=10),weights=[1,3])",
        "per_modality(react,weights=validation)",
        "per_modality(mds,normalize=zscore)",
        "ensemble(msp,discrepancy(discrepancy=hellinger),per_modality(ensemble(mds,ash)),combine=max)",
        "ensemble(ebo,vim(dim=10),normalize=rank,weights=[2,1])",
    ],
)
def test_combinations(written):
    check_postprocessor(build_score(written))


@pytest.mark.parametrize("name", EVALUATORS.names())
def test_evaluators(name):
    check_evaluator(EVALUATORS.get(name), name)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", PREPROCESSORS.names())
def test_preprocessors(name, split):
    check_preprocessor(PREPROCESSORS.get(name)({"preprocessor": {"name": name}, "seed": 1}, split), batch())


SMALL_FRAMES = {"frames": 4, "stride": 2, "short_side": 32, "size": 32}
REQUESTS = [
    ("synthetic", {"benchmark": "synthetic_far", "split": "train"}, 6),
    ("synthetic", {"benchmark": "synthetic_far", "split": "farood", "set": "synthetic_noise"}, 6),
    ("htad", {"benchmark": "htad_4_3", "split": "val", "partition": 3, "seed": 2}, 4),
    ("mfeat", {"benchmark": "mfeat_5_5", "split": "test", "modalities": ["zer", "mor", "pix"]}, 5),
]


@pytest.mark.parametrize(("data", "request_", "classes"), REQUESTS, ids=lambda each: str(each)[:60])
def test_data_sets(tiny, data, request_, classes):
    tiny.train(data=data)  # skips where the data package is absent
    kind = DATASETS.get("MultimodalTabularDataset")
    dataset = kind(name="check", imglist_pth=request_, data_dir="", num_classes=classes)
    check_dataset(dataset)
    assert all(torch.isfinite(each).all() for each in dataset[0]["data"].values())


def test_clips(tmp_path):
    made = generate(tmp_path, layout="hmdb51", size="tiny")
    section = {
        "name": "multimodal_clip",
        "video": SMALL_FRAMES,
        "flow": SMALL_FRAMES,
        "audio": {"seconds": 0.5},
    }
    reader = PREPROCESSORS.get("multimodal_clip")({"preprocessor": section, "seed": 0}, "train")
    kind = DATASETS.get("MultimodalClipDataset")
    check_dataset(kind("check", str(tmp_path / "val.csv"), str(tmp_path), len(made.class_names), reader))


def test_every_data_set_is_checked():
    assert set(DATASETS.names()) == {"MultimodalClipDataset", "MultimodalTabularDataset"}


def test_a_data_set_through_worker_processes():
    augment = PREPROCESSORS.get("multimodal_noise")({"seed": 3}, "train")
    request = {"benchmark": "synthetic_far", "split": "train"}
    dataset = DATASETS.get("MultimodalTabularDataset")("check", request, "", 6, preprocessor=augment)
    check_dataset(dataset, num_workers=2)
