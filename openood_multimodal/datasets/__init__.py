"""Datasets: manifests, benchmarks and their splits, layouts, batches."""

from .base import MultimodalDataset
from .batch import ModalityBatch
from .benchmarks import Benchmark, available_benchmarks, load_benchmark
from .clips import MultimodalClipDataset
from .collate import Collated
from .manifest import Manifest
from .tabular import MultimodalTabularDataset

__all__ = [
    "Benchmark",
    "Collated",
    "Manifest",
    "ModalityBatch",
    "MultimodalClipDataset",
    "MultimodalDataset",
    "MultimodalTabularDataset",
    "available_benchmarks",
    "load_benchmark",
]
