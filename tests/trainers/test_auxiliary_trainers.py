"""Trainers with auxiliary outliers: what one step makes of a batch, written out; what their records and tests say."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from openood_multimodal.datasets.auxiliary import AuxiliaryOutliers
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.losses import a2d_loss, outlier_discrepancy_loss
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.pipelines.card import read_card
from openood_multimodal.registry import TRAINERS

pytestmark = pytest.mark.filterwarnings("ignore:class 2 .*has no training sample")
DIMS = {"a": 3, "b": 4, "c": 2, "d": 3, "e": 1, "f": 2}
LABELS = torch.tensor([0, 1, 1, 0])  # no sample of the last class, where there are three


class Rows(Dataset):
    def __init__(self, length, modalities, seed):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(length) % 2
        self.data = {name: torch.randn(length, DIMS[name], generator=generator) for name in modalities}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        data = ModalityBatch((name, each[row]) for name, each in self.data.items())
        return {"data": data, "label": self.labels[row], "index": row, "clip": str(row)}


def make(name, modalities=("a", "b"), classes=3, outliers=6, **section):
    torch.manual_seed(0)
    net = MLPFusionNet(classes, list(modalities), DIMS, hidden_dim=5, embedding_dim=4)
    loader = DataLoader(Rows(4, modalities, 0), batch_size=4)
    loader.auxiliary = AuxiliaryOutliers(Rows(outliers, modalities, 1), batch_size=outliers)
    config = {"trainer": {"name": name, **section}, "optimizer": {"name": "sgd", "lr": 0.1}, "seed": 3}
    trainer = TRAINERS.get(name)(net, loader, config)
    trainer._batches = trainer.outliers.batches(0, 1)
    return trainer, loader.dataset[torch.arange(4)]["data"]


def drawn(trainer):
    """The outliers that the first step takes."""
    return next(trainer.outliers.batches(0, 1))["data"]


def heads_of(trainer, data, extra=None):
    out = trainer.net.forward_modalities(data)
    pairs = [("fused", out.logits, out.features)]
    pairs += [(f"of {m}", out.modality_logits[m], out.embeddings[m]) for m in out.embeddings]
    if extra is None:
        return [logits for _, logits, _ in pairs]
    return [torch.cat((logits, extra[key](inputs)), dim=1) for key, logits, inputs in pairs]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("modalities", ["a", "ab", "abc", "abcdef"])
def test_a_step_written_out(classes, modalities):
    shape = {"modalities": tuple(modalities), "classes": classes}
    trainer, data = make("outlier_exposure", **shape)
    found = trainer.batch_losses(data, LABELS, 1)
    known, unknown = heads_of(trainer, data), heads_of(trainer, drawn(trainer))
    expected = 0.5 * mean(-z.log_softmax(1).mean() for z in unknown)
    torch.testing.assert_close(found["auxiliary"], expected)
    torch.testing.assert_close(found["classification"], mean(cross_entropy(z, LABELS) for z in known))

    trainer, data = make("energy_margin", margin_in=-2.0, margin_out=-0.5, **shape)
    found = trainer.batch_losses(data, LABELS, 1)["auxiliary"]
    energies = [(-a.logsumexp(1), -b.logsumexp(1)) for a, b in zip(known, unknown, strict=True)]
    parts = [(a + 2).clamp_min(0).pow(2).mean() + (-0.5 - b).clamp_min(0).pow(2).mean() for a, b in energies]
    torch.testing.assert_close(found, 0.1 * mean(parts))

    for outliers in (3, 6):  # fewer than samples, and more
        trainer, data = make("multimodal_mixoe", outliers=outliers, weight=0.3, **shape)
        found = trainer.batch_losses(data, LABELS, 1)["auxiliary"]
        lam, pairs = trainer.share, min(outliers, 4)
        theirs = drawn(trainer)
        mixed = ModalityBatch((m, lam * z[:pairs] + (1 - lam) * theirs[m][:pairs]) for m, z in data.items())
        target = lam * torch.eye(classes)[LABELS[:pairs]] + (1 - lam) / classes
        logits = heads_of(trainer, mixed)
        torch.testing.assert_close(
            found, 0.3 * mean(-(target * z.log_softmax(1)).sum(1).mean() for z in logits)
        )
        assert 0 < lam < 1

    trainer, data = make("dos", num_outliers=6, **shape)  # as many clusters as candidates: all are taken
    found = trainer.batch_losses(data, LABELS, 1)
    unknown = heads_of(trainer, drawn(trainer), trainer.absent)
    torch.testing.assert_close(found["auxiliary"], mean(-z.log_softmax(1)[:, -1].mean() for z in unknown))
    known = heads_of(trainer, data, trainer.absent)
    torch.testing.assert_close(found["classification"], mean(cross_entropy(z, LABELS) for z in known))


def test_with_a2d_modalities_disagree_on_auxiliary_outliers():
    trainer, data = make("outlier_exposure", discrepancy="l1", gamma=0.3)
    found = trainer.batch_losses(data, LABELS, 1)
    _, *known = heads_of(trainer, data)
    _, *unknown = heads_of(trainer, drawn(trainer))
    torch.testing.assert_close(found["discrepancy"], 0.3 * a2d_loss(known, LABELS, discrepancy="l1"))
    torch.testing.assert_close(
        found["outlier_discrepancy"], 0.3 * outlier_discrepancy_loss(unknown, discrepancy="l1")
    )
    mixed, data = make("multimodal_mixoe", discrepancy="l1")
    assert set(mixed.batch_losses(data, LABELS, 1)) == {"classification", "discrepancy", "auxiliary"}


def test_dos_takes_few_of_many_and_trains_the_absent_class():
    trainer, _ = make("dos", num_outliers=3)
    chosen = trainer.choose(drawn(trainer))
    assert len(chosen) == 3
    assert trainer.net.training
    before = trainer.absent["fused"].weight.clone()
    trainer.train_epoch(1)
    assert not torch.equal(before, trainer.absent["fused"].weight)
    assert trainer.taken == 1


def test_refusals():
    with pytest.raises(UserError, match=r"margin_in is 0.0 and margin_out -7.0; they must be in this order"):
        make("energy_margin", margin_in=0.0)
    with pytest.raises(UserError, match=r"trainer.discrepancy is 'l1', which compares modalities"):
        make("outlier_exposure", modalities=("a",), discrepancy="l1")
    trainer, _ = make("dos")
    loader = DataLoader(Rows(4, ("a", "b"), 0), batch_size=4)
    with pytest.raises(UserError, match=r"'dos' needs auxiliary outliers: set train_loader.auxiliary"):
        TRAINERS.get("dos")(trainer.net, loader, trainer.config)


def test_the_card_the_record_and_the_test_know_the_outliers(tiny):
    """A real table: some of mfeat's digits are outliers to train with."""
    short = ("--optimizer.num_epochs", "1", "--dataset.auxiliary.batch_size", "16")
    words = [
        word.replace("mfeat_5_5", "mfeat_5_3_2")
        for word in tiny.train("outlier_exposure", *short, data="mfeat")
    ]
    at = words.index("networks/mlp_fusion.yml")
    words = [*words[:at], "datasets/mfeat/mfeat_5_3_2_ood.yml", *words[at:]]
    TrainPipeline(tiny.config(words)).run()
    card = read_card(tiny.folder / "run" / "best.ckpt")
    assert (card.auxiliary["name"], card.auxiliary["rows"]) == ("mfeat_5_3_2_auxiliary", 400)
    assert card.auxiliary["classes"] == ["5", "6"]
    test = [
        word.replace("mfeat_5_5", "mfeat_5_3_2")
        for word in tiny.test("--postprocessors", "msp", data="mfeat")
    ]
    (record,) = TestPipeline(tiny.config(test)).run()
    assert record.auxiliary == {"name": "mfeat_5_3_2_auxiliary", "digest": card.auxiliary["digest"]}
    assert record.n_ood == 600
    with pytest.raises(
        UserError, match=r"has no section dataset.auxiliary. Use the training's dataset files"
    ):
        TestPipeline(tiny.config([*test, "--dataset.auxiliary", "null"])).run()
    other = json.dumps(
        {
            **tiny.config(test)["dataset"]["auxiliary"],
            "imglist_pth": {
                "benchmark": "mfeat_5_3_2",
                "split": "auxiliary",
                "partition": 1,
                "modalities": ["fou", "kar"],
            },
        }
    )
    with pytest.raises(UserError, match=r"this config has other rows in dataset.auxiliary"):
        TestPipeline(tiny.config([*test, "--dataset.auxiliary", other])).run()
