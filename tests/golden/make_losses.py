"""Write losses.json: figures of MultiOOD's own training step, run on small seeded inputs.

    git clone https://github.com/donghao51/MultiOOD
    python tests/golden/make_losses.py MultiOOD

The training scripts of MultiOOD can't be imported: they need mmaction2, a GPU and its data.  So this takes
the functions it names out of the checkout that you point it to, and calls them, unchanged, with stand-ins for
the networks: heads that return given logits and embeddings.  Only inputs and resulting figures are stored.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy import spatial

SCRIPTS = {2: "HMDB-rgb-flow/train_video_flow.py", 3: "EPIC-rgb-flow/train_video_flow_audio_epic.py"}
NAMES = ("LogitNormLoss", "wasserstein_distance", "hellinger_distance", "normalized_prediction_entropy")
DISCREPANCIES = ("l1", "l2", "hellinger", "wasserstein")


def authors_functions(script: Path, stand_ins: dict[str, Any]) -> dict[str, Any]:
    """Compile the named definitions of ``script``, and nothing else of it, with ``stand_ins`` as globals."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if getattr(node, "name", None) in (*NAMES, "train_one_step")]
    namespace = {"torch": torch, "nn": nn, "F": F, "np": np, "spatial": spatial, **stand_ins}
    # The one place where foreign code runs: the checkout that whoever runs this named on the command line.
    exec(compile(ast.Module(wanted, []), str(script), "exec"), namespace)
    return namespace


class Draws:
    """Stands in for ``np.random``: draws from a seed, and writes down what it drew."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.log: list[Any] = []

    def choice(self, of: Any, size: int | None = None) -> Any:
        """Answer ``np.random.choice``; an array of candidates is logged with the one that was chosen."""
        drawn = self.random.choice(of, size)
        self.log.append(int(np.ravel(drawn)[0]) if np.ndim(of) == 0 else [sorted(map(int, of)), int(drawn)])
        return drawn

    def beta(self, a: float, b: float) -> float:
        """Answer ``np.random.beta``."""
        self.log.append(float(self.random.beta(a, b)))
        return self.log[-1]


def module(head: Callable[[Any], Any], fc: Callable[[Any], Any]) -> SimpleNamespace:
    """Build what the step takes for a DataParallel network: the "feature" is the clip itself."""
    backbone = SimpleNamespace(get_feature=lambda x: x, get_predict=lambda x: x)
    return SimpleNamespace(module=SimpleNamespace(backbone=backbone, cls_head=Head(head, fc)))


class Head:
    """A classification head that returns given logits and embeddings; ``fc_cls`` is the last layer alone."""

    def __init__(self, head: Callable[[Any], Any], fc: Callable[[Any], Any]) -> None:
        self.head, self.fc_cls, self.fc = head, fc, fc

    def __call__(self, x: Any) -> Any:
        return self.head(x)


class Step:
    """The authors' ``train_one_step`` with C classes, M modalities and no network."""

    def __init__(self, root: Path, modalities: int, classes: int, dim: int = 1, size: int = 1) -> None:
        self.modalities = modalities
        self.dims = [dim] * modalities
        self.state: dict[str, Any] = {
            "num_class": classes,
            "number_dict": dict.fromkeys(range(classes), 0),
            "data_dict": torch.zeros(classes, size, modalities * dim, dtype=torch.float64),
            "id_feature_proto": torch.zeros(classes, modalities * dim, dtype=torch.float64),
            "v_dim": dim,
            "a_dim": dim,
            "optim": SimpleNamespace(zero_grad=lambda: None, step=lambda: None),
            "criterion": lambda logits, labels: logits.sum() * 0,
        }
        self.settings = dict.fromkeys(
            ["use_single_pred", "use_a2d", "use_npmix"]
            + [f"{kind}_{name}" for kind in ("a2d_max", "max_ood") for name in DISCREPANCIES],
            False,
        )
        self.settings |= {"a2d_ratio": 1.0, "a2d_ratio_ood": 0.0, "ood_entropy_ratio": 0.0, "nn_k": 3}
        self.settings |= {"sample_number": size, "start_epoch": 10, "mixup_alpha": 10.0}
        self.globals = authors_functions(root / SCRIPTS[modalities], self.state)

    def __call__(
        self,
        logits: list[torch.Tensor],
        labels: torch.Tensor,
        *,
        embeddings: list[torch.Tensor] | None = None,
        layers: list[Callable[[Any], Any]] | None = None,
        epoch: int = 0,
        draws: Draws | None = None,
        **settings: Any,
    ) -> float:
        """Run one step; lists are in the order video, [audio,] flow.  Returns the loss."""
        # A zero of the logits in the embeddings and the loss, so that backward() has something to do.
        zero = sum(each.sum() for each in logits) * 0
        parts = embeddings or [torch.zeros(len(labels), d, dtype=torch.float64) for d in self.dims]
        layers = layers or [lambda z: z] * self.modalities
        nets = [
            module(lambda _, k=k: (logits[k], parts[k] + zero), layers[k]) for k in range(self.modalities)
        ]
        clip = SimpleNamespace(cuda=lambda: SimpleNamespace(squeeze=lambda _: torch.zeros(1)))
        slow_fast = SimpleNamespace(get_feature=lambda x: (x, x), get_predict=lambda x: x)
        nets[0].module.backbone = slow_fast
        step = self.globals["train_one_step"]
        names: dict[str, Any] = {
            "args": SimpleNamespace(**(self.settings | settings)),
            "mlp_cls": lambda *z: logits[0],
            "np": SimpleNamespace(random=draws) if draws else np,
        }
        if self.modalities == 3:
            names["audio_model"] = lambda x: (None, x, None)
        step.__globals__.update(names)
        # The scripts say .cuda() everywhere; on a machine without a GPU that has to mean nothing.
        original, torch.Tensor.cuda = torch.Tensor.cuda, lambda self: self
        try:
            if self.modalities == 2:
                result = step(nets[0], {"imgs": clip}, labels, {"imgs": clip}, nets[1], epoch)
            else:
                audio = nets[1].module.cls_head
                result = step(
                    nets[0], {"imgs": clip}, labels, {"imgs": clip}, nets[2], torch.zeros(1), audio, epoch
                )
        finally:
            torch.Tensor.cuda = original
        return float(result[1].detach())


def loss_figures(root: Path) -> list[dict[str, Any]]:
    """Return every loss on random logits, both ordinary and saturated."""
    cases = []
    for number, (modalities, batch, classes, scale) in enumerate([(2, 6, 5, 1), (2, 4, 3, 8), (3, 5, 4, 1)]):
        random = np.random.default_rng(number)
        values = random.normal(0, scale, (modalities, batch, classes)).round(3)
        labels = random.integers(classes, size=batch)
        logits = [torch.tensor(v, requires_grad=True) for v in values]
        y = torch.tensor(labels)
        step = Step(root, modalities, classes, dim=classes, size=1)
        figures: dict[str, Any] = {"a2d": {}, "outlier_discrepancy": {}}
        for name in DISCREPANCIES:
            figures["a2d"][name] = step(logits, y, use_a2d=True, **{f"a2d_max_{name}": True})
        # Outliers: a full bank of one row a class; heads that ignore the embeddings and return the logits.
        step.state["number_dict"].update(dict.fromkeys(range(classes), 1))
        layers = [lambda z, each=each: each for each in logits]
        common: dict[str, Any] = {"use_npmix": True, "epoch": 10, "layers": layers}
        for name in DISCREPANCIES:
            figures["outlier_discrepancy"][name] = step(
                logits, y, **common, a2d_ratio_ood=1.0, **{f"max_ood_{name}": True}
            )
        figures["outlier_entropy"] = step(logits, y, **common, ood_entropy_ratio=1.0, max_ood_l1=True)
        figures["logit_norm"] = [
            float(step.globals["LogitNormLoss"](0.04)(each, y).detach()) for each in logits
        ]
        cases.append({"logits": values.tolist(), "labels": labels.tolist(), **figures})
    return cases


def bank_figures(root: Path) -> dict[str, Any]:
    """Return what the bank holds after each batch, and the outliers drawn from it once it is used.

    Embeddings are running numbers (1, 2, ...) in the first column, and small random ones in the second, so
    that rows can be recognised.  Batches are small, with several samples of a class in most.
    """
    classes, size, batch, batches = 4, 3, 5, 16
    random = np.random.default_rng(7)
    labels = random.integers(classes, size=(batches, batch))
    second = random.normal(size=(batches, batch)).round(3)
    step = Step(root, 2, classes, dim=1, size=size)
    seen: list[torch.Tensor] = []
    layers = [lambda z: (seen.append(z), z.repeat(1, classes))[1]] * 2
    held, outliers = [], []
    for number in range(batches):
        first = torch.arange(number * batch, (number + 1) * batch, dtype=torch.float64) + 1
        z = [first.unsqueeze(1), torch.tensor(second[number]).unsqueeze(1)]
        logits = [torch.zeros(batch, classes, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        draws = Draws(number)
        seen.clear()
        epoch = 10 if number >= batches // 2 else 0
        step(
            logits,
            torch.tensor(labels[number]),
            embeddings=z,
            layers=layers,
            epoch=epoch,
            draws=draws,
            use_npmix=True,
            max_ood_l1=True,
        )
        held.append(step.globals["data_dict"][:, :, 0].int().tolist())
        if seen:
            # Four draws a class: its own row, [its nearest prototypes, the chosen one], that one's row, λ.
            mixed = torch.cat(seen, dim=1).tolist()
            outliers.append({"batch": number, "draws": draws.log, "embeddings": mixed})
    return {
        "size": size,
        "labels": labels.tolist(),
        "second_column": second.tolist(),
        "held": held,
        "outliers": outliers,
    }


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="a clone of github.com/donghao51/MultiOOD")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("losses.json"))
    options = parser.parse_args()
    for script in SCRIPTS.values():
        if not (options.checkout / script).is_file():
            sys.exit(f"{options.checkout} has no {script}: it isn't a clone of MultiOOD.")
    git = ["git", "-C", str(options.checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    golden = {
        "source": f"github.com/donghao51/MultiOOD {commit}".strip(),
        "made_by": "tests/golden/make_losses.py",
        "losses": loss_figures(options.checkout),
        "bank": bank_figures(options.checkout),
    }
    options.out.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
