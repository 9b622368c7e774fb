"""What a split leaks: recordings, duplicates and overlapping segments on two sides, classes that are not apart."""

from .audit import SCHEMA_VERSION, audit_split
from .class_names import ClassOverlaps, load_class_overlaps
from .contents import ContentReader
from .loading import LoadedSplit, load_splits

__all__ = [
    "SCHEMA_VERSION",
    "ClassOverlaps",
    "ContentReader",
    "LoadedSplit",
    "audit_split",
    "load_class_overlaps",
    "load_splits",
]
