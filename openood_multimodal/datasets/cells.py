"""Cells of a manifest of clips: spans of frames, and the pair of videos of optical flow."""

from __future__ import annotations

import re

FRAME_NAME = "frame_{:010d}.jpg"
"""EPIC-Kitchens' names of frames."""

_FRAMES = re.compile(r"#frames=([0-9]+),([0-9]+)$")


def split_frames(cell: str) -> tuple[str, tuple[int, int] | None]:
    """Return a cell's path, and ``(first, last)`` frame where it is a span of a folder of frames."""
    found = _FRAMES.search(cell)
    if found is None:
        return cell, None
    return cell[: found.start()], (int(found[1]), int(found[2]))


def flow_y(cell: str) -> str:
    """Return the path of the y video that belongs to the x video ``cell``."""
    head, _, tail = cell.rpartition("_flow_x")
    return f"{head}_flow_y{tail}"
