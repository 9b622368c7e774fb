"""What is on disk below a data set's folder: each folder is listed once, when it is first asked about."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import is_clutter
from ..files.paths import is_inside
from .layout import ClipLayout
from .places import Place

FILE, FOLDER, OUTSIDE, BROKEN, OTHER = "file", "folder", "outside", "broken", "other"
"""Kinds of entries: a link counts as what it leads to; ``outside``: it leaves the data set's folder; ``other``: a
device or a pipe."""

_SOUND = frozenset((".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"))
_FRAME = re.compile(r"frame_[0-9]{10}\.jpg")


class Inventory:
    """The files and folders below one folder.

    Args:
        root: the data set's folder.
        listed: called with each folder's relative path after it has been listed; for a progress bar.

    Raises:
        UserError: when ``root`` is no folder, or a folder below it may not be listed.
    """

    def __init__(self, root: Path, listed: Callable[[str], object] = lambda folder: None) -> None:
        if not root.is_dir():
            raise UserError(f"there is no folder {root}.")
        self.root = root
        self._listed = listed
        self._entries: dict[str, dict[str, str]] = {}
        self._folded: dict[str, dict[str, str]] = {}
        self._frames: dict[str, NDArray[np.int64]] = {}

    def entries(self, folder: str = "") -> Mapping[str, str]:
        """Return name → kind of what is in a folder, ``video/catch`` say; nothing where it isn't there."""
        known = self._entries.get(folder)
        if known is None:
            known = self._entries[folder] = self._list(folder)
            self._listed(folder)
        return known

    def kind(self, path: str) -> str | None:
        """Return the kind of what is at a relative path, or None where nothing is."""
        parent, _, name = path.rstrip("/").rpartition("/")
        return self.entries(parent).get(name)

    def frames(self, folder: str) -> NDArray[np.int64]:
        """Return the numbers of a folder's frames, ``frame_0000000012.jpg``, ascending; int64 ``[F]``."""
        folder = folder.rstrip("/")
        if folder not in self._frames:
            names: list[str] = []
            if self.kind(folder) == FOLDER:  # not by `entries`: there may be a million of them
                names = [name for name in self._names(folder) if _FRAME.fullmatch(name)]
                self._listed(folder)
            numbers = np.array([name[6:16] for name in names], dtype="U10").astype(np.int64)
            self._frames[folder] = np.sort(numbers)
        return self._frames[folder]

    def matching(self, place: Place) -> Iterator[str]:
        """Yield the files that lie as ``place`` says, sorted folder by folder."""
        yield from self._matching(place.parts, "")

    def _matching(self, parts: tuple[str | re.Pattern[str], ...], folder: str) -> Iterator[str]:
        part, rest = parts[0], parts[1:]
        wanted = FOLDER if rest else FILE
        entries = self.entries(folder)
        if isinstance(part, str):
            names = [part] if part in entries else []
        else:
            names = sorted(name for name in entries if part.fullmatch(name) and not is_clutter(name))
        for name in names:
            if entries[name] != wanted:
                continue
            path = f"{folder}/{name}" if folder else name
            if rest:
                yield from self._matching(rest, path)
            else:
                yield path

    def nearest(self, path: str) -> tuple[str, str]:
        """Return an existing path that differs from a missing one in little, and in what; ("", "") if there is none.

        Little is: letter case, Unicode normalisation, blanks against underscores, and a file's ending, but for one of
        sound against one of pictures.
        """
        found: list[str] = []
        differences: list[str] = []
        parts = path.rstrip("/").split("/")
        for place, part in enumerate(parts):
            folder = "/".join(found)
            if part not in self.entries(folder):
                part, difference = self._alike(folder, part, place == len(parts) - 1)
                if not part:
                    return "", ""
                if difference not in differences:
                    differences.append(difference)
            found.append(part)
        return "/".join(found), " and ".join(differences)

    def _alike(self, folder: str, name: str, last: bool) -> tuple[str, str]:
        if folder not in self._folded:
            entries = sorted(
                (e for e in self.entries(folder) if not is_clutter(e)), reverse=True
            )  # of several, the first in order stays
            by_stem = {_stem_key(each): each for each in entries}
            self._folded[folder] = by_stem | {_fold(each): each for each in entries}
        folded = self._folded[folder]
        other = folded.get(_fold(name))
        if other is not None:
            return other, _difference(name, other)
        other = folded.get(_stem_key(name)) if last else None
        if other is None:
            return "", ""
        same_stem = _nfc(os.path.splitext(other)[0]) == _nfc(os.path.splitext(name)[0])
        return other, "another ending" if same_stem else "other letters and another ending"

    def _list(self, folder: str) -> dict[str, str]:
        if folder and self.kind(folder) != FOLDER:
            return {}
        try:
            with os.scandir(self.root / folder) as found:
                return {entry.name: self._kind_of(entry) for entry in found}
        except OSError as error:
            raise UserError(f"the folder {self.root / folder} can't be listed: {error.strerror}.") from error

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.root / folder)
        except OSError as error:
            raise UserError(f"the folder {self.root / folder} can't be listed: {error.strerror}.") from error

    def _kind_of(self, entry: os.DirEntry[str]) -> str:
        if entry.is_symlink():
            if not os.path.exists(entry.path):
                return BROKEN
            if not is_inside(os.fspath(self.root), os.path.realpath(entry.path)):
                return OUTSIDE
        return FOLDER if entry.is_dir() else FILE if entry.is_file() else OTHER


def locate(layout: ClipLayout, inventory: Inventory) -> ClipLayout:
    """Return the layout with the places that hold most files of each modality; where none has any, the first.

    A function of what is below the folder alone.  The first place wins a tie.
    """
    if layout.recordings:
        return layout
    places = {
        modality: (max(choices, key=lambda place: _count(layout, inventory, place)),)
        for modality, choices in layout.places.items()
    }
    return layout.with_places(places)


def clips_on_disk(layout: ClipLayout, inventory: Inventory) -> dict[str, str]:
    """Return clip → its video, of all clips whose videos lie in the layout's first place for them."""
    place = layout.places["video"][0]
    found = {}
    for path in inventory.matching(place):
        clip = _clip_of(layout, place, path)
        if clip:
            found[clip] = path
    return found


def _count(layout: ClipLayout, inventory: Inventory, place: Place) -> int:
    return sum(_clip_of(layout, place, path) is not None for path in inventory.matching(place))


def _clip_of(layout: ClipLayout, place: Place, path: str) -> str | None:
    """Return the clip whose file in ``place`` is ``path``, "" where that doesn't tell, None where it is no clip's."""
    words = place.words(path)
    clip = layout.clip_at(words) if words is not None else None
    if not clip:
        return clip
    own = layout.words(clip)
    return clip if own is not None and place.path(own) == path else None


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _fold(name: str) -> str:
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", name).casefold())


def _stem_key(name: str) -> str:
    """Return what names have in common that differ in their ending; a sound is no video with another ending."""
    stem, ending = os.path.splitext(name)
    return f"{'sound' if ending.lower() in _SOUND else 'other'}/{_fold(stem)}"


def _difference(expected: str, found: str) -> str:
    if _nfc(expected) == _nfc(found):
        return "another Unicode normalisation"
    if _nfc(expected).casefold() == _nfc(found).casefold():
        return "other upper and lower case letters"
    return "blanks or underscores differ"
