"""Check which clip files exist, and suggest near matches for missing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from ..datasets.cells import FRAME_NAME, flow_y, split_frames
from ..datasets.inventory import BROKEN, FILE, FOLDER, OTHER, OUTSIDE, Inventory

ELSEWHERE = "in another place"
"""Why a file is missing that lies where the dataset's folder has its other files, and not where the manifest says."""


@dataclass(frozen=True)
class Wanted:
    """A clip whose files are looked for.

    Attributes:
        clip: its name.
        class_name: its class.
        cells: modality → manifest cell.
        others: modality → other cells that would do, and are reported where the first is missing.
    """

    clip: str
    class_name: str
    cells: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)


class Missing(NamedTuple):
    """One modality that a clip lacks; the columns of the list of what is missing.

    Attributes:
        clip: the clip.
        class_name: its class.
        modality: the modality.
        expected: file or folder that should be there.
        reason: ``missing``, how an existing one differs, or why what is there can't be used.
        nearest: the existing one, or "".
    """

    clip: str
    class_name: str
    modality: str
    expected: str
    reason: str
    nearest: str


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        wanted: the clips looked for.
        modalities: those looked for.
        missing: one entry a clip and modality that is not there.
        complete: for each clip, whether all its modalities are there.
    """

    wanted: tuple[Wanted, ...]
    modalities: tuple[str, ...]
    missing: tuple[Missing, ...]
    complete: tuple[bool, ...]

    def found(self, modality: str) -> int:
        """Return for how many clips a modality is there."""
        return len(self.wanted) - sum(each.modality == modality for each in self.missing)

    def by_class(self) -> dict[str, Counter[str]]:
        """Return class → its clips (key "") and how many of them lack each modality; sorted, incomplete ones only."""
        counts: dict[str, Counter[str]] = {}
        for lacking in self.missing:
            counts.setdefault(lacking.class_name, Counter())[lacking.modality] += 1
        totals = Counter(each.class_name for each in self.wanted)
        return {name: Counter({"": totals[name], **counts[name]}) for name in sorted(counts)}


class _Fault(NamedTuple):
    expected: str
    reason: str
    nearest: str = ""


def check(inventory: Inventory, wanted: Iterable[Wanted], modalities: Sequence[str]) -> Checked:
    """Look for the files of all clips; each folder is listed once, and no file is opened."""
    fault_of = cache(partial(_fault, inventory))
    clips = tuple(wanted)
    missing: list[Missing] = []
    complete = []
    for each in clips:
        before = len(missing)
        for modality in modalities:
            fault = fault_of(modality, each.cells.get(modality, ""))
            if fault is None:
                continue
            other = each.others.get(modality)
            if other is not None and fault_of(modality, other) is None:
                fault = _Fault(fault.expected, ELSEWHERE, split_frames(other)[0])
            missing.append(Missing(each.clip, each.class_name, modality, *fault))
        complete.append(len(missing) == before)
    return Checked(clips, tuple(modalities), tuple(missing), tuple(complete))


def places_of(modality: str, cell: str) -> tuple[list[str], list[str], tuple[int, int] | None]:
    """Return the files that a cell stands for, or the folders of frames and the span of them that is meant."""
    path, span = split_frames(cell)
    if span is None and not path.endswith("/"):
        return ([path, flow_y(path)] if modality == "flow" and "_flow_x" in path else [path]), [], None
    path = path.rstrip("/")
    return [], ([f"{path}/u", f"{path}/v"] if modality == "flow" else [path]), span


def _fault(inventory: Inventory, modality: str, cell: str) -> _Fault | None:
    if not cell:
        return _Fault("", "the manifest names no file")
    files, folders, span = places_of(modality, cell)
    for path in files:
        kind = inventory.kind(path)
        fault = _absent(inventory, path) if kind is None else _unless(FILE, kind, path)
        if fault is not None:
            return fault
    for folder in folders:
        kind = inventory.kind(folder)
        fault = _absent(inventory, folder) if kind is None else _unless(FOLDER, kind, folder)
        fault = fault or _frames(inventory, folder, span)
        if fault is not None:
            return fault
    return None


def _unless(wanted: str, kind: str, path: str) -> _Fault | None:
    return None if kind == wanted else _Fault(path, _UNUSABLE[kind], path)


def _frames(inventory: Inventory, folder: str, span: tuple[int, int] | None) -> _Fault | None:
    numbers = inventory.frames(folder)
    if span is None:
        return None if len(numbers) else _Fault(folder, "the folder has no frames", folder)
    first, last = span
    there = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, last, side="right")]
    lacking = last - first + 1 - len(there)
    if lacking <= 0:
        return None
    # not by listing those expected: a cell may claim any number of frames
    absent = first + int(np.searchsorted(there - np.arange(len(there)), first, side="right"))
    frame = f"{folder}/{FRAME_NAME.format(absent)}"
    return _Fault(frame, f"{lacking} of frames {first} to {last} missing", folder)


def _absent(inventory: Inventory, path: str) -> _Fault | None:
    nearest, difference = inventory.nearest(path)
    if nearest and (inventory.root / path).exists():
        return None  # a file system that takes both spellings for one, as on macOS and Windows
    parts = path.split("/")
    for folder in ("/".join(parts[:end]) for end in range(1, len(parts))):
        kind = inventory.kind(folder)
        if kind in (OUTSIDE, BROKEN):
            return _Fault(path, f"{folder} is {_UNUSABLE[kind]}")
        if kind != FOLDER:
            break
    return _Fault(path, difference or "missing", nearest)


_UNUSABLE = {
    FILE: "not a folder",
    FOLDER: "a folder, not a file",
    OUTSIDE: "a symbolic link that leaves the dataset's folder",
    BROKEN: "a symbolic link to nothing",
    OTHER: "a device or a pipe, not a file",
}
