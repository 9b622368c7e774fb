"""What is on disk below a dataset's folder: each folder is listed once, when it is first asked about."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import is_clutter
from ..files.paths import is_inside

FILE, FOLDER, OUTSIDE, BROKEN, OTHER = "file", "folder", "outside", "broken", "other"
"""Kinds of entries: a link counts as what it leads to; ``outside``: it leaves the dataset's folder; ``other``: a
device or a pipe."""

_SOUND = frozenset((".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"))
_FRAME = re.compile(r"frame_[0-9]{10}\.jpg")


class Inventory:
    """The files and folders below one folder.

    Args:
        root: the dataset's folder.
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
        self._alike: dict[str, dict[str, str]] = {}
        self._frames: dict[str, NDArray[np.int64]] = {}

    def entries(self, folder: str = "") -> Mapping[str, str]:
        """Return name → kind of what is in a folder, ``video/catch`` say; nothing where it isn't there."""
        if folder not in self._entries:
            entries: dict[str, str] = {}
            if not folder or self.kind(folder) == FOLDER:
                with self._listing(folder), os.scandir(self.root / folder) as found:
                    entries = {entry.name: self._kind_of(entry) for entry in found}
            self._entries[folder] = entries
            self._listed(folder)
        return self._entries[folder]

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
                with self._listing(folder):
                    names = [name for name in os.listdir(self.root / folder) if _FRAME.fullmatch(name)]
                self._listed(folder)
            numbers = np.array([name[6:16] for name in names], dtype="U10").astype(np.int64)
            self._frames[folder] = np.sort(numbers)
        return self._frames[folder]

    def nearest(self, path: str) -> tuple[str, str]:
        """Return the closest existing path to a missing one, and how it differs; ("", "") if there is none.

        Close is what differs in letter case, Unicode normalisation, blanks against underscores, or a file's ending,
        but for one of sound against one of pictures.
        """
        found: list[str] = []
        differences: dict[str, None] = {}
        parts = path.rstrip("/").split("/")
        for place, part in enumerate(parts):
            other = part
            folder = "/".join(found)
            if part not in self.entries(folder):
                alike = self._names_alike(folder)
                other = alike.get(_fold(part)) or (
                    alike.get(_stem_key(part), "") if place == len(parts) - 1 else ""
                )
                if not other:
                    return "", ""
                differences[_difference(part, other)] = None
            found.append(other)
        return "/".join(found), " and ".join(differences)

    def _names_alike(self, folder: str) -> dict[str, str]:
        if folder not in self._alike:
            # of several alike, the first in order stays
            entries = sorted((name for name in self.entries(folder) if not is_clutter(name)), reverse=True)
            self._alike[folder] = {key(name): name for key in (_stem_key, _fold) for name in entries}
        return self._alike[folder]

    @contextmanager
    def _listing(self, folder: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"the folder {self.root / folder} can't be listed: {error.strerror}.") from error

    def _kind_of(self, entry: os.DirEntry[str]) -> str:
        if entry.is_symlink():
            if not os.path.exists(entry.path):
                return BROKEN
            if not is_inside(os.fspath(self.root), os.path.realpath(entry.path)):
                return OUTSIDE
        return FOLDER if entry.is_dir() else FILE if entry.is_file() else OTHER


def what_is_there(root: str | os.PathLike[str], relative: str) -> str:
    """Return a sentence about what is there instead of the missing ``root/relative``.

    Folders are listed for it: call it once something is missing, not before.
    """
    base = Path(root)
    if not base.is_dir():
        return f"The data folder {base} does not exist."
    nearest, difference = Inventory(base).nearest(relative)
    said = f"There is '{nearest}' ({difference}). " if nearest else ""
    return f"{said}openood-mm prepare lists all that is missing."


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _fold(name: str) -> str:
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", name).casefold())


def _stem_key(name: str) -> str:
    """Return what names have in common that differ in their ending; with a slash, so that it is no `_fold`."""
    stem, ending = os.path.splitext(name)
    return f"{'sound' if ending.lower() in _SOUND else 'other'}/{_fold(stem)}"


def _difference(expected: str, found: str) -> str:
    if _fold(expected) != _fold(found):
        same = _nfc(os.path.splitext(found)[0]) == _nfc(os.path.splitext(expected)[0])
        return "another ending" if same else "other letters and another ending"
    if _nfc(expected) == _nfc(found):
        return "another Unicode normalisation"
    if _nfc(expected).casefold() == _nfc(found).casefold():
        return "other upper and lower case letters"
    return "blanks or underscores differ"
