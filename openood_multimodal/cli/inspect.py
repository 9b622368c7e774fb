"""``openood-mm inspect``: where scores go wrong."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..errors import UserError
from ..vocabulary import FIT_SETS
from .parsers import (
    add_chunk_rows,
    add_computing,
    add_parameters,
    add_sets,
    add_slices,
    named_files,
    names_in,
    option_names,
    print_table,
    subparser,
)

EXAMPLES = """  # a run's folder: what a test or openood-mm score wrote
  openood-mm inspect results/test_a2d_npmix --out results/inspect

  # embeddings: thresholds are from the validation set, classes and clips are named by manifests
  openood-mm inspect --train stores/train --val stores/val --test stores/test --ood ucf=stores/ucf \\
      --postprocessors msp,knn,vim --manifests test=splits/test.csv ucf=splits/farood_ucf.csv \\
      --root /data/HMDB51 --out results/inspect

  # arrays; labels in an OOD file, other than -1, are its classes
  openood-mm inspect --val val.npz --test test.npz --ood new=new.npz --head head.npz --postprocessors ebo \\
      --tpr 0.9 --out results/inspect

docs/decisions.md describes the tables.
"""
_OF_SETS = ("train", "val", "test", "ood", "head", "set", "slices")


@option_names()
def main(argv: Sequence[str]) -> int:
    """Inspect, write, print what accepts what, the notes and the paths."""
    options = _parser().parse_args(list(argv))

    from ..decisions import inspect_scores
    from ..decisions.inspection_report import SET_NAMES, overview, ranked, write_inspection
    from ..linalg.torch_arithmetic import arithmetic_for
    from ..making.worst_clips import draw_worst
    from ..pipelines.inspect_run import inspect_run
    from ..postprocessors.options import ScoringSettings
    from ..postprocessors.spec import read_settings
    from ..scoring.inputs import parse_slices

    given = [f"--{name}" for name in _OF_SETS if getattr(options, name)]
    if options.run is not None and given:
        raise UserError(f"{', '.join(given)} can't be given with a run's folder, which has its own sets.")
    if options.run is None and not (options.test and options.ood):
        raise UserError("name a run's folder, or --test and --ood; see openood-mm inspect --help.")
    computing = ScoringSettings(options.threads, options.device, options.chunk_rows)
    arithmetic_for(computing.device)
    names = names_in(options.postprocessors)
    shared = {
        "tpr": options.tpr,
        "worst": options.worst,
        "manifests": named_files(options.manifests, "--manifests"),
        "label_errors": not options.no_label_errors,
        "settings": computing,
        "progress": True,
    }
    if options.run is not None:
        found = inspect_run(options.run, names, **shared)
    else:
        found = inspect_scores(
            options.train,
            options.test,
            named_files(options.ood),
            options.head,
            options.val,
            options.postprocessors,
            preset=options.preset,
            parameters=read_settings(options.set),
            slices=parse_slices(options.slices) if options.slices is not None else None,
            fit_on=options.fit_on,
            **shared,
        )
    draw = partial(draw_worst, found, most=options.sheets, root=options.root or "", quiet=False)
    paths, notes = write_inspection(Path(options.out), found, draw if options.sheets else None)
    sets = found.tables["sets"]
    print_table(overview(sets, ranked(sets)), names=1)
    print(
        f"(percent; thresholds accept {100 * found.tpr:g} % of the ID {SET_NAMES[found.threshold_set]} set)"
    )
    for note in notes:
        print(f"Note: {note}")
    print("Written:")
    for path in paths:
        print(f"  {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "inspect",
        "Tell where scores go wrong: ID classes that are rejected, OOD classes that pass, the hardest samples with\n"
        "contact sheets, disagreement between scores and between modalities, likely label errors.\n"
        "Takes a run's folder, or sets as openood-mm score does. A FILE is an .npz with features and labels, or the\n"
        "folder of an embedding store.",
        EXAMPLES,
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="folder that a test, an extraction or openood-mm score wrote"
    )
    add_sets(parser, required=False)
    parser.add_argument(
        "--postprocessors", metavar="A,B,...", help="scores (default: all of the RUN, or the nine of score)"
    )
    parser.add_argument(
        "--manifests",
        metavar="NAME=FILE.csv",
        nargs="+",
        action="extend",
        default=[],
        help="of train, val, test and of OOD sets: names of classes and clips (default: those of the RUN's config)",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the clips' folder (default: that of the RUN's config, or of the manifest)",
    )
    parser.add_argument(
        "--tpr", type=float, default=0.95, metavar="P", help="share of ID samples to accept (default: 0.95)"
    )
    parser.add_argument(
        "--worst", type=int, default=10, metavar="N", help="samples of each set in a table (default: 10)"
    )
    parser.add_argument(
        "--sheets", type=int, default=3, metavar="N", help="contact sheets of each set (default: 3; 0: none)"
    )
    parser.add_argument(
        "--no-label-errors",
        action="store_true",
        help="don't look for label errors, which takes all pairs of rows",
    )
    parser.add_argument("--preset", default="openood", metavar="NAME", help="openood (default) or multiood")
    add_parameters(parser)
    add_slices(parser)
    parser.add_argument("--fit-on", choices=FIT_SETS, default="train", help="what fitted scores learn from")
    add_computing(parser)
    add_chunk_rows(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="where the page, tables and sheets go")
    return parser
