"""Clips of one side that another side knows: their recordings, their very seconds, or the clips themselves."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...corpora.recordings import original_name, time_span
from ...datasets.manifest import Manifest

NEIGHBOUR_SECONDS = 1.0
"""Segments closer than this show much the same."""


@dataclass(frozen=True)
class SeenRecordings:
    """Clips of one set whose recording is in another.

    Attributes:
        clips: of the set, in all.
        unknown: clips whose recording is unknown.
        any_class: clips whose recording is in the other set.
        same_class: clips whose recording is there with a clip of the same class.
    """

    clips: int
    unknown: int
    any_class: int
    same_class: int


@dataclass(frozen=True)
class Overlaps:
    """Clips of one set that share time with one of another, in one recording.

    Attributes:
        timed: clips of the set whose place in the recording is known.
        overlapping: those that overlap a clip of the other set.
        neighbouring: those that overlap one or are less than `NEIGHBOUR_SECONDS` away.
    """

    timed: int
    overlapping: int
    neighbouring: int


@dataclass(frozen=True)
class Duplicates:
    """Clips that are the same file and span; ``conflicting`` have another class there."""

    clips: int
    conflicting: int
    examples: tuple[str, ...]


def seen_recordings(manifest: Manifest, other: Manifest) -> SeenRecordings:
    """Count the clips of ``manifest`` whose recording is in ``other``."""
    recordings = set(other.groups) - {""}
    pairs = set(zip(other.groups, other.class_names, strict=True))
    any_class = sum(name in recordings for name in manifest.groups)
    same_class = sum(
        bool(name) and (name, class_name) in pairs
        for name, class_name in zip(manifest.groups, manifest.class_names, strict=True)
    )
    return SeenRecordings(len(manifest), manifest.groups.count(""), any_class, same_class)


def spans(manifest: Manifest, dataset: str) -> list[tuple[float, float]]:
    """Return where each clip stands in its recording, in seconds: as the manifest says, else as its name does."""
    found = []
    times = zip(manifest.clips, manifest.starts.tolist(), manifest.stops.tolist(), strict=True)
    for clip, start, stop in times:
        if (math.isnan(start) or math.isnan(stop)) and dataset:
            start, stop = time_span(dataset, clip)
        found.append((start, stop))
    return found


def overlaps(
    manifest: Manifest,
    manifest_spans: Sequence[tuple[float, float]],
    other: Manifest,
    other_spans: Sequence[tuple[float, float]],
) -> Overlaps:
    """Count the clips of ``manifest`` that share time with a clip of ``other``."""
    there: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for recording, (start, stop) in zip(other.groups, other_spans, strict=True):
        if recording and not math.isnan(start + stop):
            there[recording].append((start, stop))
    timelines = {recording: _Timeline(each) for recording, each in there.items()}
    timed = overlapping = neighbouring = 0
    for recording, (start, stop) in zip(manifest.groups, manifest_spans, strict=True):
        if not recording or math.isnan(start + stop):
            continue
        timed += 1
        if recording not in timelines:
            continue
        overlapping += timelines[recording].meets(start, stop)
        neighbouring += timelines[recording].meets(start - NEIGHBOUR_SECONDS, stop + NEIGHBOUR_SECONDS)
    return Overlaps(timed, overlapping, neighbouring)


class _Timeline:
    """Spans of one recording, by start, with the latest stop so far."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._latest: list[float] = []
        for _, stop in ordered:
            self._latest.append(max(stop, self._latest[-1]) if self._latest else stop)

    def meets(self, start: float, stop: float) -> bool:
        """Tell whether a span has more than an instant in common with ``start`` to ``stop``."""
        before = bisect.bisect_left(self._starts, stop)
        return before > 0 and self._latest[before - 1] > start


def clip_key(manifest: Manifest, row: int) -> tuple[object, ...]:
    """Return what tells a clip from others: its name without the mark of a repetition, or its file and span."""
    return (original_name(manifest.clips[row]),)


def file_key(manifest: Manifest, row: int) -> tuple[object, ...] | None:
    """Return a clip's first file and its span; None where it has no file."""
    cell = next((cells[row] for cells in manifest.files.values() if cells[row]), "")
    if not cell:
        return None
    start, stop = float(manifest.starts[row]), float(manifest.stops[row])
    span = (None if math.isnan(start) else start, None if math.isnan(stop) else stop)
    return (cell, *span) if "#frames=" not in cell else (cell,)


def duplicates_within(manifest: Manifest) -> Duplicates:
    """Count the clips of a manifest that stand in it before."""
    return _duplicates(manifest, {}, own=True)


def duplicates_across(manifest: Manifest, other: Manifest) -> Duplicates:
    """Count the clips of ``manifest`` that are in ``other``."""
    return _duplicates(manifest, _keys(other), own=False)


def _keys(manifest: Manifest) -> Mapping[tuple[object, ...], str]:
    found: dict[tuple[object, ...], str] = {}
    for row, name in enumerate(manifest.class_names):
        for key in (clip_key(manifest, row), file_key(manifest, row)):
            if key is not None:
                found.setdefault(key, name)
    return found


def _duplicates(manifest: Manifest, known: Mapping[tuple[object, ...], str], own: bool) -> Duplicates:
    seen = dict(known)
    clips = conflicting = 0
    examples: list[str] = []
    for row, name in enumerate(manifest.class_names):
        keys = [key for key in (clip_key(manifest, row), file_key(manifest, row)) if key is not None]
        there = next((seen[key] for key in keys if key in seen), None)
        if there is not None:
            clips += 1
            conflicting += there != name
            examples.append(manifest.clips[row])
        if own:
            for key in keys:
                seen.setdefault(key, name)
    return Duplicates(clips, conflicting, tuple(examples[:5]))
