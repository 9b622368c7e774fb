"""Benchmarks: what is planned, that workers change nothing, that a failed or interrupted one goes on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest

from openood_multimodal.config import find_config, load_config
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_json
from openood_multimodal.pipelines import TestPipeline, benchmark
from openood_multimodal.pipelines.benchmark import run_in_parallel
from openood_multimodal.pipelines.state import read_state
from openood_multimodal.pipelines.suites import SuiteRun, plan_suite, settings_of
from openood_multimodal.reporting.records import load_records
from openood_multimodal.trainers import MultimodalTrainer
from openood_multimodal.version import __version__

FIELDS_OF_OLD_MARKS = (
    *("benchmark", "training", "partition", "seed", "modalities", "network", "evaluator", "postprocessors"),
    *("preset", "postprocessor_args", "settings"),
)
SETTINGS = {
    "optimizer.num_epochs": "2",
    "optimizer.lr": "0.01",
    "network.hidden_dim": "8",
    "network.embedding_dim": "6",
}
JOB = SuiteRun("synthetic/synthetic_far", "a2d", 0, seed=0, postprocessors=("ebo",), overrides=SETTINGS)
TRAININGS = ("multimodal_baseline", "a2d")
SUITE = {
    "runs": [
        {
            "benchmark": "synthetic/synthetic_far",
            "trainings": ["multimodal_baseline", "a2d"],
            "modalities": [["a", "b"]],
        }
    ],
    "partitions": 2,
    "seeds": 1,
    "postprocessors": ["ebo"],
    "settings": SETTINGS,
}


def results(folder):
    return {(r.training, r.partition, r.seed): (r.metrics, r.run_id) for r in load_records(folder)}


def test_plan():
    jobs = plan_suite({**SUITE, "seeds": 3})
    assert len(jobs) == len({job.folder for job in jobs}) == len({job.digest() for job in jobs}) == 2 * 2 * 3
    assert [(j.partition, j.seed, j.training) for j in jobs[:3]] == [
        (0, 0, "multimodal_baseline"),
        (0, 0, "a2d"),
        (0, 1, "multimodal_baseline"),
    ]
    assert jobs[0].modalities == ("a", "b")
    assert str(jobs[0]) == os.path.join("synthetic_far", "a+b", "multimodal_baseline", "p0_s0")
    assert (
        plan_suite({"runs": [{"benchmark": "x/y", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1})[
            0
        ].modalities
        == ()
    )


def test_settings_of_a_suite_may_be_nested():
    """A YAML reader unfolds dotted keys; they must not replace whole sections of the training's config."""
    nested = {"optimizer": {"num_epochs": 3, "lr": 0.001}, "dataset": {"modalities": ["a", "b"]}}
    dotted = {"optimizer.num_epochs": 3, "optimizer.lr": 0.001, "dataset.modalities": ["a", "b"]}
    expected = {"optimizer.num_epochs": "3", "optimizer.lr": "0.001", "dataset.modalities": "a,b"}
    for settings in (nested, dotted):
        assert plan_suite({**SUITE, "settings": settings})[0].overrides == expected
    both = {**nested, "optimizer.num_epochs": "5"}  # as when --optimizer.num_epochs 5 follows a suite
    assert plan_suite({**SUITE, "settings": both})[0].overrides["optimizer.num_epochs"] == "5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": [{"benchmrk": "x", "trainings": []}]}, "Did you mean 'benchmark'"),
        ({"runs": [{"benchmark": "x"}]}, "trainings is not set"),
        ({"runs": [{"benchmark": "x", "trainings": "a2d"}]}, "must be a list"),
        ({"runs": {"benchmark": "x"}}, "must be a list"),
        ({"partitions": "many"}, "whole number"),
        ({"seeds": 1.5}, "whole number"),
    ],
)
def test_mistakes_in_a_suite(change, message):
    with pytest.raises(UserError, match=message):
        plan_suite({**SUITE, **change})


def test_entries_and_variants():
    """An entry's own numbers take the place of the suite's, a training's own settings hold beside the entry's."""
    rows = [
        "a2d",
        {
            "training": "a2d",
            "variant": "l1",
            "settings": {"trainer.discrepancy": "l1"},
            "postprocessors": ["msp"],
        },
    ]
    settings = {"trainer": {"gamma": 2.0}}
    entry = {
        "benchmark": "x/y",
        "trainings": rows,
        "partitions": 1,
        "seeds": 3,
        "network": "own",
        "settings": settings,
    }
    jobs = plan_suite({**SUITE, "runs": [entry, *SUITE["runs"]], "settings": {}})
    own, others = [j for j in jobs if j.benchmark == "x/y"], [j for j in jobs if j.benchmark != "x/y"]
    assert (len(own), len(others)) == (2 * 1 * 3, 2 * 2 * 1)
    assert {j.network for j in own} == {"own"}
    assert {j.network for j in others} == {"mlp_fusion"}
    plain, variant = own[:2]
    assert (plain.method, variant.method) == ("a2d", "a2d-l1")
    assert str(variant) == os.path.join("y", "default", "a2d-l1", "p0_s0")
    assert plain.overrides == {"trainer.gamma": "2.0"}
    assert variant.overrides == {"trainer.gamma": "2.0", "trainer.discrepancy": "l1"}
    assert (plain.postprocessors, variant.postprocessors) == (("ebo",), ("msp",))
    assert variant.about()["variant"] == "l1"
    assert "variant" not in plain.about()  # marks of older versions hold
    assert [(j.partition, j.seed) for j in jobs] == sorted((j.partition, j.seed) for j in jobs)


def test_counts_asked_for_hold_for_every_entry(tmp_path, cli):
    suite = {**SUITE, "runs": [{**SUITE["runs"][0], "partitions": 4, "seeds": 4}]}
    (tmp_path / "own.yml").write_text(json.dumps(suite))
    words = ["--suite", str(tmp_path / "own.yml"), "--partitions", "1", "--seeds", "2", "--dry-run"]
    done = cli(["benchmark", *words, "--output-dir", str(tmp_path / "out")])
    assert done.code == 0
    assert done.out.count("not begun") == 2 * 1 * 2


def test_settings_of():
    words = ["--a.b", "1", "--c=x y", "--d", "p", "q", "--e", "-3"]
    assert settings_of(words) == {"a.b": "1", "c": "x y", "d": "p,q", "e": "-3"}


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


def test_a_dry_run_lists_and_runs_nothing(tmp_path, cli):
    words = ["benchmark", "--benchmark", "synthetic/synthetic_far", "--trainings", "a2d", "--partitions", "1"]
    done = cli([*words, "--seeds", "2", "--dry-run", "--output-dir", str(tmp_path / "out")])
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (0, 2 * 3)
    assert lines[0] == f"{Path('synthetic_far', 'default', 'a2d', 'p0_s0')}: not begun; can run"
    assert lines[1].startswith("  openood-mm run --config datasets/synthetic/synthetic_far.yml ")
    assert "pipelines/test/near_ood.yml" in lines[2]
    assert not (tmp_path / "out").exists()


def test_marks_of_older_versions_are_recognised(tmp_path):
    """Until 0.1.0's redesign ``done.json`` called the digest ``job``; what it is the digest of has not changed."""
    job = replace(JOB, output=str(tmp_path))
    job.folder.mkdir(parents=True)
    (job.folder / "done.json").write_text(json.dumps({"job": job.digest(), **job.about()}))
    assert job.is_done()
    version, about, training, test, *_ = job.settings()
    assert (version, sorted(about)) == (__version__, sorted(FIELDS_OF_OLD_MARKS))
    assert test["network"]["checkpoint"] == "training/best.ckpt"
    assert training["trainer"]["name"] == "a2d"


def test_the_printed_commands_of_a_suite_are_what_runs(tmp_path):
    for command in replace(
        JOB, output=str(tmp_path), postprocessor_args={"ebo": {"temperature": 2}}
    ).commands():
        words = shlex.split(str(command))[3:]
        place = next(number for number, word in enumerate(words) if word.startswith("--"))
        assert load_config(words[:place], words[place:]) == command.config()


def test_a_changed_config_is_run_again(tmp_path, monkeypatch):
    """The digest is of the configs' content: the working directory's files come before the packaged ones."""
    monkeypatch.chdir(tmp_path)
    before = JOB.digest()
    own = tmp_path / "pipelines" / "train" / "a2d.yml"
    own.parent.mkdir(parents=True)
    text = find_config("pipelines/train/a2d.yml").read_text()
    assert "gamma: 1.0" in text
    own.write_text(text)
    assert JOB.digest() == before
    own.write_text(text.replace("gamma: 1.0", "gamma: 50.0"))
    assert JOB.digest() != before


def test_two_runs_in_one_folder_are_refused():
    with pytest.raises(UserError, match="asked for twice"):
        plan_suite({**SUITE, "runs": SUITE["runs"] * 2})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partitions", "99"], "synthetic_far has no partition"),
        (["--modalities", "a,x"], "synthetic_far has no modality 'x'"),
        (["--trainings", "a2dd"], "Did you mean 'pipelines/train/a2d.yml'"),
        (["--postprocessors", "mspp"], "Did you mean 'msp'"),
        (["--seed", "3"], "give --seeds alone"),
        (["--dataset.partition", "1"], "give --partitions alone"),
    ],
)
def test_mistakes_show_before_the_first_training(tmp_path, cli, words, message):
    done = cli(
        ["benchmark", "--benchmark", "synthetic/synthetic_far", "--output-dir", str(tmp_path / "out"), *words]
    )
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_suite_may_keep_embeddings(tmp_path):
    """The settings, and so finished runs, stay the same; a run without its stores is not done."""
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,) = plan_suite(suite, tmp_path)
    (kept,) = plan_suite({**suite, "keep_embeddings": True}, tmp_path)
    assert kept.digest() == plain.digest()
    assert kept.tests == plain.tests == ("test",)
    recorders = [each.test_commands()[0].config()["recorder"] for each in (plain, kept)]
    assert [each["save_embeddings"] for each in recorders] == [False, True]
    assert recorders[1]["embeddings"] == str(tmp_path / "htad_4_3/default/a2d/p0_s0/embeddings")
    write_json(plain.folder / "done.json", {"digest": plain.digest()})
    assert plain.is_done()
    assert not kept.is_done()
    (kept.embeddings).mkdir()
    (kept.embeddings / "head.npz").write_bytes(b"")
    assert kept.is_done()


def test_a_suite_may_keep_scores(tmp_path):
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,) = plan_suite(suite, tmp_path)
    (kept,) = plan_suite({**suite, "keep_scores": True}, tmp_path)
    assert kept.digest() == plain.digest()
    recorders = [each.test_commands()[0].config()["recorder"] for each in (plain, kept)]
    assert [each["save_scores"] for each in recorders] == [False, True]
    write_json(plain.folder / "done.json", {"digest": plain.digest()})
    assert plain.is_done()
    assert not kept.is_done()
    (kept.folder / "test" / "scores").mkdir(parents=True)
    assert kept.is_done()


def test_a_suite_may_ask_for_other_metrics(tmp_path):
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,), (empty,), (asked,) = (
        plan_suite({**suite, **more}, tmp_path) for more in ({}, {"metrics": []}, {"metrics": ["failure"]})
    )
    assert plain.digest() == empty.digest() != asked.digest()
    assert asked.test_commands()[0].config()["metrics"] == ["failure"]
    assert "metrics" not in plain.about()
    with pytest.raises(UserError, match="metrics name 'failing'"):
        plan_suite({**suite, "metrics": ["failing"]}, tmp_path)
