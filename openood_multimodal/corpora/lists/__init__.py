"""The authors' split lists → manifests: finding, checking, repairing what is known to be wrong, writing."""

from .finding import FoundList, find_lists
from .importing import ImportedBenchmark, import_benchmark, missing_lists
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
