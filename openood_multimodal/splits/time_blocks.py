"""Long recordings cut into blocks of time, with a gap around the cuts that no side may use."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.manifest import Manifest
from ..errors import UserError

SECONDS_LIMIT = 86400.0  # a recording of a day


@dataclass(frozen=True)
class TimeBlocks:
    """Blocks of ``seconds`` seconds; clips of different sides are at least ``gap`` seconds apart."""

    seconds: float
    gap: float

    def __post_init__(self) -> None:
        if not (1 <= self.seconds <= SECONDS_LIMIT and 0 <= self.gap < self.seconds):
            raise UserError(
                f"blocks of {self.seconds:g} s with a gap of {self.gap:g} s: a block has 1 to {SECONDS_LIMIT:g} s, and "
                "the gap is at least 0 and shorter than a block."
            )

    def units(self, manifest: Manifest) -> list[str]:
        """Return the block that holds the middle of each clip, ``<recording>@<number>``; "" for an unknown recording.

        Raises:
            UserError: when a clip has no start or no stop.
        """
        _check_times(manifest)
        middles = (manifest.starts + manifest.stops) / 2
        return [
            f"{recording}@{int(middle // self.seconds)}" if recording else ""
            for recording, middle in zip(manifest.groups, middles.tolist(), strict=True)
        ]

    def clear_of(self, manifest: Manifest, own: Sequence[str], sides: Mapping[str, str]) -> NDArray[np.bool_]:
        """Return which clips, with half a gap on either end, touch no block of another side than their ``own``.

        Args:
            manifest: the clips; the recording of each has a block in ``sides``.
            own: the side of each.
            sides: block → side, of all blocks that hold the middle of a clip, ID or OOD.  An empty block belongs to
                the side before it, so that clips of two sides that reach into it can't come near each other.
        """
        _check_times(manifest)
        side_at = _sides_by_time(sides)
        kept = np.zeros(len(manifest), dtype=np.bool_)
        half = self.gap / 2
        spans = zip(manifest.groups, manifest.starts.tolist(), manifest.stops.tolist(), strict=True)
        for row, (recording, start, stop) in enumerate(spans):
            first, last = int((start - half) // self.seconds), int((stop + half) // self.seconds)
            numbers, known = side_at[recording]
            touched = {
                known[max(bisect.bisect_right(numbers, block) - 1, 0)] for block in range(first, last + 1)
            }
            kept[row] = touched == {own[row]}
        return kept


def _sides_by_time(sides: Mapping[str, str]) -> dict[str, tuple[list[int], list[str]]]:
    """Return recording → its blocks' numbers, rising, and the side of each."""
    blocks: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for unit, side in sides.items():
        recording, _, number = unit.rpartition("@")
        blocks[recording].append((int(number), side))
    return {
        recording: ([number for number, _ in sorted(each)], [side for _, side in sorted(each)])
        for recording, each in blocks.items()
    }


def _check_times(manifest: Manifest) -> None:
    unknown = np.flatnonzero(np.isnan(manifest.starts) | np.isnan(manifest.stops))
    if unknown.size:
        raise UserError(
            f"recordings can't be cut by time: the clip '{manifest.clips[int(unknown[0])]}' has no start and stop. "
            "Split by recording instead."
        )
