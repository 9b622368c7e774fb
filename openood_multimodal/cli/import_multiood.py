"""``openood-mm import-multiood``: what MultiOOD's test scripts saved → embedding stores."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import option_names, subparser

if TYPE_CHECKING:
    from ..embeddings.multiood import Group, ImportedGroup

EXAMPLES = """  # everything that the authors' code saved; far-OOD results with EPIC are in two folders
  openood-mm import-multiood MultiOOD/HMDB-rgb-flow MultiOOD/EPIC-rgb-flow --out results/multiood

  # one of several groups, with its checkpoint (ViM, ReAct and ASH need the head)
  openood-mm import-multiood MultiOOD/HMDB-rgb-flow --only HMDB_near_a2d_npmix_best \\
      --checkpoint HMDB_near_ood_a2d_npmix.pt --out results/multiood
"""


@option_names()
def main(argv: Sequence[str]) -> int:
    """Find the files, check that they are complete, write stores; print the commands that score them."""
    options = _parser().parse_args(list(argv))

    from ..embeddings.multiood import find_groups, import_group, score_command, select_groups
    from ..progress import progress_bar
    from ..scoring.inputs import parse_slices

    slices = parse_slices(options.slices) if options.slices is not None else None
    groups = select_groups(find_groups(map(Path, options.folders)), options.only)
    checkpoint = Path(options.checkpoint) if options.checkpoint else None
    out = Path(options.out)
    imported = []
    for group in progress_bar(groups, desc="Import", unit="group", leave=False):
        _report_unneeded(group)
        imported.append(import_group(group, out, slices, checkpoint, options.overwrite))
    for each in imported:
        _report(each)
    print("\nScore them:")
    for each in imported:
        print(shlex.join(score_command(each)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "import-multiood",
        "Read the .npy files that MultiOOD's test scripts save (id_<ID>_..._feature_<tag>test.npy, ...) into\n"
        "embedding stores, one folder for each ID set, setting and tag.",
        EXAMPLES,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="the folder with the files, or the parent of saved_files/",
    )
    parser.add_argument("--out", default="results/multiood", metavar="DIR", help="default %(default)s")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="import only these groups")
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="the authors' checkpoint, for the head (default: least squares, where the files determine it)",
    )
    parser.add_argument(
        "--slices", metavar="A:W,B:W", help="columns of each modality (known for 4352 and 4864 columns)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace stores made from other files")
    return parser


def _report_unneeded(group: Group) -> None:
    missing = group.unneeded_missing()
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        print(
            f"openood-mm: note: {group.name} lacks {missing[0]}{more}; pred and conf files aren't read.",
            file=sys.stderr,
        )


def _report(each: ImportedGroup) -> None:
    key, fit = each.group.key, each.fit
    sets = ", ".join(f"{name} {rows}" for name, rows in each.rows.items())
    print(f"{each.folder}: {sets}")
    for doubt in each.doubts:
        print(f"openood-mm: warning: {doubt}", file=sys.stderr)
    if fit.head is not None:
        own = ", ".join(fit.head.modality_heads)
        print(f"  head: from {fit.source}, relative residual {fit.residual or 0:.1e}")
        print(f"  modality heads: {own or 'none, so that discrepancy and per_modality can not run'}")
    elif key.shaped:
        print(f"  features shaped by {key.shaped} already: scored by energy alone, never fitted on")
    else:
        print(f"  no head: {fit.missing}. vim, react and ash are refused; name the --checkpoint for them.")
    absent = [name for name in ("train", "val") if name not in each.rows]
    if absent and not key.shaped:
        print(
            f"  no {' and no '.join(absent)} files: scores that are fitted need train, or val with --fit-on val"
        )
