"""Data loaders from a config, as OpenOOD builds them, with this package's registry in place of its globals."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..arrays import Embeddings
from ..errors import UserError
from ..files.paths import file_name
from ..ranks import ShareOfBatches, local, share_batches, world
from ..registry import DATASETS, PREPROCESSORS
from ..vocabulary import ID_SETS, OOD_VAL
from ..workers import worker_count


def build_loaders(config: Mapping[str, Any], training: bool) -> dict[str, DataLoader[Any]]:
    """Return split → loader for the in-distribution splits of ``config["dataset"]``.

    Args:
        config: needs the section ``dataset``, and ``preprocessor.name`` (default ``multimodal_base``).
        training: whether the train split is shuffled and augmented; for extraction and tests it is neither.
    """
    section = config["dataset"]
    loaders: dict[str, DataLoader[Any]] = {}
    for split in section["split_names"]:
        part = section[file_name(str(split), "split")]
        dataset, options = build_split(config, split, split if training else "test", training)
        shuffle = bool(training and part.get("shuffle"))
        loaders[split] = _Loader(dataset, part["batch_size"], shuffle, **options)
    return loaders


def build_split(
    config: Mapping[str, Any], split: str, seen_as: str = "train", persistent: bool = False
) -> tuple[Dataset[Any], dict[str, Any]]:
    """Return the dataset of one section of ``config["dataset"]``, and the options of a loader of it.

    Args:
        config: as `build_loaders` takes it.
        split: the section's name.
        seen_as: the split whose preprocessing it gets.
        persistent: whether workers outlive an epoch.
    """
    section = config["dataset"]
    part = section[split]
    dataset = _build_dataset(
        part["dataset_class"],
        f"{section['name']}_{split}",
        part,
        section["num_classes"],
        _build_preprocessor(config, seen_as),
    )
    return dataset, _options(config, section, persistent)


def build_ood_loaders(config: Mapping[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    """Return ``{"nearood": {set: loader}, ..., "val": loader}`` for those ``groups`` of ``config["ood_dataset"]``.

    Raises:
        UserError: when the config has no such section or group, or two sets have one name.
    """
    section = config.get("ood_dataset")
    if not section:
        raise UserError(
            "this config has no section ood_dataset; add the benchmark's second file, "
            "for example configs/datasets/htad/htad_4_3_ood.yml, after --config."
        )
    loaders: dict[str, Any] = {}
    taken = dict.fromkeys(("id", *ID_SETS, OOD_VAL), "the ID dataset")
    for split in section["split_names"]:
        if split not in groups:
            continue
        part = section[split]
        if split == "val":
            loaders[split] = _ood_loader(config, section, split, part)
            continue
        names = [file_name(str(each), "OOD set") for each in part["datasets"]]
        for name in names:
            if other := taken.get(name.casefold()):
                raise UserError(
                    f"ood_dataset.{split} has a set called '{name}', and {other} has one, too: results and embeddings "
                    "are filed under a set's name, so names must differ, not in case alone."
                )
            taken[name.casefold()] = f"ood_dataset.{split}"
        loaders[split] = {name: _ood_loader(config, section, split, part[name]) for name in names}
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
    return _Loader(dataset, section["batch_size"], **_options(config, section))


class _Loader(DataLoader[Any]):
    """A loader whose workers may persist without changing what else is drawn from torch's generator.

    Each pass over a loader draws one number for its workers.  Torch draws none where workers persist, and the next
    epoch's order would depend on whether the run was resumed.
    """

    def __iter__(self) -> Any:
        if self.persistent_workers and self._iterator is not None:
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        return super().__iter__()


def with_batches(loader: DataLoader[Any], batches: Any, persistent: bool = False) -> DataLoader[Any]:
    """Return a loader that reads as ``loader`` does, and yields other batches of its dataset.

    Args:
        loader: any loader of a dataset with rows.
        batches: a batch sampler, or a list of batches, each a list of rows.
        persistent: whether workers outlive a pass.
    """
    workers = loader.num_workers if not isinstance(batches, list) or len(batches) > 1 else 0
    return _Loader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=persistent and workers > 0,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def share_among_ranks(loaders: Mapping[str, DataLoader[Any]]) -> dict[str, DataLoader[Any]]:
    """Return loaders of a training for this rank: its samples of every training batch, every n-th of other batches."""
    if world() == 1:
        return dict(loaders)
    shared: dict[str, DataLoader[Any]] = {}
    for split, loader in loaders.items():
        sampler: Any = loader.batch_sampler
        mine = (
            ShareOfBatches(sampler, int(loader.batch_size or 1))
            if split == "train"
            else share_batches(list(sampler))
        )
        shared[split] = with_batches(loader, mine, loader.persistent_workers)
    return shared


def _options(config: Mapping[str, Any], section: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
    workers = section.get("num_workers")
    workers = default_workers(config) if workers is None else workers
    if workers and multiprocessing.current_process().daemon:
        raise UserError(
            f"num_workers is {workers}, and this process may start no others, being a daemon, as Dask's workers are by "
            "default: start them with DASK_DISTRIBUTED__WORKER__DAEMON=False, or set num_workers to 0."
        )
    wanted = config.get("num_gpus")
    return {
        "num_workers": workers,
        "persistent_workers": training and workers > 0,
        "pin_memory": torch.cuda.is_available() and (wanted is None or wanted > 0),
    }


MOST_WORKERS = 8
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - Linux's name of it, where workers' batches lie
_BATCHES_A_WORKER = 3  # two that wait (torch's prefetch_factor) and one in the making


def default_workers(config: Mapping[str, Any]) -> int:
    """Return how many processes read a config's samples where its ``num_workers`` is null.

    Datasets that read files (``reads_files``): one a core, at most `MOST_WORKERS`, and as many as have room for their
    batches in ``/dev/shm``.  None for data in memory, and where new processes aren't forked: a script without
    ``if __name__ == "__main__"`` would start itself again.
    """
    section = config["dataset"]
    parts = [section[split] for split in section["split_names"]]
    kinds = [DATASETS.get(part["dataset_class"]) for part in parts]
    if not any(getattr(kind, "reads_files", False) for kind in kinds):
        return 0
    if multiprocessing.get_context().get_start_method() != "fork":
        return 0
    wanted = min(max(1, worker_count(None) // local()[1]), MOST_WORKERS)
    room = min((_room(config, part) for part in parts), default=wanted)
    if room < wanted:
        logging.getLogger(__name__).warning(
            "shared memory (/dev/shm) has room for the batches of %d of %d processes that read clips; give it more "
            "(docker run --shm-size 8g), or set num_workers.",
            *(room, wanted),
        )
    return min(wanted, room)


def _room(config: Mapping[str, Any], part: Mapping[str, Any]) -> int:
    """Return how many workers' batches of ``part`` fit into the shared memory that is free."""
    preprocessor = _build_preprocessor(config, "test")
    modalities = config["dataset"].get("modalities")
    if not os.path.isdir(_SHARED_MEMORY) or not modalities or not hasattr(preprocessor, "clip_shapes"):
        return MOST_WORKERS
    values = sum(math.prod(shape) for shape in preprocessor.clip_shapes(tuple(modalities)).values())
    free = shutil.disk_usage(_SHARED_MEMORY).free
    return free // (values * 4 * int(part["batch_size"]) * _BATCHES_A_WORKER)


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
