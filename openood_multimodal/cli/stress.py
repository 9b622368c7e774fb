"""``openood-mm stress``: scores when a modality is missing, noisy or another clip's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..vocabulary import FIT_SETS
from .parsers import (
    about_of,
    add_about,
    add_computing,
    add_parameters,
    add_sets,
    add_slices,
    named_file,
    named_files,
    option_names,
    print_table,
    subparser,
)

EXAMPLES = """  # every modality by itself: missing, noisy, another clip's; nine scores
  openood-mm stress --train train.npz --val val.npz --test test.npz --ood ucf=ucf.npz --head head.npz \\
      --slices video:2304,flow:2048 --out results/stress

  # chosen conditions, on the OOD sets alone, on embedding stores
  openood-mm stress --train stores/train --test stores/test --ood ucf=stores/ucf --head head.npz \\
      --postprocessors msp,knn --conditions missing:flow=mean noise:video=3 swap:flow=same --apply-to ood \\
      --out results/stress

docs/conditions.md describes the conditions.
"""
FILE = "stress.csv"


@option_names()
def main(argv: Sequence[str]) -> int:
    """Read, score, write ``stress.csv`` and records, print a table of means."""
    parser = subparser(
        "stress",
        "Score under test-time conditions: a modality missing (zero, training mean, nearest training sample's), noisy\n"
        "(severity 1 to 5), swapped with another clip's, or shifted in time.\n"
        "Embeddings are changed, and the head computes logits again.",
        EXAMPLES,
    )
    add_sets(parser)
    parser.add_argument("--postprocessors", metavar="A,B,...", help="scores (default: the nine of score)")
    parser.add_argument(
        "--conditions",
        metavar="CONDITION",
        nargs="+",
        help="missing:MODALITY[=zero|mean|nearest], noise:MODALITY=1..5, swap:MODALITY[=other|same], "
        "shift:MODALITY=CLIPS; several modalities: video+audio (default: clean and six of each modality)",
    )
    parser.add_argument("--apply-to", default="both", metavar="SETS", help="both (default), id or ood")
    parser.add_argument("--preset", default="openood", metavar="NAME", help="openood (default) or multiood")
    add_parameters(parser)
    add_slices(parser)
    parser.add_argument("--fit-on", choices=FIT_SETS, default="train", help="what fitted scores learn from")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of noise and swapping (default: 0)")
    parser.add_argument(
        "--manifests",
        metavar="NAME=FILE.csv",
        nargs="+",
        default=[],
        help="of test and of OOD sets, for shift: which clips follow one another in a recording (group, start)",
    )
    add_computing(parser)
    add_about(parser, "--training-seed")
    parser.add_argument("--out", metavar="DIR", required=True, help=f"where {FILE} goes")
    options = parser.parse_args(list(argv))

    from ..files import atomic
    from ..linalg.torch_arithmetic import arithmetic_for
    from ..postprocessors.options import ScoringSettings
    from ..postprocessors.spec import read_settings
    from ..scoring.inputs import parse_slices
    from ..scoring.stress import csv_rows, run_conditions
    from ..scoring.table import Sources

    settings = ScoringSettings(options.threads, options.device)
    arithmetic_for(settings.device)
    sources = Sources(
        options.train,
        options.val,
        options.test,
        [named_file(text, "--ood") for text in options.ood],
        options.head,
        parse_slices(options.slices) if options.slices is not None else None,
    )
    results = run_conditions(
        sources,
        options.postprocessors,
        options.conditions,
        options.apply_to,
        options.preset,
        read_settings(options.set),
        options.fit_on,
        settings=settings,
        seed=options.seed,
        manifests=named_files(options.manifests, "--manifests"),
        records=Path(options.out) / "records",
        about=about_of(options, options.training_seed),
    )
    columns, rows = csv_rows(results)
    path = Path(options.out) / FILE
    atomic.write_csv(path, columns, rows)
    shown = ("condition", "postprocessor", "dataset", "AUROC", "FPR@95", "ACC")
    means = [each.rows()[-1] for each in results]
    lines = [
        [*(row[key] for key in shown[:3]), *(f"{100 * row[name].value:.2f}" for name in shown[3:])]
        for row in means
    ]
    print_table([shown, *lines], names=3)
    print(f"(percent; conditions applied to {options.apply_to}; every set with intervals is in {FILE})")
    print(f"Written:\n  {path}\n  {path.parent / 'records'}")
    return 0
