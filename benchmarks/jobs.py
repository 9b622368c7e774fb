"""What a suite's scheduler costs: the same tiny runs in the pool of processes of this host, and on Dask clusters.

A job is a run of a suite: one epoch on synthetic embeddings, and its tests.  Between the end of a job and the start of
the next one on the same worker lies the scheduler's *overhead*.  *Idle* is all that isn't a job's own time, with the
start of the pool's processes and the wait for the last job: (wall time x workers - the jobs' own time) / jobs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openood_multimodal.files import read_json
from openood_multimodal.files.atomic import write_json
from openood_multimodal.pipelines.benchmark import run_in_parallel
from openood_multimodal.pipelines.suites import SuiteRun, plan_suite
from openood_multimodal.reporting.records import load_records

from .suite.measuring import Measurement, Report, Times, cpu_seconds, say

NAME = "jobs"
SUMMARY = "overhead of a suite's scheduler per job: the pool of processes, and Dask clusters of this host"
QUICK = {"jobs": 4, "clusters": [1]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=50, help="of the suite (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=2, help="processes of the pool (default: %(default)s)")
    parser.add_argument(
        "--clusters", type=int, nargs="*", default=[1, 2, 4], help="workers of each (default: %(default)s)"
    )


@dataclass(frozen=True, eq=False)
class TimedRun:
    """A run that notes when it was done, and by which process."""

    inner: SuiteRun

    @property
    def folder(self) -> Path:
        return self.inner.folder

    def is_done(self) -> bool:
        return False

    def run(self) -> None:
        start = time.time()
        self.inner.run()
        write_json(self.folder / "times.json", {"start": start, "end": time.time(), "process": os.getpid()})

    def __str__(self) -> str:
        return str(self.inner)


def run(options: argparse.Namespace) -> Report:
    report = Report({"jobs": options.jobs, "epochs": 1, "config": "synthetic/synthetic_far"})
    results: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-") as folder:
        for workers, on_cluster in [(options.pool, False), *((each, True) for each in options.clusters)]:
            name = f"{'cluster' if on_cluster else 'pool'} of {workers}"
            say(f"{name} ...")
            output = Path(folder, name.replace(" ", "_"))
            times, values = _measure(_planned(options.jobs, output), workers, on_cluster)
            results.append(_metrics(output))
            values["same_results"] = len(results[-1]) == options.jobs and results[-1] == results[0]
            report.measurements.append(Measurement.of(name, times, values, computes=False))
    return report


def _metrics(output: Path) -> dict[tuple[Any, ...], Any]:
    """Return the metrics of every job, which has one score and one OOD set."""
    return {
        (each.partition, each.seed, each.postprocessor, each.ood_set): each.metrics
        for each in load_records(output)
    }


def _planned(jobs: int, output: Path) -> list[TimedRun]:
    suite = {
        "runs": [
            {
                "benchmark": "synthetic/synthetic_far",
                "trainings": ["multimodal_baseline"],
                "modalities": [["a", "b"]],
            }
        ],
        "partitions": 2,
        "seeds": -(-jobs // 2),
        "postprocessors": ["ebo"],
        "settings": {
            "optimizer.num_epochs": "1",
            "network.hidden_dim": "8",
            "network.embedding_dim": "6",
            "num_workers": "0",
        },
    }
    return [TimedRun(each) for each in plan_suite(suite, output)[:jobs]]


def _measure(jobs: list[TimedRun], workers: int, on_cluster: bool) -> tuple[Times, dict[str, Any]]:
    with ExitStack() as stack:
        scheduler = None
        if on_cluster:
            from distributed import LocalCluster

            made = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            scheduler = stack.enter_context(made).scheduler_address
        cpu, start = cpu_seconds(), time.time()
        run_in_parallel(jobs, workers, scheduler)  # type: ignore[arg-type]  # what it asks of a run
        wall, cpu = time.time() - start, cpu_seconds() - cpu
    by_worker: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for each in jobs:
        noted = read_json(each.folder / "times.json")
        by_worker[noted["process"]].append((noted["start"], noted["end"]))
    gaps = [
        after[0] - before[1]
        for own in by_worker.values()
        for before, after in itertools.pairwise(sorted(own))
    ]
    spans = [span for own in by_worker.values() for span in own]
    busy = sum(end - begin for begin, end in spans)
    values = {
        "overhead_ms": 1e3 * sum(gaps) / max(1, len(gaps)),
        "idle_ms": 1e3 * (wall * workers - busy) / len(jobs),
        "job_ms": 1e3 * busy / len(jobs),
        "start_s": min(spans)[0] - start,
    }
    return Times((wall,), (cpu,)), values
