"""What A2D and A2D + NP-Mix add to a training step on the heads.

A step is forward and backward through one fused and two modality heads, on embeddings that need a gradient,
as encoders in training have; no optimiser.  Beside the plain step (the mean of the three cross-entropies) it
measures, all interleaved in one process:

* a2d           the plain step and the A2D loss of this package;
* npmix         the same, and pushing to the bank, NP-Mix, and both outlier losses;
* loop          the npmix step as a literal loop over samples and classes with a k-d tree, as the method's
                description reads;
* vos, npos, mixup, feature_mixing
                as npmix, with another synthesis
* contrastive, rna, distillation, translation
                the plain step and the loss of another multimodal task, projections and translators included
* products      only the matrix products that the outliers need: each modality's logits, and each head's
                weight gradient (outliers are detached, so they need no gradient of their own).

Each figure is the median over rounds; a ratio is the median of the rounds' ratios, so that a machine that is
slower for a while slows both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor, nn

from openood_multimodal import losses
from openood_multimodal.synthesis import NPOS, VOS, EmbeddingBank, FeatureMixing, Mixup, NPMix, Outliers

from .suite.measuring import Measurement, Report, Times, say, timed

NAME = "training_step"
SUMMARY = "what A2D and NP-Mix add to a training step on the heads"
QUICK = {"classes": [25], "rounds": 3, "repeats": 2}

Synthesis = Callable[[EmbeddingBank, torch.Generator], Outliers]
DIMS = (2304, 2048)  # SlowFast-R101 on video, SlowOnly-R50 on flow
GAMMA = 0.5
SYNTHESES: dict[str, Synthesis] = {
    "vos": VOS(),
    "npos": NPOS(),
    "mixup": Mixup(),
    "feature_mixing": FeatureMixing(),
}
TASKS = ("contrastive", "rna", "distillation", "translation")
STEPS = ("plain", "a2d", "npmix", *SYNTHESES, *TASKS, "loop", "products")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[25, 129, 229], help="C (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=16, help="B (default: %(default)s)")
    parser.add_argument("--bank", type=int, default=65, help="bank rows a class (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds a figure (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="steps a round, loop: 1 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of embeddings and banks (default: %(default)s)")


def run(options: argparse.Namespace) -> Report:
    report = Report(
        {
            "batch": options.batch,
            "dims": list(DIMS),
            "bank": options.bank,
            "classes": list(options.classes),
            "steps_a_round": options.repeats,
            "seed": options.seed,
        }
    )
    for classes in options.classes:
        say(f"C = {classes} ...")
        bench = Bench(classes, options.batch, options.bank, options.seed)
        taken = measure(bench, options.rounds, options.repeats)
        wall = {name: np.array(times.wall) for name, times in taken.items()}
        for name in STEPS:
            added = float(np.median(wall[name] - wall["plain"])) * 1e3
            values = {"ms_added": added} if name not in ("plain", "products") else {}
            report.measurements.append(Measurement.of(f"{name}, C = {classes}", taken[name], values))
        extra = wall["npmix"] - wall["plain"]
        ratios = {"products": wall["products"], "loop's addition": wall["loop"] - wall["plain"]}
        for below, figure in ratios.items():
            report.ratios[f"C = {classes}: what npmix adds / {below}"] = float(np.median(extra / figure))
        for name in (*SYNTHESES, *TASKS):
            ratio = float(np.median((wall[name] - wall["plain"]) / extra))
            report.ratios[f"C = {classes}: what {name} adds / what npmix adds"] = ratio
    return report


class Heads(nn.Module):
    """A fused linear head and one a modality."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fused = nn.Linear(sum(DIMS), classes)
        self.single = nn.ModuleList(nn.Linear(d, classes) for d in DIMS)

    def modality_logits(self, z: Tensor) -> list[Tensor]:
        return [head(part) for head, part in zip(self.single, z.split(DIMS, dim=1), strict=True)]


class Bench:
    """One set of heads, batches and banks, and a method for each thing that is measured."""

    def __init__(self, classes: int, batch: int, size: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.classes, self.size = classes, size
        self.heads = Heads(classes)
        self.centres = torch.randn(classes, sum(DIMS))
        self.labels = torch.randint(classes, (64, batch))
        self.batches = [(self.centres[y] + torch.randn(batch, sum(DIMS))).relu() for y in self.labels]
        self.turn = 0
        self.bank = EmbeddingBank(classes, sum(DIMS), size, widths=DIMS)
        self.loop_bank = torch.zeros(classes, size, sum(DIMS))
        everyone = torch.arange(classes)
        for slot in range(size):
            rows = (self.centres + torch.randn(classes, sum(DIMS))).relu()
            self.bank.push(rows, everyone)
            self.loop_bank[:, slot] = rows
        self.projections = nn.ModuleList(_two_layers(d, 128) for d in DIMS)
        self.translators = nn.ModuleList(_two_layers(a, b) for a, b in (DIMS, DIMS[::-1]))
        self.generator = torch.Generator().manual_seed(seed)
        self.np_random = np.random.default_rng(seed)
        self.outlier_parts = [torch.randn(classes, d) for d in DIMS]
        self.logit_gradients = [torch.randn(classes, classes) for _ in DIMS]

    def _forward(self) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        self.turn = (self.turn + 1) % len(self.batches)
        z, y = self.batches[self.turn].requires_grad_(), self.labels[self.turn]
        logits = self.heads.modality_logits(z)
        return z, y, logits, losses.multihead_cross_entropy(self.heads.fused(z), logits, y)

    def _backward(self, loss: Tensor) -> None:
        loss.backward()
        for each in (self.heads, self.projections, self.translators):
            each.zero_grad(set_to_none=True)
        self.batches[self.turn].grad = None

    def plain(self) -> None:
        self._backward(self._forward()[3])

    def a2d(self) -> None:
        _, y, logits, loss = self._forward()
        self._backward(loss + GAMMA * losses.a2d_loss(logits, y))

    def npmix(self, synthesis: Synthesis = NPMix()) -> None:  # noqa: B008 - it is frozen
        z, y, logits, loss = self._forward()
        loss = loss + GAMMA * losses.a2d_loss(logits, y)
        self.bank.push(z, y)
        outliers = self.heads.modality_logits(synthesis(self.bank, self.generator).embeddings)
        loss = loss + GAMMA * losses.outlier_discrepancy_loss(outliers)
        self._backward(loss + GAMMA * losses.outlier_entropy_loss(outliers))

    def contrastive(self) -> None:
        z, y, _, loss = self._forward()
        projected = [p(part) for p, part in zip(self.projections, z.split(DIMS, dim=1), strict=True)]
        self._backward(loss + losses.supervised_contrastive_loss(projected, y))

    def rna(self) -> None:
        z, _, _, loss = self._forward()
        self._backward(loss + losses.relative_norm_alignment_loss(z.split(DIMS, dim=1)))

    def distillation(self) -> None:
        _, _, logits, loss = self._forward()
        self._backward(loss + losses.cross_modal_distillation_loss(logits))

    def translation(self) -> None:
        z, _, _, loss = self._forward()
        parts = z.split(DIMS, dim=1)
        translated = [t(part) for t, part in zip(self.translators, parts, strict=True)]
        self._backward(loss + losses.cross_modal_translation_loss(translated, parts[::-1]))

    def loop(self) -> None:
        z, y, logits, loss = self._forward()
        loss = loss - GAMMA * _loop_disagreement(logits, y)
        for row, label in zip(z.detach(), y.tolist(), strict=True):
            self.loop_bank[label] = torch.vstack((self.loop_bank[label, 1:], row[None]))
        means = torch.empty(self.classes, sum(DIMS))
        for c in range(self.classes):
            means[c] = self.loop_bank[c].mean(0)
        tree = KDTree(means.numpy())
        mixed = torch.empty(0, sum(DIMS))
        for c in range(self.classes):
            nearest = tree.query(means[c].numpy(), k=3)[1][1:]
            other = int(self.np_random.choice(nearest))
            one = self.loop_bank[c][int(self.np_random.integers(self.size))]
            two = self.loop_bank[other][int(self.np_random.integers(self.size))]
            lam = float(self.np_random.beta(10.0, 10.0))
            mixed = torch.vstack((mixed, (lam * one + (1 - lam) * two)[None]))
        outliers = self.heads.modality_logits(mixed)
        p, q = (F.softmax(each, dim=1) for each in outliers)
        entropies = [-(r * (r + 1e-9).log()).sum(1).mean() / np.log(self.classes) for r in (p, q)]
        self._backward(loss - GAMMA * (_hellinger(p, q) + sum(entropies) / 2))

    def products(self) -> None:
        for head, part, gradient in zip(
            self.heads.single, self.outlier_parts, self.logit_gradients, strict=True
        ):
            weight: Tensor = head.weight  # type: ignore[assignment]
            torch.mm(part, weight.detach().T)
            torch.mm(gradient.T, part)


def _two_layers(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2048), nn.ReLU(), nn.Linear(2048, out))


def _loop_disagreement(logits: list[Tensor], labels: Tensor) -> Tensor:
    predictions = []
    for each in logits:
        rows = [torch.hstack((row[:y], row[y + 1 :])) for row, y in zip(each, labels.tolist(), strict=True)]
        predictions.append(F.softmax(torch.stack(rows), dim=1))
    return _hellinger(*predictions)


def _hellinger(p: Tensor, q: Tensor) -> Tensor:
    roots = p.clamp(min=1e-6).sqrt() - q.clamp(min=1e-6).sqrt()
    return (roots.square().sum(1).sqrt() / 2**0.5).mean()


def measure(bench: Bench, rounds: int, repeats: int) -> dict[str, Times]:
    """Return step → times of one step, ``rounds`` of them, interleaved."""
    steps: dict[str, Callable[[], None]] = {
        name: partial(bench.npmix, SYNTHESES[name]) if name in SYNTHESES else getattr(bench, name)
        for name in STEPS
    }
    for step in steps.values():
        step()  # warm up; also the bank's first, complete set of distances
        step()
    taken = {name: Times((), ()) for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            count = 1 if name == "loop" else repeats
            taken[name] += timed(partial(_repeat, step, count), scale=1 / count)
    return taken


def _repeat(step: Callable[[], None], count: int) -> None:
    for _ in range(count):
        step()
