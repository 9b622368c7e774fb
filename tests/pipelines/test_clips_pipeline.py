"""Training on clips: killed at any step, it resumes to the same network; and a benchmark of clips, near and far."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from openood_multimodal.datasets.clips import MultimodalClipDataset
from openood_multimodal.errors import UserError
from openood_multimodal.files import atomic
from openood_multimodal.pipelines import TrainPipeline
from openood_multimodal.pipelines.run import check_runs
from openood_multimodal.pipelines.suites import SuiteRun, plan_suite
from openood_multimodal.reporting.benchmark import write_report
from openood_multimodal.reporting.records import load_records
from openood_multimodal.trainers import MultimodalTrainer

STEPS, EPOCHS = 4, 2  # 16 clips in batches of 4
EVERY_STEP = ("--recorder.state_seconds", "0.000000001")
EVERY_EPOCH = ("--recorder.min_state_seconds", "0")


class KilledError(BaseException):
    """Nothing in the package may catch it."""


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Flushing to disk guards against power cuts, which are not tested here."""
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: None)


@pytest.fixture
def kill_at_step(monkeypatch):
    """Return a function that makes the n-th training step from now on raise."""
    original, left = MultimodalTrainer._forward, [10**9]

    def forward(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        return original(self, data)

    monkeypatch.setattr(MultimodalTrainer, "_forward", forward)
    return lambda step: left.__setitem__(0, step)


def result(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str]:
    """Return the best network, the last one and the log without its times."""
    log = pd.read_csv(folder / "log.csv").drop(columns=["seconds", "samples_per_second", "data_wait"])
    best, last = (torch.load(folder / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    return best, last, log.to_csv()


def same(a, b) -> bool:
    return a[2] == b[2] and all(
        list(x) == list(y) and all(torch.equal(x[key], y[key]) for key in x)
        for x, y in zip(a[:2], b[:2], strict=True)
    )


def train(clips, *more):
    return TrainPipeline(clips.config(clips.train("a2d_npmix", *more))).run().folder


@pytest.mark.parametrize(
    ("kills", "more"), [(5, EVERY_STEP), (2, EVERY_EPOCH), (2, (*EVERY_STEP, "--num_workers", "1"))]
)
def test_killed_at_random_steps(clips, kill_at_step, kills, more):
    """With a state after every step, and with one an epoch; augmentation, batch norm, bank and optimiser go on."""
    whole = result(train(type(clips)(clips.data, clips.folder / "whole")))
    for step in random.Random(str(more)).sample(range(1, STEPS * EPOCHS), kills):
        victim = type(clips)(clips.data, clips.folder / f"killed_{step}")
        kill_at_step(step)
        with pytest.raises(KilledError):
            train(victim, *more)
        left = STEPS * EPOCHS - (step if EVERY_STEP[0] in more else step // STEPS * STEPS)
        kill_at_step(left)  # not a step more
        assert same(result(train(victim, *more)), whole), f"killed at step {step}"
        kill_at_step(10**9)
        shutil.rmtree(victim.folder)


def test_a_process_is_killed(clips, environment):
    whole = result(train(type(clips)(clips.data, clips.folder / "whole")))
    words = clips.train("a2d_npmix", *EVERY_STEP)
    slow = (
        "import time\n"
        "from openood_multimodal.trainers import MultimodalTrainer\n"
        "forward = MultimodalTrainer._forward\n"
        "def late(self, data):\n"
        "    time.sleep(0.05)\n"
        "    return forward(self, data)\n"
        "MultimodalTrainer._forward = late\n"
        "from openood_multimodal.cli import main\n"
        f"main({['run', *words]!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    state = clips.folder / "run" / "state.pt"
    end = time.monotonic() + 120
    while not state.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.random() * 0.3)
    os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, err.decode()[-2000:]
    assert not (clips.folder / "run" / "last.ckpt").exists()
    assert same(result(train(clips, *EVERY_STEP)), whole)


def test_outliers_were_used_and_the_log_tells_where_time_went(clips):
    folder = train(clips)
    log = pd.read_csv(folder / "log.csv")
    assert log["loss_outlier_entropy"].notna().tolist() == [False, True]
    assert (log["samples_per_second"] > 0).all()
    assert log["data_wait"].between(0, 1).all()
    card = json.loads((folder / "best.json").read_text())
    assert card["first_synthesis_epoch"] == 2
    assert card["network"]["encoders"]["video"]["depth"] == 18


CLIPS = {"benchmark": "moving_shapes/moving_shapes", "modalities": [["video", "flow"]]}
SUITE = {
    "runs": [
        {**CLIPS, "trainings": ["multimodal_multihead"]},
        {
            **CLIPS,
            "trainings": ["a2d_npmix"],
            "settings": {"trainer.start_epoch": 2, "trainer.bank_size": 3},
        },
    ],
    "partitions": 1,
    "seeds": 1,
    "network": "clip_fusion_small",
    "evaluator": ["near_ood", "far_ood"],
    "postprocessors": ["msp", "vim"],
    "postprocessor_args": {"vim": {"dim": 8}},
}


@pytest.fixture
def jobs(clips) -> list[SuiteRun]:
    settings: dict[str, str] = {"data_root": str(clips.data)}
    key = ""
    for word in clips.train("multimodal_multihead"):  # --key value value
        if word.startswith("--"):
            key = word.removeprefix("--")
        elif key.startswith(
            ("dataset.", "network.", "preprocessor.", "optimizer.", "num_gpus", "num_workers")
        ):
            settings[key] = word
    del settings["dataset.modalities"]
    return plan_suite({**SUITE, "settings": settings}, clips.folder)


def test_a_benchmark_of_clips(clips, jobs, monkeypatch, capsys):
    """Near and far from one extraction: no clip of the test is read twice."""
    load, read = MultimodalClipDataset._read, []

    def counting(self, place, out):
        if self._loader.training is False:
            read.append((self.name, self.manifest.clips[place]))
        load(self, place, out)

    monkeypatch.setattr(MultimodalClipDataset, "_read", counting)
    check_runs(jobs)
    for job in jobs:
        assert not job.is_done()
        job.run()
        assert job.is_done()
        tested = [each for each in read if not each[0].endswith("_val")]
        assert len(tested) == len(set(tested)) == 16 + 8 + 4 + 4
        read.clear()
        folder = job.folder
        names = ("train", "val", "test", "ood_val", "moving_shapes_near", "moving_shapes_far")
        assert {path.name for path in (folder / "embeddings").iterdir()} == {*names, "head.npz"}
        for evaluator, setting in (("near_ood", "near"), ("far_ood", "far")):
            records = load_records(folder / evaluator)
            assert [record.postprocessor for record in records] == ["msp", "vim"]
            assert {record.setting for record in records} == {setting}
            assert (folder / evaluator / "results.csv").is_file()
            assert {record.parameters.get("dim") for record in records} == {None, 8}
    report = write_report(dict.fromkeys((job.folder for job in jobs), ""), clips.folder)
    assert "moving_shapes near-OOD, video+flow: AUROC by training" in report.text
    assert "moving_shapes far-OOD, video+flow: AUROC by training" in report.text
    rows = pd.read_csv(clips.folder / "leaderboard.csv")
    assert len(rows) == 2 * 2 * 2


def test_other_clips_are_another_job(clips, jobs, tmp_path):
    """The manifests' content counts."""
    before = jobs[0].digest()
    data = tmp_path / "data"
    shutil.copytree(clips.data, data)
    moved = [replace(job, overrides={**job.overrides, "data_root": str(data)}) for job in jobs]
    same_clips = moved[0].digest()
    lines = (data / "test.csv").read_text().splitlines(keepends=True)
    (data / "test.csv").write_text("".join(lines[:-1]))
    assert len({before, same_clips, moved[0].digest()}) == 3


def test_device_and_workers_hold_in_training_and_tests(jobs):
    for config in [each.config() for each in jobs[0].commands()]:
        assert (config["num_gpus"], config["dataset.num_workers"]) == (0, 0)


def test_one_evaluator_keeps_no_stores(jobs):
    one = replace(jobs[0], evaluator="far_ood")
    test = one.test_commands()[0].config()
    assert test["recorder"]["save_embeddings"] is False
    assert test["evaluator"]["name"] == "far_ood"
    assert test["exp_name"] == "test"
    none = replace(jobs[0], evaluator="")
    with pytest.raises(UserError, match="evaluator is empty"):
        check_runs([none])


def test_the_packaged_suite():
    """What `make demo` runs: ten methods, two evaluators, outliers that begin before the training ends."""
    from openood_multimodal.config import find_config, read_config

    planned = plan_suite(read_config(find_config("suites/clips_demo.yml")))
    check_runs(planned)
    scores = {(job.training, score) for job in planned for score in job.postprocessors}
    assert len({score for training, score in scores if training == "a2d_npmix"}) == 9
    assert ("a2d_npmix_logitnorm", "msp") in scores
    for job in planned:
        assert job.evaluators == ("near_ood", "far_ood")
        training = job.training_command().config()
        if "npmix" in job.training:
            assert training["trainer"]["start_epoch"] < training["optimizer"]["num_epochs"]
