"""The authors' split lists → manifests: finding, checking, repairing what is known to be wrong, writing."""

from .importing import FoundList, ImportedBenchmark, find_lists, import_benchmark, missing_lists
from .reading import Entry, parse_list, read_list

__all__ = [
    "Entry",
    "FoundList",
    "ImportedBenchmark",
    "find_lists",
    "import_benchmark",
    "missing_lists",
    "parse_list",
    "read_list",
]
