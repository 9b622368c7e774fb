"""``openood-mm verify``: every artefact below a folder, compared with its checksum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .parsers import subparser

EXAMPLES = """  # a run, a suite, a folder of splits or of leaderboards
  openood-mm verify results/htad
"""


def main(argv: Sequence[str]) -> int:
    """Print what differs and the account; 1 where something differs."""
    parser = subparser(
        "verify",
        "Compare what this package wrote below a folder with its checksums: embedding stores, training states,\n"
        "checkpoints and cards, the scores that records were computed from, splits, leaderboards, decisions.\n"
        "Exit code 1 where something has changed.",
        EXAMPLES,
    )
    parser.add_argument("folder", metavar="FOLDER", help="looked through at any depth")
    options = parser.parse_args(list(argv))

    from ..pipelines.verify import verify_folder

    report = verify_folder(Path(options.folder))
    for fault in report.faults:
        print(fault)
    for path in report.without:
        print(f"{path}: has no checksum (an older version, or another program, wrote it)")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(report.counts.items())) or "nothing"
    print(f"{options.folder}: {counts} looked at, {len(report.faults)} differ")
    return 1 if report.faults else 0
