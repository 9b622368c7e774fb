"""Checksums inside files: a checksum in the file can't be parted from it.

What ``torch.save`` writes has the SHA-256 of all before it as the archive's comment, and ``torch.load`` reads it as
ever.  A JSON object has that of its other fields under ``sha256``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .digests import json_sha256

_SEAL = re.compile(rb"openood-mm sha256:([0-9a-f]{64})\Z")
_LENGTH = len(b"openood-mm sha256:") + 64
_BLOCK = 2**20
_KEY = "sha256"


def sealed(data: bytes) -> bytes:
    """Return the zip archive ``data``, which has no comment yet, with its checksum."""
    body = data[:-2] + _LENGTH.to_bytes(2, "little")  # the length of the comment ends the archive
    return body + b"openood-mm sha256:" + hashlib.sha256(body).hexdigest().encode()


def check_seal(path: str | os.PathLike[str], remedy: str) -> bool:
    """Compare a file with the checksum in it; return whether it has one (files of older versions don't).

    Args:
        path: the file.
        remedy: what to do about another content, a sentence.

    Raises:
        UserError: when the content is not what the checksum is of.
        OSError: when the file can't be read.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _LENGTH))
        seal = _SEAL.search(file.read())
        if seal is None:
            return False
        file.seek(0)
        digest, left = hashlib.sha256(), size - _LENGTH
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest() != seal[1].decode():
        raise UserError(
            f"{path} is damaged: it has changed since it was written (its SHA-256 is not the one in it). {remedy}"
        )
    return True


def sealed_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its checksum."""
    return {**content, _KEY: json_sha256(content)}


def check_sealed_json(content: Mapping[str, Any], where: str, remedy: str) -> dict[str, Any]:
    """Return a JSON object without its checksum, once that fits; one without a checksum (of older versions) as it is.

    Args:
        content: as read.
        where: its file.
        remedy: what to do about another content, a sentence.

    Raises:
        UserError: when the content is not what the checksum is of.
    """
    rest = {key: value for key, value in content.items() if key != _KEY}
    if _KEY in content and content[_KEY] != json_sha256(rest):
        raise UserError(
            f"{where} is damaged: it has changed since it was written (its SHA-256 is not the one in it). {remedy}"
        )
    return rest
