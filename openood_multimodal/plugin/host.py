"""Where OpenOOD is, and its modules and classes, imported for use outside its own main.py.

It is found imported already, in ``OPENOOD_ROOT``, beside the script that is run, or installed.  Nothing is registered
and nothing stays patched: while a module is imported, placeholders stand in for packages that are missing, and
OpenOOD's folder is on ``sys.path``; both are gone afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError
from .placeholders import packages_for, placeholders
from .version import openood_version

VARIABLE = "OPENOOD_ROOT"
_MARKS = ("datasets/utils.py", "networks/utils.py", "pipelines/utils.py", "utils/launch.py")
_INSTALL = (
    "Clone it (git clone https://github.com/Jingkang50/OpenOOD) and name the folder: "
    f"export {VARIABLE}=/path/to/OpenOOD"
)


def is_openood(folder: Path) -> bool:
    """Whether ``folder`` is a checkout of OpenOOD: it holds its package ``openood``."""
    return all((folder / "openood" / mark).is_file() for mark in _MARKS)


def find_openood(root: str | os.PathLike[str] | None = None, script: Path | None = None) -> Path:
    """Return the folder that holds OpenOOD's package ``openood``; imports nothing of it.

    Looked up in this order: an ``openood`` that is imported already, ``root``, the variable ``OPENOOD_ROOT``,
    the folder of ``script`` and those above it, what ``import openood`` would find.

    Raises:
        UserError: when there is none, a folder that was named is not OpenOOD, or ``root`` is another than the one
            that is imported.
    """
    loaded = sys.modules.get("openood")
    if loaded is not None and getattr(loaded, "__file__", None):
        folder = Path(str(loaded.__file__)).resolve().parent.parent
        if root is not None and Path(root).resolve() != folder:
            raise UserError(
                f"OpenOOD is imported already, from {folder}, and {Path(root).resolve()} was given as root; a process "
                "can have one OpenOOD. Leave root out, or start a new process."
            )
        return _checked(folder, "the imported module openood")
    if root is not None:
        return _checked(Path(root).resolve(), "the folder given as root")
    named = os.environ.get(VARIABLE)
    if named:
        return _checked(Path(named).expanduser().resolve(), f"the variable {VARIABLE}")
    for folder in script.resolve().parents[:3] if script else ():
        if is_openood(folder):
            return folder
    spec = importlib.util.find_spec("openood")
    if spec is None:
        beside = f"neither beside {script} nor installed" if script else "not installed"
        raise UserError(f"OpenOOD was not found: {VARIABLE} is not set, and it is {beside}. {_INSTALL}")
    place = spec.origin or next(iter(spec.submodule_search_locations or ["?"]))
    folder = Path(place).parent.parent if spec.origin else Path(place).parent
    return _checked(folder.resolve(), "the module openood that Python finds")


def _checked(folder: Path, said_by: str) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} ({said_by}) does not exist. {_INSTALL}")
    if not is_openood(folder):
        missing = next(mark for mark in _MARKS if not (folder / "openood" / mark).is_file())
        raise UserError(
            f"{folder} ({said_by}) is not a checkout of OpenOOD: it has no openood/{missing}. {_INSTALL}"
        )
    return folder


def openood_module(name: str) -> ModuleType:
    """Return the module ``openood.<name>``.

    Raises:
        UserError: when OpenOOD isn't found, can't be imported, or has no such module in this version.
    """
    full = f"openood.{name}"
    loaded = sys.modules.get(full)
    if loaded is not None:
        return loaded
    root = find_openood()
    try:
        with importable(full):
            return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name == full:
            raise UserError(f"this OpenOOD ({describe_openood()}, {root}) has no {full}.") from error
        raise UserError(
            f"{full} of {root} can't be imported: it needs the package '{error.name}' (pip install it)."
        ) from error


@contextmanager
def importable(module: str) -> Iterator[None]:
    """Keep OpenOOD's folder on ``sys.path`` in the block, and placeholders for what ``module`` imports and isn't here.

    Raises:
        UserError: when OpenOOD isn't found.
    """
    root = str(find_openood())
    sys.path.insert(0, root)
    try:
        with placeholders(packages_for(module)):
            yield
    finally:
        sys.path.remove(root)


def openood_class(module: str, name: str) -> Any:
    """Return the class ``name`` of ``openood.<module>``.

    Raises:
        UserError: when this version of OpenOOD lacks it.
    """
    try:
        return getattr(openood_module(module), name)
    except AttributeError:
        raise UserError(f"this OpenOOD ({describe_openood()}) has no openood.{module}.{name}.") from None


@contextmanager
def tables_with(dataset: str, num_classes: int) -> Iterator[None]:
    """Keep an entry for ``dataset`` in OpenOOD's tables of class counts and of image deviations, in the block."""
    counts = openood_module("postprocessors.info").num_classes_dict
    deviations = openood_module("preprocessors.transform").normalization_dict
    counts[dataset], deviations[dataset] = num_classes, [[0.0] * 3, [1.0] * 3]
    try:
        yield
    finally:
        counts.pop(dataset, None)
        deviations.pop(dataset, None)


def describe_openood() -> str:
    """Return OpenOOD's version and commit, as records name it."""
    return _describe(find_openood())


@cache
def _describe(root: Path) -> str:
    found = openood_version(root)
    commit = f" ({found.commit[:10]})" if found.commit and not found.name.endswith(found.commit[:7]) else ""
    return f"{found}{commit}"
