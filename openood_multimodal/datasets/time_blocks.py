"""Long recordings cut into blocks of time, with a gap around the cuts that no side may use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .manifest import Manifest


@dataclass(frozen=True)
class TimeBlocks:
    """Blocks of ``seconds`` seconds; clips of different sides are at least ``gap`` seconds apart."""

    seconds: float
    gap: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and math.isfinite(self.gap) and 0 <= self.gap < self.seconds):
            raise UserError(
                f"blocks of {self.seconds:g} s with a gap of {self.gap:g} s: the gap is at least 0 and shorter than "
                "a block."
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
        """Return which clips, with half a gap on either end, touch no block of another side than their ``own``."""
        _check_times(manifest)
        kept = np.zeros(len(manifest), dtype=np.bool_)
        half = self.gap / 2
        spans = zip(manifest.groups, manifest.starts.tolist(), manifest.stops.tolist(), strict=True)
        for row, (recording, start, stop) in enumerate(spans):
            first, last = int((start - half) // self.seconds), int((stop + half) // self.seconds)
            touched = {sides.get(f"{recording}@{block}", own[row]) for block in range(first, last + 1)}
            kept[row] = touched == {own[row]}
        return kept


def _check_times(manifest: Manifest) -> None:
    unknown = np.flatnonzero(np.isnan(manifest.starts) | np.isnan(manifest.stops))
    if unknown.size:
        raise UserError(
            f"recordings can't be cut by time: the clip '{manifest.clips[int(unknown[0])]}' has no start and stop. "
            "Split by recording, without --block."
        )
