"""Fits one score to windows of a file and scores some of them, here or on a cluster; run by benchmarks/shards.py.

Answer: ``wall``, ``cpu``, ``fit_us_a_row``, ``score_us_a_row``, ``here_MiB``, and of a cluster ``worker_MiB``: peaks of
anonymous memory, with the interpreter and its libraries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.parts.embeddings import Source
from benchmarks.parts.growth_worker import AnonymousPeak, seen, watch
from benchmarks.parts.methods import sized
from benchmarks.parts.processes import answer
from openood_multimodal.arrays import Embeddings
from openood_multimodal.cluster import cluster_client
from openood_multimodal.postprocessors.options import ScoringOptions
from openood_multimodal.postprocessors.plan import fit_all, score_all
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.shards import Shards


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task."""
    flat = np.load(task["file"], mmap_mode="r")
    strides = (task["step"] * flat.itemsize, flat.itemsize)
    features = np.ndarray((task["rows"], task["dim"]), flat.dtype, flat, 0, strides)
    train = Embeddings(features, np.arange(task["rows"]) % task["classes"])
    few = task["queries"] if task["score"] == "knn" else task["scored"]
    scored = Embeddings(train.features[:few], train.labels[:few])
    head = Source(task["dim"], task["classes"], seed=task["seed"]).head()
    score = POSTPROCESSORS.get(task["score"])(**sized(task["score"], task["neighbours"], task["vim_dim"]))
    with _client(task["on"]) as client:
        options = ScoringOptions(checked=True, shards=client and Shards(client))
        if client is not None:
            client.run(watch)
        with AnonymousPeak() as here:
            cpu, start = time.process_time(), time.perf_counter()
            fit_all([score], train, None, head, options)
            fitted = time.perf_counter()
            score_all([score], {"rows": scored}, options)
            done = time.perf_counter()
        found = {
            "wall": done - start,
            "cpu": time.process_time() - cpu,
            "fit_us_a_row": (fitted - start) / len(train) * 1e6,
            "score_us_a_row": (done - fitted) / len(scored) * 1e6,
            "here_MiB": here.peak,
        }
        if client is not None:
            found["worker_MiB"] = max(client.run(seen).values())
    return found


@contextmanager
def _client(where: dict[str, Any] | None) -> Iterator[Any]:
    if where is None:
        yield None
    elif where["scheduler"] is not None:
        with cluster_client(where["scheduler"]) as client:
            yield client
    else:
        from distributed import LocalCluster

        with (
            LocalCluster(n_workers=where["workers"], threads_per_worker=1, dashboard_address=":0") as made,
            cluster_client(made.scheduler_address) as client,
        ):
            yield client


if __name__ == "__main__":
    answer(work)
