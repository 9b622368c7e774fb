"""``openood-mm prepare frames``: frames of clips as an image dataset for OpenOOD's image networks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..making.frame_images import frames_there, write_frames
from ..plugin.frames import (
    CARD,
    FrameCard,
    FrameSettings,
    dataset_name,
    plan_frames,
    write_configs,
    write_lists,
)
from .main import subparser
from .preparing import Plan, make_all, number_of_workers, read_manifests

EXAMPLES = """  # the middle frame of every clip, for a network of 32x32 pixels
  openood-mm prepare frames --manifest data/moving_shapes --root data/moving_shapes \\
      --out data/moving_shapes_frames --image-size 32

  # eight frames a training clip, one a test clip; 224x224 pixels
  openood-mm prepare frames --manifest splits/hmdb51_25_26 --root /data/HMDB51 \\
      --out /data/hmdb51_frames --frames 8
"""


def main(argv: Sequence[str]) -> int:
    """Write images, lists, configs and the card; 1 where some videos could not be used."""
    options = _parser().parse_args(list(argv))
    settings = FrameSettings(options.frames, options.test_frames, options.short_side, options.image_size)
    workers = number_of_workers(options.workers)
    root, out = Path(options.root), Path(options.out)
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder.")
    _check_out(out, settings, options.overwrite)
    manifests = read_manifests(options.manifest, "frames")
    planned = plan_frames(manifests, root, out, settings)
    failures = make_all(
        "frames",
        Plan(tuple(job for jobs in planned.values() for job in jobs), 0, {}),
        write_frames,
        frames_there,
        out,
        overwrite=options.overwrite,
        workers=workers,
    )
    if failures and not options.skip_broken:
        print(
            "No list is written. Mend the videos and run this again, or leave their clips out: --skip-broken."
        )
        return 1
    card = write_lists(manifests, planned, out, settings, {each.job.targets for each in failures})
    for name, each in card.sets.items():
        left_out = f", {len(each.skipped)} clips left out" if each.skipped else ""
        print(f"  lists/{name + '.txt':<40} {each.images:>7} images of {each.clips} clips{left_out}")
    written, missing = write_configs(options.name or dataset_name(manifests), card, manifests, out)
    if missing:
        print(f"Note: {missing}.")
    if written:
        print("For OpenOOD's main.py: --config " + " ".join(map(str, written)))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "prepare frames",
        "Write frames of clips as PNG files, with lists for OpenOOD's ImglistDataset and its two dataset configs:\n"
        "OpenOOD's image networks are then trained and tested on the clips of multimodal ones (docs/openood.md).\n"
        "Images that are there are left alone; after an interruption the same command goes on.",
        EXAMPLES,
    )
    parser.add_argument(
        "--manifest",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE.csv",
        help="manifests, or folders of them: train.csv, val.csv, test.csv, nearood_<set>.csv, ...",
    )
    parser.add_argument("--root", required=True, metavar="DIR", help="the dataset's folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for images, lists and configs")
    parser.add_argument("--name", help="name of the dataset in the configs (default: the benchmark's)")
    parser.add_argument(
        "--frames", type=int, default=1, metavar="N", help="frames a training clip (default: %(default)s)"
    )
    parser.add_argument(
        "--test-frames",
        type=int,
        default=1,
        metavar="N",
        help="frames a clip of the other sets (default: %(default)s). With several, every frame is a test sample, "
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
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="make all images again")
    return parser


def _check_out(out: Path, settings: FrameSettings, overwrite: bool) -> None:
    """Refuse a folder whose images were made otherwise; the number of frames is in their names."""
    if not (out / CARD).is_file() or overwrite:
        return
    there, wanted = FrameCard.read(out / CARD).settings.short_side, settings.short_side
    if there != wanted:
        raise UserError(
            f"the images in {out} were made with --short-side {there}, not {wanted} (None: as the videos); "
            "name another --out, or make all again: --overwrite."
        )
