"""``openood-mm prepare moving_shapes``: generated clips with real files, to try everything on."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .parsers import add_workers, option_names, subparser

if TYPE_CHECKING:
    from ..moving_shapes import Generated

DEFAULT_ROOT = "data/moving_shapes"
EXAMPLES = """  # about 330 clips of 1.7 s, 96 x 128 pixels, with sound and optical flow: 15 s on two cores, 61 MB
  openood-mm prepare moving_shapes --root data/moving_shapes --size demo

  # a few seconds' worth, in EPIC-Kitchens' layout: JPEG frames and one WAV per recording
  openood-mm prepare moving_shapes --root data/shapes_epic --layout epic_kitchens --size tiny

  # without flow, which is then estimated as for a real dataset
  openood-mm prepare moving_shapes --root data/shapes --no-flow
  openood-mm prepare flow --manifest data/shapes --root data/shapes --method dis

  # your own numbers
  openood-mm prepare moving_shapes --root data/long --frames 240 --height 240 --width 320 --classes 8
"""
NUMBERS = {
    "height": "pixels",
    "width": "pixels",
    "fps": "frames a second",
    "frames": "frames a clip",
    "classes": "known actions",
    "near": "unseen actions in near-OOD",
    "far": "worlds in far-OOD",
    "val": "unseen actions in the validation OOD set",
    "train_recordings": "recordings of each action in train",
    "val_recordings": "the same in val",
    "test_recordings": "the same in test",
    "ood_recordings": "recordings of each action or world of an OOD set",
    "clips": "clips a recording",
}


def main(argv: Sequence[str]) -> int:
    """Make the dataset, or what is missing of it; print what is there and how to use it."""
    options = _parser().parse_args(list(argv))

    from ..moving_shapes import generate
    from ..workers import worker_count

    began = time.monotonic()
    numbers = {name: getattr(options, name) for name in NUMBERS if getattr(options, name) is not None}
    with option_names():
        generated = generate(
            options.root,
            options.layout,
            options.seed,
            options.size,
            flow=options.flow,
            audio=options.audio,
            workers=worker_count(options.workers),
            progress=True,
            **numbers,
        )
    _report(generated, time.monotonic() - began)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "prepare moving_shapes",
        "Generate MovingShapes: clips of textured shapes in motion with sound and optical flow, in real files, with\n"
        "manifests for training, validation, test, near-, far- and validation OOD. The same settings give the same\n"
        "clips; the same command resumes. Nothing is written into a folder that holds other files.",
        EXAMPLES,
    )
    parser.add_argument("--root", default=DEFAULT_ROOT, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--layout",
        default="hmdb51",
        help="whose folders and file names: hmdb51 (default), ucf101, epic_kitchens, hac, kinetics600",
    )
    parser.add_argument("--size", default="demo", help="tiny, small or demo (default)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of everything (0)")
    add_workers(parser)
    parser.add_argument("--no-flow", dest="flow", action="store_false", help="leave it to 'prepare flow'")
    parser.add_argument(
        "--no-audio", dest="audio", action="store_false", help="leave WAV files to 'prepare audio'"
    )
    group = parser.add_argument_group("numbers that differ from the size's")
    for name, meaning in NUMBERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, type=int, metavar="N", help=meaning)
    return parser


def _report(generated: Generated, seconds: float) -> None:
    from ..datasets.manifest import Manifest

    size, root = generated.size, generated.root
    what = f"{generated.made} recordings made" + (
        f", {generated.kept} there already" if generated.kept else ""
    )
    print(f"{root}: {what} ({seconds:.0f} s)")
    print(
        f"  clips of {size.frames} frames, {size.width}x{size.height}, {size.fps} frames/s, "
        f"laid out as {generated.layout}'s"
    )
    for path in generated.manifests.values():
        manifest = Manifest.read(path)
        names = ", ".join(manifest.class_counts())
        print(f"  {path.name:<36} {len(manifest):>5} clips  {names}")
    where = [] if str(root) == DEFAULT_ROOT else ["--data_root", str(root)]
    known = [] if size.classes == 6 else ["--dataset.num_classes", str(size.classes)]
    data = ["--config", "datasets/moving_shapes/moving_shapes.yml"]
    train = [*data, "networks/clip_fusion_small.yml", "pipelines/train/a2d_npmix.yml"]
    data += ["datasets/moving_shapes/moving_shapes_ood.yml"]
    test = [*data, "networks/clip_fusion_small.yml", "pipelines/test/near_ood.yml"]
    print("\nUse it:")
    print(f"  openood-mm run {shlex.join([*train, *where, *known])}")
    print(
        f"  openood-mm run {shlex.join([*test, *where, *known])} --network.checkpoint results/RUN/best.ckpt"
    )
