"""Data loaders from a config, as OpenOOD builds them, with this package's registry in place of its globals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..arrays import Embeddings
from ..errors import UserError
from ..paths import file_name
from ..registry import DATASETS, PREPROCESSORS


def build_loaders(config: Mapping[str, Any], training: bool) -> dict[str, DataLoader[Any]]:
    """Return split → loader for the in-distribution splits of ``config["dataset"]``.

    Args:
        config: needs the section ``dataset``, and ``preprocessor.name`` (default ``multimodal_base``).
        training: whether the train split is shuffled and augmented; for extraction and tests it is neither.
    """
    section = config["dataset"]
    loaders = {}
    for split in section["split_names"]:
        part = section[file_name(str(split), "split")]
        dataset = _build_dataset(
            part["dataset_class"],
            f"{section['name']}_{split}",
            part,
            section["num_classes"],
            _build_preprocessor(config, split if training else "test"),
        )
        loaders[split] = DataLoader(
            dataset,
            batch_size=part["batch_size"],
            shuffle=bool(training and part.get("shuffle")),
            num_workers=section.get("num_workers") or 0,
        )
    return loaders


def build_ood_loaders(config: Mapping[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    """Return ``{"nearood": {set: loader}, ..., "val": loader}`` for those ``groups`` of ``config["ood_dataset"]``.

    Raises:
        UserError: when the config has no such section or group.
    """
    section = config.get("ood_dataset")
    if not section:
        raise UserError(
            "this config has no section ood_dataset; add the benchmark's second file, "
            "for example configs/datasets/htad/htad_4_3_ood.yml, after --config."
        )
    loaders: dict[str, Any] = {}
    for split in section["split_names"]:
        if split not in groups:
            continue
        part = section[split]
        if split == "val":
            loaders[split] = _ood_loader(config, section, split, part)
        else:
            loaders[split] = {
                name: _ood_loader(config, section, split, part[name])
                for name in (file_name(str(each), "OOD set") for each in part["datasets"])
            }
    return loaders


def _ood_loader(
    config: Mapping[str, Any], section: Mapping[str, Any], split: str, part: Mapping[str, Any]
) -> DataLoader[Any]:
    dataset = _build_dataset(
        section["dataset_class"],
        f"{section['name']}_{split}",
        part,
        section["num_classes"],
        _build_preprocessor(config, "test"),
    )
    return DataLoader(
        dataset, batch_size=section["batch_size"], shuffle=False, num_workers=section.get("num_workers") or 0
    )


def _build_preprocessor(config: Mapping[str, Any], split: str) -> Any:
    name = (config.get("preprocessor") or {}).get("name") or "multimodal_base"
    return PREPROCESSORS.get(name)(config, split)


def _build_dataset(
    dataset_class: str, name: str, part: Mapping[str, Any], num_classes: int, preprocessor: Any
) -> Dataset[Any]:
    return DATASETS.get(dataset_class)(
        name=name,
        imglist_pth=part["imglist_pth"],
        data_dir=part.get("data_dir") or "",
        num_classes=num_classes,
        preprocessor=preprocessor,
        data_aux_preprocessor=None,
    )


class EmbeddingLoader:
    """Batches of stored embeddings, shaped as OpenOOD's postprocessors expect: ``{"data": [B, D], "label": [B]}``.

    Native postprocessors read ``embeddings`` at once instead.

    Args:
        embeddings: what to serve, in order.
        batch_size: rows a batch.
    """

    def __init__(self, embeddings: Embeddings, batch_size: int = 1024) -> None:
        self.embeddings = embeddings
        self.batch_size = batch_size
        self.dataset = range(len(embeddings))

    def __len__(self) -> int:
        return -(-len(self.embeddings) // self.batch_size)

    def __iter__(self) -> Any:
        for start in range(0, len(self.embeddings), self.batch_size):
            stop = start + self.batch_size
            # a copy: stored embeddings are read-only memory maps, and OpenOOD's scores may write into a batch
            yield {
                "data": torch.tensor(self.embeddings.features[start:stop], dtype=torch.float32),
                "label": torch.tensor(self.embeddings.labels[start:stop], dtype=torch.int64),
            }
