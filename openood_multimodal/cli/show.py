"""``openood-mm show``: a contact sheet of one clip, as the network sees it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import UserError
from .parsers import subparser

EXAMPLES = """  # a clip of a prepared dataset, by its name or a unique part of it
  openood-mm show catch/x.avi --manifest manifests/hmdb51_25_26 --root /data/HMDB51

  # the same as training sees it in epoch 3, with the settings of a config
  openood-mm show catch/x.avi --config datasets/hmdb51/hmdb51_25_26.yml --split train --epoch 3

  # any video file; optical flow is computed for it
  openood-mm show holiday.mp4 --out holiday.png
"""


_DASHED = "\0"


def main(argv: Sequence[str]) -> int:
    """Find the clip, read it as the dataset would, draw it."""
    words = list(argv)
    if words and words[0].startswith("-") and not words[0].startswith("--") and words[0] != "-h":
        words[0] = f"{_DASHED}{words[0]}"  # a clip's name, as YouTube's identifiers may be, and no option
    options, overrides = _parser().parse_known_args(words)
    if overrides and not options.config:
        raise UserError(f"unknown option {overrides[0]}; see openood-mm show --help.")

    from ..config import HOST_DEFAULTS, load_config
    from ..making.show import show_clip

    path, faults = show_clip(
        options.clip.removeprefix(_DASHED),
        options.out or "",
        manifests=options.manifest or (),
        root=options.root or "",
        config=load_config([HOST_DEFAULTS, *options.config], overrides) if options.config else None,
        split=options.split,
        epoch=options.epoch,
    )
    for fault in faults:
        print(fault)
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "show",
        "Write a contact sheet (PNG) of one clip: frames as sampled and cropped, optical flow as colours, waveform,\n"
        "spectrogram, its label and files, and what part of the clip the network gets.",
        EXAMPLES,
    )
    parser.add_argument("clip", metavar="CLIP", help="name of a clip in a manifest, or a video file")
    parser.add_argument(
        "--manifest", nargs="+", action="extend", metavar="FILE.csv", help="manifests, or folders of them"
    )
    parser.add_argument("--root", metavar="DIR", help="the dataset's folder (default: the manifest's folder)")
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="FILE.yml",
        help="configs with the preprocessor's settings and, without --manifest, the data; --key value overrides",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val"),
        default="val",
        help="seen as in training, or as in tests (default)",
    )
    parser.add_argument(
        "--epoch", type=int, default=1, metavar="N", help="of training; it decides the random crop (1)"
    )
    parser.add_argument(
        "--out", metavar="FILE.png", help="default: the clip's name, in the working directory"
    )
    return parser
