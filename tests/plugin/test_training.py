"""OpenOOD's trainers on several inputs: arithmetic on batches, and refusals before the run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trainers_page as trainers  # scripts/openood_pages
from torch.utils.data import DataLoader

from openood_multimodal.datasets import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.plugin import register, training
from openood_multimodal.plugin.arguments import prepare_arguments
from openood_multimodal.plugin.batches import ArithmeticBatch
from openood_multimodal.registry import TRAINERS

ROOT = os.environ.get("OPENOOD_ROOT")
PAGES = Path(__file__).resolve().parents[2] / "scripts" / "openood_pages"
DATA = {"a": torch.arange(6.0).reshape(3, 2), "b": torch.arange(12.0).reshape(3, 2, 2)}


def test_batches_are_mixed_modality_by_modality():
    batch, index = ArithmeticBatch.of(ModalityBatch(DATA)), torch.tensor([2, 0, 1])
    for lam in (0.25, np.float64(0.25)):
        mixed = lam * batch + (1 - lam) * batch[index]  # OpenOOD's mixing()
        assert list(mixed) == ["a", "b"]
        for name, tensor in DATA.items():
            assert torch.allclose(mixed[name], 0.25 * tensor + 0.75 * tensor[index])
    both = torch.cat([batch, mixed], dim=0)  # OpenOOD's regmixup
    assert both.size(0) == 6
    assert torch.equal(both["b"][3:], mixed["b"])
    assert torch.equal(batch["a"], DATA["a"])


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, row):
        return {"data": ModalityBatch({"a": torch.full((2,), float(row))}), "label": row % 3}


class Trainer:
    def __init__(self):
        self.train_loader = DataLoader(Rows(), batch_size=4, shuffle=True)


def test_mixup_gets_soft_labels_and_another_order_every_epoch():
    torch.manual_seed(0)
    trainer = Trainer()
    training.make_ready(trainer, "mixup", torch.nn.Linear(2, 3), 3)
    orders = []
    for _ in range(3):
        batches = iter(trainer.train_loader)
        assert len(batches) == 2
        order = []
        for batch in batches:
            assert isinstance(batch["data"], ArithmeticBatch)
            assert torch.equal(batch["soft_label"].argmax(1), batch["label"])
            assert batch["soft_label"].dtype == torch.float32
            order += batch["data"]["a"][:, 0].tolist()
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]


def test_dropout_is_on_the_embedding():
    net = MLPFusionNet(3, ["a"], {"a": 2}, hidden_dim=4, embedding_dim=5)
    training.make_ready(Trainer(), "dropout", net, 3)
    data = ModalityBatch({"a": torch.randn(4, 2)})
    torch.manual_seed(1)
    found = net.forward_with_dropout(data, 0.5)
    torch.manual_seed(1)
    expected = net.fc(torch.nn.functional.dropout(net(data, return_feature=True)[1], 0.5))
    assert torch.equal(found, expected)
    assert not torch.equal(found, net(data))
    assert list(net.state_dict()) == list(MLPFusionNet(3, ["a"], {"a": 2}, 4, 5).state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"trainer": {"name": "cider"}},
            r"trainer 'cider' can't train the network 'mlp_fusion'.*a projection",
        ),
        (
            {"trainer": {"name": "oe"}, "pipeline": {"name": "train_oe"}},
            r"'oe' can't train.*a set of outliers",
        ),
        (
            {"trainer": {"name": "sae"}, "pipeline": {"name": "finetune"}},
            r"'sae' can't train.*convolutional blocks",
        ),
        (
            {"trainer": {"name": "none"}, "pipeline": {"name": "feat_extract_opengan"}},
            r"pipeline 'feat_extract_opengan'",
        ),
        ({"pipeline": {"name": "train_oe"}}, r"pipeline 'train_oe' can't train.*a set of outliers"),
    ],
)
def test_what_cannot_train_is_refused_before_the_run(
    standin, table_config, run_openood, tmp_path, changes, message
):
    register()
    with pytest.raises(UserError, match=message + r".*Those that can: base, logitnorm"):
        run_openood(table_config("train", **changes))
    assert not (tmp_path / "run").exists()


def test_none_of_ours_is_taken_for_openoods():
    assert not set(training.UNSUITABLE) & set(training.RUNS)
    assert not set(TRAINERS.names()) & {*training.UNSUITABLE, *training.RUNS} - {"logitnorm"}


def test_an_evaluator_that_cannot_evaluate_is_refused_before_the_run(
    standin, table_config, run_openood, tmp_path
):
    register()
    with pytest.raises(UserError, match=r"evaluator 'ece' can't.*numpy\.float.*--evaluator\.name base"):
        run_openood(table_config("train", evaluator={"name": "ece"}))
    assert not (tmp_path / "run").exists()


def test_images_preprocessor_is_refused_on_tables(standin, table_config, run_openood, tmp_path):
    register()
    with pytest.raises(UserError, match=r"preprocessor\.name is 'base'.*after OpenOOD's.*multimodal_base"):
        run_openood(table_config("train", preprocessor={"name": "base"}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [[], ["--optimizer.num_epochs", "1"]])
def test_the_reason_comes_before_missing_keys(standin, tmp_path, words):
    # OpenOOD's train_oe.yml and train_udg.yml are only parts of a config
    part = tmp_path / "part.yml"
    part.write_text(
        "exp_name: \"'@{optimizer.num_epochs}'\"\npipeline: {name: train_oe}\ntrainer: {name: udg}\n"
    )
    files = ["configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml", str(part)]
    with pytest.raises(
        UserError, match="'udg' can't train the network 'mlp_fusion': it asks for a set of outliers"
    ):
        prepare_arguments(["--config", *files, *words], standin, tmp_path)
    given = ["--trainer.name", "base", "--pipeline.name", "train", "--optimizer.num_epochs", "1"]
    with pytest.raises(UserError, match=r"optimizer\.num_epochs"):
        prepare_arguments(["--config", *files, *given], standin, tmp_path)


def test_the_page_says_what_trains_and_what_does_not():
    said = (
        "OpenOOD's trainer 'oe' can't train the network 'mlp_fusion': it asks | more. Those that can: base."
    )
    rows = [
        trainers.Row("baseline.yml", "base", 82.5),
        trainers.Row("train_mixup.yml", "mixup", 81.0),
        trainers.Row("train_oe.yml", "oe", said),
        trainers.Row("train_x.yml", "x", "KeyError: 'x'"),
    ]
    text = trainers.page(rows, "v9")
    assert "2 of the 4 files in OpenOOD's `configs/pipelines/train` train a network of this package;" in text
    assert "\n1 are refused before" in text
    assert "| baseline.yml | base | 82.50 |  |" in text
    assert (
        "| train_mixup.yml | mixup | 81.00 | mixes every modality of two samples with the same weight |"
        in text
    )
    assert "| train_oe.yml | oe | it asks \\| more |" in text
    assert text.endswith(
        "## What fails\n\n| config | trainer | why |\n|---|---|---|\n| train_x.yml | x | KeyError: 'x' |\n"
    )


@pytest.mark.skipif(
    not ROOT and importlib.util.find_spec("openood") is None,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)
def test_each_of_openoods_training_configs_trains_or_is_refused(tmp_path):
    pytest.importorskip("multiviewstacking")
    page = tmp_path / "page.md"
    command = [sys.executable, str(PAGES), "trainers", "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ran = re.findall(r"^\| \w+\.yml \| (\w+) \| [\d.]+ \|", page.read_text(), re.MULTILINE)
    assert {"base", "logitnorm", "mixup", "regmixup", "dropout"} <= set(ran) <= set(training.RUNS)
    assert "## What fails" not in page.read_text()
