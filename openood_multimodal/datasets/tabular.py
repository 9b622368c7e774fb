"""Tables of features as a multimodal dataset: one row a clip, a block of columns a modality."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..config import bind
from ..errors import UserError
from ..naming import did_you_mean
from ..registry import DATASETS
from .batch import ModalityBatch
from .benchmarks import Benchmark, Partition, load_benchmark
from .collate import Collated
from .layouts import SourceTable, load_table
from .manifest import OOD_LABEL, Manifest
from .own_table import ManifestRequest, load_manifest_table
from .splits import Split, grouped_runs, ordered_rows
from .standardize import Standardizer

ID_SPLITS = ("train", "val", "test")
OOD_SPLITS = {"ood_val": "val", "nearood": "nearood", "farood": "farood"}


@dataclass(frozen=True)
class BenchmarkRequest:
    """What ``imglist_pth`` says: which rows of which benchmark.

    Attributes:
        benchmark: a packaged benchmark's name, or the path of a YAML file.
        split: ``train``, ``val``, ``test``, ``nearood``, ``farood`` or ``ood_val``.
        set: name of the OOD set; may be empty where the group has one.
        partition: number of the class partition.
        seed: rotates the test recordings of grouped splits; other splits don't depend on it.
        modalities: which, in which order; a list, or text with commas; None for the benchmark's default.
        standardize: z-scores by the train split's statistics; False leaves the values as they are.
        accept_changed: take source files whose digest differs from the benchmark's.
    """

    benchmark: str
    split: str
    set: str = ""
    partition: int = 0
    seed: int = 0
    modalities: list[str] | str | None = None
    standardize: bool = True
    accept_changed: bool = False

    def __post_init__(self) -> None:
        known = (*ID_SPLITS, *OOD_SPLITS)
        if self.split not in known:
            raise UserError(
                f"imglist_pth.split: there is no split '{self.split}'.{did_you_mean(self.split, known)}"
            )
        if self.set and self.split in ID_SPLITS:
            raise UserError(f"imglist_pth.set: '{self.set}' goes with an OOD group, not with '{self.split}'.")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ready to be served; shared between datasets, so never written to.

    Attributes:
        features: modality → float32 ``[N, d]``.
        manifest: their clips.
        class_names: the in-distribution classes; a class's place is its label.
    """

    features: Mapping[str, Tensor]
    manifest: Manifest
    class_names: tuple[str, ...]


@DATASETS.register("MultimodalTabularDataset")
class MultimodalTabularDataset(Dataset[dict[str, Any]]):
    """Rows of a benchmark, or of one's own tables, as OpenOOD constructs datasets.

    A sample is ``{"data": ModalityBatch of [d], "label": int, "index": int, "clip": str}``; loaders fetch
    whole batches through ``__getitems__``: ``{"data": ModalityBatch of float32 [B, d], "label": int64 [B],
    "index": int64 [B], "clip": list[str]}``, equal to what collating the samples gives.

    Args:
        name: what to call it in messages.
        imglist_pth: a mapping with the fields of `BenchmarkRequest`; or the path of a manifest CSV whose
            cells are ``file.csv#row``; or a mapping with the fields of `own_table.ManifestRequest`.
        data_dir: folder of the source files.  Empty: the installed data package, or the manifest's folder.
        num_classes: number of in-distribution classes; must agree with the data.
        preprocessor: one of this package's kind (``handles_modalities``); any other is ignored, since
            OpenOOD builds one for images whatever the dataset.
        data_aux_preprocessor: taken for OpenOOD's sake, not used.

    Attributes:
        manifest: one row a sample.
        modalities: names, in order.
        input_dims: modality → d.
        labels: int64 ``[N]``, -1 for OOD rows.
        num_classes: as given.
        class_names: the in-distribution classes, in the order of their labels.
        benchmark: the `Benchmark`, or None for one's own tables.
        track: the benchmark's track; ``demo`` for one's own tables.
        provenance: what a result record needs to know of the data.

    Raises:
        UserError: unknown option, split, set, partition or modality; a file that is missing, changed or not
            finite; a class with too few rows or runs; a label outside the classes.
    """

    def __init__(
        self,
        name: str,
        imglist_pth: str | os.PathLike[str] | Mapping[str, Any],
        data_dir: str | os.PathLike[str],
        num_classes: int,
        preprocessor: Any = None,
        data_aux_preprocessor: Any = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.benchmark: Benchmark | None = None
        data_dir = os.fspath(data_dir or "")
        if isinstance(imglist_pth, Mapping) and "manifest" not in imglist_pth:
            request = bind(imglist_pth, BenchmarkRequest, "imglist_pth", ignore=())
            self.benchmark = load_benchmark(request.benchmark)
            rows, modified = _benchmark_rows(self.benchmark, request, data_dir)
            self.provenance = _provenance(self.benchmark, request, rows, modified)
        else:
            rows, self.provenance = _own_rows(imglist_pth, data_dir)
        _check_num_classes(num_classes, rows, name)
        self.num_classes = num_classes
        self.track = str(self.provenance["track"])
        self.class_names = rows.class_names
        self.manifest = rows.manifest
        self.modalities = tuple(rows.features)
        self.input_dims = {modality: tensor.shape[1] for modality, tensor in rows.features.items()}
        self.labels: NDArray[np.int64] = rows.manifest.labels
        self.epoch = 0
        self._features = dict(rows.features)
        self._labels = torch.from_numpy(self.labels.copy())
        self._clips = rows.manifest.clips
        self._preprocessor = preprocessor if getattr(preprocessor, "handles_modalities", False) else None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that augmentation depends on, before a loader's workers start: they hold copies."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = range(len(self))[int(index)]
        batch = self._gather([place])
        return {
            "data": batch["data"].map(lambda tensor: tensor[0]),
            "label": int(batch["label"][0]),
            "index": place,
            "clip": batch["clip"][0],
        }

    def __getitems__(self, indices: Sequence[int]) -> list[Collated]:
        return [Collated(self._gather([int(index) for index in indices]))]

    def _gather(self, places: list[int]) -> dict[str, Any]:
        index = torch.tensor(places, dtype=torch.int64)
        data = ModalityBatch((name, tensor.index_select(0, index)) for name, tensor in self._features.items())
        if self._preprocessor is not None:
            data = self._preprocessor(data, getattr(self._preprocessor, "seed", 0), self.epoch, places)
        return {
            "data": data,
            "label": self._labels.index_select(0, index),
            "index": index,
            "clip": [self._clips[place] for place in places],
        }

    def __repr__(self) -> str:
        dims = ", ".join(f"{modality} {width}" for modality, width in self.input_dims.items())
        return f"{type(self).__name__}({self.name}: {len(self)} rows; {dims})"


def split_rows(
    benchmark: Benchmark, table: SourceTable, partition: Partition, seed: int, number: int
) -> Split:
    """Return the in-distribution rows of ``table`` for a partition (``number`` is its place) and a seed."""
    rule = benchmark.split
    if rule.rule == "grouped_runs":
        return grouped_runs(table.class_names, partition.id, number + seed, rule.val_percent)
    return ordered_rows(table.class_names, partition.id, rule.val_percent, rule.test_percent)


def _benchmark_rows(benchmark: Benchmark, request: BenchmarkRequest, data_dir: str) -> tuple[Rows, bool]:
    asked = request.modalities
    if isinstance(asked, str):
        asked = [part.strip() for part in asked.split(",") if part.strip()]
    modalities = benchmark.choose_modalities(None if asked is None else tuple(asked))
    table, modified = load_table(benchmark, modalities, data_dir, request.accept_changed)
    set_name = request.set
    if request.split in OOD_SPLITS:
        set_name, _ = benchmark.ood_set(OOD_SPLITS[request.split], request.set)
    rows = _cut(
        benchmark, table, request.split, set_name, request.partition, request.seed, request.standardize
    )
    return rows, modified


@lru_cache(maxsize=32)
def _cut(
    benchmark: Benchmark,
    table: SourceTable,
    split: str,
    set_name: str,
    number: int,
    seed: int,
    standardize: bool,
) -> Rows:
    partition = benchmark.partition(number)
    parts = split_rows(benchmark, table, partition, seed, number)
    if split in ID_SPLITS:
        rows = getattr(parts, split)
        label_of = {name: label for label, name in enumerate(partition.id)}
        labels = np.asarray([label_of[name] for name in table.class_names[rows].tolist()], dtype=np.int64)
    else:
        _, ood_set = benchmark.ood_set(OOD_SPLITS[split], set_name)
        rows = np.flatnonzero(np.isin(table.class_names, ood_set.classes_in(partition)))
        labels = np.full(len(rows), OOD_LABEL, dtype=np.int64)
        if not len(rows):
            raise UserError(f"benchmark {benchmark.name}: the OOD set {set_name} has no row in these files.")
    labels.setflags(write=False)
    features = {}
    for modality, values in table.features.items():
        kept = values[rows]
        if standardize:
            kept = Standardizer.fit(values[parts.train]).apply(kept)
        features[modality] = _float32(kept, f"benchmark {benchmark.name}, modality {modality}")
    manifest = Manifest.create(
        clips=[f"{benchmark.layout}-{row:05d}" for row in rows.tolist()],
        labels=labels,
        class_names=table.class_names[rows].tolist(),
        groups=table.groups[rows].tolist(),
        files={name: [f"{file}#{row}" for row in rows.tolist()] for name, file in table.files.items()},
    )
    return Rows(features, manifest, partition.id)


def _own_rows(
    imglist_pth: str | os.PathLike[str] | Mapping[str, Any], data_dir: str
) -> tuple[Rows, dict[str, Any]]:
    if isinstance(imglist_pth, Mapping):
        request = bind(imglist_pth, ManifestRequest, "imglist_pth", ignore=())
    else:
        request = ManifestRequest(os.fspath(imglist_pth))
    manifest, features = load_manifest_table(request, data_dir)
    class_of = dict(zip(manifest.labels.tolist(), manifest.class_names, strict=True))
    count = max(class_of, default=OOD_LABEL) + 1
    class_names = tuple(class_of.get(label, f"class {label}") for label in range(count))
    tensors = {
        name: _float32(values, f"{request.manifest}, modality {name}") for name, values in features.items()
    }
    provenance = {
        "benchmark": None,
        "track": "demo",
        "synthetic": False,
        "modified": False,
        "manifest": request.manifest,
        "modalities": list(tensors),
        "standardize_from": request.standardize_from,
    }
    return Rows(tensors, manifest, class_names), provenance


def _provenance(
    benchmark: Benchmark, request: BenchmarkRequest, rows: Rows, modified: bool
) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "benchmark_version": benchmark.version,
        "track": benchmark.track,
        "synthetic": benchmark.synthetic,
        "modified": modified,
        "partition": request.partition,
        "seed": request.seed,
        "split": request.split,
        "set": request.set,
        "modalities": list(rows.features),
        "standardize": request.standardize,
    }


def _float32(values: NDArray[np.float64], where: str) -> Tensor:
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(narrow).all():
        raise UserError(f"{where}: a value is too large for float32; rescale the column.")
    return torch.from_numpy(narrow)


def _check_num_classes(num_classes: int, rows: Rows, name: str) -> None:
    count = len(rows.class_names)
    if (
        rows.manifest.source
    ):  # one's own table: an OOD manifest has no labelled row, a part of the data may lack some
        if count > num_classes:
            line = int(np.argmax(rows.manifest.labels >= num_classes)) + 2
            raise UserError(
                f"{rows.manifest.source}, line {line}: label {rows.manifest.labels[line - 2]} is outside the "
                f"{num_classes} classes of dataset {name} (num_classes); labels are 0 to {num_classes - 1}."
            )
    elif count != num_classes:
        raise UserError(
            f"dataset {name}: num_classes is {num_classes}, but the benchmark's partition has {count} "
            f"in-distribution classes ({', '.join(rows.class_names)}). Set num_classes: {count}."
        )
