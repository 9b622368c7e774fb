"""What an older version wrote (training, checkpoint, stores, records of two scores; commit 3f00cd2) is still read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from openood_multimodal.config import load_config
from openood_multimodal.pipelines import TrainPipeline
from openood_multimodal.reporting import load_records

HERE = Path(__file__).parent
WIDTHS = ("--network.hidden_dim", "8", "--network.embedding_dim", "6")
SETS = (
    "datasets/synthetic/synthetic_far.yml",
    "datasets/synthetic/synthetic_far_ood.yml",
    "networks/mlp_fusion.yml",
)
SCORES = ("--postprocessors", "msp", "knn")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy, since runs write beside what they read."""
    for name in ("run", "test"):
        shutil.copytree(HERE / name, tmp_path / name)
    return tmp_path


def metrics(folder: Path) -> dict[tuple[str, str], dict]:
    return {(record.postprocessor, record.ood_set): record.metrics for record in load_records(folder)}


def test_a_finished_training_is_recognised(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WIDTHS, "--optimizer.num_epochs", "2", "--optimizer.lr", "0.01", "--trainer.start_epoch", "2"]
    words += [
        "--trainer.bank_size",
        "5",
        "--recorder.tensorboard",
        "false",
        "--output_dir",
        str(old),
        "--exp_name",
        "run",
    ]
    with pytest.warns(UserWarning, match="has no checksum"):
        result = TrainPipeline(load_config([SETS[0], SETS[2], "pipelines/train/a2d_npmix.yml"], words)).run()
    assert "This training is finished already" in capsys.readouterr().out
    assert result.best_epoch == json.loads((HERE / "run" / "best.json").read_text())["epoch"]


def test_a_checkpoint_gives_the_same_results(old: Path, cli: Callable) -> None:
    words = [*WIDTHS, "--network.checkpoint", str(old / "run" / "best.ckpt"), *SCORES]
    done = cli(
        [
            "run",
            "--config",
            *SETS,
            "pipelines/test/far_ood.yml",
            *words,
            "--output_dir",
            str(old),
            "--exp_name",
            "again",
        ]
    )
    assert done.code == 0, done.err
    new, before = metrics(old / "again"), metrics(HERE / "test")
    assert new.keys() == before.keys()
    for key, values in before.items():
        for name, entry in values.items():
            assert new[key][name]["value"] == pytest.approx(entry["value"], abs=1e-9), (key, name)


def test_stores_are_scored(old: Path, cli: Callable) -> None:
    stores = old / "test" / "embeddings"
    words = [
        "--train",
        str(stores / "train"),
        "--test",
        str(stores / "test"),
        "--ood",
        f"synthetic_shift={stores / 'synthetic_shift'}",
    ]
    done = cli(["score", *words, "--postprocessors", "msp,knn", "--out", str(old / "scored")])
    assert done.code == 0, done.err
    found = {record.postprocessor: record for record in load_records(old / "scored")}
    for (score, ood_set), values in metrics(HERE / "test").items():
        if ood_set == "synthetic_shift":
            assert found[score].metrics["AUROC"]["value"] == pytest.approx(values["AUROC"]["value"], abs=1e-9)
