"""Each trainer's terms, held against sums written out by hand for a fixed output of the network."""

from __future__ import annotations

import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from openood_multimodal.config import bind
from openood_multimodal.config.ranges import Range
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.networks.fusion import MultimodalOutput
from openood_multimodal.registry import SYNTHESES, TRAINERS

MODALITIES = {"a": 3, "b": 4}
CLASSES = 3


class Rows(Dataset):
    modalities = tuple(MODALITIES)

    def __init__(self, labels):
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.as_tensor(labels)
        self.data = {
            name: torch.randn(len(labels), dim, generator=generator) for name, dim in MODALITIES.items()
        }

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        data = ModalityBatch((name, values[index]) for name, values in self.data.items())
        return {"data": data, "label": self.labels[index], "index": index, "clip": str(index)}


def make(
    name, labels=tuple(range(3)) * 4, batch_size=4, optimizer=None, modalities=tuple(MODALITIES), **section
):
    torch.manual_seed(0)
    net = MLPFusionNet(CLASSES, list(modalities), MODALITIES, hidden_dim=5, embedding_dim=2)
    loader = DataLoader(Rows(list(labels)), batch_size=batch_size)
    config = {
        "trainer": {"name": name, **section},
        "optimizer": optimizer or {"name": "adam", "num_epochs": 2, "lr": 0.01},
        "seed": 3,
    }
    return TRAINERS.get(name)(net, loader, config)


LABELS = torch.tensor([0, 2, 1, 0])
FUSED = [[2.0, -1.0, 0.5], [0.0, 0.3, 0.1], [1.0, 1.0, -2.0], [0.2, 0.1, 0.0]]
A = [[1.0, 0.0, -1.0], [0.5, 0.2, 0.9], [0.0, 0.0, 3.0], [-1.0, 2.0, 1.0]]
B = [[0.0, 0.0, 0.0], [1.5, -0.2, 0.1], [2.0, -1.0, 0.3], [0.4, -2.0, 0.7]]


def output():
    return MultimodalOutput(
        torch.tensor(FUSED),
        torch.arange(16.0).reshape(4, 4) / 10,
        {"a": torch.zeros(4, 2), "b": torch.zeros(4, 2)},
        {"a": torch.tensor(A), "b": torch.tensor(B)},
    )


def cross_entropy(logits, tau=None):
    total = 0.0
    for row, label in zip(logits, LABELS.tolist(), strict=True):
        if tau is not None:
            norm = math.sqrt(sum(z * z for z in row)) + 1e-7
            row = [z / norm / tau for z in row]
        total += math.log(sum(math.exp(z) for z in row)) - row[label]
    return total / len(logits)


def hellinger(rows_p, rows_q, labels=None):
    """The authors' code: drop the true class's logit, softmax, floor at 1e-6, mean of the distances."""
    total = 0.0
    for number, (p, q) in enumerate(zip(rows_p, rows_q, strict=True)):
        kept = []
        for row in (p, q):
            row = [z for c, z in enumerate(row) if labels is None or c != labels[number]]
            top = sum(math.exp(z) for z in row)
            kept.append([max(math.exp(z) / top, 1e-6) for z in row])
        squares = ((math.sqrt(x) - math.sqrt(y)) ** 2 for x, y in zip(*kept, strict=True))
        total += math.sqrt(sum(squares)) / math.sqrt(2)
    return total / len(rows_p)


def entropy(rows):
    total = 0.0
    for row in rows:
        top = sum(math.exp(z) for z in row)
        p = [math.exp(z) / top for z in row]
        total -= sum(x * math.log(x + 1e-9) for x in p) / math.log(CLASSES)
    return total / len(rows)


HEADS = (cross_entropy(FUSED) + cross_entropy(A) + cross_entropy(B)) / 3
HEADS_NORMED = sum(cross_entropy(rows, tau=0.1) for rows in (FUSED, A, B)) / 3
DISCREPANCY = -hellinger(A, B, LABELS.tolist())


@pytest.mark.parametrize(
    ("name", "section", "expected"),
    [
        ("multimodal_baseline", {}, {"classification": cross_entropy(FUSED)}),
        ("multimodal_multihead", {}, {"classification": HEADS}),
        ("multimodal_logitnorm", {"tau": 0.1}, {"classification": cross_entropy(FUSED, tau=0.1)}),
        ("multimodal_logitnorm", {}, {"classification": cross_entropy(FUSED, tau=0.04)}),
        ("a2d", {}, {"classification": HEADS, "discrepancy": DISCREPANCY}),
        ("a2d", {"gamma": 0.3}, {"classification": HEADS, "discrepancy": 0.3 * DISCREPANCY}),
        ("a2d_npmix", {}, {"classification": HEADS, "discrepancy": 0.5 * DISCREPANCY}),
        (
            "a2d_logitnorm",
            {"gamma": 2.0, "tau": 0.1},
            {"classification": HEADS_NORMED, "discrepancy": 2 * DISCREPANCY},
        ),
        (
            "a2d_npmix_logitnorm",
            {"tau": 0.1},
            {"classification": HEADS_NORMED, "discrepancy": 0.5 * DISCREPANCY},
        ),
    ],
)
def test_terms(name, section, expected):
    terms = make(name, **section).compute_losses(output(), LABELS, epoch_idx=1)
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, abs=2e-6)


def literal_task(name):
    """The tasks' values on the fixed output, with embeddings [1, 2], [3, 4], ... of modality a and twice those of b."""
    z = torch.arange(1.0, 9.0).reshape(4, 2)
    embeddings = {"a": z, "b": 2 * z}
    if name == "multimodal_rna":
        return embeddings, 0.25  # ((1/2) − 1)²
    total = 0.0
    for rows_p, rows_q in ((A, B), (B, A)):
        p, q = (torch.tensor(rows).div(2).softmax(-1) for rows in (rows_p, rows_q))
        total += 4 * float((p * (p / q).log()).sum(-1).mean())
    return embeddings, total / 2


@pytest.mark.parametrize("name", ["multimodal_rna", "cross_modal_distillation"])
@pytest.mark.parametrize("with_a2d", [False, True])
def test_terms_of_tasks(name, with_a2d):
    embeddings, task = literal_task(name)
    section = {"discrepancy": "hellinger", "gamma": 0.3} if with_a2d else {}
    trainer = make(name, weight=0.7, **section)
    terms = trainer.compute_losses(output()._replace(embeddings=embeddings), LABELS, epoch_idx=1)
    expected = {"classification": HEADS, "task": 0.7 * task}
    expected |= {"discrepancy": 0.3 * DISCREPANCY} if with_a2d else {}
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "learnt"),
    [
        ("multimodal_contrastive", {"a", "b"}),
        ("cross_modal_translation", {"a to b", "b to a"}),
        ("acr", {"fused", "of a", "of b"}),
        ("multimodal_rna", set()),
        ("cross_modal_distillation", set()),
    ],
)
def test_what_a_task_learns_beside_the_network(name, learnt):
    small = {"hidden_dim": 3} if learnt and name != "acr" else {}
    make("multimodal_multihead")
    state = torch.get_rng_state()
    trainer = make(name, **small)
    assert torch.equal(torch.get_rng_state(), state)  # what is drawn next, the order of the data, is the same
    assert set(trainer.auxiliary) == learnt
    start = {key: value.clone() for key, value in trainer.auxiliary.state_dict().items()}
    assert not {key for key in trainer.net.state_dict() if "auxiliary" in key}
    trainer.train_epoch(1)
    for key, value in trainer.auxiliary.state_dict().items():
        assert not torch.equal(value, start[key]), f"{key} isn't trained"
    again = make(name, **small)
    assert all(torch.equal(value, start[key]) for key, value in again.auxiliary.state_dict().items())


def test_terms_of_acr():
    """All over one more class, whose weights are the trainer's."""
    trainer = make("acr", weight=0.7, mixing_weight=0.3, min_channels=2)
    z = torch.arange(16.0).reshape(4, 4) / 10
    given = output()._replace(features=z, embeddings={"a": z[:, :2], "b": z[:, 2:]})
    more = {key: (each.weight[0].tolist(), each.bias.item()) for key, each in trainer.auxiliary.items()}

    def wider(rows, key, inputs):
        weight, bias = more[key]
        return [
            [*row, sum(w * x for w, x in zip(weight, z_, strict=True)) + bias]
            for row, z_ in zip(rows, inputs.tolist(), strict=True)
        ]

    heads = [wider(FUSED, "fused", z), wider(A, "of a", z[:, :2]), wider(B, "of b", z[:, 2:])]
    confident = [[max(torch.tensor(row).softmax(0).tolist()) for row in rows] for rows in heads]
    above = [
        max(0.0, own - whole) for rows in confident[1:] for own, whole in zip(rows, confident[0], strict=True)
    ]
    swapped = z[:, [2, 3, 0, 1]]  # both channels of both modalities: all of the target is the new class
    mixed = wider(trainer.net.fc(swapped).tolist(), "fused", swapped)
    lost = sum(math.log(sum(math.exp(x) for x in row)) - row[-1] for row in mixed) / 4
    expected = {
        "classification": sum(map(cross_entropy, heads)) / 3,
        "task": 0.7 * sum(above) / 8,
        "mixing": 0.3 * lost,
    }
    terms = trainer.compute_losses(given, LABELS, epoch_idx=1)
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, abs=2e-6)


def test_terms_of_dpu():
    """A static weight first; afterwards a sample's weight falls with its similarity to its class's prototype."""
    trainer = make("dpu", static_epochs=1, scale=0.6, gamma=0.4)
    z = torch.arange(1.0, 9.0).reshape(4, 2)
    given = output()._replace(embeddings={"a": z, "b": z.flip(0)})
    first = trainer.compute_losses(given, LABELS, 1)
    assert first["discrepancy"].item() == pytest.approx(0.4 * DISCREPANCY, abs=2e-6)
    second = trainer.compute_losses(given, LABELS, 2)
    names = ["classification", "discrepancy", "contrast", "invariance", "prototype"]
    assert list(first) == list(second) == names
    assert second["classification"].item() == pytest.approx(HEADS, abs=2e-6)
    expected = 0.0
    for i, label in enumerate(LABELS.tolist()):
        prototype = trainer.prototypes[label]
        cosine = float(z[i] @ prototype / z[i].norm() / prototype.norm())
        weight = 0.6 * (1 - 1 / (1 + math.exp(-cosine)))
        expected -= weight * hellinger(A[i : i + 1], B[i : i + 1], [label]) / 4
    assert second["discrepancy"].item() == pytest.approx(expected, abs=2e-6)
    from openood_multimodal.losses import invariant_contrastive_losses, prototype_loss

    contrast, variance = invariant_contrastive_losses([z, z.flip(0)], LABELS)
    assert second["contrast"].item() == pytest.approx(0.2 * contrast.item())
    assert second["invariance"].item() == pytest.approx(2.0 * variance.item())
    near = prototype_loss(z, trainer.prototypes, LABELS)
    assert second["prototype"].item() == pytest.approx(0.1 * near.item())
    assert "outlier_entropy" in _after_filling(trainer, given)


def _after_filling(trainer, given):
    trainer.params = type(trainer.params)(start_epoch=1)
    for _ in range(70):
        trainer.bank.push(given.features[:3], torch.tensor([0, 1, 2]))
    return trainer.compute_losses(given, LABELS, 3)


@pytest.mark.parametrize("discrepancy", ["l1", "l2", "wasserstein"])
@pytest.mark.parametrize("protocol", ["multiood-code", "multiood-paper"])
def test_discrepancy_and_protocol_are_passed_on(discrepancy, protocol):
    from openood_multimodal.losses import a2d_loss

    trainer = make("a2d", discrepancy=discrepancy, protocol=protocol)
    found = trainer.compute_losses(output(), LABELS, 1)["discrepancy"]
    heads = list(output().modality_logits.values())
    assert found == a2d_loss(heads, LABELS, discrepancy=discrepancy, protocol=protocol)
    assert found.item() != pytest.approx(DISCREPANCY, abs=1e-4)


def outlier_terms(trainer, epoch, labels):
    terms = trainer.compute_losses(output(), torch.tensor(labels), epoch)
    return {"outlier_discrepancy", "outlier_entropy"} <= set(terms)


def test_when_outliers_begin():
    """From start_epoch on, and only once every class was full *before* the batch."""
    trainer = make("a2d_npmix", bank_size=2, start_epoch=3)
    assert not outlier_terms(trainer, 1, [0, 0, 1, 1])
    assert not outlier_terms(trainer, 3, [2, 2, 0, 0])  # this batch fills the bank
    assert trainer.bank.full
    assert trainer.first_synthesis_epoch is None
    assert not outlier_terms(trainer, 2, [0, 1, 2, 0])  # full, and too early
    assert outlier_terms(trainer, 3, [0, 1, 2, 0])
    assert trainer.first_synthesis_epoch == 3
    assert outlier_terms(trainer, 4, [0, 1, 2, 0])
    assert trainer.first_synthesis_epoch == 3


@pytest.mark.parametrize("name", ["a2d_npmix", "a2d_npmix_logitnorm"])
def test_terms_of_outliers(name):
    """Their values on the very outliers that the trainer's generator draws, and what they train."""
    trainer = make(name, bank_size=2, start_epoch=1, gamma=0.7)
    for labels in ([0, 0, 1, 1], [2, 2, 0, 1]):
        trainer.compute_losses(output(), torch.tensor(labels), 1)
    seen = []
    synthesis = trainer.synthesis
    trainer.synthesis = lambda bank, generator: seen.append(synthesis(bank, generator=generator)) or seen[-1]
    terms = trainer.compute_losses(output(), LABELS, 1)
    (outliers,) = seen
    # the batch is pushed first, so its rows may be mixed already
    torch.testing.assert_close(trainer.bank.history(2)[-1], output().features[1])
    net = trainer.net
    heads = []
    for name_, part in zip(("a", "b"), outliers.embeddings.split(2, dim=1), strict=True):
        heads.append((part @ net.heads[name_].weight.T + net.heads[name_].bias).tolist())
    assert terms["outlier_discrepancy"].item() == pytest.approx(-0.7 * hellinger(*heads), abs=1e-6)
    mean_entropy = (entropy(heads[0]) + entropy(heads[1])) / 2
    assert terms["outlier_entropy"].item() == pytest.approx(-0.7 * mean_entropy, abs=1e-6)
    (terms["outlier_discrepancy"] + terms["outlier_entropy"]).backward()
    trained = {key for key, value in net.named_parameters() if value.grad is not None}
    assert trained == {f"heads.{m}.{p}" for m in "ab" for p in ("weight", "bias")}


@pytest.mark.parametrize("synthesis", SYNTHESES.names())
def test_every_synthesis_trains_with_every_class_in_a_batch_or_not(synthesis):
    trainer = make("a2d_synthesis", synthesis=synthesis, bank_size=2, start_epoch=1)
    for labels in ([0, 0, 1, 1], [2, 2, 0, 1]):
        trainer.compute_losses(output(), torch.tensor(labels), 1)
    for labels in ([0, 1, 2, 0], [1, 1, 1, 1]):
        terms = trainer.compute_losses(output(), torch.tensor(labels), 1)
        assert all(torch.isfinite(each) for each in terms.values())
        of_outliers = {name for name in terms if name.startswith("outlier")}
        assert of_outliers == (set() if synthesis == "none" else {"outlier_discrepancy", "outlier_entropy"})
    assert trainer.bank.widths == (2, 2)
    assert trainer.first_synthesis_epoch == 1


def test_a2d_npmix_is_another_name_of_a2d_synthesis():
    states = []
    for name in ("a2d_npmix", "a2d_synthesis"):
        trainer = make(name, bank_size=2, start_epoch=1)
        losses = [trainer.train_epoch(epoch)[1] for epoch in (1, 2)]
        assert "loss_outlier_entropy" in losses[1]
        states.append((losses, trainer.net.state_dict(), trainer.extra_state()))
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_outliers_follow_the_seed_not_the_global_state():
    draws = []
    for noise in (0, 1):
        trainer = make("a2d_npmix", bank_size=2, start_epoch=1)
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        for labels in ([0, 0, 1, 1], [2, 2, 0, 1]):
            trainer.compute_losses(output(), torch.tensor(labels), 1)
        draws.append(trainer.compute_losses(output(), LABELS, 1)["outlier_entropy"])
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("a2d", {"modalities": ("a",)}, "at least 2.*has 1 \\(a\\)"),
        ("a2d_npmix", {"modalities": ("b",)}, "multimodal_multihead"),
        (
            "a2d_npmix",
            {"labels": (0, 1) * 6},
            "class 2 .*of 3 has no training sample; set dataset.num_classes to 2",
        ),
        ("a2d", {"gama": 1.0}, "Did you mean 'gamma'"),
        ("a2d", {"discrepancy": ""}, "there is no discrepancy called ''"),
        ("a2d_synthesis", {"synthesis": "npos", "bank_size": 1}, "bank of size 1"),
        (
            "a2d_synthesis",
            {"synthesis": "feature_mixing", "synthesis_args": {"num_channels": 3}},
            "num_channels = 3; the narrowest modality has 2",
        ),
        ("dpu", {"prototype_modality": "c"}, "'c'; the network has a, b"),
        ("acr", {"min_channels": 5, "max_channels": 4}, "min_channels is 5 and max_channels 4"),
        ("multimodal_rna", {"discrepancy": "helinger"}, "Did you mean 'hellinger'"),
        ("multimodal_rna", {"modalities": ("a",)}, "at least 2.*has 1 \\(a\\)"),
        ("cross_modal_distillation", {"temprature": 1.0}, "Did you mean 'temperature'"),
        ("multimodal_baseline", {"tau": 0.1}, "tau is not a parameter"),
        (
            "multimodal_baseline",
            {"labels": (0, 1, 2)},
            "fewer than one batch of 4; set dataset.train.batch_size to 3 or less",
        ),
        ("a2d_npmix", {"synthesis_args": {"alpa": 3.0}}, "Did you mean 'alpha'"),
        ("a2d", {"optimizer": {"name": "adam", "lr": -1.0}}, "optimizer.lr is -1.0"),
        ("a2d", {"optimizer": {"name": "adam", "lr": float("inf")}}, "optimizer.lr is inf"),
        ("a2d", {"optimizer": {"name": "adam", "num_epochs": 0}}, "optimizer.num_epochs is 0"),
        ("a2d", {"optimizer": {"name": "adm"}}, "Did you mean 'adam'"),
    ],
)
def test_refusals(name, more, message):
    with pytest.raises(UserError, match=message):
        make(name, **more)


def numbers_of(trainer):
    """Yield key and annotation of the numbers among a trainer's parameters."""
    for key, hint in get_type_hints(TRAINERS.get(trainer).Params, include_extras=True).items():
        if (get_args(hint) or (hint,))[0] in (int, float):
            yield key, hint


@pytest.mark.parametrize("name", TRAINERS.names())
def test_every_number_has_a_range_and_is_checked_before_training(name):
    for key, hint in numbers_of(name):
        (limit,) = (each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Range))
        kind = get_args(hint)[0]
        wrong = [] if kind is int else [math.nan, math.inf]
        wrong += [kind(limit.low - 1)] if math.isfinite(limit.low) else []
        wrong += [0.0] if limit.without_low else []
        wrong += [kind(limit.high + 1)] if math.isfinite(limit.high) else []
        for value in wrong:
            with pytest.raises(UserError, match=rf"trainer\.{key} is {value}; it must be a") as error:
                bind({"name": name, key: value}, TRAINERS.get(name).Params, where="trainer")
            assert str(limit) in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, 1) * 6, "class 2 .*of 3 has no training sample; set dataset.num_classes to 2"),
        ((0, 2) * 6, "class 1 .*of 3 has no training sample; add samples of them"),
        ((1,) * 12, "classes 0.*, 2.* of 3 have no training sample; add samples"),
    ],
)
def test_classes_without_a_sample_are_told_at_the_start(labels, message):
    with pytest.warns(UserWarning, match=message):
        make("multimodal_baseline", labels=labels)


@pytest.mark.parametrize("name", ["multimodal_baseline", "multimodal_multihead", "multimodal_logitnorm"])
def test_one_modality_is_enough_without_a_discrepancy(name):
    _, metrics = make(name, modalities=("a",)).train_epoch(1)
    assert math.isfinite(metrics["loss"])
