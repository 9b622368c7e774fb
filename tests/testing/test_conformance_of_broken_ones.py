"""A component that breaks a rule fails its check, and the message is that rule."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from openood_multimodal.arrays import Scores
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.evaluators import MultimodalOODEvaluator
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.postprocessors import MSP
from openood_multimodal.preprocessors import GaussianNoise
from openood_multimodal.registry import DATASETS, DISCREPANCIES
from openood_multimodal.synthesis import NPMix, Outliers
from openood_multimodal.testing import (
    check_dataset,
    check_discrepancy,
    check_evaluator,
    check_network,
    check_odd_inputs,
    check_postprocessor,
    check_preprocessor,
    check_synthesis,
    check_trainer,
)
from openood_multimodal.trainers import A2DNPMixTrainer, MultimodalBaselineTrainer


def breaks(rule):
    return pytest.raises(AssertionError, match=re.escape(rule))


class Forgetful(A2DNPMixTrainer):
    def extra_state(self):
        return {**super().extra_state(), "bank": self.fresh.state_dict()}

    @property
    def fresh(self):
        from openood_multimodal.synthesis import EmbeddingBank

        return EmbeddingBank(self.net.num_classes, self.net.feature_size, size=self.params.bank_size)


class Unseeded(MultimodalBaselineTrainer):
    noise = np.random.default_rng(0)

    def compute_losses(self, output, labels, epoch_idx):
        terms = super().compute_losses(output, labels, epoch_idx)
        return {key: value * self.noise.uniform(0.5, 1) for key, value in terms.items()}


class Idle(MultimodalBaselineTrainer):
    def compute_losses(self, output, labels, epoch_idx):
        return {key: value * 0 for key, value in super().compute_losses(output, labels, epoch_idx).items()}


class Anonymous(MultimodalBaselineTrainer):
    def train_epoch(self, epoch_idx):
        return super().train_epoch(epoch_idx)[0], {"epoch_idx": 0, "loss": 1.0}


class Swapped(MultimodalBaselineTrainer):
    def train_epoch(self, epoch_idx):
        return None, super().train_epoch(epoch_idx)[1]


class Lenient(MultimodalBaselineTrainer):
    def __init__(self, net, loader, config):
        super().__init__(net, loader, {**config, "trainer": {"name": "lenient"}})


@pytest.mark.parametrize(
    ("trainer", "rule"),
    [
        (Forgetful, "a resumed training ends elsewhere"),
        (Unseeded, "a resumed training ends elsewhere"),
        (Anonymous, "train_epoch's metrics hold epoch_idx"),
        (Swapped, "train_epoch returns the network that it was given"),
        (Lenient, "an unknown parameter must be refused"),
    ],
)
def test_trainers(trainer, rule):
    with breaks(rule):
        check_trainer(trainer)


def test_a_trainer_that_trains_nothing(monkeypatch):
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    with breaks("an epoch changes no parameter"):
        check_trainer(Idle)


DIMS = {"a": 5, "b": 3}


class WritesIntoItsInput(MLPFusionNet):
    def embed(self, data):
        data["a"].mul_(1.5)
        return super().embed(data)


class ForgetsTheHead(MLPFusionNet):
    def get_fc(self):
        return self.fc.weight, self.fc.bias


class Transposed(MLPFusionNet):
    def get_fc(self):
        weight, bias = super().get_fc()
        return weight.T, bias


class Reordered(MLPFusionNet):
    def classify_modalities(self, embeddings):
        return dict(reversed(super().classify_modalities(embeddings).items()))


class Frozen(MLPFusionNet):
    def classify_modalities(self, embeddings):
        return {name: each.detach() for name, each in super().classify_modalities(embeddings).items()}


class Noisy(MLPFusionNet):
    def embed(self, data):
        return super().embed(data) + 0.01 * torch.rand(len(data), self.feature_size)


class Percentile(MLPFusionNet):
    def forward_threshold(self, data, threshold):
        return self.fc(self.embed(data).clamp(max=0.0))


@pytest.mark.parametrize(
    ("net", "rule"),
    [
        (WritesIntoItsInput, "differ"),
        (ForgetsTheHead, "get_fc()[0] is an array [C, D]"),
        (Transposed, "get_fc()[0] is an array [C, D]"),
        (Reordered, "modality_logits come in the order of net.modalities"),
        (Frozen, "every modality head can be trained"),
        (Noisy, "net(data) and forward_modalities(data).logits differ"),
        (Percentile, "forward_threshold(data, inf) is net(data)"),
    ],
)
def test_networks(net, rule):
    data = ModalityBatch((name, torch.ones(4, dim)) for name, dim in DIMS.items())
    with breaks(rule):
        check_network(net(4, list(DIMS), DIMS, hidden_dim=8, embedding_dim=6), data)


def signed(p, q):
    return (p - q).mean(dim=(-2, -1)) + (p[..., 0] - q[..., 0]).mean(-1)


def rooted(p, q):
    return (p - q).square().sum(-1).sqrt().mean(-1)


def shifted(p, q):
    return (p - q).abs().mean(dim=(-2, -1)) + 0.1


def detached(p, q):
    return (p - q).abs().mean(dim=(-2, -1)).detach()


def constant(p, q):
    return 0 * (p - q).sum(dim=(-2, -1))


def logarithmic(p, q):
    return (p * (p.log() - q.log())).sum(-1).mean(-1)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (signed, "a discrepancy is at least 0"),
        (rooted, "gradient is not finite"),
        (detached, "the loss has no gradient"),
        (constant, "modalities that differ have a discrepancy above 0"),
        (shifted, "identical modalities have the discrepancy 0"),
        (logarithmic, "the loss is nan at logits of about ±10000"),
    ],
)
def test_discrepancies(monkeypatch, function, rule):
    monkeypatch.setitem(DISCREPANCIES._entries, "broken", function)
    with breaks(rule):
        check_discrepancy("broken")


@dataclass(frozen=True)
class Eager(NPMix):
    def __call__(self, bank, generator=None):
        if not bank.full:
            return Outliers(torch.zeros(1))
        return super().__call__(bank, generator)


@dataclass(frozen=True)
class GlobalState(NPMix):
    def __call__(self, bank, generator=None):
        return super().__call__(bank, None)


@dataclass(frozen=True)
class Constant(NPMix):
    def __call__(self, bank, generator=None):
        return super().__call__(bank, torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Meddling(NPMix):
    """Gives outliers that are right, and pushes them into the bank."""

    def __call__(self, bank, generator=None):
        rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(generator.initial_seed()))
        outliers = Outliers(rows)
        super().__call__(bank, generator)
        bank.push(rows, torch.arange(4))
        return outliers


@pytest.mark.parametrize(
    ("synthesis", "rule"),
    [
        (Eager, "a bank that is not full must be refused"),
        (GlobalState, "the same generator state must give the same outliers"),
        (Constant, "another generator state must give other outliers"),
        (Meddling, "a synthesis must not change the bank"),
    ],
)
def test_syntheses(synthesis, rule):
    with breaks(rule):
        check_synthesis(synthesis())


class Unfitted(MSP):
    def score(self, embeddings):
        self.fitted = True
        return super().score(embeddings)


class WithinTheSet(MSP):
    def score(self, embeddings):
        pred, conf = super().score(embeddings)
        return Scores(pred, conf - conf.mean())


class Listless(MSP):
    def fit(self, train=None, val=None, head=None):
        super().fit(train, val, head)


class Floats(MSP):
    def score(self, embeddings):
        pred, conf = super().score(embeddings)
        return Scores(pred.astype(float), conf)


class Infinite(MSP):
    def score(self, embeddings):
        pred, conf = super().score(embeddings)
        return Scores(pred, np.where(conf > np.median(conf), np.inf, conf))


@pytest.mark.parametrize(
    ("postprocessor", "rule"),
    [
        (Unfitted, "scoring before fit must be refused"),
        (WithinTheSet, "a sample's score must not depend on the others"),
        (Listless, "fit returns the postprocessor itself"),
        (Floats, "pred is int64 [N]"),
        (Infinite, "a confidence is not finite"),
    ],
)
def test_postprocessors(postprocessor, rule):
    with breaks(rule):
        check_postprocessor(postprocessor())


class OverNorm(MSP):
    def score(self, embeddings):
        pred, conf = super().score(embeddings)
        with np.errstate(divide="ignore"):
            return Scores(pred, conf / np.linalg.norm(embeddings.features, axis=1))


class InPrecisionOfTheRows(MSP):
    def score(self, embeddings):
        pred, conf = super().score(embeddings)
        return Scores(pred, conf + 100 * np.finfo(embeddings.features.dtype).eps)


class Lenient(MSP):
    def score(self, embeddings):
        return super().score(replace(embeddings, features=np.nan_to_num(embeddings.features)))


@pytest.mark.parametrize(
    ("postprocessor", "rule"),
    [
        (OverNorm, "a row of zeros: a confidence is not finite"),
        (InPrecisionOfTheRows, "float16: the same features in float64 give other confidences"),
        (Lenient, "NaN in the test set must be refused"),
    ],
)
def test_postprocessors_on_odd_inputs(postprocessor, rule):
    with breaks(rule):
        check_odd_inputs(postprocessor())


class Percent(MultimodalOODEvaluator):
    def eval_acc(self, net, loader, postprocessor=None, epoch_idx=-1, **more):
        return {"epoch_idx": epoch_idx, "acc": 100.0, "loss": 0.0}


class NoEpoch(MultimodalOODEvaluator):
    def eval_acc(self, net, loader, postprocessor=None, epoch_idx=-1, **more):
        return {**super().eval_acc(net, loader, postprocessor, epoch_idx), "epoch_idx": -1}


class Mute(MultimodalOODEvaluator):
    def eval_ood(self, *arguments, **more):
        super().eval_ood(*arguments, **more)


@pytest.mark.parametrize(
    ("evaluator", "rule"),
    [
        (Percent, "eval_acc's acc is the accuracy"),
        (NoEpoch, "eval_acc passes epoch_idx on"),
        (Mute, "eval_ood returns a mapping group"),
    ],
)
def test_evaluators(evaluator, rule):
    with breaks(rule):
        check_evaluator(evaluator)


class InPlace(GaussianNoise):
    def __call__(self, data, seed, epoch, indices):
        for tensor in data.values():
            tensor += 1
        return data


class GlobalNoise(GaussianNoise):
    def __call__(self, data, seed, epoch, indices):
        return data.map(lambda tensor: tensor + torch.randn_like(tensor))


class BatchNoise(GaussianNoise):
    def __call__(self, data, seed, epoch, indices):
        generator = torch.Generator().manual_seed(seed + epoch)
        return data.map(lambda tensor: tensor + torch.randn(tensor.shape, generator=generator))


@pytest.mark.parametrize(
    ("preprocessor", "rule"),
    [
        (InPlace, "a preprocessor must not change its input"),
        (GlobalNoise, "the same (seed, epoch, index) must give the same result"),
        (BatchNoise, "a sample's result must not depend on the others"),
    ],
)
def test_preprocessors(preprocessor, rule):
    data = ModalityBatch((name, torch.ones(4, dim)) for name, dim in DIMS.items())
    with breaks(rule):
        check_preprocessor(preprocessor({}, "train"), data)


Tabular = DATASETS.get("MultimodalTabularDataset")


class Mislabelled(Tabular):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "label": 6}


class Bare(Tabular):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "data": dict(super().__getitem__(index)["data"])}


class Drifting(Tabular):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return {**sample, "data": sample["data"].map(lambda tensor: tensor + torch.rand(1))}


class Misplaced(Tabular):
    def __getitem__(self, index):
        return {**super().__getitem__(index), "index": 0}


class Wholesale(Tabular):
    """Its batches differ from its samples."""

    def __getitems__(self, indices):
        return super().__getitems__(list(reversed(indices)))


@pytest.mark.parametrize(
    ("dataset", "rule"),
    [
        (Mislabelled, "label 6 is not -1 or in [0, 6)"),
        (Bare, "sample['data'] is a ModalityBatch"),
        (Drifting, "differs when it is asked for again"),
        (Misplaced, "says that its index is 0"),
        (Wholesale, "a DataLoader's batch['data'] differs from its samples'"),
    ],
)
def test_data_sets(dataset, rule):
    with breaks(rule):
        check_dataset(dataset("broken", {"benchmark": "synthetic_far", "split": "train"}, "", 6))
