"""The options that ``prepare flow`` and ``prepare audio`` share, and what they and ``prepare frames`` print."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from ..making.missing import Made
from .parsers import add_follow_links, add_manifest, add_overwrite, add_root, add_workers, print_some


def add_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options of both commands."""
    add_manifest(parser, "manifests, or folders of them, that name the clips")
    add_root(parser, "the dataset's folder")
    parser.add_argument(
        "--out", metavar="DIR", help=f"where the {what} goes, laid out as in --root (default: --root)"
    )
    add_workers(parser)
    add_follow_links(parser)
    add_overwrite(
        parser, "make all files again, downloaded ones too; after an interruption, go on without it"
    )


def report(what: str, made: Made) -> int:
    """Print what became of the files; return 1 where some could not be made."""
    print(
        f"{what}: {made.made} made, {made.present} there already, {len(made.failures)} failed "
        f"({tqdm.format_interval(made.seconds)})"
    )
    if made.remarks:
        print(f"{what}: {len(made.remarks)} made of videos with faults:", file=sys.stderr)
        print_some(made.remarks, file=sys.stderr)
    if made.of_frames:
        print(
            f"{what}: {made.of_frames} clips are frames of a recording, not video files: nothing is made for them. "
            f"The {what} of EPIC-Kitchens is published with the data (openood-mm prepare epic_kitchens says where)."
        )
    if made.failed_list:
        print_some([outcome.reason for outcome in made.failures], file=sys.stderr)
        print(f"{what}: all that failed: {made.failed_list}", file=sys.stderr)
    for new in made.manifests:
        if not new.named:
            print(
                f"No {new.path.name} is written: none of the {new.clips} clips of {new.source} has {what}. Mend or "
                "replace the files that failed (above), and run the same command again.",
                file=sys.stderr,
            )
            continue
        print(f"{new.path}: the manifest with the column {what} ({new.named} of {new.clips} clips have it)")
        if new.named < new.clips:
            print(
                f"  Clips without {what} can't be read with it: mend or replace their files and run the same "
                "command again, or set on_error: skip to leave them out."
            )
    return 1 if made.failures else 0
