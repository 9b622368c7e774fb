"""Which commit a folder is a checkout of, without running anything that the folder brings along.

A repository's configuration names programs that git runs (``core.fsmonitor``, filters, hooks), and its files come from
whoever made the folder.  So ``HEAD`` and references are read as files; where git has to compare or describe, it works
in a scratch repository, made here, that only borrows the folder's objects and a copy of its index.  The user's own
configuration of git counts as ever.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import read_text

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"refs(?:/(?!\.)[^\x00-\x20\x7f~^:?*\[\\/]+)+")
_LONGEST_INDEX = 256 * 2**20


@dataclass(frozen=True)
class Checkout:
    """A folder's commit.

    Attributes:
        commit: full hash.
        name: ``git describe --tags --always``; the hash where there is no git.
        modified: whether tracked files differ from the commit; None where that can't be told.
    """

    commit: str
    name: str
    modified: bool | None


def read_checkout(root: Path) -> Checkout | None:
    """Return the commit that ``root`` itself is a checkout of; None where it is none, or can't be read."""
    try:
        folder = _git_folder(root)
        if folder is None:
            return None
        shared = _shared_folder(folder)
        packed = _packed_refs(shared)
        commit = _commit(folder, shared, packed)
    except (UserError, OSError):
        return None
    if commit is None:
        return None
    described, status = _ask_git(root, folder, shared, commit, packed)
    return Checkout(commit, described or commit, None if status is None else bool(status))


def _git_folder(root: Path) -> Path | None:
    dot = root / ".git"
    if dot.is_dir():
        return dot
    if not dot.is_file():
        return None
    word, _, path = _text(dot).partition(": ")  # of a linked worktree, or a submodule
    return root / path if word == "gitdir" else None


def _shared_folder(folder: Path) -> Path:
    common = folder / "commondir"
    return folder / _text(common) if common.is_file() else folder


def _text(path: Path) -> str:
    return read_text(path, "yaml_bytes", "a file of a git repository").strip()


def _packed_refs(shared: Path) -> dict[str, str]:
    path = shared / "packed-refs"
    if not path.is_file():
        return {}
    pairs = (line.split(" ", 1) for line in read_text(path, "csv_bytes").splitlines())
    return {
        pair[1]: pair[0]
        for pair in pairs
        if len(pair) == 2 and _HASH.fullmatch(pair[0]) and _REF.fullmatch(pair[1])
    }


def _commit(folder: Path, shared: Path, packed: Mapping[str, str]) -> str | None:
    found = _text(folder / "HEAD")
    for _ in range(5):  # a reference may name another one
        if _HASH.fullmatch(found):
            return found
        name = found.removeprefix("ref: ")
        if name == found or not _REF.fullmatch(name):
            return None
        loose = next((each / name for each in (folder, shared) if (each / name).is_file()), None)
        found = _text(loose) if loose else packed.get(name, "")
    return None


def _tags(shared: Path, packed: Mapping[str, str]) -> dict[str, str]:
    tags = {name: value for name, value in packed.items() if name.startswith("refs/tags/")}
    for path in sorted((shared / "refs" / "tags").rglob("*")):
        name = path.relative_to(shared).as_posix()
        with suppress(UserError):
            if path.is_file() and _REF.fullmatch(name) and _HASH.fullmatch(value := _text(path)):
                tags[name] = value
    return tags


def _ask_git(
    root: Path, folder: Path, shared: Path, commit: str, packed: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return git's description of ``commit`` and its list of modified files, from a scratch repository."""
    with tempfile.TemporaryDirectory(prefix="openood-multimodal-") as name:
        scratch = Path(name)
        for each in ("objects", "refs"):
            (scratch / each).mkdir()
        (scratch / "HEAD").write_text(f"{commit}\n", encoding="utf-8")
        kind = (
            "1\n[extensions]\nobjectFormat = sha256" if len(commit) == 64 else "0"
        )  # of the hash; its length tells
        (scratch / "config").write_text(f"[core]\nrepositoryformatversion = {kind}\n", encoding="utf-8")
        lines = (f"{value} {tag}\n" for tag, value in sorted(_tags(shared, packed).items()))
        (scratch / "packed-refs").write_text("".join(lines), encoding="utf-8")
        index = folder / "index"
        with suppress(OSError):
            if index.is_file() and index.stat().st_size <= _LONGEST_INDEX:
                shutil.copy2(index, scratch / "index")  # with its time, by which git tells late changes
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment = {
            **inherited,
            "GIT_DIR": str(scratch),
            "GIT_WORK_TREE": str(root.resolve()),
            "GIT_OBJECT_DIRECTORY": str((shared / "objects").resolve()),
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
        }
        described = _git(environment, "describe", "--tags", "--always")
        status = _git(environment, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return described, status


def _git(environment: Mapping[str, str], *words: str) -> str | None:
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", *safe, *words],  # noqa: S607 - git is where PATH says
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
