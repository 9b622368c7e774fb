"""``openood-mm score``: scores from saved embeddings, without a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import read_json
from ..vocabulary import CRITERIA, FIT_SETS, MORE_METRICS, SEARCHES
from .parsers import (
    about_of,
    add_about,
    add_chunk_rows,
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

if TYPE_CHECKING:
    from ..scoring.run import Result
    from ..scoring.task import Task

EXAMPLES = """  # all nine scores on three OOD sets
  openood-mm score --train train.npz --val val.npz --test test.npz \\
      --ood ucf=ucf.npz hac=hac.npz epic=epic.npz --head head.npz --out results/scores

  # no training set: the scores that need none
  openood-mm score --test test.npz --ood ucf=ucf.npz --head head.npz --out results/scores \\
      --postprocessors msp,ebo,mls,gen,ash

  # MultiOOD's parameters, each modality shaped separately, and one parameter set by hand
  openood-mm score --train train.npz --val val.npz --test test.npz --ood ucf=ucf.npz --head head.npz \\
      --preset multiood --slices video:2304,flow:2048 --set knn.K=20 --out results/scores

  # which score for my data? every score that can run, the best first
  openood-mm score --train train.npz --val val.npz --test test.npz --ood ucf=ucf.npz --head head.npz \\
      --all --out results/all

  # parameters searched on validation sets: each score's published values, those with the best AUROC
  openood-mm score --train train.npz --val val.npz --test test.npz --ood ucf=ucf.npz --head head.npz \\
      --postprocessors knn,react,ash,vim --search --ood-val hac=hac_val.npz --out results/searched

  # no OOD validation set: on outliers that NP-Mix makes of the training embeddings
  openood-mm score --train train.npz --val val.npz --test test.npz --ood ucf=ucf.npz --head head.npz \\
      --postprocessors knn,react --search npmix --search-seed 1 --out results/npmix

  # full spectrum: cartoon clips of the same classes count as in-distribution, too
  openood-mm score --train train.npz --test human.npz --csid cartoon=cartoon.npz --ood ucf=ucf.npz --head head.npz \\
      --out results/full_spectrum

  # a million rows from embedding stores, on a GPU
  openood-mm score --train stores/train --test stores/test --ood ucf=stores/ucf --head head.npz \\
      --device cuda --chunk-rows 8192 --out results/scores

  # name the rows, to compare them with published ones
  openood-mm score --test test.npz --ood hmdb51=ood.npz --head head.npz --postprocessors msp,ebo \\
      --benchmark hmdb51_25_26 --method mine --seed 0 --out results/mine/s0
  openood-mm leaderboard show hmdb51_25_26 --records results/mine

docs/embeddings.md describes the files.
"""


@option_names()
def main(argv: Sequence[str]) -> int:
    """Read, score, write; print the table, what to know about it, and where it is."""
    options = _parser().parse_args(list(argv))

    from ..cluster import cluster_client
    from ..linalg.torch_arithmetic import arithmetic_for
    from ..postprocessors.options import ScoringSettings
    from ..postprocessors.run import ALL
    from ..postprocessors.spec import read_settings
    from ..scoring.files import write_run
    from ..scoring.inputs import parse_slices
    from ..scoring.more_tables import blocks, calibration_of_task, more_tables
    from ..scoring.recording import About, Recorder
    from ..scoring.run import described, rank_correlation, run_jobs
    from ..scoring.search import NPMIX, Validation
    from ..scoring.table import Sources, prepare

    computing = ScoringSettings(options.threads, options.device, options.chunk_rows, options.precision)
    arithmetic_for(computing.device)  # a device that isn't there is told before anything is read
    about = About(**about_of(options, options.seed))
    sources = Sources(
        train=options.train,
        val=options.val,
        test=options.test,
        ood=[named_file(text) for text in options.ood],
        head=options.head,
        slices=parse_slices(options.slices) if options.slices is not None else None,
        why_no_head=_why_no_head(Path(options.test)),
        ood_val=[named_file(text, "--ood-val") for words in options.ood_val for text in words],
        csid=list(named_files(options.csid, "--csid").items()),
    )
    parameters = read_settings(options.set)
    names = ALL if options.all else options.postprocessors
    if options.search_seed is not None and options.search != NPMIX:
        raise UserError("--search-seed draws the outliers of --search npmix; give both, or leave it out.")
    search = partial(
        Validation,
        kind=options.search,
        criterion=options.search_criterion,
        seed=options.search_seed or 0,
    )
    task, jobs, left_out, validation = prepare(
        sources,
        names,
        options.preset,
        parameters,
        options.fit_on,
        options.engine,
        search if options.search else None,
    )
    _report_ignored(task)
    with cluster_client(options.scheduler) if options.scheduler else nullcontext() as client:
        results, caught = run_jobs(
            jobs,
            task,
            options.fit_on,
            intervals=True,
            settings=computing,
            progress=True,
            left_out=left_out,
            validation=validation,
            failure="failure" in options.metrics,
            client=client,
        )
    for line in caught.lines():
        print(f"openood-mm: warning: {line}", file=sys.stderr)
    settings: dict[str, Any] = {"preset": options.preset, "fit_on": options.fit_on, "head": options.head}
    if left_out is not None:
        settings |= {"left_out": left_out, "rank_correlation": rank_correlation(results)}
    if validation is not None:
        settings["search"] = described(validation, results)
    recorder = Recorder(task, about, options.preset, options.fit_on, parameters, validation)
    kinds = list(dict.fromkeys(options.metrics))
    calibration = calibration_of_task(task) if "calibration" in kinds else None
    tables = more_tables(kinds, [each.found for each in results], calibration)
    records = recorder.records(results, calibration=calibration)
    written = write_run(Path(options.out), results, task, settings, records, tables)
    _print_table(results)
    if left_out is not None:
        _print_ranking(results, settings["rank_correlation"])
    for kind, rows in tables.items():
        print(f"\n{kind.capitalize()} (fractions, NLL in nats; intervals in {kind}.csv):")
        for block in blocks(kind, rows):
            print_table(block)
    if "failure" in tables and task.val is None:
        print("Note: AUTC is left out: its scaling needs --val.")
    if "calibration" in tables and task.val is None:
        print("Note: temperature scaling is left out: it needs --val.")
    for name, reason in (left_out or {}).items():
        print(f"Left out: {name}: {reason}")
    print("Written:")
    for path in written:
        print(f"  {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    from ..registry import ENGINES

    parser = subparser(
        "score",
        "Score saved embeddings: in-distribution against OOD sets, every score, one table.\n"
        "A FILE is an .npz with features (float [N, D]) and labels (int [N]; not needed for OOD sets), or the\n"
        "folder of an embedding store.",
        EXAMPLES,
    )
    add_sets(parser)
    parser.add_argument(
        "--csid",
        metavar="NAME=FILE",
        nargs="+",
        action="extend",
        default=[],
        help="covariate-shifted ID sets, labelled, which count as ID beside --test (full-spectrum evaluation)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--postprocessors", metavar="A,B,...", help="scores (default: msp,ebo,mls,mds,react,ash,gen,knn,vim)"
    )
    which.add_argument(
        "--all",
        action="store_true",
        help="every score that can run, ranked by mean AUROC; those that can't are listed with the reason",
    )
    parser.add_argument(
        "--preset",
        default="openood",
        metavar="NAME",
        help="parameters: openood (default) or multiood",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES.names(),
        default="native",
        help="whose code computes the scores (default: native; openood needs OPENOOD_ROOT); "
        "openood/NAME in --postprocessors takes a single one",
    )
    add_slices(parser)
    parser.add_argument(
        "--fit-on", choices=FIT_SETS, default="train", help="the set that mds, knn and vim are fitted on"
    )
    add_parameters(parser)
    parser.add_argument(
        "--search",
        nargs="?",
        const="validation",
        choices=SEARCHES,
        help="search each score's sweep for the parameters that tell --val best from --ood-val; npmix: from outliers "
        "mixed from --train. Test sets are never looked at; what --set sets stays",
    )
    parser.add_argument(
        "--ood-val",
        metavar="NAME=FILE",
        nargs="+",
        action="append",
        default=[],
        help="OOD validation sets for --search, without a row of a test set; may be repeated",
    )
    parser.add_argument(
        "--search-criterion",
        choices=CRITERIA,
        default="AUROC",
        help="what --search goes by (default: AUROC)",
    )
    parser.add_argument(
        "--search-seed", type=int, metavar="N", help="of the outliers of --search npmix (default: 0)"
    )
    add_computing(parser)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler (tcp://host:8786, or its JSON file) compute shards of rows; "
        "inputs must be stores in a folder that they share, or small (docs/several-gpus.md)",
    )
    add_chunk_rows(parser)
    parser.add_argument(
        "--precision",
        choices=["auto", "float32", "float64"],
        default="auto",
        help="no effect: scores compute in float64; accepted for commands of earlier versions",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=MORE_METRICS,
        default=[],
        help="tables of other metrics: failure (AURC, OSCR, AUTC, ...), calibration (ECE, Brier, NLL)",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="where the results go")
    add_about(parser)
    return parser


def _why_no_head(test: Path) -> str:
    """Return what `import-multiood` found out about the head of its stores, to be put after "give --head"."""
    try:
        reason = read_json(test.parent / "import.json")["head"]["missing"]
    except (UserError, LookupError, TypeError):
        return ""
    return f" (the import made none: {reason})" if isinstance(reason, str) else ""


def _report_ignored(task: Task) -> None:
    for each in task.sets():
        if each.ignored:
            print(
                f"openood-mm: note: {each.where}: features and labels are read; other arrays are not: "
                f"{', '.join(each.ignored)}.",
                file=sys.stderr,
            )


def _print_table(results: Sequence[Result]) -> None:
    from ..scoring.table import percent_rows

    rows: list[dict[str, Any]] = percent_rows(results)
    lines = [
        list(rows[0]),
        *([f"{v:.2f}" if isinstance(v, float) else v for v in row.values()] for row in rows),
    ]
    print_table(lines)
    print("(percent; FPR@95: OOD positive, as OpenOOD; FPR@95_ID_TPR: ID positive, as the MultiOOD paper)")
    for note in dict.fromkeys(note for result in results for note in result.notes):
        print(f"Note: {note}")


def _print_ranking(results: Sequence[Result], correlation: Mapping[str, Mapping[str, float]]) -> None:
    """Print scores by mean AUROC, with 95 % intervals by OOD set and the score that orders samples most alike."""
    print(
        "Ranked by mean AUROC (percent; 95 % intervals by OOD set; the score with the most similar order, Spearman):"
    )
    width = max(len(each.postprocessor) for each in results)
    for place, each in enumerate(results, 1):
        name = each.postprocessor
        bounds = [
            f"{ood} [{100 * m['AUROC'].ci_low:.2f}, {100 * m['AUROC'].ci_high:.2f}]"
            for ood, m in each.metrics.items()
            if m["AUROC"].ci_low is not None and m["AUROC"].ci_high is not None
        ]
        others = {other: r for other, r in correlation[name].items() if other != name and r == r}
        alike = max(others, key=lambda other: others[other]) if others else ""
        value = sum(m["AUROC"].value for m in each.metrics.values()) / len(each.metrics)
        near = f"  {alike} {others[alike]:.2f}" if alike else ""
        print(f"{place:3}  {name:<{width}}  {100 * value:6.2f}  {', '.join(bounds)}{near}")
