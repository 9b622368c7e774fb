"""Benchmarks: that workers change nothing, that a failed or interrupted one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
from suite_runs import JOB, SETTINGS, SUITE

from openood_multimodal.config import load_config
from openood_multimodal.errors import UserError
from openood_multimodal.pipelines import TestPipeline, benchmark
from openood_multimodal.pipelines.benchmark import run_in_parallel
from openood_multimodal.pipelines.state import read_state
from openood_multimodal.pipelines.suites import SuiteRun, plan_suite
from openood_multimodal.reporting.records import load_records
from openood_multimodal.trainers import MultimodalTrainer

TRAININGS = ("multimodal_baseline", "a2d")


def results(folder):
    return {(r.training, r.partition, r.seed): (r.metrics, r.run_id) for r in load_records(folder)}


def test_a_job_leaves_records_and_nothing_large(tmp_path):
    job = replace(JOB, output=str(tmp_path))
    assert not job.is_done()
    job.run()
    folder = job.folder
    assert job.is_done()
    assert not replace(job, seed=1).is_done()
    assert not replace(job, overrides={**SETTINGS, "optimizer.lr": "0.02"}).is_done()
    assert not [
        *folder.rglob("*.ckpt"),
        *folder.rglob("*.npy"),
        *folder.rglob("*.npz"),
        *folder.rglob("state.pt"),
    ]
    (record,) = load_records(folder)
    assert (record.training, record.postprocessor, record.seed, record.partition) == ("a2d", "ebo", 0, "0")
    trained_with = load_config([str(folder / "training" / "config.yml")])
    assert trained_with["network"]["hidden_dim"] == 8
    assert trained_with["optimizer"] == {"name": "adam", "num_epochs": 2, "lr": 0.01, "weight_decay": 0.0001}
    (folder / "done.json").write_text("[]")
    assert not job.is_done()
    (folder / "stray.txt").write_text("left by a run that was killed")
    replace(job, keep_checkpoints=True).run()
    assert not (folder / "stray.txt").exists()
    assert (folder / "training" / "best.ckpt").is_file()
    assert load_records(folder)[0].metrics == record.metrics


class InThisProcess(ThreadPoolExecutor):
    """Stands in for the process pool where processes are not what is tested: they take seconds to start."""

    def __init__(self, workers, mp_context, initializer):
        super().__init__(workers)


def test_a_failing_job_is_named_and_finished_ones_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", InThisProcess)
    good = replace(JOB, output=str(tmp_path))
    bad = replace(good, training="a2d_npmix", overrides={**SETTINGS, "trainer.synthesis": "nmpix"})
    with pytest.raises(UserError, match=r"a2d_npmix.p0_s0: there is no synthesis called 'nmpix'"):
        run_in_parallel([good, bad], workers=1)
    assert good.is_done()
    with pytest.raises(UserError, match="at least 1"):
        run_in_parallel([bad], workers=0)

    def died(_):
        raise BrokenProcessPool

    monkeypatch.setattr(SuiteRun, "run", died)
    assert run_in_parallel([good], workers=1) == 0
    with pytest.raises(UserError, match="worker process died"):
        run_in_parallel([good, bad], workers=1)


def children(pid):
    """Processes whose parent is, or was, `pid`: all of its session."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()  # noqa: SIM115
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] != "Z":
                found.append(int(name))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(tmp_path, environment, cli, monkeypatch):
    out = tmp_path / "out"
    content = {**SUITE, "settings": {**SETTINGS, "optimizer.num_epochs": 40}}
    suite = tmp_path / "suite.yml"
    suite.write_text(json.dumps(content))  # JSON is YAML
    words = ["benchmark", "--suite", str(suite), "--workers", "2", "--output-dir", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "openood_multimodal", *words],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not list(out.rglob("done.json")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    assert children(process.pid)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 20
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip() and "run/s" not in line]
    lines = [line for line in lines if not line.startswith("Benchmark")]
    assert lines == ["openood-mm: interrupted. Give the same command again to resume."]
    end = time.monotonic() + 10  # multiprocessing's resource tracker leaves a moment after its parent
    while children(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert children(process.pid) == []

    kept = {path: path.stat().st_mtime_ns for path in out.rglob("done.json")}
    assert 1 <= len(kept) < 4
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", InThisProcess)
    words[words.index("--workers") + 1] = "1"
    done = cli(words)
    assert done.code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(out.rglob("done.json"))) == 4
    assert {path.name for path in out.iterdir() if path.is_file()} >= {
        *("leaderboard.md", "leaderboard.csv", "differences.csv")
    }
    again = cli(words)  # all done: a table in no time, and nothing runs
    assert again.out.splitlines()[1:] == done.out.splitlines()[1:]

    # those of the two worker processes, one after the other and in this process
    for job in plan_suite(content, out):
        if job.folder / "done.json" in kept:
            replace(job, output=str(tmp_path / "alone")).run()
    everything = results(out)
    assert len(everything) == 4
    assert results(tmp_path / "alone").items() <= everything.items()


def test_killed_in_a_training_it_resumes_to_the_same_results(tmp_path, environment, monkeypatch):
    """SIGKILL in the middle of a training: the next process takes up its state, and the results are the same."""
    overrides = {**SETTINGS, "optimizer.num_epochs": "6", "recorder.state_seconds": "0.000000001"}
    job = replace(JOB, overrides=overrides, output=str(tmp_path / "killed"))
    slow = (
        "import time\n"
        "from openood_multimodal.pipelines.suites import SuiteRun\n"
        "from openood_multimodal.trainers import MultimodalTrainer\n"
        "epoch = MultimodalTrainer.train_epoch\n"
        "def late(self, number):\n"
        "    time.sleep(30 if number == 4 else 0)\n"
        "    return epoch(self, number)\n"
        "MultimodalTrainer.train_epoch = late\n"
        f"SuiteRun('synthetic/synthetic_far', 'a2d', 0, seed=0, postprocessors=('ebo',), overrides={overrides!r}, "
        f"output={job.output!r}).run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", slow], env=environment, stderr=subprocess.PIPE)
    state = job.folder / "training" / "state.pt"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if state.is_file() and read_state(state)["epoch_idx"] == 2:  # the third epoch's last step wrote it
            break
        time.sleep(0.05)
    time.sleep(0.3)  # it may still write that epoch's other steps
    process.kill()
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, err.decode()[-2000:]
    assert (job.is_begun(), job.is_trained(), job.is_done()) == (True, False, False)

    epochs = []
    original = MultimodalTrainer.train_epoch

    def noted(self, number):
        epochs.append(number)
        return original(self, number)

    monkeypatch.setattr(MultimodalTrainer, "train_epoch", noted)
    job.run()
    assert epochs == [3, 4, 5, 6]  # the third, whose steps are all done, is only closed
    assert not state.exists()
    whole = replace(job, output=str(tmp_path / "whole"))
    whole.run()
    assert results(job.folder) == results(whole.folder)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run that stopped after its training."""
    job = replace(JOB, output=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(TestPipeline, "run", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job.run()
    return job


def test_killed_in_the_test_it_does_not_train_again(trained, monkeypatch):
    assert trained.state() == "trained; can run"
    monkeypatch.setattr(MultimodalTrainer, "train_epoch", lambda *_: pytest.fail("it trained again"))
    trained.run()
    assert trained.is_done()


@pytest.mark.parametrize(
    "change", [{"metrics": ("failure",)}, {"evaluator": "far_ood"}, {"keep_scores": True}]
)
def test_other_tests_of_networks_that_were_kept_need_no_training(trained, monkeypatch, capsys, change):
    kept = replace(trained, keep_checkpoints=True)
    kept.run()
    monkeypatch.setattr(MultimodalTrainer, "train_epoch", lambda *_: pytest.fail("it trained again"))
    (kept.folder / "test" / "of_before").write_text("")
    again = replace(kept, **change)
    assert not again.is_done()
    assert again.state() == "trained; can run"
    again.run()
    assert again.is_done()
    assert not (kept.folder / "test" / "of_before").exists()
    other = replace(again, overrides={**SETTINGS, "optimizer.lr": "0.02"})
    assert not other.is_trained()


def test_what_was_begun_with_other_settings_starts_again(trained):
    replace(trained, overrides={**SETTINGS, "optimizer.num_epochs": "1"}).run()
    assert len((trained.folder / "training" / "log.csv").read_text().splitlines()) == 2
