"""Fits to a memory-mapped training set and scores in a process of its own; run by benchmarks/growth.py.

Task: ``folder``, ``scores`` (none: only imports and a small problem, the baseline of the memory), ``neighbours``,
``vim_dim``.  Answer: ``wall``, ``cpu``, ``fit_s``, ``peak_MiB``, ``anonymous_MiB``.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.parts.embeddings import read_head, read_set
from benchmarks.parts.methods import SCORES, sized
from benchmarks.parts.processes import answer, peak_mb, reset_peak, status_mb
from benchmarks.suite.measuring import timed
from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.registry import POSTPROCESSORS

SAMPLE_S = 0.02
FIRST_ROWS, FIRST_DIM = 640, 320


class AnonymousPeak:
    """The peak of this process's anonymous memory: what it allocated, without pages of mapped files, which the
    system may take back at any time.  Looked at every 20 ms, in a thread.
    """

    def __enter__(self) -> Self:
        self.peak = status_mb("RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        if self.peak is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.peak = max(self.peak or 0.0, status_mb("RssAnon") or 0.0)


_watched: list[AnonymousPeak] = []


def watch() -> None:
    """In a worker of a cluster: look at its memory from now on."""
    _watched.append(AnonymousPeak().__enter__())


def seen() -> float:
    """In a worker of a cluster: return the peak since `watch`."""
    peak = _watched.pop()
    peak.__exit__(None, None, None)
    return peak.peak or 0.0


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task."""
    folder = Path(task["folder"])

    train, val, test, ood = (read_set(folder, name, "r") for name in ("train", "val", "test", "ood"))
    head = read_head(folder)
    parameters = {score: sized(score, task["neighbours"], task["vim_dim"]) for score in SCORES}
    _first(train, test, ood, head, task["vim_dim"])
    fits: list[float] = []

    def once() -> None:
        if task["scores"] == ["table"]:
            evaluate(train, test, {"ood": ood}, head, val=val, parameters=parameters)
        for score in task["scores"] if task["scores"] != ["table"] else ():
            start = time.perf_counter()
            given = sized(score, task["neighbours"], task["vim_dim"])
            fitted = POSTPROCESSORS.get(score)(**given).fit(train, val, head)
            fits.append(time.perf_counter() - start)
            fitted.score(test)
            fitted.score(ood)

    reset_peak()
    with AnonymousPeak() as anonymous:
        times = timed(once)
    return {
        "wall": times.wall,
        "cpu": times.cpu,
        "fit_s": sum(fits) if fits else None,
        "peak_MiB": peak_mb(),
        "anonymous_MiB": anonymous.peak,
    }


def _first(train: Embeddings, test: Embeddings, ood: Embeddings, head: LinearHead, vim_dim: int) -> None:
    """Evaluate a few rows and columns, so that every library is loaded before memory is looked at."""
    dim = min(head.dim, FIRST_DIM)

    def cut(each: Embeddings) -> Embeddings:
        return Embeddings(np.array(each.features[:FIRST_ROWS, :dim]), each.labels[:FIRST_ROWS])

    weight = np.ascontiguousarray(head.weight[:, :dim])
    parameters = {"knn": {"K": 5}, "vim": {"dim": min(vim_dim, dim // 2)}}
    evaluate(cut(train), cut(test), {"ood": cut(ood)}, (weight, head.bias), parameters=parameters)


if __name__ == "__main__":
    answer(work)
