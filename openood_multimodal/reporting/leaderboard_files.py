"""The folder of leaderboards: its index, and which of the files in it a build may replace or remove.

A build touches only files that a build wrote: they begin as its tables and pages do, and those that are removed have
the digest that the index holds.  The index itself is only data: it may name any file, and its digests may be made up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import atomic, bytes_sha256, read_json
from ..files.paths import file_name, remove, resolve_inside

INDEX = "leaderboard.json"
"""Written last: benchmark → its files' SHA-256, and what they were made from."""

MARKS = {
    ".csv": b"benchmark,track,setting,",
    ".md": b"# Leaderboard: ",
    ".html": b"<!DOCTYPE html>\n<!-- Leaderboard of openood-multimodal -->",
}
"""How the files of a leaderboard begin."""

RESERVED = frozenset(
    (
        *("readme", "index", "license", "contributing", "changelog", "leaderboard"),
        *("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))),
    )
)
"""Names, in lower case, that files of leaderboards don't have: those of other pages, and those of Windows's devices."""

_LEFTOVER = re.compile(r"\..*(\.csv|\.md|\.html|leaderboard\.json)\.[0-9a-f]+\.tmp")


def remove_leftovers(root: Path) -> None:
    """Remove the temporary files of builders that were killed; call it when nobody else builds."""
    for path in root.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name):
            remove(root, path.name)


def read_index(root: Path) -> dict[str, Any]:
    """Return benchmark → its entry, from the index in ``root``; nothing where there is none.

    Raises:
        UserError: when the index is not one.
    """
    path = root / INDEX
    if not path.exists():
        return {}
    try:
        entries = read_json(path, "the index of a leaderboard", "Delete it and build again.")["benchmarks"]
        _digests_of(entries)
    except UserError:
        raise
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the index of a leaderboard. Delete it and build again.") from error
    return entries


def _digests_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Return file → SHA-256 of an index; only names that a board can have."""
    files = {name: str(digest) for entry in index.values() for name, digest in entry["files"].items()}
    return {name: files[name] for name in files if Path(name).name == name and Path(name).suffix in MARKS}


def check_names(index: Mapping[str, Any]) -> None:
    """Refuse benchmarks whose files would stand in the way of others.

    Raises:
        UserError: for a name that is reserved or too long, and for two names that differ in case alone.
    """
    seen: dict[str, str] = {}
    for benchmark, entry in index.items():
        for name in entry["files"]:
            file_name(name, "leaderboard's file")
            if Path(name).stem.split(".")[0].casefold() in RESERVED:
                raise UserError(
                    f"a benchmark can't be called '{benchmark}': {name} is reserved. Rename it in its records."
                )
        other = seen.setdefault(benchmark.casefold(), benchmark)
        if other != benchmark:
            raise UserError(
                f"the benchmarks '{other}' and '{benchmark}' differ in letter case alone, and so would their files. "
                "Rename one of them in its records."
            )


def write_files(
    root: Path, files: Sequence[Mapping[str, str]], before: Mapping[str, Any], index: Mapping[str, Any]
) -> None:
    """Write the files of boards, remove those of benchmarks that are gone, and write the index.

    Args:
        root: the folder.
        files: of each board and of the page, name → content.
        before: the index that was there.
        index: the one to write.

    Raises:
        UserError: when a file of that name is there and no build wrote it; nothing has been changed then.
    """
    new = {name: text for each in files for name, text in each.items()}
    for name in new:
        path = resolve_inside(root, name)
        if path.exists() and not _ours(path):
            raise UserError(
                f"{path} is in the way: it was not written by 'leaderboard build'. Move it, or name another folder."
            )
    for name, text in new.items():
        atomic.write_text(root / name, text)
    kept = _digests_of(index)
    for name, digest in _digests_of(before).items():
        if name not in kept and _ours(resolve_inside(root, name), digest):
            remove(root, name)
    for path in root.glob("*.html"):
        if path.name not in new and _ours(path):
            remove(root, path.name)  # it would show other rows than the tables
    atomic.write_json(root / INDEX, {"benchmarks": index})


def _ours(path: Path, digest: str | None = None) -> bool:
    """Tell whether a build wrote ``path``, with this digest where one is given."""
    try:
        content = path.read_bytes()
    except OSError:  # not there, or no file
        return False
    known = digest is None or bytes_sha256(content) == digest
    return known and content.startswith(MARKS[path.suffix])
