"""The epoch loop: which batches count, what is returned, OpenOOD's configs, states, optimisers."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler
from tqdm import tqdm

from openood_multimodal.datasets.auxiliary import AuxiliaryOutliers
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.registry import TRAINERS
from openood_multimodal.trainers.optim import build_optimizer
from openood_multimodal.trainers.rng import random_state, seed_everything, set_random_state

DIMS = {"a": 3, "b": 4}


class Rows(Dataset):
    def __init__(self, length, scale=1.0):
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(length) % 3
        self.data = {
            name: scale * torch.randn(length, dim, generator=generator) for name, dim in DIMS.items()
        }
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        data = ModalityBatch((name, values[index]) for name, values in self.data.items())
        return {"data": data, "label": self.labels[index], "index": index, "clip": str(index)}


def make(name="multimodal_baseline", length=22, loader=None, config=None, scale=1.0, **section):
    torch.manual_seed(0)
    net = MLPFusionNet(3, list(DIMS), DIMS, hidden_dim=5, embedding_dim=4)
    loader = loader or DataLoader(Rows(length, scale), batch_size=5)
    loader.auxiliary = AuxiliaryOutliers(Rows(7), batch_size=5)
    config = config or {"trainer": {"name": name, **section}, "optimizer": {"name": "adam", "lr": 0.01}}
    return TRAINERS.get(name)(net, loader, config)


def record_steps(trainer):
    seen = []
    original = trainer.compute_losses

    def compute_losses(output, labels, epoch_idx):
        terms = original(output, labels, epoch_idx)
        seen.append((labels.tolist(), epoch_idx, {k: v.item() for k, v in terms.items()}))
        return terms

    trainer.compute_losses = compute_losses
    return seen


def test_a_short_last_batch_is_skipped_and_the_rest_averaged():
    trainer = make("a2d")
    seen = record_steps(trainer)
    net, metrics = trainer.train_epoch(7)
    assert net is trainer.net
    assert net.training
    assert [len(labels) for labels, _, _ in seen] == [5, 5, 5, 5]  # 22 rows: the last 2 are left out
    assert {epoch for _, epoch, _ in seen} == {7}
    assert trainer.train_loader.dataset.epochs == [7]
    assert metrics["epoch_idx"] == 7
    assert set(metrics) == {"epoch_idx", "loss", "loss_classification", "loss_discrepancy"}
    for term in ("classification", "discrepancy"):
        assert metrics[f"loss_{term}"] == pytest.approx(
            np.mean([terms[term] for *_, terms in seen]), abs=1e-6
        )
    assert metrics["loss"] == pytest.approx(
        metrics["loss_classification"] + metrics["loss_discrepancy"], abs=1e-6
    )


def test_one_full_batch_counts_and_a_batch_sampler_will_do():
    trainer = make(length=5)
    seen = record_steps(trainer)
    trainer.train_epoch(1)
    assert len(seen) == 1
    rows = Rows(22)
    loader = DataLoader(rows, batch_sampler=BatchSampler(SequentialSampler(rows), 5, drop_last=False))
    trainer = make(loader=loader)
    seen = record_steps(trainer)
    trainer.train_epoch(1)
    assert [len(labels) for labels, *_ in seen] == [5] * 4
    with pytest.raises(UserError, match="no batch_size"):
        make(loader=DataLoader(rows, batch_size=None))


def test_a_step_is_plain_gradient_descent():
    """SGD without momentum, written out."""
    config = {
        "trainer": {"name": "multimodal_baseline"},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0},
    }
    trainer = make(length=5, config=config)
    batch = next(iter(trainer.train_loader))
    before = trainer.net.fc.weight.detach().clone()
    logits, features = trainer.net(batch["data"], return_feature=True)
    error = torch.softmax(logits, 1) - torch.eye(3)[batch["label"]]
    trainer.train_epoch(1)
    torch.testing.assert_close(
        trainer.net.fc.weight.detach(), before - 0.1 * (error.T @ features / 5).detach()
    )
    unused = [p for head in trainer.net.heads.values() for p in head.parameters()]
    assert all(p.grad is None for p in unused)


class AttributeConfig(dict):
    """OpenOOD's: attributes are keys, and a missing one is None."""

    __setattr__ = dict.__setitem__

    def __getattr__(self, name):
        return self.get(name)


def test_config_of_openood():
    section = AttributeConfig(
        name="a2d_npmix", bank_size=4, start_epoch=1, synthesis_args=AttributeConfig(alpha=3.0)
    )
    config = AttributeConfig(trainer=section, optimizer=AttributeConfig(name="adam", num_epochs=2, lr=0.01))
    trainer = make("a2d_npmix", config=config)
    trainer.train_epoch(1)
    trainer.train_epoch(2)
    assert trainer.synthesis.alpha == 3.0
    assert trainer.seed == 0
    assert trainer.first_synthesis_epoch == 1


def test_data_parallel_wrappers_are_looked_through():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    trainer = make("a2d_npmix", bank_size=3, start_epoch=1)
    plain = [trainer.train_epoch(epoch)[1] for epoch in (1, 2)]
    again = make("a2d_npmix", bank_size=3, start_epoch=1)
    wrapped = TRAINERS.get("a2d_npmix")(Wrapper(again.net), again.train_loader, again.config)
    assert [wrapped.train_epoch(epoch)[1] for epoch in (1, 2)] == plain
    assert "loss_outlier_entropy" in plain[1]


def test_progress_is_the_callers_or_its_own(capsys):
    trainer = make()
    trainer.train_epoch(1)
    assert "Epoch 001" in capsys.readouterr().err
    with tqdm(total=5, disable=False) as bar:
        trainer.epoch_progress = bar
        trainer.train_epoch(2)
        assert bar.n == 5  # the skipped batch too
    assert "Epoch 002" not in capsys.readouterr().err


def test_divergence_is_an_error_that_names_the_learning_rate():
    with pytest.raises(UserError, match=r"diverged. Lower optimizer.lr \(now 0.01\)"):
        make(scale=3e38).train_epoch(1)


def draw():
    return [
        torch.rand(3).tolist(),
        np.random.normal(size=3).tolist(),  # noqa: NPY002
        random.random(),
        random.gauss(0, 1),
        torch.randperm(5).tolist(),
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**33 + 5])
def test_random_states(seed):
    seed_everything(seed)
    first = draw()
    state = random_state()
    file = io.BytesIO()
    torch.save(state, file)
    second = draw()
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True))
    assert draw() == second
    seed_everything(seed)
    assert draw() == first
    seed_everything(seed + 1)
    assert draw() != first


@pytest.mark.parametrize(
    ("section", "kind", "expected"),
    [
        ({"name": "adam"}, torch.optim.Adam, {"lr": 1e-4, "weight_decay": 1e-4}),
        ({"name": "adamw", "lr": 0.1}, torch.optim.AdamW, {"lr": 0.1}),
        ({"name": "sgd", "momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"name": "sgd"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_optimizers(section, kind, expected):
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    optimizer = build_optimizer(net, section)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in expected} == expected
    assert group["params"] == [net.weight] or all(p is net.weight for p in group["params"])
    assert len(group["params"]) == 1  # frozen parameters stay out
