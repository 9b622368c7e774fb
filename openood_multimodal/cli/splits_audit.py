"""``openood-mm splits audit``: what splits leak, as a table, JSON and a plot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .parsers import subparser

EXAMPLES = """  # imported or generated splits, one or all; the authors' lists as they are
  openood-mm splits audit splits/hmdb51_25_26
  openood-mm splits audit splits --json audit.json --plot audit.png
  openood-mm splits audit MultiOOD
  openood-mm splits audit MultiOOD/HMDB-rgb-flow/splits/HMDB_train.txt MultiOOD/HMDB-rgb-flow/splits/HMDB_test.txt

  # manifests of your own (train.csv, val.csv, test.csv, nearood_<set>.csv, farood_<set>.csv), with their files
  openood-mm splits audit my/train.csv my/test.csv my/nearood_x.csv --root /data/my

  # clips that are copies of others under another name: reads all files
  openood-mm splits audit my/train.csv my/test.csv my/nearood_x.csv --root /data/my --content
"""


def main(argv: Sequence[str]) -> int:
    """Audit what the paths name; print, and write JSON and plot where asked for.  0 whatever is found."""
    options = _parser().parse_args(list(argv))

    from ..errors import MissingPackageError, UserError
    from ..files.atomic import write_json
    from ..progress import progress_bar
    from ..splits.auditing import ContentReader, audit_split, load_splits
    from ..splits.report import audit_document, audit_text, plot_audit

    root = None if options.root is None else Path(options.root)
    if root is not None and not root.is_dir():
        raise UserError(f"--root {root} is not a folder.")
    if options.content and root is None:
        raise UserError("--content reads the clips' files; say where they are with --root DIR.")
    plot = None if options.plot is None else Path(options.plot)
    if plot is not None and plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: the plot is a PNG; end its name in .png.")
    splits = load_splits([Path(path) for path in options.paths])
    clips = sum(len(each) for split in splits for each in split.manifests.values())
    total, unit = (clips, "clip") if options.content else (len(splits), "split")
    audits = []
    with progress_bar(desc="Audit", total=total, unit=unit, leave=False) as bar:
        content = ContentReader(bar.update) if options.content else None
        for split in splits:
            audits.append(audit_split(split, root, content=content))
            if content is None:
                bar.update()
    print(audit_text(audits))
    if options.json:
        write_json(options.json, audit_document(audits))
        print(f"Written: {options.json}")
    if plot is not None:
        if plot_audit(audits, plot) is None:
            raise MissingPackageError(
                '--plot needs matplotlib; install it: pip install "openood-multimodal[report]"'
            )
        print(f"Written: {plot}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "splits audit",
        "Report what a split leaks: clips twice (by name; with --content by their files), recordings in two sets,\n"
        "OOD recordings seen in training, segments that overlap; ID and OOD classes of one name, or of one meaning;\n"
        "classes that Kinetics-400 taught the encoders; missing files; balance.",
        EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="folders with a split.json (or of such folders), folders or files of the authors' lists, "
        "or manifests of one split",
    )
    parser.add_argument("--json", metavar="FILE", help="write all results there")
    parser.add_argument("--plot", metavar="FILE.png", help="draw leakage and overlaps, one row per split")
    parser.add_argument("--root", metavar="DIR", help="look for the clips' files there (or in DIR/<dataset>)")
    parser.add_argument(
        "--content",
        action="store_true",
        help="read the files in --root, and count clips of the same content (SHA-256) and span, whatever their names",
    )
    return parser
