"""Old import paths, which keep working for one release with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = __package__ + "."

MOVED = {
    "atomic": "files.atomic",
    "datasets.derive": "making.derive",
    "datasets.layouts.clips": "corpora.layout",
    "datasets.moving_shapes": "moving_shapes",
    "datasets.multiood_files": "embeddings.multiood",
    "datasets.multiood_lists": "corpora.lists",
    "datasets.recordings": "corpora.recordings",
    "datasets.store": "embeddings.store",
    "paths": "files.paths",
    "plugin.hosted": "plugin.several_inputs",  # named in pickles of OpenOOD's scripts/eval_ood.py
    "preprocessors.writing": "making.writing",
    "reporting.show": "making.show",
}
"""Old module → new module, both below the package: those that the documentation named."""


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if _new_name(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in the old one's place."""
        new = _new_name(module.__name__)
        warnings.warn(
            f"{module.__name__} is now {new}; the old path will be removed in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[module.__name__] = import_module(new)


def _new_name(fullname: str) -> str:
    if not fullname.startswith(_PACKAGE):
        return ""
    name = fullname.removeprefix(_PACKAGE)
    for old, new in MOVED.items():
        if name == old or name.startswith(old + "."):
            return _PACKAGE + new + name.removeprefix(old)
    return ""


def install() -> None:
    """Make the old paths importable.  Ahead of the other finders: a moved package's own path leads to its files."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
