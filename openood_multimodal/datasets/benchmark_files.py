"""``benchmark_splits/*.yml``: finding and reading the description of a benchmark, of tables or of clips."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ..config import bind
from ..errors import UserError
from ..files import reading
from ..naming import did_you_mean
from ..resources import benchmark_splits_dir, list_benchmarks, read_benchmark
from ..vocabulary import BENCHMARK_TRACKS

T = TypeVar("T")


def available(key: str) -> list[str]:
    """Return the names of the packaged benchmarks whose file has the top-level key ``key``, sorted."""
    return list_benchmarks(benchmark_splits_dir(), key)


def check_words(where: str, *words: tuple[str, Collection[str], str]) -> None:
    """Refuse a word that isn't among those allowed.

    Args:
        where: the file, for messages.
        words: (word, those allowed, its key).

    Raises:
        UserError: for the first one; the message names the nearest.
    """
    for value, allowed, key in words:
        if value not in allowed:
            raise UserError(f"{where}: {key}: '{value}' is not allowed.{did_you_mean(value, allowed)}")


def check_track(where: str, track: str, synthetic: bool) -> None:
    """Refuse a track that a benchmark or split can't be on.

    Raises:
        UserError: when there is no such track, or generated data claims another one than ``demo``.
    """
    check_words(where, (track, BENCHMARK_TRACKS, "track"))
    if synthetic and track != "demo":
        raise UserError(f"{where}: synthetic data belongs to the track 'demo', not '{track}'.")


def load_described(
    name: str | os.PathLike[str], kind: type[T], key: str, what: str, validate: Callable[[Any, str], None]
) -> T:
    """Return the packaged benchmark ``name``, or that in the YAML file ``name`` (it ends in ``.yml``).

    The same object is returned until the file changes.

    Args:
        name: of the benchmark, or a file.
        kind: dataclass of its content.
        key: a top-level key that only this kind of benchmark has.
        what: for messages, ``benchmark of clips``.
        validate: raises a `UserError` for a benchmark that contradicts itself; its second argument is the file.

    Raises:
        UserError: when there is none, or its YAML is wrong.
    """
    text = os.fspath(name)
    path = Path(text)
    if not text.endswith((".yml", ".yaml")):
        path = benchmark_splits_dir() / f"{text}.yml"
        if Path(text).name != text or not path.is_file() or key not in (read_benchmark(path) or ()):
            raise UserError(f"there is no {what} '{text}'.{did_you_mean(text, available(key))}")
    with reading(path, "a benchmark"):
        status = path.stat()
    cached: Any = _load
    loaded: T = cached(path.resolve(), status.st_mtime_ns, status.st_size, kind, validate)
    return loaded


@lru_cache(maxsize=64)
def _load(path: Path, mtime_ns: int, size: int, kind: type[Any], validate: Callable[[Any, str], None]) -> Any:
    benchmark = bind(read_benchmark(path), kind, str(path), ignore=())
    validate(benchmark, str(path))
    return benchmark
