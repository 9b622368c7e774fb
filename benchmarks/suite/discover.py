"""The benchmarks: modules of this package that say so."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, cast

import benchmarks

from .measuring import Report


class Benchmark(Protocol):
    """What a benchmark's module has; see the docstring of the package."""

    NAME: str
    SUMMARY: str
    QUICK: Mapping[str, Any]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its own options."""

    def run(self, options: argparse.Namespace) -> Report:
        """Measure."""


_MEMBERS = ("NAME", "SUMMARY", "QUICK", "add_arguments", "run")


def find_benchmarks() -> dict[str, Benchmark]:
    """Return name → module, in the order of the names.

    Raises:
        TypeError: for a module with a ``NAME`` that lacks one of the other members, or has another file name.
    """
    found: dict[str, Benchmark] = {}
    for each in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda each: each.name):
        if each.ispkg or each.name.startswith("_"):
            continue
        module = importlib.import_module(f"benchmarks.{each.name}")
        if not hasattr(module, "NAME"):
            continue
        missing = [member for member in _MEMBERS if not hasattr(module, member)]
        if missing or each.name != module.NAME:
            what = f"lacks {missing[0]}" if missing else f"calls itself '{module.NAME}'"
            raise TypeError(f"benchmarks/{each.name}.py {what}; see benchmarks/__init__.py.")
        found[each.name] = cast(Benchmark, module)
    return found
