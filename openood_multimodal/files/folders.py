"""Files of a folder that belong together: written beside their places, and put there together.

A process killed while it puts them there leaves a list of what is to be done; whoever writes or reads the folder next
does the rest first.  So the folder holds all files of one run, never some of one and some of another.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError
from .atomic import sync_folder, write_json
from .locks import claim, holding
from .paths import remove, remove_if_empty, remove_tree, resolve_inside
from .text import read_json

_LOCK = ".openood-mm.results.lock"
_COMMIT = ".commit.json"
_STAGE = re.compile(r"\.[0-9a-f]{12}\.tmp")
_MAY_GO = re.compile(
    r"scores/[^/\\]+/[^/\\]+\.npz|(?:records/)?[^/\\]+\.record\.json|[^/\\]+/ood\.csv|split/(?:[^/\\]+\.csv|split\.json)"
    r"|failure\.csv|calibration\.csv|tables/[^/\\]+\.csv|sheets/[^/\\]+\.png|classes\.png"
)


class Stage:
    """A temporary folder whose files are put into the folder of results at the end.

    Attributes:
        path: the temporary folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outdated: Callable[[], Iterable[str]] = tuple

    def remove(self, outdated: Callable[[], Iterable[str]]) -> None:
        """Ask for the removal of an earlier run's files when the new ones are put in place.

        Args:
            outdated: returns relative paths; called when nobody else may write, as the earlier run may end until then.
        """
        self.outdated = outdated

    def files(self) -> list[str]:
        """Return the relative paths of the files written so far, sorted."""
        found = (path for path in self.path.rglob("*") if path.is_file() and path.name != _COMMIT)
        return sorted(path.relative_to(self.path).as_posix() for path in found)


@contextmanager
def writing_together(folder: str | os.PathLike[str], last: str = "") -> Iterator[Stage]:
    """Write files into ``Stage.path``; when the block ends without an error, they are put into ``folder`` together.

    Args:
        folder: made when missing; removed again if nothing is written.
        last: the file that is put in place after all others.

    Raises:
        UserError: when ``folder`` is a file, or a link in it leads out of it.
        OSError: when the disk is full or can't be written; nothing has been changed then.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; name a folder.")
    existed = root.is_dir()
    stage = Stage(root / f".{secrets.token_hex(6)}.tmp")
    with ExitStack() as stack:
        if not existed:
            stack.callback(remove_if_empty, root.parent, root.name)
        # says that this stage is not abandoned; one whose lock another process holds would pass for it
        while stack.enter_context(claim(stage.path)) == "busy":
            stage = Stage(root / f".{secrets.token_hex(6)}.tmp")
        stack.callback(remove_tree, root, stage.path.name)
        stage.path.mkdir(parents=True)
        yield stage
        with holding(root, _LOCK, announce=False):
            _finish_others(root, stage.path)
            names = [name for name in stage.files() if name != last]
            for name in names:
                resolve_inside(root, name)
            write_json(
                stage.path / _COMMIT,
                {
                    "put": [*names, *([last] if last else [])],
                    "remove": sorted({*stage.outdated()} - {*names}),
                },
            )
            _put(root, stage.path)


@contextmanager
def reading_together(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Read several files of ``folder`` in the block, all of one run: nobody puts others there meanwhile.

    A folder that can't be written is read as it is.
    """
    root = Path(folder)
    if not root.is_dir() or not os.access(root, os.W_OK):
        yield
        return
    with holding(root, _LOCK, announce=False):
        _finish_others(root, None)
        yield


def _finish_others(root: Path, own: Path | None) -> None:
    """Finish what killed processes began to put into ``root``, and remove what they never came to."""
    alone = (root / lock.name[1:].removesuffix(".lock") for lock in root.glob("..*.tmp.lock"))
    for stage in {*root.glob(".*.tmp"), *alone}:  # a killed process may have made no more than its lock
        if not _STAGE.fullmatch(stage.name) or stage.is_symlink() or stage.is_file() or stage == own:
            continue
        with claim(stage) as claimed:
            if claimed != "busy":
                if (stage / _COMMIT).is_file():
                    _put(root, stage)
                remove_tree(root, stage.name)


def _put(root: Path, stage: Path) -> None:
    plan: Any = read_json(stage / _COMMIT)
    put, gone = (plan.get(key) if isinstance(plan, dict) else None for key in ("put", "remove"))
    if (
        not isinstance(put, list)
        or not isinstance(gone, list)
        or not all(isinstance(n, str) for n in (*put, *gone))
    ):
        raise UserError(f"{stage / _COMMIT} is not a list of files to put into {root}. Remove {stage}.")
    for name in put:
        source, target = resolve_inside(stage, name), resolve_inside(root, name)
        if source.is_file():  # else a killed process has put it there
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
            sync_folder(target.parent)
    for name in gone:
        if _MAY_GO.fullmatch(name):
            remove(root, name)
            for parent in list(PurePosixPath(name).parents)[:-1]:
                remove_if_empty(root, str(parent))
