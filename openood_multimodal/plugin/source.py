"""OpenOOD's modules and classes, imported for use outside its own main.py.

Nothing is registered and nothing stays patched: while a module is imported, placeholders stand in for packages
that are missing, and OpenOOD's folder is on ``sys.path``; both are gone afterwards.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError
from .finding import find_openood
from .placeholders import packages_for, placeholders
from .version import openood_version


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


def postprocessor_configs() -> Path | None:
    """Return the folder of OpenOOD's own postprocessor YAMLs, or None where only the package is there."""
    folder = find_openood() / "configs" / "postprocessors"
    return folder if folder.is_dir() else None


def describe_openood() -> str:
    """Return OpenOOD's version and commit, as records name it."""
    return _describe(find_openood())


@cache
def _describe(root: Path) -> str:
    found = openood_version(root)
    commit = f" ({found.commit[:10]})" if found.commit and not found.name.endswith(found.commit[:7]) else ""
    return f"{found}{commit}"
