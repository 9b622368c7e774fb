"""Checks of datasets and preprocessors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from ..datasets.batch import ModalityBatch
from ._rules import rule, same


def check_dataset(dataset: Any, num_workers: int = 0) -> None:
    """Hold a dataset to the contract: what its samples are, that torch can collate them, that it can be named.

    Args:
        dataset: an instance, already constructed as OpenOOD does.
        num_workers: also load a batch through this many worker processes.
    """
    rule(len(dataset) > 0, "a dataset must not be empty")
    sample = dataset[0]
    rule({"data", "label", "index", "clip"} <= set(sample), "a sample has the keys data, label, index, clip")
    rule(isinstance(sample["data"], ModalityBatch), "sample['data'] is a ModalityBatch")
    rule(
        all(isinstance(v, torch.Tensor) and v.is_floating_point() for v in sample["data"].values()),
        "every modality is a floating-point tensor",
    )
    rule(
        tuple(sample["data"]) == tuple(dataset.modalities),
        "sample['data'] has dataset.modalities, in that order",
    )
    rule(isinstance(sample["clip"], str), "sample['clip'] is a str")
    for index in {0, len(dataset) // 2, len(dataset) - 1}:
        each = dataset[index]
        rule(int(each["index"]) == index, f"sample {index} says that its index is {int(each['index'])}")
        label = int(each["label"])
        rule(-1 <= label < dataset.num_classes, f"label {label} is not -1 or in [0, {dataset.num_classes})")
        rule(label == int(dataset.labels[index]), "dataset.labels agrees with the samples")
        same(
            dict(each["data"]),
            dict(dataset[index]["data"]),
            f"sample {index} differs when it is asked for again",
        )

    count = min(3, len(dataset))
    expected = default_collate([dataset[i] for i in range(count)])
    rule(isinstance(expected["data"], ModalityBatch), "torch's default_collate keeps the ModalityBatch")
    rule(len(expected["data"]) == count, "len(batch['data']) is the batch size")
    loaded = next(iter(DataLoader(dataset, batch_size=count, num_workers=num_workers)))
    for key in ("data", "label", "index"):
        same(
            dict(loaded[key]) if key == "data" else loaded[key],
            dict(expected[key]) if key == "data" else expected[key],
            f"a DataLoader's batch['{key}'] differs from its samples'",
        )
    rule(
        list(loaded["clip"]) == list(expected["clip"]),
        "a DataLoader's batch['clip'] differs from its samples'",
    )

    clone = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - what was pickled a moment ago
    same(dict(clone[0]["data"]), dict(sample["data"]), "the dataset changes when it is pickled for a worker")
    rule(len(dataset.manifest) == len(dataset), "dataset.manifest has a row a sample")
    rule(dataset.manifest.digest() == clone.manifest.digest(), "dataset.manifest.digest() is reproducible")
    rule(len(dataset.labels) == len(dataset), "dataset.labels has an entry a sample")
    rule(isinstance(dataset.provenance, dict), "dataset.provenance is a dict")


def check_preprocessor(preprocessor: Any, data: ModalityBatch) -> None:
    """Hold a preprocessor to the contract: randomness is a function of (seed, epoch, index), inputs stay as they are.

    Args:
        preprocessor: an instance, ``(data, seed, epoch, indices) → data``.
        data: a batch of at least two samples.
    """
    indices = np.arange(len(data)) + 5
    before = copy.deepcopy(dict(data))
    first = preprocessor(data, seed=1, epoch=2, indices=indices)
    same(dict(data), before, "a preprocessor must not change its input")
    rule(isinstance(first, ModalityBatch), "a preprocessor returns a ModalityBatch")
    rule(tuple(first) == tuple(data), "a preprocessor keeps the modalities and their order")
    again = preprocessor(data, seed=1, epoch=2, indices=indices)
    same(dict(first), dict(again), "the same (seed, epoch, index) must give the same result")
    order = np.arange(len(data))[::-1].copy()
    turned = preprocessor(
        data.map(lambda t: t[torch.from_numpy(order)]), seed=1, epoch=2, indices=indices[order]
    )
    same(
        dict(turned.map(lambda t: t[torch.from_numpy(order)])),
        dict(first),
        "a sample's result must not depend on the others of its batch or their order",
    )
