"""SHA-256, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .edge import reading


def bytes_sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def text_sha256(text: str) -> str:
    """Return the SHA-256 of ``text`` in UTF-8."""
    return bytes_sha256(text.encode())


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return bytes_sha256(text.encode("utf-8", "surrogatepass"))


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        UserError: when it is missing or can't be read.
    """
    with reading(path, "a file"), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
