"""Untrusted files: readers that bound what they take, locks of folders, digests, names to pass over.

A reader returns what the file holds, or raises one `UserError` with the file's name, whatever the library under it
raised.  Sizes are checked before anything is allocated; `limits` lists them.  Writers are in `atomic`.
"""

from .digests import bytes_sha256, file_sha256, text_sha256
from .edge import reading
from .limits import limit
from .locks import holding
from .names import is_clutter, listed
from .text import read_bytes, read_csv, read_json, read_table, read_text, read_yaml

__all__ = [
    "bytes_sha256",
    "file_sha256",
    "holding",
    "is_clutter",
    "limit",
    "listed",
    "read_bytes",
    "read_csv",
    "read_json",
    "read_table",
    "read_text",
    "read_yaml",
    "reading",
    "text_sha256",
]
