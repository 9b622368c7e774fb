"""The number of threads of BLAS, torch and faiss; set before any of them is loaded."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_asked(words: Sequence[str]) -> int:
    """Return the value of ``--threads`` in a command line, or the number of cores."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--threads", type=int)
    try:
        asked = parser.parse_known_args(list(words))[0].threads
    except argparse.ArgumentError:  # said properly by the real parser, later
        asked = None
    return asked if asked and asked > 0 else usable_cores()


def set_threads(count: int) -> None:
    """Limit the threads of what this process and its children load from now on, and of what is loaded."""
    for variable in _VARIABLES:
        os.environ[variable] = str(count)
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
