"""Which OpenOOD this is, what it means by FPR@95, and which commit its folder is a checkout of.

The commit is found without running anything that the folder brings along.  A repository's configuration names programs
that git runs (``core.fsmonitor``, filters, hooks), and its files come from whoever made the folder.  So ``HEAD`` and
references are read as files; where git has to compare or describe, it works in a scratch repository, made here, that
only borrows the folder's objects and a copy of its index.  The user's own configuration of git still counts.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import read_text
from ..files.atomic import write_text
from ..version import __version__

FILE = "openood_host.json"
FPR_MEANINGS = {
    "ood": "OOD is the positive class, as in this package's evaluators",
    "id": (
        "ID is the positive class (so at OpenOOD v1.5), unlike OpenOOD's main and this package's evaluators: "
        "don't compare the two"
    ),
    "unknown": "its definition is not one of those known",
}


@dataclass(frozen=True)
class OpenOODVersion:
    """Which OpenOOD a result comes from.

    Attributes:
        root: folder that holds the package.
        name: ``git describe`` of the checkout, else the installed version, else ``unknown version``.
        commit: full hash, or None where it is no git checkout.
        modified: whether tracked files differ from the commit; None where that can't be told.
        fpr95: positive class of its FPR@95: ``ood``, ``id`` or ``unknown``.
    """

    root: str
    name: str
    commit: str | None = None
    modified: bool | None = None
    fpr95: str = "unknown"

    def __str__(self) -> str:
        return f"{self.name}{', modified' if self.modified else ''}"


def openood_version(root: Path, metrics: Callable[..., Any] | None = None) -> OpenOODVersion:
    """Find out which OpenOOD is in ``root``; ``metrics`` is its ``compute_all_metrics``, if imported."""
    meaning = fpr95_meaning(metrics) if metrics is not None else "unknown"
    # only the checkout's own repository: a copy inside somebody's project would answer with that project's
    found = read_checkout(root)
    if found is not None:
        return OpenOODVersion(str(root), found.name, found.commit, found.modified, meaning)
    try:
        return OpenOODVersion(str(root), version("openood"), fpr95=meaning)
    except PackageNotFoundError:
        return OpenOODVersion(str(root), "unknown version", fpr95=meaning)


def fpr95_meaning(compute_all_metrics: Callable[..., Any]) -> str:
    """Return which class ``compute_all_metrics(conf, label, pred)`` takes as positive in its first value.

    It is asked: of these scores FPR@95 is 1/4 with OOD positive, and 3/4 with ID positive.
    """
    known, unknown = [0.1, 0.8, 0.9, 1.0], [0.2, 0.3, 0.4, 0.0]
    label = np.array([0] * 4 + [-1] * 4)
    try:
        value = float(compute_all_metrics(np.array(known + unknown), label, np.zeros(8, dtype=int))[0])
    except (
        Exception
    ):  # somebody else's function on somebody else's terms: whatever it raises, it is not known
        return "unknown"
    return {0.25: "ood", 0.75: "id"}.get(value, "unknown")


def write_host(folder: Path, host: OpenOODVersion) -> None:
    """Write ``openood_host.json`` beside the results in ``folder``."""
    content = {
        "host": "OpenOOD",
        "openood": asdict(host),
        "openood_multimodal": __version__,
        "torch": version("torch"),
        "python": platform.python_version(),
    }
    write_text(folder / FILE, json.dumps(content, indent=2) + "\n")


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
