"""Worker processes of the loaders: how many, what they share, and that random draws don't depend on them."""

import json
import multiprocessing
import os
import shutil
from collections import Counter, namedtuple

import pytest
import torch

from openood_multimodal.config import load_config
from openood_multimodal.datasets import loaders
from openood_multimodal.datasets.loaders import build_loaders, default_workers
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors import video

SMALL = {
    "name": "multimodal_clip",
    "video": {"frames": 2, "stride": 2, "short_side": 32, "size": 32},
    "flow": {"frames": 2, "stride": 2, "short_side": 32, "size": 32},
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("shapes"), "hmdb51", size="tiny")


def clips(shapes, workers, **more):
    parts = {
        split: {
            "dataset_class": "MultimodalClipDataset",
            "imglist_pth": {"manifest": str(shapes.manifests[split]), "modalities": ["video", "flow"]},
            "data_dir": str(shapes.root),
            "batch_size": 2,
            "shuffle": split == "train",
        }
        for split in ("train", "val")
    }
    dataset = {
        "name": "shapes",
        "num_classes": len(shapes.class_names),
        "modalities": ["video", "flow"],
        "num_workers": workers,
        "split_names": ["train", "val"],
        **parts,
    }
    return {"seed": 0, "dataset": dataset, "preprocessor": SMALL, **more}


@pytest.fixture
def machine(monkeypatch):
    """A machine of any size."""

    def make(cores, shared_memory):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, shared_memory))
        monkeypatch.setattr(os.path, "isdir", lambda _: True)

    return make


def test_one_a_core_where_files_are_read(shapes, machine, caplog):
    machine(4, 2**40)
    assert default_workers(clips(shapes, None)) == 4
    machine(64, 2**40)
    assert default_workers(clips(shapes, None)) == 8
    assert build_loaders(clips(shapes, None), training=True)["train"].num_workers == 8
    assert not caplog.records
    batch = 2 * (3 + 2) * 2 * 32 * 32 * 4
    machine(4, 7 * batch)
    assert default_workers(clips(shapes, None)) == 2
    assert "room for the batches of 2 of 4 processes" in caplog.text
    assert "--shm-size" in caplog.text
    machine(4, batch)
    assert build_loaders(clips(shapes, None), training=True)["train"].num_workers == 0
    assert build_loaders(clips(shapes, 3), training=True)["train"].num_workers == 3


def test_none_where_data_is_in_memory_or_processes_are_not_forked(shapes, machine, monkeypatch):
    machine(4, 2**40)
    tables = load_config(
        ["datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml", "pipelines/train/a2d.yml"]
    )
    assert tables["dataset.num_workers"] is None
    assert {each.num_workers for each in build_loaders(tables, training=True).values()} == {0}
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(loaders.multiprocessing, "get_context", lambda: spawn)
    assert default_workers(clips(shapes, None)) == 0


def test_memory_is_pinned_for_a_gpu(shapes, monkeypatch):
    def pinned(**more):
        return {each.pin_memory for each in build_loaders(clips(shapes, 0, **more), training=True).values()}

    assert pinned() == {torch.cuda.is_available()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pinned() == pinned(num_gpus=1) == {True}
    assert pinned(num_gpus=0) == {False}


def test_workers_persist_through_a_training_and_nothing_drawn_depends_on_it(shapes):
    def run(workers, again):
        torch.manual_seed(0)
        made = build_loaders(clips(shapes, workers), training=True)
        drawn = []
        for _ in range(3):
            if again:
                made = build_loaders(clips(shapes, workers), training=True)
            drawn += [batch["clip"] for loader in (made["train"], made["val"]) for batch in loader]
            drawn.append(float(torch.rand(1)))
        return drawn

    assert build_loaders(clips(shapes, 2), training=True)["train"].persistent_workers
    assert not build_loaders(clips(shapes, 2), training=False)["train"].persistent_workers
    assert run(2, again=False) == run(2, again=True) == run(0, again=False)


@pytest.mark.parametrize("training", [True, False])  # persistent workers, and new ones an epoch
def test_each_video_is_indexed_once_in_a_run(training, shapes, tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    build = video.Video._build_index

    def counted(self):
        with open(log, "a") as file:
            file.write(json.dumps(self.path) + "\n")
        return build(self)

    monkeypatch.setattr(video.Video, "_build_index", counted)
    loader = build_loaders(clips(shapes, 2), training)["train"]
    video._cache.clear()
    batches = [batch["data"] for _ in range(3) for batch in loader]
    assert all(torch.isfinite(data["video"]).all() for data in batches)
    times = Counter(json.loads(line) for line in log.read_text().splitlines())
    files = loader.dataset.manifest.files
    assert len(times) == 3 * len(files["video"])  # the video, and flow's two
    # two workers may meet one video at once
    assert sum(times.values()) <= len(times) + 2
