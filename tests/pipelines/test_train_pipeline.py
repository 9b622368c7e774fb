"""What a training leaves behind, and what its checkpoint's card says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.files import file_sha256
from openood_multimodal.files.seal import check_sealed_json, sealed_json
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.pipelines.card import CheckpointCard, card_path, read_card
from openood_multimodal.pipelines.digest import config_digest, effective_config, first_difference
from openood_multimodal.registry import EVALUATORS


def train(tiny, *words, **more):
    return TrainPipeline(tiny.config(tiny.train(*words, **more))).run()


def test_files_of_a_training(trained):
    names = sorted(path.name for path in trained.iterdir())
    assert names == ["best.ckpt", "best.json", "config.yml", "last.ckpt", "last.json", "log.csv", "state.pt"]
    state = torch.load(trained / "best.ckpt", weights_only=True)
    assert state["fc.weight"].shape == (6, 12)
    assert {name.split(".")[0] for name in state} == {"encoders", "fc", "heads"}


def test_log_has_a_row_an_epoch_and_a_column_a_term(trained):
    log = pd.read_csv(trained / "log.csv")
    assert log["epoch_idx"].tolist() == [1, 2, 3]
    terms = ["classification", "discrepancy", "outlier_discrepancy", "outlier_entropy"]
    times = {"seconds", "samples_per_second", "data_wait"}
    assert set(log) == {"epoch_idx", "loss", *(f"loss_{t}" for t in terms), "val_loss", "val_acc", *times}
    assert log["data_wait"].between(0, 1).all()
    assert (log["samples_per_second"] > 0).all()
    assert log["loss_outlier_entropy"].isna().tolist() == [True, False, False]
    first = log.iloc[0]
    assert first["loss"] == pytest.approx(first["loss_classification"] + first["loss_discrepancy"], abs=1e-6)
    assert log["val_acc"].between(0, 1).all()


def test_card(trained, tiny):
    card = read_card(trained / "last.ckpt")
    assert (card.epoch, card.num_epochs, card.seed) == (3, 3, 0)
    assert card.trainer["name"] == "a2d_npmix"
    assert card.modalities == ["a", "b"]
    assert (card.synthesis, card.first_synthesis_epoch) == ("npmix", 2)
    assert card.checkpoint_digest == file_sha256(trained / "last.ckpt")
    assert card.data["benchmark"] == "synthetic_far"
    assert card.data["partition"] == 0
    assert not card.chosen_before_synthesis
    best = read_card(trained / "best.ckpt")
    log = pd.read_csv(trained / "log.csv")
    assert best.val_acc == pytest.approx(log["val_acc"].max())
    assert best.epoch == log["epoch_idx"][log["val_acc"] == log["val_acc"].max()].iloc[-1]
    assert read_card(tiny.folder / "elsewhere.ckpt") is None


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [([0.5, 0.5, 0.4], 2), ([0.5, 0.4, 0.5], 3), ([0.0, 0.0, 0.0], 3), ([0.6, 0.5, 0.5], 1)],
)
def test_later_ties_win(tiny, monkeypatch, accuracies, chosen):
    evaluator = EVALUATORS.get("near_ood")
    seen = {}

    def eval_acc(self, net, loader, postprocessor, epoch_idx):
        seen[epoch_idx] = {k: v.clone() for k, v in net.state_dict().items()}
        return {"acc": accuracies[epoch_idx - 1], "loss": 1.0, "epoch_idx": epoch_idx}

    monkeypatch.setattr(evaluator, "eval_acc", eval_acc)
    result = train(tiny, "multimodal_baseline")
    assert (result.best_epoch, result.best_acc) == (chosen, accuracies[chosen - 1])
    best = torch.load(result.checkpoint, weights_only=True)
    assert all(torch.equal(best[k], v) for k, v in seen[chosen].items())
    last = torch.load(result.folder / "last.ckpt", weights_only=True)
    assert all(torch.equal(last[k], v) for k, v in seen[3].items())


@pytest.mark.parametrize(
    ("words", "note", "first"),
    [
        (("--trainer.start_epoch", "3"), "chosen before outliers were first used (epoch 3)", 3),
        (("--trainer.bank_size", "1000"), "outliers were never used: the embedding bank did not fill", None),
        (("--trainer.start_epoch", "9"), "ended after 3 epochs, and they begin with epoch 9", None),
    ],
)
def test_a_checkpoint_chosen_before_outliers_began_is_reported(tiny, cli, monkeypatch, words, note, first):
    evaluator = EVALUATORS.get("near_ood")
    original = evaluator.eval_acc

    def eval_acc(self, net, loader, postprocessor, epoch_idx):
        found = original(self, net, loader, postprocessor, epoch_idx)
        return {**found, "acc": 1.0 if epoch_idx == 1 else 0.0}

    monkeypatch.setattr(evaluator, "eval_acc", eval_acc)
    done = cli(tiny.train("a2d_npmix", *words))
    assert done.code == 0
    assert note in done.out
    card = read_card(tiny.folder / "run" / "best.ckpt")
    assert (card.epoch, card.first_synthesis_epoch, card.chosen_before_synthesis) == (1, first, True)
    monkeypatch.undo()
    for record in TestPipeline(tiny.config(tiny.test())).run():
        assert (
            f"checkpoint of epoch 1, chosen before outliers were used (first: {first or 'never'})"
            in record.notes
        )


@pytest.mark.parametrize(
    ("epoch", "synthesis", "first", "before"),
    [
        (1, "npmix", 2, True),
        (2, "npmix", 2, False),
        (3, "npmix", 2, False),
        (3, "npmix", None, True),
        (1, None, None, False),
    ],
)
def test_chosen_before_synthesis(trained, epoch, synthesis, first, before):
    card = read_card(trained / "best.ckpt")
    changed = replace(card, epoch=epoch, synthesis=synthesis, first_synthesis_epoch=first)
    assert changed.chosen_before_synthesis is before


def test_a_finished_training_is_left_alone(tiny, cli):
    cli(tiny.train())
    before = {path.name: path.stat().st_mtime_ns for path in (tiny.folder / "run").iterdir()}
    done = cli(tiny.train())
    assert (done.code, "finished already" in done.out) == (0, True)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tiny.folder / "run").iterdir()}


def test_another_config_in_the_same_folder_is_refused_or_replaces(tiny, cli):
    cli(tiny.train())
    done = cli(tiny.train("a2d_npmix", "--trainer.gamma", "0.25"))
    assert done.code == 2
    assert "trainer.gamma: 0.5 there, 0.25 here" in done.err
    assert "--overwrite true" in done.err
    assert cli(tiny.train("a2d_npmix", "--trainer.gamma", "0.25", "--overwrite", "true")).code == 0
    assert read_card(tiny.folder / "run" / "best.ckpt").trainer["gamma"] == 0.25
    # what has no effect on the result may change
    assert cli(tiny.train("a2d_npmix", "--trainer.gamma", "0.25", "--mark", "x", "--num_gpus", "0")).code == 0


def test_overwriting_forgets_the_old_end_at_once(tiny, monkeypatch):
    """Interrupted before its first state, a new training must not pass for the old one, finished."""
    train(tiny)
    monkeypatch.setattr(TrainPipeline, "_write_state", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tiny, "a2d_npmix", "--overwrite", "true")
    monkeypatch.undo()
    assert train(tiny).best_epoch
    card = read_card(tiny.folder / "run" / "last.ckpt")
    assert card.epoch == 3
    assert card.checkpoint_digest == file_sha256(tiny.folder / "run" / "last.ckpt")


def test_the_same_config_trains_the_same_network(tiny, trained):
    train(tiny)
    for name in ("best.ckpt", "last.ckpt"):
        assert (tiny.folder / "run" / name).read_bytes() == (trained / name).read_bytes()
    other = type(tiny)(tiny.folder / "other")
    train(other, "a2d_npmix", "--seed", "1")
    assert (other.folder / "run" / "last.ckpt").read_bytes() != (trained / "last.ckpt").read_bytes()


def test_tensorboard_is_optional(tiny, cli, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    done = cli(tiny.train("multimodal_baseline", "--recorder.tensorboard", "true"))
    assert done.code == 0
    assert "pip install tensorboard" in done.out


def test_tensorboard(tiny):
    pytest.importorskip("tensorboard")
    train(tiny, "multimodal_baseline", "--recorder.tensorboard", "true")
    assert list((tiny.folder / "run" / "tensorboard").glob("events*"))


def test_card_that_belongs_to_another_file(tiny, trained):
    shutil.copy(trained / "best.ckpt", tiny.folder / "a.ckpt")
    card = card_path(trained / "best.ckpt")
    content = check_sealed_json(json.loads(card.read_text()), str(card), "")
    (tiny.folder / "a.json").write_text(json.dumps(sealed_json({**content, "checkpoint_digest": "0" * 64})))
    with pytest.raises(UserError, match="is not the file that"):
        read_card(tiny.folder / "a.ckpt")
    (tiny.folder / "a.json").write_text(json.dumps(content))
    assert isinstance(read_card(tiny.folder / "a.ckpt"), CheckpointCard)


def test_config_digest():
    config = {"seed": 0, "dataset": {"num_workers": 0, "name": "x"}, "trainer": {"name": "a", "tau": (1, 2)}}
    same = {
        "trainer": {"tau": [1, 2], "name": "a"},
        "dataset": {"name": "x", "num_workers": 4},
        "seed": 0,
        "mark": "m",
    }
    assert config_digest(config) == config_digest(same)
    assert config_digest(config) != config_digest({**config, "seed": 1})
    assert effective_config(same)["dataset"] == {"name": "x"}
    assert first_difference(effective_config(config), effective_config(same)) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == "a.b: 1 there, 2 here"
    assert first_difference({}, {"c": 3}) == "c: None there, 3 here"


def test_a_finished_training_without_its_checkpoint_says_so(tiny):
    TrainPipeline(tiny.config(tiny.train("multimodal_baseline"))).run()
    (tiny.folder / "run" / "best.ckpt").unlink()
    with pytest.raises(UserError, match=r"best\.ckpt is missing"):
        TrainPipeline(tiny.config(tiny.train("multimodal_baseline"))).run()


@pytest.mark.parametrize("mistake", [("--trainer.discrepancy", "helinger"), ("--network.hidden_dim", "0")])
def test_overwriting_with_a_mistake_keeps_the_old_training(tiny, mistake):
    TrainPipeline(tiny.config(tiny.train("a2d"))).run()
    before = {path.name: path.read_bytes() for path in (tiny.folder / "run").iterdir() if path.is_file()}
    with pytest.raises(UserError):
        TrainPipeline(tiny.config([*tiny.train("a2d"), *mistake, "--overwrite", "true"])).run()
    assert {p.name: p.read_bytes() for p in (tiny.folder / "run").iterdir() if p.is_file()} == before


def test_a_second_process_on_the_same_training_waits_and_finds_it_finished(tiny):
    command = [sys.executable, "-m", "openood_multimodal", *tiny.train()]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [each.communicate(timeout=300) for each in both]
    assert [each.returncode for each in both] == [0, 0], outputs
    assert sorted("finished already" in out for out, _ in outputs) == [False, True]
    assert not list((tiny.folder / "run").glob(".*lock"))
