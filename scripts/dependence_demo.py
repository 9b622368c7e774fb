"""Figures on the demo sets for docs/what-the-numbers-depend-on.md: one network a partition, scored in several ways.

Run by ``update_dependence_page.py --demo``; about a minute on one core.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.config import load_config
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.evaluators import compute_ood_metrics
from openood_multimodal.networks import build_network
from openood_multimodal.pipelines.extract import extract_embeddings
from openood_multimodal.pipelines.train import TrainPipeline
from openood_multimodal.registry import POSTPROCESSORS

BENCHMARKS = ("htad/htad_4_3", "mfeat/mfeat_5_5")
PARTITIONS = 4
TRAINING = "a2d"
VIM_DIM = 32  # validation sets have too few rows for 256
CONVENTION_SCORES = ("msp", "ebo", "knn", "mds")
METRICS = ("AUROC", "FPR@95", "FPR@95_ID_TPR")

Figures = dict[str, dict[str, float]]


class Stored:
    """Embeddings of one partition's sets, and the head."""

    def __init__(self, benchmark: str, partition: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = _config(benchmark, partition, folder)
            checkpoint = TrainPipeline(config).run().checkpoint
            net = build_network({**config["network"], "pretrained": True, "checkpoint": str(checkpoint)})
        loaders = build_loaders(config, training=False)
        unknown = next(iter(build_ood_loaders(config, ("nearood",))["nearood"].values()))
        self.train, self.val, self.test = (
            extract_embeddings(net, loaders[k]) for k in ("train", "val", "test")
        )
        self.ood: Embeddings = extract_embeddings(net, unknown)
        self.head = LinearHead(*net.get_fc())

    def metrics(
        self, name: str, fit: Embeddings, preset: str = "openood", **parameters: Any
    ) -> dict[str, float]:
        """Return the metrics of a score that is fitted on ``fit``."""
        score = POSTPROCESSORS.get(name).from_preset(preset, **parameters)
        score.fit(fit, self.val, self.head)
        known, unknown = score.score(self.test), score.score(self.ood)
        return self._metrics(known.conf, unknown.conf, known.pred)

    def by_formula(
        self, formula: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
    ) -> dict[str, float]:
        """Return the metrics of a formula of the logits in a precision, and the share of samples that are tied."""
        known, unknown = (
            formula(torch.from_numpy(np.array(each.logits)).to(dtype)).double().numpy()
            for each in (self.test, self.ood)
        )
        found = self._metrics(known, unknown, np.asarray(self.test.logits).argmax(1))
        return found | {"tied": _tied(np.concatenate([known, unknown]))}

    def _metrics(self, known: Any, unknown: Any, pred: Any) -> dict[str, float]:
        found = compute_ood_metrics(known, unknown, pred, self.test.labels, intervals=False)
        return {name: 100 * found[name].value for name in METRICS}


def figures() -> dict[str, dict[str, Figures]]:
    """Return benchmark → section → row → figure, in per cent, means over partitions."""
    torch.set_num_threads(1)
    found = {}
    for benchmark in BENCHMARKS:
        each = [_of_partition(Stored(benchmark, partition)) for partition in range(PARTITIONS)]
        found[benchmark.partition("/")[2]] = _mean(each)
    return found


def _of_partition(stored: Stored) -> dict[str, Figures]:
    convention = {name: stored.metrics(name, stored.train) for name in CONVENTION_SCORES}
    fit_set: Figures = {}
    for side, embeddings in (("train", stored.train), ("val", stored.val)):
        fit_set[f"knn, {side}"] = stored.metrics("knn", embeddings, "multiood")
        fit_set[f"mds, {side}"] = stored.metrics("mds", embeddings)
        fit_set[f"vim, {side}"] = stored.metrics("vim", embeddings, dim=VIM_DIM)
    slices = {
        f"{name}, {preset}": stored.metrics(name, stored.train, preset)
        for name in ("ash", "react")
        for preset in ("openood", "multiood")
    }
    ties = {}
    for name, formula, exact in (("msp", _msp, _log_odds), ("gen", _gen, None)):
        ties[f"{name}, float32"] = stored.by_formula(formula, torch.float32)
        ties[f"{name}, float64"] = stored.by_formula(formula, torch.float64)
        if exact is not None:
            ties[f"{name}, log-odds"] = stored.by_formula(exact, torch.float64)
    return {"convention": convention, "fit_set": fit_set, "slices": slices, "ties": ties}


def _msp(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(1).amax(1)


def _log_odds(logits: torch.Tensor) -> torch.Tensor:
    top, place = logits.max(1)
    return top - logits.scatter(1, place[:, None], -torch.inf).logsumexp(1)


def _gen(logits: torch.Tensor) -> torch.Tensor:
    p = logits.softmax(1)
    return -(p**0.1 * (1 - p) ** 0.1).sum(1)


def _tied(scores: NDArray[np.float64]) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return float(100 * np.mean(counts[inverse] > 1))


def _mean(each: list[dict[str, Figures]]) -> dict[str, Figures]:
    return {
        section: {
            row: {name: round(float(np.mean([one[section][row][name] for one in each])), 4) for name in cells}
            for row, cells in rows.items()
        }
        for section, rows in each[0].items()
    }


def _config(benchmark: str, partition: int, folder: str) -> Any:
    files = [f"datasets/{benchmark}.yml", f"datasets/{benchmark}_ood.yml", "networks/mlp_fusion.yml"]
    overrides = ["--dataset.partition", str(partition), "--output_dir", folder, "--exp_name", "dependence"]
    overrides += ["--optimizer.num_epochs", "30", "--optimizer.lr", "0.001"]
    config = load_config([*files, f"pipelines/train/{TRAINING}.yml"], overrides)
    config["recorder"] = {"quiet": True, "state_interval": 0, "tensorboard": False}
    return config
