"""OpenOOD's ``scripts/eval_ood.py``, unmodified on disk, for one of our benchmarks.

The script has three tables of its own: which ``--id-data`` it takes, their numbers of classes, their networks.  Where
``--id-data`` is a benchmark of ours, it is read, our entry is put into the three, and that is run.  Each run below
``--root`` is tested with the network, partition, seed and modalities of its own ``config.yml``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError
from ..networks import build_network
from .benchmarks import Benchmark, benchmarks, trained_benchmark

_OPTION = "--id-data"
_TABLES = {"NUM_CLASSES": 0, "MODEL": 1}  # name in the script → which of `_entries`
_ENTRIES = "__openood_multimodal_entries__"


def names_benchmark(words: Sequence[str]) -> bool:
    """Whether a script's words ask for a benchmark of ours: ``--id-data htad_4_3``."""
    return _value(words, _OPTION) in benchmarks()


def run_script(script: Path, words: Sequence[str]) -> None:
    """Run ``script`` as ``__main__`` with our benchmark in its tables.

    Raises:
        UserError: when the script has no such tables, or a run below ``--root`` isn't of this benchmark.
    """
    name, root = str(_value(words, _OPTION)), _value(words, "--root")
    tree = ast.parse(script.read_text(encoding="utf-8"), str(script))
    found = _extend(tree, name)
    missing = {_OPTION, *_TABLES} - found
    if missing:
        raise UserError(
            f"{script} has no {', '.join(sorted(missing))} as OpenOOD's scripts/eval_ood.py has: '{name}' can't be put "
            "into it. Use that script, or openood.evaluation_api.Evaluator in one of your own."
        )
    networks = _Networks(name, Path(root)) if root else None
    module = ModuleType("__main__")
    vars(module).update({"__file__": str(script), _ENTRIES: ({name: None}, {name: networks})})
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        exec(compile(tree, str(script), "exec"), vars(module))  # noqa: S102 - the script that the user named
    finally:
        sys.modules["__main__"] = before


class _Networks:
    """What the script calls once a run, in the order of their names: the network of that run's config."""

    def __init__(self, name: str, root: Path) -> None:
        self._runs = self._find(name, root)

    def _find(self, name: str, root: Path) -> Iterator[Benchmark]:
        for folder in sorted(root.glob("s*")):  # as the script does
            yield trained_benchmark(name, folder)

    def __call__(self, num_classes: None) -> Any:
        benchmark = next(self._runs)
        section = benchmark.config()["network"]
        net = build_network({**section, "pretrained": False, "checkpoint": ""})
        net.benchmark = benchmark  # type: ignore[assignment]
        return net


def _value(words: Sequence[str], option: str) -> str | None:
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _extend(tree: ast.Module, name: str) -> set[str]:
    """Put ``name`` into the script's choices, and the entries into its tables; return which were there."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(
            isinstance(a, ast.Constant) and a.value == _OPTION for a in node.args
        ):
            for keyword in node.keywords:
                if keyword.arg == "choices" and isinstance(keyword.value, ast.List):
                    keyword.value.elts.append(_placed(ast.Constant(name), keyword.value))
                    found.add(_OPTION)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            target = getattr(node.targets[0], "id", None)
            if target in _TABLES:
                entries = ast.Subscript(
                    ast.Name(_ENTRIES, ast.Load()), ast.Constant(_TABLES[target]), ast.Load()
                )
                node.value.keys.append(None)  # {..., **entries[i]}
                node.value.values.append(_placed(entries, node.value))
                found.add(target)
    return found


def _placed(node: Any, beside: ast.AST) -> Any:
    return ast.fix_missing_locations(ast.copy_location(node, beside))
