"""Where the authors' lists are: in a checkout of their repository, or in any folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...datasets.clip_benchmarks import AuthorsList
from ...errors import UserError


@dataclass(frozen=True)
class FoundList:
    """One of the authors' lists, and the file that has its name."""

    list: AuthorsList
    path: Path


def find_lists(folders: Sequence[Path], wanted: Iterable[AuthorsList]) -> dict[str, FoundList]:
    """Return file name → list, for those of ``wanted`` that are below ``folders``.

    Looked for in each folder, in order: ``<folder>/HMDB-rgb-flow/splits/`` (``EPIC-rgb-flow/splits/``) as in the
    authors' repository, ``<folder>/splits/``, and the folder itself.

    Raises:
        UserError: when a folder does not exist, or two files of one name differ.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"there is no folder {folder}; name a checkout of MultiOOD, or a folder of its lists."
            )
    found: dict[str, FoundList] = {}
    for each in wanted:
        places = (
            place
            for folder in folders
            for place in (folder / each.file, folder / "splits" / each.name, folder / each.name)
        )
        paths = [path for path in dict.fromkeys(places) if path.is_file()]
        if not paths:
            continue
        for other in paths[1:]:
            if other.read_bytes() != paths[0].read_bytes():
                raise UserError(f"{paths[0]} and {other} have one name and differ; leave one of the two.")
        found[each.name] = FoundList(each, paths[0])
    return found
