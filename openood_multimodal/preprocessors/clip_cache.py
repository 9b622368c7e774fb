"""Copies of clips' files on a local disk, for data on slow shared storage; decoded clips are not kept.

A copy belongs to one state of a file: its name is a digest of path, size and time of modification.  Nothing is removed
to make room: an epoch reads every clip once, and whatever is removed would be asked for again before what replaced it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ..config import bind
from ..config.ranges import Positive
from ..datasets.clip_files import ClipFiles
from ..errors import UserError
from ..files.atomic import replacing
from ..files.paths import remove

_ABANDONED_S = 3600.0
"""Age of a copy in the making that a killed process has left."""


_PROCESSES = 16
"""As many may fill what room one of them has found, before each looks again."""


class _ChangingError(Exception):
    """The file changes while it is read."""


@dataclass(frozen=True)
class ClipCacheOptions:
    """The section ``clip_cache`` of a config.

    Attributes:
        folder: on a local disk, made where it is missing; empty: no copies.
        gigabytes: most bytes of all copies, in 10⁹ (about, where more than 16 processes copy at once).  Beyond it,
            files are read where they are.
    """

    folder: str = ""
    gigabytes: Positive = 100.0


class ClipCache:
    """Files of clips in a local folder, each copied when it is first read; several processes may share it.

    Args:
        options: see `ClipCacheOptions`; with a folder.

    Raises:
        UserError: when the folder can't be made or written.
    """

    def __init__(self, options: ClipCacheOptions) -> None:
        self.folder = Path(os.path.abspath(options.folder))
        self.most = int(options.gigabytes * 1e9)
        self._full, self._allowance = False, 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"clip_cache.folder is {options.folder}, which can't be written ({error.strerror}); name a folder on a "
                "local disk, or leave it empty."
            ) from error

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ClipCache | None:
        """Return the cache that a config asks for, or None.

        Raises:
            UserError: for an unknown key or a value of the wrong kind, too.
        """
        options = bind(config.get("clip_cache") or {}, ClipCacheOptions, where="clip_cache", ignore=())
        return cls(options) if options.folder else None

    def local(self, files: ClipFiles) -> ClipFiles:
        """Return a clip's files with their copies in their place; folders of frames are left where they are."""
        places = {
            name: replace(each, path=self._copy_of(each.path), y=each.y and self._copy_of(each.y))
            for name, each in files.modalities.items()
        }
        return replace(files, modalities=places)

    def discard(self, files: ClipFiles) -> None:
        """Remove those copies that `local` has put into ``files``."""
        for each in files.modalities.values():
            for path in (each.path, each.y):
                if path is not None and path.parent == self.folder:
                    remove(self.folder, path.name)

    def _copy_of(self, path: Path) -> Path:
        """Return the copy of a file; ``path`` itself where there can be none."""
        try:
            found = os.stat(path)
        except OSError:
            return path  # whoever opens it says what is wrong
        if not stat.S_ISREG(found.st_mode):
            return path
        state = f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}"
        copy = self.folder / (hashlib.sha256(os.fsencode(state)).hexdigest()[:40] + path.suffix)
        with suppress(OSError):
            there = os.lstat(copy)
            return copy if stat.S_ISREG(there.st_mode) and there.st_size == found.st_size else path
        if self._full or not self._has_room(found.st_size):
            return path
        try:
            with open(path, "rb") as source, replacing(copy) as file:
                file.truncate(found.st_size)  # from here on, other processes count it
                shutil.copyfileobj(source, file, 2**20)
                if file.tell() != found.st_size:
                    raise _ChangingError
        except _ChangingError:
            return path
        except OSError as error:
            self._stop(f"can't take {path} ({error.strerror})")
            return path
        return copy

    def _has_room(self, size: int) -> bool:
        """Whether a file of ``size`` bytes fits; the folder may be large, so it isn't looked through each time."""
        if size > self._allowance:
            room = self.most - self._used()
            self._allowance = room // _PROCESSES
            if size > room:
                self._stop(f"holds the {self.most / 1e9:g} GB of clip_cache.gigabytes")
                return False
        self._allowance -= size
        return True

    def _used(self) -> int:
        """Return the bytes of all copies, those in the making included; remove what killed processes have left."""
        used = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process has finished or removed it
                    found = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp") and time.time() - found.st_mtime > _ABANDONED_S:
                        remove(self.folder, entry.name)
                    else:
                        used += found.st_size
        return used

    def _stop(self, fault: str) -> None:
        """Copy no more files, and say why."""
        self._full = True
        logging.getLogger(__name__).warning(
            "clip_cache: %s %s; other clips are read where they are.", self.folder, fault
        )
