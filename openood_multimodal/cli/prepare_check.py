"""``openood-mm prepare check``: decode every file of some clips once, and list what fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..datasets.manifest import Manifest
from .main import subparser
from .preparing import SHOWN, add_follow_links, number_of_workers, read_manifests

EXAMPLES = """  # before a training of days: are all files whole?
  openood-mm prepare check --manifest splits/hmdb51_25_26 --root /data/HMDB51

  # the videos alone, in four processes
  openood-mm prepare check --manifest splits/mine --root /data/mine --modalities video --workers 4
"""


def main(argv: Sequence[str]) -> int:
    """Decode everything; 1 where something can't be."""
    options = _parser().parse_args(list(argv))
    modalities = [part.strip() for part in (options.modalities or "").split(",") if part.strip()]
    return check(
        read_manifests(options.manifest, "flow"),
        Path(options.root),
        Path(options.out),
        modalities,
        number_of_workers(options.workers),
        options.follow_links,
    )


def check(
    manifests: Sequence[Manifest],
    root: Path,
    out: Path,
    modalities: Sequence[str] = (),
    workers: int = 1,
    follow_links: bool = False,
) -> int:
    """Decode all files, print what fails, list it in ``out``; return 1 where something does."""
    from tqdm import tqdm

    from ..files.atomic import write_csv
    from ..files.paths import remove
    from ..preprocessors.checking import Fault, check_clips

    faults = []
    count = 0
    found = check_clips(manifests, root, modalities, workers=workers, follow_links=follow_links)
    for fault in tqdm(found, desc="Decoding", unit=" files", leave=False, disable=None, file=sys.stderr):
        count += 1
        if fault is not None:
            faults.append(fault)
    for fault in faults[:SHOWN]:
        print(f"  {fault.clip}: {fault.modality}: {fault.fault}")
    if len(faults) > SHOWN:
        print(f"  ... and {len(faults) - SHOWN} more")
    if not faults:
        remove(out.parent, out.name)
        print(f"All {count} files decode from beginning to end.")
        return 0
    write_csv(out, Fault._fields, (fault._asdict() for fault in faults))
    print(
        f"{len(faults)} of {count} files can't be decoded; all of them: {out}\n"
        "Fetch or make them again, or set on_error: skip in the dataset's config, which leaves such clips out."
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "prepare check",
        "Decode every file of some clips once, from beginning to end, and list those that can't be: truncated or\n"
        "damaged videos, empty sound tracks, missing frames. Nothing is changed. Exit code 1 when something fails.",
        EXAMPLES,
    )
    parser.add_argument(
        "--manifest",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE.csv",
        help="manifests, or folders of them",
    )
    parser.add_argument("--root", required=True, metavar="DIR", help="the dataset's folder")
    parser.add_argument("--modalities", metavar="A,B", help="those to look at (default: all)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--out", default="broken_files.csv", metavar="FILE.csv", help="the list (default: %(default)s)"
    )
    add_follow_links(parser)
    return parser
