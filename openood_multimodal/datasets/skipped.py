"""Which clips of a data set were left out, and why, told by all of a loader's worker processes."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

_LONGEST = 2000  # characters of a reason; a short write to a file opened for appending is one piece


class SkippedClip(NamedTuple):
    """A clip that was left out.

    Attributes:
        row: its place in the data set.
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
        weakref.finalize(self, _remove, self._path, os.getpid())

    def add(self, index: int, clip: str, reason: str) -> bool:
        """Append a clip, unless it is there already; return whether it is a new one.

        Two processes may append the same clip at once; `read` gives it once.
        """
        if any(each.row == index for each in self.read()):
            return False
        line = json.dumps([int(index), clip, reason[:_LONGEST]]) + "\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)
        return True

    def read(self) -> tuple[SkippedClip, ...]:
        """Return the clips left out so far, each once, by their places."""
        with open(self._path, encoding="ascii") as lines:
            found = [SkippedClip(*json.loads(line)) for line in lines if line.endswith("\n")]
        return tuple(sorted({each.row: each for each in reversed(found)}.values()))


def skip_note(name: str, skipped: Sequence[SkippedClip]) -> str:
    """Return what a result record says of the clips left out of the set ``name``; "" for none."""
    if not skipped:
        return ""
    noun = "clip" if len(skipped) == 1 else "clips"
    return f"{len(skipped)} {noun} skipped of {name}: {', '.join(each.clip for each in skipped)}"


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker holds a copy of the log
        with suppress(OSError):
            os.unlink(path)
