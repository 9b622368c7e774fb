"""Tables of features as a multimodal dataset: one row a clip, a block of columns a modality."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import bind
from ..errors import UserError
from ..naming import did_you_mean
from ..registry import DATASETS
from ..vocabulary import BENCHMARK_GROUPS, ID_SETS
from .base import MultimodalDataset
from .batch import ModalityBatch
from .benchmarks import Benchmark, Partition, load_benchmark
from .contents import Contents, class_names_of, names_of
from .layouts import SourceTable, load_table
from .manifest import OOD_LABEL, Manifest
from .own_table import ManifestRequest, load_manifest_table
from .standardize import Standardizer
from .table_splits import Split, grouped_runs, ordered_rows


@dataclass(frozen=True)
class BenchmarkRequest:
    """What ``imglist_pth`` says: which rows of which benchmark.

    Attributes:
        benchmark: a packaged benchmark's name, or the path of a YAML file.
        split: ``train``, ``val``, ``test``, ``nearood``, ``farood``, ``ood_val`` or ``auxiliary``.
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
        known = (*ID_SETS, *BENCHMARK_GROUPS)
        if self.split not in known:
            raise UserError(
                f"imglist_pth.split: there is no split '{self.split}'.{did_you_mean(self.split, known)}"
            )
        if self.set and self.split in ID_SETS:
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
class MultimodalTabularDataset(MultimodalDataset):
    """Rows of a benchmark, or of your own tables; samples and batches are those of `MultimodalDataset`, ``[d]`` wide.

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
        input_dims: modality → d.
        benchmark: the `Benchmark`, or None for other tables.
        track: the benchmark's track; ``demo`` for other tables.

    Raises:
        UserError: unknown option, split, set, partition or modality; a file that is missing, changed or not
            finite; a class with too few rows or runs; a label outside the classes.
    """

    reads_files = False

    def describe(self, imglist_pth: str | os.PathLike[str] | Mapping[str, Any], data_dir: str) -> Contents:
        """Return the rows that a benchmark's or a manifest's request names, read whole."""
        if isinstance(imglist_pth, Mapping) and "manifest" not in imglist_pth:
            request = bind(imglist_pth, BenchmarkRequest, "imglist_pth", ignore=())
            self.benchmark = load_benchmark(request.benchmark)
            rows, modified = _benchmark_rows(self.benchmark, request, data_dir)
            provenance = _provenance(self.benchmark, request, rows, modified)
        else:
            rows, provenance = _own_rows(imglist_pth, data_dir)
        self._features = dict(rows.features)
        self.input_dims = {modality: tensor.shape[1] for modality, tensor in rows.features.items()}
        return Contents(rows.manifest, rows.class_names, provenance)

    def load(self, row: int) -> dict[str, Tensor]:
        """Return a row."""
        return {name: tensor[row].clone() for name, tensor in self._features.items()}

    def load_batch(self, rows: list[int]) -> tuple[ModalityBatch, list[int]]:
        """Return rows, gathered at once."""
        index = torch.tensor(rows, dtype=torch.int64)
        return ModalityBatch(
            (name, each.index_select(0, index)) for name, each in self._features.items()
        ), rows

    def check_labels(self) -> None:
        """Refuse another number of classes than the benchmark's, and labels outside the classes."""
        count = len(self.class_names)
        if self.benchmark is not None and count != self.num_classes:
            raise UserError(
                f"dataset {self.name}: num_classes is {self.num_classes}, but the benchmark's partition has {count} "
                f"in-distribution classes ({', '.join(self.class_names)}). Set num_classes: {count}."
            )
        super().check_labels()

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
    asked = names_of(request.modalities)
    modalities = benchmark.choose_modalities(None if asked is None else tuple(asked))
    table, modified = load_table(benchmark, modalities, data_dir, request.accept_changed)
    set_name = request.set
    if request.split in BENCHMARK_GROUPS:
        set_name, _ = benchmark.ood_set(BENCHMARK_GROUPS[request.split], request.set)
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
    if split in ID_SETS:
        rows = getattr(parts, split)
        label_of = {name: label for label, name in enumerate(partition.id)}
        labels = np.asarray([label_of[name] for name in table.class_names[rows].tolist()], dtype=np.int64)
    else:
        _, ood_set = benchmark.ood_set(BENCHMARK_GROUPS[split], set_name)
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
    return Rows(tensors, manifest, class_names_of(manifest)), provenance


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
