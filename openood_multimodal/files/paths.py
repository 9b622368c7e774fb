"""Names and paths found in files (manifests, records, indexes, configs): they stay below their root, or it is an error.

A path is judged by its text first (no ``..``, nothing absolute, no drive, no NUL), then by where it leads: a symbolic
link may lead anywhere below the root, and nowhere else.  Whatever is derived from a name or a field found on disk goes
through `resolve_inside` before it is opened or replaced, and through `remove` or `remove_tree` to be removed: this is
the only module that removes files.  Nothing here lists or matches files by patterns: ``[``, ``*`` and ``?`` are letters
like any other.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path

from ..errors import UserError

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:|~(?:[/\\]|$)")
_UPWARDS = re.compile(
    r"(?:^|[/\\])\.\.(?:[/\\#]|$)"
)  # "#": of a row or a span of frames in a manifest's cell
_FILE_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]*")
LONGEST_NAME = 255
"""Bytes of a file's name that common file systems take."""


def file_name(name: str, what: str) -> str:
    """Return ``name`` if it can be the name of one file or folder.

    Args:
        name: the name.
        what: what it names, for the message.

    Raises:
        UserError: when it is empty, longer than `LONGEST_NAME`, starts with a dot, or has a character that paths can't
            hold everywhere; separators are among these.
    """
    if not _FILE_NAME.fullmatch(name):
        raise UserError(f"the {what} '{name}' can't be a file name; call it by letters, digits, '_' and '-'.")
    if is_too_long(name):
        raise UserError(
            f"the {what} '{name[:40]}...' has {len(name)} characters, too many for a file name; shorten it."
        )
    return name


def is_too_long(name: str) -> bool:
    """Tell whether a file's name is longer than common file systems take."""
    return len(os.fsencode(name)) > LONGEST_NAME


def check_text(relative: str) -> None:
    """Refuse a path that leaves the data folder by its text alone.

    Raises:
        UserError: when it is empty, absolute, begins with a drive or ``~``, has a part ``..`` or a NUL character.
    """
    if not relative:
        raise UserError("a path is empty; it must be relative to the data folder.")
    if "\0" in relative:
        raise UserError(f"the path {relative!r} holds a NUL character.")
    if _leaves(relative):
        raise UserError(
            f"the path '{relative}' leaves the data folder. Paths must be relative to it, without '..'."
        )


def first_leaving(paths: Sequence[str]) -> int | None:
    """Return the place of the first of many paths that leaves the data folder by its text, or None; quick."""
    starts = {path[:2] for path in paths} - {""}
    if not any(start[0] in "/\\~" or start[1:] == ":" for start in starts) and ".." not in "\n".join(paths):
        return None
    return next((place for place, path in enumerate(paths) if _leaves(path)), None)


def _leaves(path: str) -> bool:
    return _ABSOLUTE.match(path) is not None or (".." in path and _UPWARDS.search(path) is not None)


def resolve_inside(
    root: str | os.PathLike[str], relative: str, *, remember: bool = False, follow_links: bool = False
) -> Path:
    """Return ``root/relative``, once it is sure that it does not lead out of ``root``.

    The file need not be there.  The path returned is the one asked for: links in it are checked, not replaced.

    Args:
        root: the folder; it may be a link itself.
        relative: a path with forward slashes, as in a manifest; a slash at its end is ignored.
        remember: look a folder up once a process, so that a clip costs one call to the system; a folder that becomes a
            link afterwards is not noticed.
        follow_links: whoever names the folder trusts its links: they may lead anywhere.

    Raises:
        UserError: as `check_text`; when, without ``follow_links``, a symbolic link leads out of ``root`` or in a
            circle; when the path is too long for the system, or a folder in it may not be read.
    """
    if follow_links:
        check_text(relative)
        return Path(os.path.abspath(root), relative)
    base, path = _in_folder(root, relative, remember)
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError as error:
        _raise_unusable(error, relative, base)
        is_link = False
    if is_link:
        _check_target(base, relative, path)
    return Path(path)


def _in_folder(root: str | os.PathLike[str], relative: str, remember: bool = False) -> tuple[str, str]:
    """Return the absolute root and ``root/relative``, whose folder is inside it; the last part may be any link."""
    check_text(relative)
    base = os.fspath(root)
    if not os.path.isabs(base):  # what is remembered must not depend on the working folder
        base = os.path.abspath(base)
    parent, _, name = relative.rstrip("/").rpartition("/")
    return base, os.path.join((_folder if remember else _folder.__wrapped__)(base, parent), name)


def is_inside(root: str, target: str) -> bool:
    """Tell whether the real path ``target`` is ``root`` or below it."""
    return os.path.join(target, "").startswith(_real_root(os.path.abspath(root)))


@lru_cache(maxsize=1024)
def _real_root(root: str) -> str:
    return os.path.join(os.path.realpath(root), "")


@lru_cache(maxsize=65536)
def _folder(root: str, parent: str) -> str:
    path = os.path.join(root, *parent.split("/")) if parent else root
    if parent:
        _check_target(root, parent, path)
    return path


def _check_target(root: str, relative: str, path: str) -> None:
    try:
        os.stat(path)
    except OSError as error:
        _raise_unusable(error, relative, root)
    target = os.path.realpath(path)
    if not is_inside(root, target):
        raise UserError(
            f"'{relative}' in {root} is, or is behind, a symbolic link to {target}, outside that folder. Put the "
            "files there, name a data folder that holds both, or allow such links (follow_links, --follow-links)."
        )


def _raise_unusable(error: OSError, relative: str, root: str) -> None:
    """Raise what can't be mended by a file's appearing; a missing file passes."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return
    shown = relative if len(relative) <= 120 else f"{relative[:80]}... ({len(relative)} characters)"
    raise UserError(f"'{shown}' in {root} can't be used: {error.strerror or error}.") from error


def remove(root: str | os.PathLike[str], relative: str, *, missing_ok: bool = True) -> None:
    """Remove the file ``root/relative``; of a symbolic link, the link itself, wherever it leads.

    Raises:
        UserError: as `resolve_inside`, for the folder that it is in.
        FileNotFoundError: when it is not there, unless ``missing_ok``.
        OSError: when it is a folder, or may not be removed.
    """
    with suppress(FileNotFoundError) if missing_ok else nullcontext():
        os.unlink(_in_folder(root, relative)[1])


def remove_tree(root: str | os.PathLike[str], relative: str) -> None:
    """Remove the folder ``root/relative`` and all that is in it, as far as the system allows; links aren't followed.

    Nothing happens where it is a link itself.

    Raises:
        UserError: as `remove`.
    """
    shutil.rmtree(_in_folder(root, relative)[1], ignore_errors=True)


def remove_if_empty(root: str | os.PathLike[str], relative: str) -> None:
    """Remove the folder ``root/relative`` if nothing is in it.

    Raises:
        UserError: as `remove`.
    """
    with suppress(OSError):  # not empty, or never there
        os.rmdir(_in_folder(root, relative)[1])
