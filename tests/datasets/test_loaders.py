"""Loaders from configs, and the loader of stored embeddings."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

from openood_multimodal.arrays import Embeddings
from openood_multimodal.config import load_config
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.datasets.loaders import EmbeddingLoader, build_loaders, build_ood_loaders
from openood_multimodal.errors import UserError

FILES = [f"datasets/synthetic/synthetic_far{end}.yml" for end in ("", "_ood")]
FILES += ["networks/mlp_fusion.yml", "pipelines/test/near_ood.yml"]


def config(*overrides, **sections):
    return load_config([*FILES, sections] if sections else FILES, list(overrides))


def test_in_distribution_splits():
    loaders = build_loaders(config(), training=True)
    assert {name: len(loader.dataset) for name, loader in loaders.items()} == {
        "train": 420,
        "val": 90,
        "test": 90,
    }
    assert {name: loader.batch_size for name, loader in loaders.items()} == {
        "train": 64,
        "val": 256,
        "test": 256,
    }
    found = next(iter(loaders["val"]))
    assert isinstance(found["data"], ModalityBatch)
    assert found["data"].shape == (90, 24)
    assert found["label"].dtype == torch.int64
    assert found["index"].tolist() == list(range(90))
    assert loaders["train"].dataset.name == "synthetic_far_train"


def test_only_training_shuffles_and_augments():
    augmented = {"preprocessor": {"name": "multimodal_noise", "noise_std": 1.0}}
    plain = build_loaders(config(), training=False)
    for training in (False, True):
        loaders = build_loaders(config(**augmented), training=training)
        torch.manual_seed(0)
        order = next(iter(loaders["train"]))["index"].tolist()
        assert (order == list(range(64))) is not training
        rows = loaders["train"].dataset[0]["data"]["a"], plain["train"].dataset[0]["data"]["a"]
        assert torch.equal(*rows) is not training
        rows = loaders["val"].dataset[0]["data"]["a"], plain["val"].dataset[0]["data"]["a"]
        assert torch.equal(*rows)


def test_overrides_reach_the_data():
    loaders = build_loaders(config("--dataset.modalities", "b", "--dataset.partition", "2"), training=False)
    assert loaders["test"].dataset.modalities == ("b",)
    assert loaders["test"].dataset.provenance["partition"] == 2
    loaders = build_ood_loaders(
        config("--dataset.modalities", "b,a", "--dataset.partition", "2"), ("nearood",)
    )
    assert loaders["nearood"]["synthetic_near"].dataset.modalities == ("b", "a")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("nearood",), {"nearood": ["synthetic_near"]}),
        (("farood",), {"farood": ["synthetic_shift", "synthetic_noise"]}),
        (("val",), {"val": None}),
        ((), {}),
    ],
)
def test_ood_groups(groups, expected):
    loaders = build_ood_loaders(config(), groups)
    assert {name: None if name == "val" else list(part) for name, part in loaders.items()} == expected
    for part in loaders.values():
        for loader in part.values() if isinstance(part, dict) else [part]:
            assert (loader.dataset.labels == -1).all()
            assert next(iter(loader))["index"][0] == 0


def test_mistakes():
    with pytest.raises(UserError, match="no section ood_dataset"):
        build_ood_loaders(load_config([FILES[0], *FILES[2:]]), ("nearood",))
    for names, there in ((["test"], "the ID dataset"), (["Synthetic_Near"], "ood_dataset.nearood")):
        clash = config()
        clash.merge(
            {"ood_dataset": {"split_names": ["nearood", "csid"], "csid": {"datasets": names}}}, "a test"
        )
        with pytest.raises(UserError, match=f"csid has a set called '{names[0]}', and {there} has one, too"):
            build_ood_loaders(clash, ("nearood", "csid"))
    with pytest.raises(UserError, match="no preprocessor called 'multimodal_bse'"):
        build_loaders(config("--preprocessor.name", "multimodal_bse"), training=True)


def embeddings(rows=10):
    features = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    features.setflags(write=False)  # as a memory map is
    return Embeddings(features, np.arange(rows, dtype=np.int64) - 1)


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (10, [10]), (1024, [10]), (5, [5, 5])])
def test_embedding_loader(size, sizes):
    source = embeddings()
    loader = EmbeddingLoader(source, batch_size=size)
    found = list(loader)
    assert [len(batch["label"]) for batch in found] == sizes
    assert len(loader) == len(sizes)
    assert len(loader.dataset) == 10
    np.testing.assert_array_equal(torch.cat([batch["data"] for batch in found]).numpy(), source.features)
    assert torch.cat([batch["label"] for batch in found]).tolist() == source.labels.tolist()
    assert (found[0]["data"].dtype, found[0]["label"].dtype) == (torch.float32, torch.int64)
    found[0]["data"].zero_()  # OpenOOD's ASH writes into what it is given
    assert source.features[-1, -1] == 29
    assert next(iter(loader))["data"][-1].sum() > 0


def test_an_empty_embedding_loader():
    empty = EmbeddingLoader(embeddings(0))
    assert (len(empty), list(empty)) == (0, [])


def test_a_daemon_has_no_workers(monkeypatch):
    """A Dask worker is a daemon by default, and Python lets daemons start no processes."""
    config = load_config(
        ["datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml", "pipelines/train/a2d.yml"]
    )
    config["dataset"]["num_workers"] = 2
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(UserError, match=r"num_workers is 2, .*DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        build_loaders(config, training=True)
    config["dataset"]["num_workers"] = 0
    assert build_loaders(config, training=True)["train"].num_workers == 0
