"""Where a training step on clips spends its time, and what A2D + NP-Mix adds to it.

One batch: SlowFast-R101 on RGB and SlowOnly-R50 on optical flow, random weights, the last stages and the heads
training, as MultiOOD's recipes have it.  Parts, in turn within a round:

* decode      reading and transforming the batch's clips (H.264, 320x240, 10 s, keyframes every 12 frames) in one
              process; a loader's workers share this among them;
* forward     the network on that batch;
* backward    of the mean of the three cross-entropies, and the optimiser's step;
* a2d         the A2D loss beside them;
* npmix       the same, pushing to a full bank, NP-Mix, both outlier losses.

The losses' parts are measured with their own backward passes on detached embeddings, since what they add to the
encoders' backward pass is nothing: it starts from one gradient of the embedding either way.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openood_multimodal.errors import UserError

from .parts.clips import Kind, write_clips
from .suite.measuring import Measurement, Report, Times, interleaved, say, timed

NAME = "clip_step"
SUMMARY = "a training step on clips: decoding, forward, backward, A2D and NP-Mix"
QUICK = {"batch": 2, "size": 64, "depth": 18, "base_channels": 16, "rounds": 2, "seconds": 3.0}

GAMMA = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch", type=int, default=8, help="clips a batch (default: %(default)s; the recipes' 16)"
    )
    parser.add_argument(
        "--size", type=int, default=224, help="pixels of a frame's side (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=32, help="RGB frames, stride 2 (default: %(default)s)")
    parser.add_argument(
        "--flow-frames", type=int, default=8, help="flow frames, stride 4 (default: %(default)s)"
    )
    parser.add_argument("--classes", type=int, default=25, help="C (default: %(default)s)")
    parser.add_argument("--bank", type=int, default=65, help="embeddings a class (default: %(default)s)")
    parser.add_argument("--depth", type=int, help="layers of both ResNets (default: 101 and 50)")
    parser.add_argument("--base-channels", type=int, default=64, help="their width (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="length of the clips (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of clips and weights (default: %(default)s)")


def run(options: argparse.Namespace) -> Report:
    if options.batch < 2:
        raise UserError(f"--batch is {options.batch}; batch norm needs at least 2 clips.")
    report = Report(
        {
            "batch": options.batch,
            "video": f"{options.frames} x {options.size}²",
            "flow": f"{options.flow_frames} x {options.size}²",
            "encoders": f"SlowFast-R{options.depth or 101}, SlowOnly-R{options.depth or 50}, "
            f"{options.base_channels} channels",
            "classes": options.classes,
            "bank": options.bank,
            "clips": f"H.264, 320x240, {options.seconds:g} s, keyframes every 12 frames",
            "seed": options.seed,
        }
    )
    with tempfile.TemporaryDirectory(prefix="openood-multimodal-clips-") as folder:
        say("writing clips ...")
        step = Step(options, Path(folder))
        say("one step to warm up ...")
        step.once()
        for round_number in range(options.rounds):
            say(f"round {round_number + 1} of {options.rounds} ...")
            step.measure()
    _report(report, step.taken)
    return report


def _report(report: Report, taken: dict[str, Times]) -> None:
    for name, times in taken.items():
        report.measurements.append(Measurement.of(name, times, computes=name != "decode"))
    wall = {name: np.array(times.wall) for name, times in taken.items()}
    network = wall["forward"] + wall["backward"]
    added = {name: wall[name] - wall["plain losses"] for name in ("a2d", "npmix")}
    for name, seconds in added.items():
        report.ratios[f"what {name} adds / forward and backward"] = float(np.median(seconds / network))
    report.ratios["decode in one process / forward and backward"] = float(np.median(wall["decode"] / network))
    report.notes.append(
        "With w workers decoding, data are waited for where decode / w exceeds forward and backward."
    )


class Step:
    """One batch, one network, and a method for each part of a step."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        import torch

        from openood_multimodal.networks import ClipFusionNet
        from openood_multimodal.synthesis import EmbeddingBank, NPMix

        torch.manual_seed(options.seed)
        self.options = options
        self.taken: dict[str, Times] = {}
        small = {
            "base_channels": options.base_channels,
            **({"depth": options.depth} if options.depth else {}),
        }
        self.net = ClipFusionNet(
            options.classes,
            ("video", "flow"),
            {"video": {"name": "slowfast_r101", **small}, "flow": {"name": "slowonly_r50_flow", **small}},
        ).train()
        self.optimizer = torch.optim.Adam(
            [p for p in self.net.parameters() if p.requires_grad], lr=1e-4, fused=True
        )
        self.labels = torch.randint(options.classes, (options.batch,))
        dim = self.net.feature_size
        self.bank = EmbeddingBank(options.classes, dim, size=options.bank)
        for _ in range(options.bank):
            self.bank.push(torch.randn(options.classes, dim).relu(), torch.arange(options.classes))
        self.synthesis = NPMix()
        self.generator = torch.Generator().manual_seed(options.seed)
        self.dataset = _dataset(options, folder)
        self.data: Any = None
        self.features = torch.randn(options.batch, dim).relu()

    def once(self) -> None:
        """Run every part, unmeasured."""
        self.decode()
        self._backward(self._forward())
        for part in self._losses().values():
            part()

    def measure(self) -> None:
        """Run every part once, and keep its times."""
        self._add("decode", timed(self.decode))
        output: list[Any] = []
        self._add("forward", timed(lambda: output.append(self._forward())))
        self._add("backward", timed(lambda: self._backward(output[0])))
        for name, times in interleaved(self._losses(), rounds=5).items():
            # one value a round, as the others have
            self._add(name, Times((times.wall_s,), (times.cpu_s,)))

    def _add(self, name: str, times: Times) -> None:
        self.taken[name] = self.taken.get(name, Times((), ())) + times

    def decode(self) -> None:
        """Read one batch, as a loader's worker does."""
        import torch

        # another epoch, other windows: nothing is read from what the last round left behind
        self.dataset.set_epoch(self.dataset.epoch + 1)
        samples = self.dataset.__getitems__(list(range(self.options.batch)))
        self.data = torch.utils.data.default_collate(samples)["data"]

    def _forward(self) -> Any:
        return self.net.forward_modalities(self.data)

    def _backward(self, output: Any) -> None:
        from openood_multimodal import losses

        heads = list(output.modality_logits.values())
        self.optimizer.zero_grad(set_to_none=True)
        losses.multihead_cross_entropy(output.logits, heads, self.labels).backward()
        self.optimizer.step()

    def _losses(self) -> dict[str, Callable[[], None]]:
        return {"plain losses": self._plain, "a2d": self._a2d, "npmix": self._npmix}

    def _heads(self) -> tuple[Any, list[Any], Any]:
        from openood_multimodal import losses

        features = self.features.detach().requires_grad_()
        heads = list(self.net.classify_modalities(self.net.split(features)).values())
        return features, heads, losses.multihead_cross_entropy(self.net.fc(features), heads, self.labels)

    def _finish(self, loss: Any) -> None:
        loss.backward()
        self.optimizer.zero_grad(set_to_none=True)

    def _plain(self) -> None:
        self._finish(self._heads()[2])

    def _a2d(self) -> None:
        from openood_multimodal import losses

        _, heads, loss = self._heads()
        self._finish(loss + GAMMA * losses.a2d_loss(heads, self.labels))

    def _npmix(self) -> None:
        from openood_multimodal import losses

        features, heads, loss = self._heads()
        loss = loss + GAMMA * losses.a2d_loss(heads, self.labels)
        self.bank.push(features.detach(), self.labels)
        outliers = self.synthesis(self.bank, generator=self.generator).embeddings
        mixed = list(self.net.classify_modalities(self.net.split(outliers)).values())
        loss = loss + GAMMA * losses.outlier_discrepancy_loss(mixed)
        self._finish(loss + GAMMA * losses.outlier_entropy_loss(mixed))


def _dataset(options: argparse.Namespace, folder: Path) -> Any:
    """Return a dataset of generated clips with RGB and flow files."""
    from openood_multimodal.datasets.clips import MultimodalClipDataset
    from openood_multimodal.datasets.manifest import Manifest
    from openood_multimodal.registry import PREPROCESSORS

    kind = Kind("h264", 12, options.seconds, 320, 240)
    videos = write_clips(folder, kind, options.batch, options.seed)
    flows = []
    for number, video in enumerate(videos):
        for axis in "xy":  # any content will do: what counts is decoding it
            (folder / f"flow_{number}_flow_{axis}.mp4").write_bytes(video.read_bytes())
        flows.append(f"flow_{number}_flow_x.mp4")
    labels = [number % options.classes for number in range(options.batch)]
    manifest = Manifest.create(
        clips=[video.name for video in videos],
        labels=labels,
        class_names=[f"class {label}" for label in labels],
        files={"video": [video.name for video in videos], "flow": flows},
    )
    manifest.write(folder / "train.csv")
    sizes = {"size": options.size, "short_side": max(options.size, round(options.size * 256 / 224))}
    section = {
        "name": "multimodal_clip",
        "video": {"frames": options.frames, "stride": 2, **sizes},
        "flow": {"frames": options.flow_frames, "stride": 4, **sizes},
    }
    preprocessor = PREPROCESSORS.get("multimodal_clip")(
        {"preprocessor": section, "seed": options.seed}, "train"
    )
    return MultimodalClipDataset(
        "train", str(folder / "train.csv"), str(folder), options.classes, preprocessor
    )
