"""``openood-mm prepare check``: decode every file of some clips once, and list what fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..workers import worker_count
from .parsers import (
    add_follow_links,
    add_manifest,
    add_root,
    add_workers,
    names_in,
    option_names,
    print_some,
    subparser,
)

if TYPE_CHECKING:
    from ..preprocessors.checking import Checked

EXAMPLES = """  # before days of training: are all files intact?
  openood-mm prepare check --manifest splits/hmdb51_25_26 --root /data/HMDB51

  # only the videos, in four processes
  openood-mm prepare check --manifest splits/mine --root /data/mine --modalities video --workers 4
"""


def main(argv: Sequence[str]) -> int:
    """Decode everything; 1 where something can't be."""
    parser = subparser(
        "prepare check",
        "Decode every file of some clips once, from beginning to end, and list those that can't be: truncated or\n"
        "damaged videos, empty sound tracks, missing frames. Nothing is changed. Exit code 1 when something fails.",
        EXAMPLES,
    )
    add_manifest(parser, "manifests, or folders of them")
    add_root(parser)
    parser.add_argument("--modalities", metavar="A,B", help="those to look at (default: all)")
    add_workers(parser)
    parser.add_argument(
        "--out", default="broken_files.csv", metavar="FILE.csv", help="the list (default: %(default)s)"
    )
    add_follow_links(parser)
    options = parser.parse_args(list(argv))

    from ..making.missing import read_manifests
    from ..preprocessors.checking import check_files

    out = Path(options.out)
    with option_names():
        checked = check_files(
            read_manifests(options.manifest, "flow"),
            options.root,
            out,
            names_in(options.modalities),
            workers=worker_count(options.workers),
            follow_links=options.follow_links,
            progress=True,
        )
    return report(checked, out)


def report(checked: Checked, out: Path) -> int:
    """Print which files can't be decoded; return 1 where some can't."""
    faults = checked.faults
    print_some([f"{fault.clip}: {fault.modality}: {fault.fault}" for fault in faults])
    if not faults:
        print(f"All {checked.count} files decode from beginning to end.")
        return 0
    print(
        f"{len(faults)} of {checked.count} files can't be decoded; all of them: {out}\n"
        "Fetch or make them again, or set on_error: skip in the dataset's config, which leaves such clips out."
    )
    return 1
