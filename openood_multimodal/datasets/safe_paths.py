"""Paths that come from a manifest: they stay below the data folder, or the user is told why not.

A path is judged by its text first (no ``..``, nothing absolute, no drive, no NUL), then by where it leads: a symbolic
link may lead anywhere below the data folder, and nowhere else.  Folders are looked up once a process, so that a clip
costs one call to the system; a folder that becomes a link while a training runs is not noticed.  Nothing here lists
or matches files by patterns: ``[``, ``*`` and ``?`` are letters like any other.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from ..errors import UserError

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:|~(?:[/\\]|$)")
_UPWARDS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")


def check_text(relative: str) -> None:
    """Refuse a path that leaves the data folder by its text alone.

    Raises:
        UserError: when it is empty, absolute, begins with a drive or ``~``, has a part ``..`` or a NUL character.
    """
    if not relative:
        raise UserError("a path is empty; it must be relative to the data folder.")
    if "\0" in relative:
        raise UserError(f"the path {relative!r} holds a NUL character.")
    if _ABSOLUTE.match(relative) or (".." in relative and _UPWARDS.search(relative)):
        raise UserError(
            f"the path '{relative}' leaves the data folder. Paths must be relative to it, without '..'."
        )


def resolve_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """Return ``root/relative``, once it is sure that it does not lead out of ``root``.

    The file need not be there.  The path returned is the one asked for: links in it are checked, not replaced.

    Args:
        root: the data folder; it may be a link itself.
        relative: a path with forward slashes, as in a manifest; a slash at its end is ignored.

    Raises:
        UserError: as `check_text`; when a symbolic link leads out of ``root`` or in a circle; when the path is too
            long for the system, or a folder in it may not be read.
    """
    check_text(relative)
    base = os.fspath(root)
    if not os.path.isabs(base):  # what is remembered must not depend on the working folder
        base = os.path.abspath(base)
    parent, _, name = relative.rstrip("/").rpartition("/")
    folder = _folder(base, parent)
    path = os.path.join(folder, name)
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError as error:
        _raise_unusable(error, relative, base)
        is_link = False
    if is_link:
        _check_target(base, relative, path)
    return Path(path)


def find_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """Return ``root/relative`` as `resolve_inside`, which must be there.

    Raises:
        UserError: as `resolve_inside`; when nothing is there.  The message names what is there instead if only
            letter case, Unicode normalisation, blanks or the ending differ.
    """
    path = resolve_inside(root, relative)
    if not path.exists():
        raise UserError(explain_missing(root, relative))
    return path


def explain_missing(root: str | os.PathLike[str], relative: str) -> str:
    """Return a sentence that says that ``relative`` is not below ``root``, and what is there in its stead.

    Folders are listed for it: call it once something is missing, not before.
    """
    return f"there is no '{relative}' in {Path(root)}. {what_is_there(root, relative)}"


def what_is_there(root: str | os.PathLike[str], relative: str) -> str:
    """Return a sentence about what lies where the missing ``relative`` should be; see `explain_missing`."""
    from .inventory import Inventory

    base = Path(root)
    if not base.is_dir():
        return f"The data folder {base} does not exist."
    nearest, difference = Inventory(base).nearest(relative)
    said = f"There is '{nearest}' ({difference}). " if nearest else ""
    return f"{said}openood-mm prepare lists all that is missing."


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
            f"'{relative}' in {root} is, or lies behind, a symbolic link to {target}, outside that folder. Put the "
            "files there, or name a data folder that holds both."
        )


def _raise_unusable(error: OSError, relative: str, root: str) -> None:
    """Raise what can't be mended by a file's appearing; a missing file passes."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return
    shown = relative if len(relative) <= 120 else f"{relative[:80]}... ({len(relative)} characters)"
    raise UserError(f"'{shown}' in {root} can't be used: {error.strerror or error}.") from error
