"""Every registered training method and synthesis: any number of modalities, absent classes, exact resumption."""

from __future__ import annotations

import io
from dataclasses import fields

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from openood_multimodal.config import read_config
from openood_multimodal.datasets.auxiliary import AuxiliaryOutliers
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.registry import SYNTHESES, TRAINERS
from openood_multimodal.resources import configs_dir

DIMS = {"a": 3, "b": 4, "c": 2, "d": 3, "e": 1, "f": 2}
SMALL = {"bank_size": 2, "start_epoch": 1, "static_epochs": 1, "num_outliers": 3, "discrepancy": "hellinger"}
"""Parameters of trainers that have them: everything that a trainer can do happens in two epochs of three steps."""


class Rows(Dataset):
    def __init__(self, labels, modalities, seed):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.tensor(labels)
        self.data = {name: torch.randn(len(labels), DIMS[name], generator=generator) for name in modalities}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        data = ModalityBatch((name, each[row]) for name, each in self.data.items())
        return {"data": data, "label": self.labels[row], "index": row, "clip": str(row)}


def make(name, modalities, classes, **section):
    """Three batches; the last lacks all classes but the first, or the first two of four."""
    torch.manual_seed(0)
    names = list(DIMS)[:modalities]
    net = MLPFusionNet(classes, names, DIMS, hidden_dim=5, embedding_dim=4)
    labels = [row % classes for row in range(8)] + ([0, 0, 1, 1] if classes > 2 else [0, 0, 0, 0])
    loader = DataLoader(Rows(labels, names, 0), batch_size=4)
    loader.auxiliary = AuxiliaryOutliers(Rows([-1] * 6, names, 1), batch_size=4)
    known = {each.name for each in fields(TRAINERS.get(name).Params)}
    section = {key: value for key, value in SMALL.items() if key in known} | section
    config = {
        "trainer": {"name": name, **section},
        "optimizer": {"name": "adam", "lr": 0.01, "num_epochs": 2},
        "seed": 3,
    }
    return TRAINERS.get(name)(net, loader, config)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in TRAINERS.names()),
        *(("a2d_synthesis", {"synthesis": synthesis}) for synthesis in SYNTHESES.names()),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("synthesis", ""),
)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("modalities", [2, 3, 6])
def test_any_modalities_absent_classes_and_exact_resumption(name, more, modalities, classes):
    trainer = make(name, modalities, classes, **more)
    before = {key: value.clone() for key, value in trainer.net.state_dict().items()}
    _, first = trainer.train_epoch(1)
    file = io.BytesIO()
    torch.save({"net": trainer.net.state_dict(), "trainer": trainer.state_dict()}, file)
    _, second = trainer.train_epoch(2)
    after = trainer.net.state_dict()
    for metrics in (first, second):
        assert all(value == value and abs(value) < 1e6 for value in metrics.values()), metrics
    synthesises = "start_epoch" in trainer.config["trainer"] and more.get("synthesis") != "none"
    assert any(key.startswith("loss_outlier_entropy") for key in second) == synthesises
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], value) for key, value in after.items())

    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = make(name, modalities, classes, **more)
    other.net.load_state_dict(state["net"])
    other.load_state_dict(state["trainer"])
    assert other.train_epoch(2)[1] == second
    for key, value in other.net.state_dict().items():
        assert torch.equal(value, after[key]), key
    torch.testing.assert_close(other.extra_state(), trainer.extra_state(), rtol=0, atol=0)


def test_the_training_of_modality_aware_ood_with_its_score(tiny):
    words = tiny.train("modality_aware", "--trainer.bank_size", "20", "--trainer.start_epoch", "2")
    TrainPipeline(tiny.config(words)).run()
    TestPipeline(tiny.config(tiny.test("--postprocessors", "modality_virtual_logits"))).run()
    assert (tiny.folder / "test" / "modality_virtual_logits" / "ood.csv").is_file()
    log = (tiny.folder / "run" / "log.csv").read_text().splitlines()[0]
    assert {"loss_discrepancy", "loss_contrast", "loss_outlier_entropy"} <= set(log.split(","))


def test_training_configs_have_the_same_keys_outside_their_trainer():
    configs = {path.stem: read_config(path) for path in (configs_dir() / "pipelines/train").glob("*.yml")}
    keys = {name: set(config) - {"trainer", "dataset"} for name, config in configs.items()}
    assert keys == dict.fromkeys(keys, keys["multimodal_baseline"])
    assert {config["trainer"]["name"] for config in configs.values()} == set(TRAINERS.names())
