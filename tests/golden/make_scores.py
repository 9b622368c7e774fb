"""Seeded embeddings for the scores' golden figures, and the script that makes the figures.

The figures come from OpenOOD's own postprocessor classes, run on the CPU on `make_case`'s arrays:

    OPENOOD_ROOT=path/to/OpenOOD python tests/golden/make_scores.py

(or without OPENOOD_ROOT where ``import openood`` works).  Only OpenOOD's outputs are stored, in
``scores.npz``, with what they depend on in ``scores.json``; the inputs are made again from their seeds.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent


class Case(NamedTuple):
    """One fixed problem: features float32 [N, D], labels int64 [N], a head [C, D], [C], and parameters."""

    train: np.ndarray
    train_labels: np.ndarray
    val: np.ndarray
    test: np.ndarray  # the first half in-distribution, the second half not
    weight: np.ndarray
    bias: np.ndarray
    slices: dict[str, tuple[int, int]]
    parameters: dict[str, dict[str, Any]]


class Recipe(NamedTuple):
    """How a case is drawn."""

    seed: int
    rows: int
    classes: int
    widths: tuple[int, int]
    scales: tuple[float, float] = (1.0, 1.0)
    decay: float = 0.0
    singular_head: bool = False
    common: float = (
        0.5  # of the mean class vector, left in the head; 0: its rows add up to 0 but for rounding
    )
    vim_dim: int = 16
    neighbours: int = 10


RECIPES = {
    "full_rank": Recipe(11, 600, 4, (32, 16)),
    "fewer_rows_than_columns": Recipe(12, 120, 4, (96, 64)),
    "anisotropic": Recipe(13, 600, 4, (48, 32), scales=(1.0, 0.01), decay=1.0),
    "singular_head": Recipe(14, 600, 4, (32, 16), singular_head=True),
    "zero_sum_head": Recipe(16, 600, 4, (32, 16), common=0.0),
    "many_classes": Recipe(15, 1290, 129, (96, 64), vim_dim=64),
}
TEST_ROWS = 300  # of each kind
SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")


def make_case(name: str) -> Case:
    """Draw a case from its seed: rectified class centres plus correlated noise, and a fitting head."""
    recipe = RECIPES[name]
    rng = np.random.Generator(np.random.PCG64(recipe.seed))
    dim = sum(recipe.widths)
    scale = np.repeat(recipe.scales, recipe.widths)
    spectrum = np.arange(1, dim + 1) ** -recipe.decay
    mixing = rng.standard_normal((dim, dim)) / np.sqrt(dim) * spectrum[:, None]
    centres = 0.8 * rng.standard_normal((recipe.classes, dim)) + 0.2

    def draw(middle: np.ndarray, spread: float) -> np.ndarray:
        noise = spread * rng.standard_normal(middle.shape) @ mixing
        noise += 0.05 * rng.standard_normal(middle.shape)
        return (np.maximum(middle + noise, 0.0) * scale).astype(np.float32)

    train_labels = np.arange(recipe.rows) % recipe.classes
    train = draw(centres[train_labels], 1.0)
    val = draw(centres[np.arange(200) % recipe.classes], 1.0)
    inside = draw(centres[np.arange(TEST_ROWS) % recipe.classes], 1.0)
    partners = rng.permutation(recipe.classes)
    mixed = 0.6 * centres + 0.4 * centres[partners] + 0.3 * rng.standard_normal(centres.shape)
    outside = draw(mixed[np.arange(TEST_ROWS) % recipe.classes], 1.3)

    means = np.stack([train[train_labels == c].mean(axis=0) for c in range(recipe.classes)]).astype(
        np.float64
    )
    weight = means - (1.0 - recipe.common) * means.mean(axis=0)
    weight *= 3.0 / np.linalg.norm(weight, axis=1).mean() / np.sqrt(np.square(means).mean())
    weight /= np.sqrt(dim)
    bias = 0.1 * rng.standard_normal(recipe.classes)
    if recipe.singular_head:
        weight[3] = weight[0] + weight[1] - weight[2] + 1e-5 * rng.standard_normal(dim)
    slices = {"video": (0, recipe.widths[0]), "flow": (recipe.widths[0], dim)}
    parameters: dict[str, dict[str, Any]] = {score: {} for score in SCORES}
    parameters["ebo"] = {"temperature": 1.0}
    parameters["react"] = parameters["ash"] = {"percentile": 90}
    parameters["gen"] = {"gamma": 0.1, "M": 100}
    parameters["knn"] = {"K": recipe.neighbours}
    parameters["vim"] = {"dim": recipe.vim_dim}
    return Case(
        train,
        train_labels.astype(np.int64),
        val,
        np.concatenate([inside, outside]),
        weight.astype(np.float32),
        bias.astype(np.float32),
        slices,
        parameters,
    )


def fingerprint(case: Case) -> list[float]:
    """Return a few sums that tell whether the random streams are still those of the stored figures."""
    return [float(np.abs(a.astype(np.float64)).sum()) for a in (case.train, case.val, case.test, case.weight)]


class Anything(type):
    """Metaclass of classes that have every attribute: another such class."""

    def __getattr__(cls, wanted: str) -> type:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return Anything(wanted, (), {"__init__": lambda self, *args, **kwargs: None})


def placeholder(name: str) -> types.ModuleType:
    """Return a module that has every attribute: a class each, since OpenOOD inherits from some."""
    module = types.ModuleType(name)
    module.__path__ = []
    module.__getattr__ = lambda wanted: getattr(Anything("module", (), {}), wanted)  # type: ignore[method-assign]
    return module


def import_openood() -> tuple[types.ModuleType, types.ModuleType, types.ModuleType, str]:
    """Return OpenOOD's postprocessors, ReAct and ASH networks, and commit; absent packages are faked."""
    root = os.environ.get("OPENOOD_ROOT")
    if root:
        sys.path.insert(0, root)
    for _ in range(50):
        try:
            for wanted in ("openood.postprocessors", "openood.networks"):
                importlib.import_module(wanted)
            break
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.split(".")[0] == "openood":
                sys.exit("openood can't be imported: name a checkout of it in OPENOOD_ROOT.")
            sys.modules[missing] = placeholder(missing)
            for loaded in [m for m in sys.modules if m.split(".")[0] == "openood"]:
                del sys.modules[loaded]
    package = importlib.import_module("openood.postprocessors")
    react = importlib.import_module("openood.networks.react_net")
    ash = importlib.import_module("openood.networks.ash_net")
    folder = Path(str(package.__file__)).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return package, react, ash, answer.stdout.strip() or "unknown"


Results = dict[str, tuple[np.ndarray, np.ndarray]]


def openood_scores(case: Case, package: Any, react: Any, ash: Any) -> Results:
    """Run OpenOOD's classes: score → (pred, conf)."""
    import torch
    from torch import nn

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(case.weight.shape[1], case.weight.shape[0])
            self.fc.weight.data = torch.from_numpy(case.weight)
            self.fc.bias.data = torch.from_numpy(case.bias)

        def forward(self, x: Any, return_feature: bool = False, return_feature_list: bool = False) -> Any:
            x = x.clone()  # ASH writes into it
            return (self.fc(x), x) if return_feature else self.fc(x)

        def get_fc(self) -> Any:
            return case.weight, case.bias

        def get_fc_layer(self) -> Any:
            return self.fc

    def loader(features: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
        parts = np.array_split(np.arange(len(features)), -(-len(features) // 100))
        return [{"data": torch.from_numpy(features[p]), "label": torch.from_numpy(labels[p])} for p in parts]

    info = sys.modules["openood.postprocessors.mds_postprocessor"].num_classes_dict
    info["golden"] = len(case.weight)
    classes = {
        "msp": "BasePostprocessor",
        "ebo": "EBOPostprocessor",
        "mls": "MaxLogitPostprocessor",
        "mds": "MDSPostprocessor",
        "react": "ReactPostprocessor",
        "ash": "ASHPostprocessor",
        "gen": "GENPostprocessor",
        "knn": "KNNPostprocessor",
        "vim": "VIMPostprocessor",
    }
    loaders = {
        "train": loader(case.train, case.train_labels),
        "val": loader(case.val, np.arange(len(case.val)) % len(case.weight)),
    }
    test = loader(case.test, np.zeros(len(case.test), dtype=np.int64))
    wrappers = {"react": react.ReactNet, "ash": ash.ASHNet}
    results = {}
    for score, class_name in classes.items():
        config = types.SimpleNamespace(
            postprocessor=types.SimpleNamespace(
                postprocessor_args=types.SimpleNamespace(**case.parameters[score]), postprocessor_sweep={}
            ),
            dataset=types.SimpleNamespace(name="golden"),
        )
        net = wrappers.get(score, lambda inner: inner)(Head())
        net.eval()
        postprocessor = getattr(package, class_name)(config)
        postprocessor.setup(net, loaders, {})
        pred, conf, _ = postprocessor.inference(net, test, progress=False)
        results[score] = (pred, np.real(conf))
    return results


def main() -> None:
    """Write scores.npz and scores.json beside this script."""
    import torch

    package, react, ash, commit = import_openood()
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign,assignment]
    torch.set_num_threads(1)
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {
        "openood_commit": commit,
        "versions": {"python": sys.version.split()[0], "numpy": np.__version__, "torch": torch.__version__},
        "cases": {},
    }
    for name in RECIPES:
        case = make_case(name)
        facts["cases"][name] = {"fingerprint": fingerprint(case)}
        for score, (pred, conf) in openood_scores(case, package, react, ash).items():
            arrays[f"{name}/{score}/pred"] = pred.astype(np.uint8)
            arrays[f"{name}/{score}/conf"] = conf.astype(np.float32)
    np.savez_compressed(HERE / "scores.npz", **arrays)
    (HERE / "scores.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{len(arrays)} arrays from OpenOOD {commit[:10]} written beside {Path(__file__).name}")


if __name__ == "__main__":
    main()
