"""Which clips of a dataset were left out, and why, told by all of a loader's worker processes."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from ..files.paths import remove

_SHOWN = 5  # clips that a note of faults names
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_LONGEST = 2000  # characters of a reason; a short write to a file opened for appending is one piece


class SkippedClip(NamedTuple):
    """A clip that was left out.

    Attributes:
        row: its place in the dataset.
        clip: its name.
        reason: the fault, with the file's name.
    """

    row: int
    clip: str
    reason: str


class SkipLog:
    """A list that any process appends to, forked or spawned, and that the process which made it reads.

    It lives in a temporary file, which goes when the log that made it does.
    """

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="openood-multimodal-skipped-", suffix=".jsonl")
        os.close(handle)
        self._found: dict[int, SkippedClip] = {}
        self._read_to = 0  # bytes of the file that are in it
        weakref.finalize(self, _remove, self._path, os.getpid())

    def add(self, index: int, clip: str, reason: str) -> bool:
        """Append a clip, unless it is there already; return whether it is a new one.

        Two processes may append the same clip at once; `read` gives it once.
        """
        self._catch_up()
        if index in self._found:
            return False
        line = json.dumps([int(index), clip, reason[:_LONGEST]]) + "\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOFOLLOW, 0o600)
        try:
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)
        return True

    def read(self) -> tuple[SkippedClip, ...]:
        """Return the clips left out so far, each once, by their places."""
        self._catch_up()
        return tuple(sorted(self._found.values()))

    def _catch_up(self) -> None:
        """Take what any process has appended since; a list as long as a dataset is read once, not once a clip."""
        with suppress(FileNotFoundError), open(self._path, "rb") as lines:  # some systems empty their /tmp
            lines.seek(self._read_to)
            for line in lines:
                if line.endswith(b"\n"):
                    each = SkippedClip(*json.loads(line))
                    self._found.setdefault(each.row, each)
                    self._read_to += len(line)


def skip_note(name: str, skipped: Sequence[SkippedClip]) -> str:
    """Return what a result record says of the clips left out of the set ``name``; "" for none."""
    if not skipped:
        return ""
    noun = "clip" if len(skipped) == 1 else "clips"
    return f"{len(skipped)} {noun} skipped of {name}: {', '.join(each.clip for each in skipped)}"


def remark_note(name: str, found: Sequence[SkippedClip]) -> str:
    """Return what a result record says of clips of the set ``name`` that have faults, yet were read; "" for none."""
    if not found:
        return ""
    count = "a clip was" if len(found) == 1 else f"{len(found)} clips were"
    more = ", ..." if len(found) > _SHOWN else ""
    shown = ", ".join(f"{each.clip} ({each.reason})" for each in found[:_SHOWN])
    return f"{count} read with faults of {name}: {shown}{more}"


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker holds a copy of the log
        with suppress(OSError):
            remove(os.path.dirname(path), os.path.basename(path))
