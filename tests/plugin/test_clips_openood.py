"""Clips through OpenOOD's own loaders: the stand-in's, and an unmodified OpenOOD's where there is one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openood_multimodal.moving_shapes import Generated, generate

STANDIN = Path(__file__).resolve().parents[1] / "standin_openood"
REAL = os.environ.get("OPENOOD_ROOT")
HAS_REAL = bool(REAL) or importlib.util.find_spec("openood") is not None
LAYOUTS = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")

# Run in a process of its own: it is OpenOOD's loaders that build the datasets, and its registry that is changed.
SCRIPT = """
import json, sys
import numpy as np
import openood_multimodal
openood_multimodal.register()
from openood.datasets import get_dataloader, get_ood_dataloader
from openood.utils import Config
from openood_multimodal.config import Config as OwnConfig
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders

config = json.loads(sys.argv[1])
theirs = dict(get_dataloader(Config(config)))
ours = build_loaders(OwnConfig(config), training=True)
ood_theirs = get_ood_dataloader(Config(config))
ood_ours = build_ood_loaders(OwnConfig(config), ("val", "nearood", "farood"))
for where, loaders in ((theirs, ood_theirs), (ours, ood_ours)):
    where |= {"oodval": loaders["val"], "near": loaders["nearood"]["near"], "far": loaders["farood"]["far"]}
report = {}
for name, loader in theirs.items():
    loader.dataset.set_epoch(1)
    ours[name].dataset.set_epoch(1)
    batches = sorted(({int(i): (b, row) for b in loader for row, i in enumerate(b["index"])}).items())
    expected = {int(i): (b, row) for b in ours[name] for row, i in enumerate(b["index"])}
    assert [i for i, _ in batches] == sorted(expected) == list(range(len(loader.dataset)))
    for i, (batch, row) in batches:
        other, place = expected[i]
        assert type(batch["data"]).__name__ == "ModalityBatch" and batch["data"].size(0) == len(batch["label"])
        assert int(batch["label"][row]) == int(other["label"][place]) and batch["clip"][row] == other["clip"][place]
        for modality, values in batch["data"].cuda().items():
            np.testing.assert_array_equal(values[row].numpy(), other["data"][modality][place].numpy())
    shapes = {m: list(v.shape[1:]) for m, v in batches[0][1][0]["data"].items()}
    labels = sorted({int(label) for label in loader.dataset.labels})
    report[name] = [type(loader.dataset).__name__, len(loader.dataset), shapes, labels]
    assert loader.dataset._loader.training == (name == "train")
print(json.dumps(report))
"""


def _config(data: Generated, workers: int) -> dict:
    def part(split: str) -> dict[str, str]:
        return {"imglist_pth": str(data.manifests[split]), "data_dir": str(data.root)}

    own = {"dataset_class": "MultimodalClipDataset", "batch_size": 5}
    shared = {
        "name": "moving_shapes",
        "num_classes": len(data.class_names),
        "num_workers": workers,
        "num_gpus": 1,
        "num_machines": 1,
    }
    return {
        "seed": 3,
        "num_gpus": 0,
        "pipeline": {"name": "train"},
        "preprocessor": {
            "name": "multimodal_clip",
            "video": {"frames": 6, "stride": 2, "short_side": 36, "size": 32},
            "flow": {"frames": 3, "stride": 2, "short_side": 36, "size": 32},
            "audio": {"seconds": 0.5},
        },
        "dataset": {
            **shared,
            "image_size": 32,
            "pre_size": 36,
            "interpolation": "bilinear",
            "split_names": ["train", "val", "test"],
            "train": {**own, **part("train"), "shuffle": True},
            "val": {**own, **part("val"), "shuffle": False},
            "test": {**own, **part("test"), "shuffle": False},
        },
        "ood_dataset": {
            **shared,
            **own,
            "shuffle": False,
            "split_names": ["val", "nearood", "farood"],
            "val": part("oodval_moving_shapes_val"),
            "nearood": {"datasets": ["near"], "near": part("nearood_moving_shapes_near")},
            "farood": {"datasets": ["far"], "far": part("farood_moving_shapes_far")},
        },
    }


def _check(root: Path | None, data: Generated, environment: dict[str, str], workers: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(_config(data, workers))],
        env={**environment, **({"OPENOOD_ROOT": str(root)} if root else {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report) == {"train", "val", "test", "oodval", "near", "far"}
    for name, (kind, count, shapes, labels) in report.items():
        assert kind == "MultimodalClipDataset"
        assert count > 0
        assert shapes == {"video": [3, 6, 32, 32], "audio": [1, 257, 48], "flow": [2, 3, 32, 32]}
        assert labels == (list(range(len(data.class_names))) if name in ("train", "val", "test") else [-1])


def test_the_standins_loaders(tmp_path, environment):
    _check(STANDIN, generate(tmp_path / "shapes", "hmdb51"), environment, workers=1)


@pytest.mark.skipif(
    not HAS_REAL,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_openoods_own_loaders(tmp_path, environment, layout):
    _check(Path(REAL) if REAL else None, generate(tmp_path / "shapes", layout), environment, 1)
