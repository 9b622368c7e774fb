"""Where the packaged files are: configs, the descriptions of benchmark splits, and the leaderboards.

In a checkout they are the top-level folders ``configs/``, ``benchmark_splits/`` and ``leaderboard/``; in an
installed wheel they travel inside the package, under ``openood_multimodal/_data/``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import listed, read_yaml, reading

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    checkout = _PACKAGE.parent
    # setup.cfg as well: another package may well have left a folder "configs" in site-packages
    if (checkout / name).is_dir() and (checkout / "setup.cfg").is_file():
        return checkout / name
    installed = _PACKAGE / "_data" / name
    if installed.is_dir():
        return installed
    raise UserError(
        f"the packaged folder '{name}' is missing: neither {checkout / name} (of a checkout) nor {installed} "
        "(of an installation) exists. Install openood-multimodal again."
    )


def configs_dir() -> Path:
    """Return the folder of the packaged configs.

    Raises:
        UserError: when the installation lacks it.
    """
    return _folder("configs")


def benchmark_splits_dir() -> Path:
    """Return the folder of the packaged descriptions of benchmark splits.

    Raises:
        UserError: when the installation lacks it.
    """
    return _folder("benchmark_splits")


def list_benchmarks(folder: Path, *keys: str) -> list[str]:
    """Return the benchmarks in ``folder`` whose file has one of these top-level keys, sorted.

    Args:
        folder: `benchmark_splits_dir()`.
        keys: ``layout`` for benchmarks of tables, ``sets`` for those of clips.
    """
    starts = tuple(f"{key}:" for key in keys)
    return sorted(
        path.stem
        for path in listed(folder, "*.yml")
        if any(line.startswith(starts) for line in path.read_text(encoding="utf-8").splitlines())
    )


def read_benchmark(path: Path) -> Any:
    """Return the YAML content of a benchmark's description.  It is shared by all callers: don't change it.

    Raises:
        UserError: when the file can't be read or is not valid YAML.
    """
    with reading(path, "a benchmark"):
        status = path.stat()
    return _read_benchmark(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read_benchmark(path: Path, mtime_ns: int, size: int) -> Any:
    return read_yaml(path, "a benchmark")


def leaderboard_dir() -> Path:
    """Return the folder of the packaged leaderboards and the published results they hold.

    Raises:
        UserError: when the installation lacks it.
    """
    return _folder("leaderboard")


def list_configs() -> list[str]:
    """Return the packaged configs, sorted, relative to `configs_dir`, e.g. ``datasets/htad/htad_4_3.yml``."""
    root = configs_dir()
    found = [*listed(root, "*.yml", recursive=True), *listed(root, "*.yaml", recursive=True)]
    return sorted(path.relative_to(root).as_posix() for path in found)
