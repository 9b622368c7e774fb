"""Clip datasets of generated clips, and what loading them gives."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from openood_multimodal.datasets import MultimodalClipDataset
from openood_multimodal.moving_shapes import Generated
from openood_multimodal.preprocessors import ClipPreprocessor

LAYOUTS = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")
MODALITIES = ("video", "audio", "flow")
SMALL = {
    "name": "multimodal_clip",
    "video": {"frames": 6, "stride": 2, "short_side": 36, "size": 32},
    "flow": {"frames": 3, "stride": 2, "short_side": 36, "size": 32},
    "audio": {"seconds": 0.5},
}


def clip_preprocessor(split: str = "test", seed: int = 0, **section: Any) -> ClipPreprocessor:
    return ClipPreprocessor({"seed": seed, "preprocessor": {**SMALL, **section}}, split)


def make(
    data: Generated, split: str = "train", preprocessor: Any = None, **request: Any
) -> MultimodalClipDataset:
    manifest = str(data.manifests[split])
    return MultimodalClipDataset(
        name=f"shapes_{split}",
        imglist_pth={"manifest": manifest, **request} if request else manifest,
        data_dir=str(data.root),
        num_classes=len(data.class_names),
        preprocessor=preprocessor or clip_preprocessor(),
        data_aux_preprocessor=None,
    )


def config(data: Generated, workers: int = 0, **section: Any) -> dict[str, Any]:
    def part(split: str) -> dict[str, str]:
        return {"imglist_pth": str(data.manifests[split]), "data_dir": str(data.root)}

    own = {"dataset_class": "MultimodalClipDataset", "batch_size": 5, "shuffle": False}
    return {
        "seed": 3,
        "pipeline": {"name": "train"},
        "preprocessor": {**SMALL, **section},
        "dataset": {
            "name": "shapes",
            "num_classes": len(data.class_names),
            "num_workers": workers,
            "split_names": ["train", "val", "test"],
            **{split: {**own, **part(split)} for split in ("train", "val", "test")},
        },
        "ood_dataset": {
            "name": "shapes",
            "num_classes": len(data.class_names),
            "num_workers": workers,
            "dataset_class": "MultimodalClipDataset",
            "batch_size": 5,
            "split_names": ["val", "nearood", "farood"],
            "val": part("oodval_moving_shapes_val"),
            "nearood": {"datasets": ["near"], "near": part("nearood_moving_shapes_near")},
            "farood": {"datasets": ["far"], "far": part("farood_moving_shapes_far")},
        },
    }


def batches(dataset: Any, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, **{"batch_size": 4, **options}))


def failure(dataset: Any, **options: Any) -> Exception:
    """Return what loading raises, once the workers are gone.

    Torch's iterator would live on in a cycle with its exception, and then wait five seconds for its workers.
    """
    iterator = iter(DataLoader(dataset, **{"batch_size": 4, **options}))
    try:
        list(iterator)
    except Exception as error:
        return type(error)(str(error))
    finally:
        if options.get("num_workers"):
            iterator._shutdown_workers()
    pytest.fail("nothing was raised")


def gathered(found: list[dict[str, Any]]) -> dict[int, dict[str, torch.Tensor]]:
    """Index → modality → values, in whatever order they came."""
    return {
        int(index): {name: values[row] for name, values in batch["data"].items()}
        for batch in found
        for row, index in enumerate(batch["index"])
    }


def same(a: dict[int, dict[str, torch.Tensor]], b: dict[int, dict[str, torch.Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[i][m], b[i][m]) for i in a for m in a[i])
