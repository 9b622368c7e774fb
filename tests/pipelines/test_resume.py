"""A training that is stopped anywhere ends, bit for bit, where an uninterrupted one ends."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from openood_multimodal.files import atomic
from openood_multimodal.pipelines import TrainPipeline
from openood_multimodal.registry import EVALUATORS, SYNTHESES
from openood_multimodal.trainers import MultimodalTrainer

FILES = ("best.ckpt", "last.ckpt", "best.json", "last.json", "log.csv", "config.yml")


class KilledError(BaseException):
    """Nothing in the package may catch it."""


@pytest.fixture
def kill_at_step(monkeypatch):
    """Return a function that makes the n-th training step from now on raise."""
    original = MultimodalTrainer._forward

    def arm(step):
        left = [step]

        def forward(self, data):
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return original(self, data)

        monkeypatch.setattr(MultimodalTrainer, "_forward", forward)

    return arm


def contents(folder: Path) -> dict[str, bytes]:
    found = {name: (folder / name).read_bytes() for name in FILES}
    log = pd.read_csv(folder / "log.csv")
    time_columns = ["seconds", "samples_per_second", "data_wait"]
    found["log.csv"] = log.drop(columns=time_columns).to_csv().encode()
    found["config.yml"] = re.sub(rb"output_dir: .*", b"", found["config.yml"])
    return found


def reference(tiny, training, *more):
    whole = type(tiny)(tiny.folder / "whole")
    TrainPipeline(whole.config(whole.train(training, *more))).run()
    return contents(whole.folder / "run")


EPOCHS, FULL_STEPS = 4, 6  # 420 rows in batches of 64: six full ones and a short one that is skipped


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Flushing to disk guards against power cuts, which are not tested here, and takes most of the time."""
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    ("training", "kills"), [("a2d_npmix", 20), ("multimodal_baseline", 20), ("a2d_npmix_logitnorm", 3)]
)
def test_killed_at_random_steps(tiny, kill_at_step, training, kills):
    more = ("--optimizer.num_epochs", str(EPOCHS))
    expected = reference(tiny, training, *more)
    draws = random.Random(training)
    for step in draws.sample(range(EPOCHS * FULL_STEPS), kills):
        victim = type(tiny)(tiny.folder / f"killed_{step}")
        words = victim.train(training, *more)
        kill_at_step(step)
        with pytest.raises(KilledError):
            TrainPipeline(victim.config(words)).run()
        kill_at_step(10_000)
        TrainPipeline(victim.config(words)).run()
        assert contents(victim.folder / "run") == expected, f"killed at step {step}"


@pytest.mark.parametrize(
    ("training", "more"),
    [
        ("a2d_npmix", ()),
        ("multimodal_baseline", ("--num_workers", "1")),
        ("a2d_npmix", ("--training.accumulate", "2")),
        ("a2d", ("--training.precision", "bfloat16")),
        pytest.param(
            "a2d", ("--training.precision", "float16", "--deterministic", "true"), marks=pytest.mark.cuda
        ),
    ],
)
def test_killed_within_an_epoch(tiny, kill_at_step, monkeypatch, training, more):
    """A state after every step: what is resumed begins at that very step, without loading the batches before it."""
    more = ("--optimizer.num_epochs", "3", "--recorder.state_seconds", "0.000000001", *more)
    expected = reference(tiny, training, *more)
    workers = "--num_workers" in more
    for step in random.Random(training).sample(range(1, 3 * FULL_STEPS), 2 if workers else 8):
        victim = type(tiny)(tiny.folder / f"killed_{step}")
        words = victim.train(training, *more)
        kill_at_step(step)
        with pytest.raises(KilledError):
            TrainPipeline(victim.config(words)).run()
        steps = 2 if "--training.accumulate" in more else 1
        kill_at_step(3 * FULL_STEPS - step // steps * steps)  # not one more than are left
        TrainPipeline(victim.config(words)).run()
        kill_at_step(10_000)
        assert contents(victim.folder / "run") == expected, f"killed at step {step}"


WITH_A2D = ("--trainer.discrepancy", "hellinger")


@pytest.mark.parametrize(
    ("training", "more", "term"),
    [
        *(
            ("a2d_synthesis", ("--trainer.synthesis", name), "outlier_entropy" if name != "none" else "")
            for name in SYNTHESES.names()
        ),
        ("multimodal_contrastive", ("--trainer.hidden_dim", "8", *WITH_A2D), "task"),
        ("multimodal_rna", (), "task"),
        ("acr", WITH_A2D, "mixing"),
        ("dpu", ("--trainer.static_epochs", "1"), "contrast"),
        ("cross_modal_distillation", WITH_A2D, "task"),
        ("cross_modal_translation", ("--trainer.hidden_dim", "8"), "task"),
    ],
)
def test_every_method_resumes(tiny, kill_at_step, training, more, term):
    more = (*more, "--recorder.state_seconds", "0.000000001")
    expected = reference(tiny, training, *more)
    assert f"loss_{term}".encode() in expected["log.csv"]
    assert (b"loss_discrepancy" in expected["log.csv"]) == (
        training in ("a2d_synthesis", "dpu") or "hellinger" in more
    )
    for step in (FULL_STEPS + 2, 2 * FULL_STEPS + 3):
        victim = type(tiny)(tiny.folder / f"killed_{step}")
        words = victim.train(training, *more)
        kill_at_step(step)
        with pytest.raises(KilledError):
            TrainPipeline(victim.config(words)).run()
        kill_at_step(10_000)
        TrainPipeline(victim.config(words)).run()
        assert contents(victim.folder / "run") == expected, f"killed at step {step}"


AUXILIARY = """
dataset:
  auxiliary:
    dataset_class: MultimodalTabularDataset
    imglist_pth: {benchmark: synthetic_far, split: ood_val, set: synthetic_val}
    batch_size: 48
ood_dataset: {split_names: [nearood, farood]}
"""
"""The benchmark's OOD validation set as outliers to train with, where it is not one to search on."""


@pytest.mark.parametrize(
    ("training", "more"),
    [
        ("outlier_exposure", WITH_A2D),
        ("energy_margin", ()),
        ("multimodal_mixoe", ()),
        ("dos", ("--trainer.num_outliers", "9")),
    ],
)
def test_trainings_with_auxiliary_outliers_resume(tiny, kill_at_step, training, more):
    more = (*more, "--optimizer.num_epochs", "2", "--recorder.state_seconds", "0.000000001")
    (tiny.folder / "auxiliary.yml").write_text(AUXILIARY)
    files = ("datasets/synthetic/synthetic_far_ood.yml", str(tiny.folder / "auxiliary.yml"))
    whole = type(tiny)(tiny.folder / "whole")
    TrainPipeline(whole.config(whole.train(training, *more, files=files))).run()
    expected = contents(whole.folder / "run")
    assert b"loss_auxiliary" in expected["log.csv"]
    assert (b"loss_outlier_discrepancy" in expected["log.csv"]) == (training == "outlier_exposure")
    for step in (3, FULL_STEPS + 4):
        victim = type(tiny)(tiny.folder / f"killed_{step}")
        words = victim.train(training, *more, files=files)
        kill_at_step(step)
        with pytest.raises(KilledError):
            TrainPipeline(victim.config(words)).run()
        kill_at_step(10_000)
        TrainPipeline(victim.config(words)).run()
        assert contents(victim.folder / "run") == expected, f"killed at step {step}"


def test_killed_again_and_again(tiny, kill_at_step):
    more = ("--optimizer.num_epochs", "5")
    expected = reference(tiny, "a2d_npmix", *more)
    victim = type(tiny)(tiny.folder / "often")
    draws = random.Random(5)
    done, kills = None, 0
    while done is None:
        kill_at_step(draws.randrange(5, 12))
        try:
            done = TrainPipeline(victim.config(victim.train("a2d_npmix", *more))).run()
        except KilledError:
            kills += 1
    assert kills > 2
    assert contents(victim.folder / "run") == expected


def test_killed_between_any_two_files(tiny, monkeypatch):
    """Each file is renamed into place; stop before each of these renamings, and after each."""
    expected = reference(tiny, "a2d_npmix")
    replace = os.replace
    for number in range(100):
        left = [number]

        def stop(source, target, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise KilledError
            replace(source, target)

        victim = type(tiny)(tiny.folder / f"file_{number}")
        monkeypatch.setattr(atomic.os, "replace", stop)
        try:
            TrainPipeline(victim.config(victim.train())).run()
            break  # fewer files than `number`
        except KilledError:
            monkeypatch.setattr(atomic.os, "replace", replace)
        TrainPipeline(victim.config(victim.train())).run()
        assert contents(victim.folder / "run") == expected, f"stopped at file {number}"
        assert not list((victim.folder / "run").glob(".*.tmp"))
    assert number > 10


def test_the_best_so_far_survives(tiny, kill_at_step, monkeypatch):
    """The best epoch lies before the kill, and later ones are worse."""
    evaluator = EVALUATORS.get("near_ood")

    def eval_acc(self, net, loader, postprocessor, epoch_idx):
        return {"acc": {1: 0.5, 2: 0.9}.get(epoch_idx, 0.6), "loss": 1.0, "epoch_idx": epoch_idx}

    monkeypatch.setattr(evaluator, "eval_acc", eval_acc)
    more = ("--optimizer.num_epochs", "4")
    expected = reference(tiny, "a2d", *more)
    kill_at_step(3 * FULL_STEPS + 1)
    with pytest.raises(KilledError):
        TrainPipeline(tiny.config(tiny.train("a2d", *more))).run()
    kill_at_step(10_000)
    assert TrainPipeline(tiny.config(tiny.train("a2d", *more))).run().best_epoch == 2
    assert contents(tiny.folder / "run") == expected
    assert expected["best.ckpt"] != expected["last.ckpt"]


@pytest.mark.parametrize("interval", [2, 0])
def test_state_interval(tiny, kill_at_step, interval):
    more = ("--optimizer.num_epochs", "5", "--recorder.state_interval", str(interval))
    expected = reference(tiny, "a2d_npmix", *more)
    words = tiny.train("a2d_npmix", *more)
    kill_at_step(6 * 3 + 2)
    with pytest.raises(KilledError):
        TrainPipeline(tiny.config(words)).run()
    state = tiny.folder / "run" / "state.pt"
    assert state.exists() == bool(interval)
    if interval:
        assert torch.load(state, weights_only=True)["epoch_idx"] == 2
    kill_at_step(10_000)
    TrainPipeline(tiny.config(words)).run()
    assert contents(tiny.folder / "run") == expected


@pytest.mark.parametrize(("seconds", "written"), [("0", [1, 2, 3]), ("3600", [3])])
def test_short_epochs_share_a_state(tiny, monkeypatch, seconds, written):
    """The last epoch's state is written whatever the time."""
    found = []
    save = TrainPipeline._write_state
    monkeypatch.setattr(
        TrainPipeline,
        "_write_state",
        lambda self, epoch_idx, *rest: [found.append(epoch_idx), save(self, epoch_idx, *rest)],
    )
    TrainPipeline(tiny.config(tiny.train("a2d", "--recorder.min_state_seconds", seconds))).run()
    assert found == written


def test_killed_between_states(tiny, kill_at_step):
    more = ("--optimizer.num_epochs", "4", "--recorder.min_state_seconds", "3600")
    expected = reference(tiny, "a2d_npmix", *more)
    words = tiny.train("a2d_npmix", *more)
    kill_at_step(3 * FULL_STEPS + 1)
    with pytest.raises(KilledError):
        TrainPipeline(tiny.config(words)).run()
    kill_at_step(10_000)
    TrainPipeline(tiny.config(words)).run()
    assert contents(tiny.folder / "run") == expected


def test_augmentation_resumes_too(tiny, kill_at_step):
    """Noise is a function of (seed, epoch, index)."""
    noise = tiny.folder / "noise.yml"
    noise.write_text("preprocessor: {name: multimodal_noise, noise_std: 0.5}\n")
    files = (str(noise),)
    whole = type(tiny)(tiny.folder / "whole")
    TrainPipeline(whole.config(whole.train("a2d", files=files))).run()
    words = tiny.train("a2d", files=files)
    kill_at_step(9)
    with pytest.raises(KilledError):
        TrainPipeline(tiny.config(words)).run()
    kill_at_step(10_000)
    TrainPipeline(tiny.config(words)).run()
    assert contents(tiny.folder / "run") == contents(whole.folder / "run")
    without = type(tiny)(tiny.folder / "without")
    TrainPipeline(without.config(without.train("a2d"))).run()
    assert contents(without.folder / "run")["last.ckpt"] != contents(whole.folder / "run")["last.ckpt"]


def start(words, environment, cwd, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "openood_multimodal", *words],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def wait_for_epoch(folder, process, rows, patience=60.0):
    """Wait until the training's log has so many rows."""
    log = folder / "run" / "log.csv"
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) > rows:
            return
        time.sleep(0.003)
    raise AssertionError(f"the training ended or hung: {process.communicate()}")


LONG = ("--optimizer.num_epochs", "60")


@pytest.fixture(scope="module")
def long_references():
    return {}


@pytest.mark.parametrize(
    ("training", "how", "code"),
    [
        ("a2d_npmix", signal.SIGKILL, -signal.SIGKILL),
        ("multimodal_baseline", signal.SIGKILL, -signal.SIGKILL),
        ("a2d_npmix", signal.SIGINT, 130),
    ],
)
def test_signals(tiny, environment, long_references, training, how, code):
    """A real process is killed, or interrupted, somewhere, and another process goes on."""
    process = start(tiny.train(training, *LONG), environment, tiny.folder, start_new_session=True)
    wait_for_epoch(tiny.folder, process, 2)
    time.sleep(random.random() * 0.05)
    os.killpg(process.pid, how)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    if how == signal.SIGINT:
        said = [
            line for line in err.replace("\r", "\n").splitlines() if line.strip() and "step/s" not in line
        ]
        assert said == ["openood-mm: interrupted. Give the same command again to resume."]
    assert not (tiny.folder / "run" / "last.ckpt").exists()
    TrainPipeline(tiny.config(tiny.train(training, *LONG))).run()
    if training not in long_references:
        long_references[training] = reference(tiny, training, *LONG)
    assert contents(tiny.folder / "run") == long_references[training]
