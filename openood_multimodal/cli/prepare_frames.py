"""``openood-mm prepare frames``: frames of clips as an image dataset for OpenOOD's image networks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..making.frame_card import FrameSettings
from ..making.frames import make_frames
from ..workers import worker_count
from .parsers import add_manifest, add_overwrite, add_root, add_workers, option_names, subparser
from .prepare_missing import report

EXAMPLES = """  # the middle frame of every clip, for a network of 32x32 pixels
  openood-mm prepare frames --manifest data/moving_shapes --root data/moving_shapes \\
      --out data/moving_shapes_frames --image-size 32

  # eight frames per training clip, one per test clip; 224x224 pixels
  openood-mm prepare frames --manifest splits/hmdb51_25_26 --root /data/HMDB51 \\
      --out /data/hmdb51_frames --frames 8
"""


def main(argv: Sequence[str]) -> int:
    """Write images, lists, configs and the card; 1 where some videos could not be used."""
    options = _parser().parse_args(list(argv))
    with option_names():
        done = make_frames(
            options.manifest,
            options.root,
            options.out,
            FrameSettings(options.frames, options.test_frames, options.short_side, options.image_size),
            name=options.name or "",
            skip_broken=options.skip_broken,
            overwrite=options.overwrite,
            workers=worker_count(options.workers),
            progress=True,
        )
    code = report("frames", done.images)
    if done.card is None:
        print(
            "No list is written. Mend the videos and run this again, or leave their clips out: --skip-broken."
        )
        return code
    for name, each in done.card.sets.items():
        left_out = f", {len(each.skipped)} clips left out" if each.skipped else ""
        print(f"  lists/{name + '.txt':<40} {each.images:>7} images of {each.clips} clips{left_out}")
    if done.missing:
        print(f"Note: {done.missing}.")
    if done.configs:
        print("For OpenOOD's main.py: --config " + " ".join(map(str, done.configs)))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "prepare frames",
        "Write frames of clips as PNG files, with lists for OpenOOD's ImglistDataset and its two dataset configs:\n"
        "OpenOOD's image networks are then trained and tested on the clips of multimodal ones (docs/openood.md).\n"
        "Images that are there are left alone; after an interruption the same command resumes.",
        EXAMPLES,
    )
    add_manifest(
        parser, "manifests, or folders of them: train.csv, val.csv, test.csv, nearood_<set>.csv, ..."
    )
    add_root(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for images, lists and configs")
    parser.add_argument("--name", help="name of the dataset in the configs (default: the benchmark's)")
    parser.add_argument(
        "--frames", type=int, default=1, metavar="N", help="frames per training clip (default: %(default)s)"
    )
    parser.add_argument(
        "--test-frames",
        type=int,
        default=1,
        metavar="N",
        help="frames per clip of the other sets (default: %(default)s). With several, every frame is a test sample, "
        "so that metrics can't be compared with those of clips",
    )
    parser.add_argument(
        "--short-side", type=int, metavar="PIXELS", help="shrink larger frames (default: don't)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="PIXELS",
        help="image_size in the config; the network's (default: %(default)s)",
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave clips out whose video can't be read; the card lists them",
    )
    add_workers(parser)
    add_overwrite(parser, "make all images again")
    return parser
