"""What A2D and A2D + NP-Mix add to a training step on the heads, in milliseconds.

Example (two threads, then one; a few minutes):

    python benchmarks/training_step.py --classes 25 129 229 --threads 2 1 --json training_step.json

A step is forward and backward through one fused and two modality heads, on embeddings that need a gradient,
as encoders in training have; no optimiser.  Beside the plain step (the mean of the three cross-entropies) it
measures, all interleaved in one process:

* a2d           the plain step and the A2D loss of this package;
* npmix         the same, and pushing to the bank, NP-Mix, and both outlier losses;
* loop          the npmix step as a literal loop over samples and classes with a k-d tree, as the method's
                description reads;
* products      only the matrix products that the outliers need: each modality's logits, and each head's
                weight gradient (outliers are detached, so they need no gradient of their own).

Each figure is the median over rounds; a ratio is the median of the rounds' ratios, so that a machine that is
slower for a while slows both sides.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import KDTree
from torch import Tensor, nn

from openood_multimodal import losses
from openood_multimodal.synthesis import EmbeddingBank, NPMix

DIMS = (2304, 2048)  # SlowFast-R101 on video, SlowOnly-R50 on flow
GAMMA = 0.5


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
        self.bank = EmbeddingBank(classes, sum(DIMS), size)
        self.loop_bank = torch.zeros(classes, size, sum(DIMS))
        everyone = torch.arange(classes)
        for slot in range(size):
            rows = (self.centres + torch.randn(classes, sum(DIMS))).relu()
            self.bank.push(rows, everyone)
            self.loop_bank[:, slot] = rows
        self.synthesis = NPMix()
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
        self.heads.zero_grad(set_to_none=True)
        self.batches[self.turn].grad = None

    def plain(self) -> None:
        self._backward(self._forward()[3])

    def a2d(self) -> None:
        _, y, logits, loss = self._forward()
        self._backward(loss + GAMMA * losses.a2d_loss(logits, y))

    def npmix(self) -> None:
        z, y, logits, loss = self._forward()
        loss = loss + GAMMA * losses.a2d_loss(logits, y)
        self.bank.push(z, y)
        outliers = self.heads.modality_logits(self.synthesis(self.bank, self.generator).embeddings)
        loss = loss + GAMMA * losses.outlier_discrepancy_loss(outliers)
        self._backward(loss + GAMMA * losses.outlier_entropy_loss(outliers))

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
            torch.mm(part, head.weight.detach().T)
            torch.mm(gradient.T, part)


def _loop_disagreement(logits: list[Tensor], labels: Tensor) -> Tensor:
    predictions = []
    for each in logits:
        rows = [torch.hstack((row[:y], row[y + 1 :])) for row, y in zip(each, labels.tolist(), strict=True)]
        predictions.append(F.softmax(torch.stack(rows), dim=1))
    return _hellinger(*predictions)


def _hellinger(p: Tensor, q: Tensor) -> Tensor:
    roots = p.clamp(min=1e-6).sqrt() - q.clamp(min=1e-6).sqrt()
    return (roots.square().sum(1).sqrt() / 2**0.5).mean()


def milliseconds(step: Callable[[], None], repeats: int) -> float:
    """Return the mean time of ``repeats`` steps."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats * 1e3


def measure(bench: Bench, rounds: int, repeats: int) -> dict[str, float]:
    steps = {name: getattr(bench, name) for name in ("plain", "a2d", "npmix", "loop", "products")}
    for step in steps.values():
        milliseconds(step, 2)  # warm up; also the bank's first, complete set of distances
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(milliseconds(step, 1 if name == "loop" else repeats))
    plain, a2d, npmix, loop, products = (np.array(taken[name]) for name in steps)
    figures = {name: statistics.median(values) for name, values in taken.items()}
    figures["added_a2d"] = float(np.median(a2d - plain))
    figures["added_npmix"] = float(np.median(npmix - plain))
    figures["added_loop"] = float(np.median(loop - plain))
    figures["of_loop"] = float(np.median((npmix - plain) / (loop - plain)))
    figures["of_products"] = float(np.median((npmix - plain) / products))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[25, 129, 229], help="C (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], help="torch threads (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="B (default: %(default)s)")
    parser.add_argument("--bank", type=int, default=65, help="bank rows a class (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds a figure (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="steps a round, loop: 1 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()

    columns = ("plain", "a2d", "npmix", "loop", "products", "added_a2d", "added_npmix", "added_loop")
    print(f"ms a step; B = {options.batch}, D = {DIMS}, bank {options.bank}, torch {torch.__version__}")
    print("threads    C " + " ".join(f"{c:>11}" for c in columns) + "  added/loop's  added/products")
    results = []
    for classes in options.classes:
        bench = Bench(classes, options.batch, options.bank, options.seed)
        for threads in options.threads:
            torch.set_num_threads(threads)
            figures = measure(bench, options.rounds, options.repeats)
            cells = " ".join(f"{figures[c]:11.2f}" for c in columns)
            ratios = f"{'1/' + format(1 / figures['of_loop'], '.1f'):>14} {figures['of_products']:15.2f}"
            print(f"{threads:7} {classes:4} {cells}{ratios}", flush=True)
            results.append({"threads": threads, "classes": classes, **figures})
    record = {
        "batch": options.batch,
        "dims": DIMS,
        "bank": options.bank,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "results": results,
    }
    print(json.dumps(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
