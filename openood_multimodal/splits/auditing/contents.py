"""Clips whose files hold the same, whatever they are called: by SHA-256 of the files and by the span that is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...corpora.clip_check import Checked, places_of
from ...datasets.cells import FRAME_NAME
from ...datasets.inventory import Inventory
from ...datasets.manifest import Manifest
from ...files import file_sha256
from ...files.paths import resolve_inside

_EXAMPLES = 5


@dataclass(frozen=True)
class SameContent:
    """Clips of one set whose content is in another, or earlier in the same set.

    Attributes:
        clips: those that share the files and the span of at least one modality with a clip there.
        conflicting: those of them that have another class there.
        by_modality: modality → the clips that share it.
        examples: pairs of the clip's name and the name there.
    """

    clips: int
    conflicting: int
    by_modality: dict[str, int]
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SetContents:
    """What the clips of a set hold.

    Attributes:
        manifest: the set.
        keys: modality → for each clip what tells its content from others'; None where its files aren't all there.
    """

    manifest: Manifest
    keys: dict[str, tuple[bytes | None, ...]]

    @property
    def hashed(self) -> int:
        """The clips of which at least one modality is there."""
        return sum(any(each) for each in zip(*self.keys.values(), strict=True))


class ContentReader:
    """Reads each file once, whichever sets, splits and spans it is in; time is linear in bytes.

    Args:
        after_clip: called after each clip, for a progress bar.
    """

    def __init__(self, after_clip: Callable[[], object] = lambda: None) -> None:
        self._after_clip = after_clip
        self._files: dict[tuple[str, str], bytes] = {}

    def read(self, manifest: Manifest, checked: Checked, inventory: Inventory) -> SetContents:
        """Return the contents of the clips.

        Args:
            manifest: the set.
            checked: which of its files are there; the others are not read.
            inventory: of the folder that they are in.

        Raises:
            UserError: when a file can't be read, or lies outside the folder.
        """
        lacking = {(each.clip, each.modality) for each in checked.missing}
        keys: dict[str, list[bytes | None]] = {modality: [] for modality in manifest.files}
        for row, clip in enumerate(manifest.clips):
            for modality, cells in manifest.files.items():
                there = (clip, modality) not in lacking
                keys[modality].append(
                    self._key(manifest, row, modality, cells[row], inventory) if there else None
                )
            self._after_clip()
        return SetContents(manifest, {modality: tuple(each) for modality, each in keys.items()})

    def _key(self, manifest: Manifest, row: int, modality: str, cell: str, inventory: Inventory) -> bytes:
        files, folders, span = places_of(modality, cell)
        key = hashlib.sha256(modality.encode())
        for file in files:
            key.update(self._file(inventory, file))
        for folder in folders:
            numbers = inventory.frames(folder)
            if span is not None:
                numbers = numbers[
                    np.searchsorted(numbers, span[0]) : np.searchsorted(numbers, span[1], "right")
                ]
            key.update(f"{len(numbers)} frames".encode())
            for number in numbers.tolist():
                key.update(self._file(inventory, f"{folder}/{FRAME_NAME.format(number)}"))
        if files:  # seconds never cut a span of frames; a file's beginning is second 0
            times = np.nan_to_num([manifest.starts[row], manifest.stops[row]], nan=0.0)
            key.update((times + 0.0).tobytes())
        return key.digest()

    def _file(self, inventory: Inventory, relative: str) -> bytes:
        place = (str(inventory.root), relative)
        if place not in self._files:
            self._files[place] = bytes.fromhex(
                file_sha256(resolve_inside(inventory.root, relative, remember=True))
            )
        return self._files[place]


def same_content(contents: SetContents, other: SetContents | None = None) -> SameContent:
    """Count the clips whose content is in ``other``; without it, those whose content an earlier clip of the set has."""
    manifest = contents.manifest
    seen: dict[bytes, tuple[str, str]] = {} if other is None else _first_of_each(other)
    clips = conflicting = 0
    by_modality = dict.fromkeys(contents.keys, 0)
    examples: list[tuple[str, str]] = []
    for row, (clip, class_name) in enumerate(zip(manifest.clips, manifest.class_names, strict=True)):
        own = {modality: key for modality, each in contents.keys.items() if (key := each[row]) is not None}
        shared = {modality: seen[key] for modality, key in own.items() if key in seen}
        if shared:
            name, class_there = next(iter(shared.values()))
            clips += 1
            conflicting += class_there != class_name
            examples.append((clip, name))
        for modality in shared:
            by_modality[modality] += 1
        if other is None:
            for key in own.values():
                seen.setdefault(key, (clip, class_name))
    return SameContent(clips, conflicting, by_modality, tuple(examples[:_EXAMPLES]))


def _first_of_each(contents: SetContents) -> dict[bytes, tuple[str, str]]:
    manifest = contents.manifest
    first: dict[bytes, tuple[str, str]] = {}
    for keys in contents.keys.values():
        for key, named in zip(keys, zip(manifest.clips, manifest.class_names, strict=True), strict=True):
            if key is not None:
                first.setdefault(key, named)
    return first
