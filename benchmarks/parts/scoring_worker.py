"""Fits and scores once or more in a process of its own; run by benchmarks/scoring.py and scores.py.

Task: ``folder``, ``who``, ``score``, ``repeats``, ``neighbours``, ``vim_dim``, ``openood_batch``, ``keep``; for the
table, and for what scores take together, ``scores``.
Answer: ``wall``, ``cpu``, ``fit_s``, ``score_s``, ``peak_MiB``; or ``parts``; or ``skipped``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import limit
from benchmarks.parts.embeddings import read_head, read_set
from benchmarks.parts.methods import KINDS, SCORES, Method, OpenOOD, Problem, Scored
from benchmarks.parts.processes import answer, peak_mb, reset_peak
from benchmarks.suite.measuring import timed
from openood_multimodal.arrays import Embeddings
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors.plan import fit_all, score_all
from openood_multimodal.registry import POSTPROCESSORS


def load_problem(folder: Path, neighbours: int, vim_dim: int) -> Problem:
    """Read a problem into memory."""

    known, unknown = (read_set(folder, name) for name in ("test", "ood"))
    test = Embeddings(
        np.concatenate([known.features, unknown.features]),
        np.concatenate([known.labels, unknown.labels]),
        slices=known.slices,
    )
    train, val = (read_set(folder, name) for name in ("train", "val"))
    return Problem(train, val, test, read_head(folder), neighbours, vim_dim)


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task."""
    problem = load_problem(Path(task["folder"]), task["neighbours"], task["vim_dim"])
    if task["who"] == "limit":
        limit.measure_limit(problem.small(), 1)
        parts = limit.measure_limit(problem, task["repeats"])
        text = limit.spectrum_text(problem) if task["keep"] else ""
        return {"parts": {name: [each.wall, each.cpu] for name, each in parts.items()}, "spectrum": text}
    if task["who"] == "table":
        return _table(problem, task)
    if task["who"] == "together":
        return _together(problem, task["scores"])
    kind = KINDS[task["who"]]
    if kind is OpenOOD:
        kind = partial(OpenOOD, batch=task["openood_batch"])
    try:
        if task["who"] != "reference":
            warm = problem.small()
            first = kind(task["score"], warm)
            first.fit(warm)
            first.score(warm)
        return _measured(problem, partial(kind, task["score"]), task)
    except (ImportError, UserError) as error:
        return {"skipped": " ".join(str(error).split())}


def _measured(problem: Problem, make: Any, task: dict[str, Any]) -> dict[str, Any]:
    reset_peak()
    before = peak_mb()
    fits, scored = [], Scored(np.empty(0))

    def once() -> None:
        nonlocal scored
        start = time.perf_counter()
        method: Method = make(problem)
        method.fit(problem)
        fits.append(time.perf_counter() - start)
        scored = method.score(problem)

    times = timed(once, task["repeats"])
    if task["keep"]:
        np.save(task["keep"], np.asarray(scored.conf, dtype=np.float64))
    fit_s = statistics.median(fits)
    return {
        "wall": times.wall,
        "cpu": times.cpu,
        "fit_s": fit_s,
        "score_s": max(0.0, times.wall_s - fit_s),
        "peak_MiB": max(0.0, peak_mb() - before),
    }


def _table(problem: Problem, task: dict[str, Any]) -> dict[str, Any]:
    """Time scores and their metrics through `evaluate`: the nine, or those of the task."""
    from openood_multimodal import evaluate

    names = task.get("scores") or SCORES

    def once(each: Problem, known: Embeddings, unknown: Embeddings) -> None:
        parameters = {score: each.parameters(score) for score in names}
        sets = {"ood": unknown}
        evaluate(
            each.train, known, sets, each.head, val=each.val, postprocessors=names, parameters=parameters
        )

    def part(each: Embeddings, where: NDArray[np.bool_]) -> Embeddings:
        return Embeddings(each.features[where], each.labels[where], slices=each.slices)

    small, is_id = problem.small(), problem.test.labels >= 0
    once(small, part(small.test, small.test.labels >= 0), small.test)
    sets = part(problem.test, is_id), part(problem.test, ~is_id)
    reset_peak()
    before = peak_mb()
    times = timed(lambda: once(problem, *sets), task["repeats"])
    return {"wall": times.wall, "cpu": times.cpu, "peak_MiB": max(0.0, peak_mb() - before)}


def _together(problem: Problem, names: Sequence[str]) -> dict[str, Any]:
    """Time what each of several scores takes that are fitted and applied together."""
    of: dict[str, dict[str, float]] = {}

    @contextmanager
    def around(score: Any) -> Iterator[None]:
        start = time.perf_counter(), time.process_time()
        yield
        took = of.setdefault(score.name, {"wall": 0.0, "cpu": 0.0})
        took["wall"] += time.perf_counter() - start[0]
        took["cpu"] += time.process_time() - start[1]

    def once(each: Problem) -> None:
        ordered = [
            *(name for name in SCORES if name in names),
            *(name for name in names if name not in SCORES),
        ]
        scores = [POSTPROCESSORS.get(name)(**each.parameters(name)) for name in ordered]
        fit_all(scores, each.train, each.val, each.head, around=around)
        score_all(scores, {"test": each.test}, around=around)

    once(problem.small())
    of.clear()
    times = timed(lambda: once(problem), 1)
    return {"wall": times.wall[0], "cpu": times.cpu[0], "of": of}


if __name__ == "__main__":
    answer(work)
