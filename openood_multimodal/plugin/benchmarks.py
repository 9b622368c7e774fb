"""Benchmarks by one name, as OpenOOD's ``evaluation_api`` and its ``scripts/eval_ood.py`` ask for them.

The script, unmodified on disk, has three tables of its own: which ``--id-data`` it takes, their numbers of classes,
their networks.  Where ``--id-data`` is a benchmark of ours, the script is run with our entry in each of the three.
Each run below ``--root`` is tested with the network, partition, seed and modalities of its own ``config.yml``.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from ..config import Config, load_config
from ..config.load import HOST_DEFAULTS
from ..errors import UserError
from ..naming import did_you_mean
from ..networks import build_network
from ..resources import configs_dir
from .trained import FILE, read_saved_config


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's two configs.

    Attributes:
        name: as ``id_name``.
        files: of the dataset and of its OOD sets, or mappings.
        overrides: command-line words: ``("--dataset.partition", "3")``.
    """

    name: str
    files: tuple[str | Mapping[str, Any], ...]
    overrides: tuple[str, ...] = ()

    def config(self, data_root: str | None = None) -> Config:
        """Return the resolved config.

        Args:
            data_root: takes the place of ``data`` in a config whose ``data_root`` is ``data`` or a folder in it.

        Raises:
            UserError: as `load_config`; without ``dataset`` or ``ood_dataset``.
        """
        config = load_config([HOST_DEFAULTS, *self.files], self.overrides)
        place = PurePosixPath(str(config.get("data_root") or ""))
        if data_root is not None and place.parts[:1] == ("data",):
            moved = os.path.join(data_root, *place.parts[1:])
            config = load_config([HOST_DEFAULTS, *self.files, {"data_root": moved}], self.overrides)
        for section in ("dataset", "ood_dataset"):
            if not isinstance(config.get(section), Mapping):
                raise UserError(f"the benchmark '{self.name}' has no section {section} in its configs.")
        return config


_added: dict[str, Benchmark] = {}


def add_benchmark(
    name: str, files: Sequence[str | os.PathLike[str] | Mapping[str, Any]], overrides: Sequence[str] = ()
) -> None:
    """Let OpenOOD's ``Evaluator`` know a benchmark: a config of your own, or another partition of a packaged one.

    Args:
        name: to be used as ``id_name``; one that OpenOOD has itself is refused when it is used.
        files: the dataset's config and that of its OOD sets; looked up as after ``--config``.
        overrides: as on the command line.

    Raises:
        UserError: as `Benchmark.config`.
    """
    benchmark = Benchmark(
        name, tuple(f if isinstance(f, Mapping) else os.fspath(f) for f in files), tuple(overrides)
    )
    benchmark.config()
    _added[name] = benchmark


def packaged_benchmarks() -> dict[str, Benchmark]:
    """Return name → benchmark, for every packaged dataset config with a second one of its OOD sets."""
    found = {}
    for path in sorted((configs_dir() / "datasets").glob("*/*_ood.yml")):
        first = path.with_name(path.name.replace("_ood.yml", ".yml"))
        if first.is_file():
            found[first.stem] = Benchmark(first.stem, (str(first), str(path)))
    return found


def benchmarks() -> dict[str, Benchmark]:
    """Return name → benchmark: those packaged, and those added."""
    return {**packaged_benchmarks(), **_added}


def benchmark_of(name: str) -> Benchmark:
    """Return the benchmark called ``name``.

    Raises:
        UserError: when there is none.
    """
    known = benchmarks()
    if name not in known:
        raise UserError(f"there is no benchmark '{name}'.{did_you_mean(name, known)}")
    return known[name]


def trained_benchmark(name: str, folder: str | os.PathLike[str]) -> Benchmark:
    """Return the benchmark ``name`` with the data of the training whose ``config.yml`` is in ``folder``.

    So partition, seed, modalities and data folder are the training's.

    Raises:
        UserError: when there is no such config, or its dataset is another one.
    """
    path = Path(folder) / FILE
    saved = read_saved_config(path)
    trained = Config(saved).get("dataset.name")
    if trained != name:
        raise UserError(f"{path}: the network was trained on '{trained}', not on '{name}'.")
    return Benchmark(name, (saved, *benchmark_of(name).files[1:]))


# --- OpenOOD's scripts/eval_ood.py ----------------------------------------------------------------------

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
