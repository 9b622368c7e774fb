"""Suites on a Dask scheduler: the same results as this host's processes; what is refused, and how it is told."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

import pytest

from openood_multimodal import cluster
from openood_multimodal.errors import UserError
from openood_multimodal.pipelines import benchmark
from openood_multimodal.pipelines.benchmark import run_in_parallel
from openood_multimodal.pipelines.suites import plan_suite
from openood_multimodal.reporting.records import load_records

distributed = pytest.importorskip("distributed", reason="Dask is an extra: pip install distributed")

SUITE = {
    "runs": [
        {
            "benchmark": "synthetic/synthetic_far",
            "trainings": ["multimodal_baseline"],
            "modalities": [["a", "b"]],
        }
    ],
    "partitions": 2,
    "seeds": 1,
    "postprocessors": ["ebo"],
    "settings": {"optimizer.num_epochs": "1", "network.hidden_dim": "8", "network.embedding_dim": "6"},
}


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler with one worker of two threads, both in this process."""
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=None,
        resources={"GPU": 1},
    ) as made:
        yield made.scheduler_address


def metrics(folder):
    return {(each.partition, each.seed): each.metrics for each in load_records(folder)}


def test_same_results_as_on_this_host(scheduler, tmp_path):
    """Two threads of one worker don't disturb each other's random numbers; the second call finds all done."""
    here, there = plan_suite(SUITE, tmp_path / "here"), plan_suite(SUITE, tmp_path / "there")
    for run in here:
        run.run()
    assert run_in_parallel(there, 1, scheduler, {"GPU": 1}) == 2
    assert metrics(tmp_path / "here") == metrics(tmp_path / "there") != {}
    assert run_in_parallel(there, 1, scheduler) == 0
    assert not list(tmp_path.rglob(".shared-*"))


def test_failure_names_the_run(scheduler, tmp_path):
    """An error on a worker is the user's one line, with the run that it ended."""
    settings = {**SUITE["settings"], "optimizer.lr": "1e30"}
    runs = plan_suite({**SUITE, "partitions": 1, "settings": settings}, tmp_path)
    with pytest.raises(UserError, match=r"multimodal_baseline.*training diverged"):
        run_in_parallel(runs, 1, scheduler)
    failed = {}
    run_in_parallel(runs, 1, scheduler, failed=failed)
    assert list(failed) == runs
    assert "training diverged" in failed[runs[0]]


def test_reproduce_on_a_scheduler(scheduler, tmp_path, monkeypatch, cli):
    """A figure's rows on the demo's data, and the same rows in this process: one table."""
    monkeypatch.chdir(tmp_path)
    words = [
        "reproduce",
        "figure10",
        "--scale",
        "htad",
        "--partitions",
        "1",
        "--rows",
        "*/a2d_npmix*",
    ]
    short = ["--override", "--optimizer.num_epochs", "2", "--trainer.start_epoch", "1"]
    here = cli([*words, "--output-dir", "here", *short])
    there = cli([*words, "--output-dir", "there", "--scheduler", scheduler, *short])
    assert (here.code, there.code) == (0, 0), (here.err, there.err)
    shown = [
        sorted(line for line in each.out.replace("there", "here").splitlines() if not line.startswith("["))
        for each in (here, there)
    ]
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torch": "1.0"}, r"has torch 1\.0, and this host"),
        ({"openood-multimodal": "0.0"}, r"has openood-multimodal 0\.0, and this host"),
        ({"sees": False}, "doesn't see .*; --output-dir must be a folder that all workers share"),
    ],
)
def test_unfit_workers(scheduler, tmp_path, monkeypatch, change, message):
    """Before the first run: another version, a folder that isn't shared."""
    honest = cluster._about_worker
    # the worker is asked about a path, this host about none
    monkeypatch.setattr(cluster, "_about_worker", lambda path: {**honest(path), **(change if path else {})})
    with pytest.raises(UserError, match=message):
        run_in_parallel(plan_suite(SUITE, tmp_path), 1, scheduler)


def test_missing_resources(scheduler, tmp_path):
    """A run that no worker can take is not waited for."""
    with pytest.raises(UserError, match=r"none of the 1 workers .* has the resources TPU=2"):
        run_in_parallel(plan_suite(SUITE, tmp_path), 1, scheduler, {"TPU": 2})


def test_no_scheduler_and_no_worker(monkeypatch, tmp_path):
    """Nobody listens; a scheduler without workers."""
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.3)
    runs = plan_suite(SUITE, tmp_path)
    with pytest.raises(UserError, match="there is no Dask scheduler at tcp://127"):
        run_in_parallel(runs, 1, "tcp://127.0.0.1:9")
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address=None
        ) as made,
        pytest.raises(UserError, match="has no worker; start some with 'dask worker"),
    ):
        run_in_parallel(runs, 1, made.scheduler_address)


def test_lost_scheduler_and_lost_workers():
    """Finished runs are kept, and the message says how to go on."""
    run = plan_suite(SUITE, "x")[0]
    for error, message in [
        (CancelledError(), "the Dask scheduler went away"),
        (distributed.scheduler.KilledWorker("x", "worker", 3), "its workers died one after the other"),
    ]:
        future: Future[None] = Future()
        future.set_exception(error)
        with pytest.raises(UserError, match=message):
            benchmark._check(future, run)


def test_slurm_without_settings(tmp_path):
    """SLURM's jobs need a configuration, and the message says where."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is an extra")
    with pytest.raises(UserError, match=r"--scheduler slurm: .*jobqueue\.yaml"):
        run_in_parallel(plan_suite(SUITE, tmp_path), 1, "slurm")
