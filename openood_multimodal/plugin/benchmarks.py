"""Benchmarks by one name, as OpenOOD's ``evaluation_api`` asks for them: which configs they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..config import Config, load_config
from ..config.load import HOST_DEFAULTS
from ..errors import UserError
from ..naming import did_you_mean
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
