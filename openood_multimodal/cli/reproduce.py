"""``openood-mm reproduce``: the rows of a published table or figure, run or resumed, ours beside the paper's."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import add_scheduler, option_names, resources_of, subparser

if TYPE_CHECKING:
    from ..pipelines.compare import RowResult
    from ..pipelines.missing import Missing
    from ..pipelines.table_runs import TableRun
    from ..pipelines.tables import Table

EXAMPLES = """  # what Table 1 consists of, the commands that it runs, what is missing for them, what the paper prints
  openood-mm reproduce table1 --data-root /data --dry-run

  # two rows of it; the same command again goes on where this one stopped
  openood-mm reproduce table1 --data-root /data --rows 'hmdb51_25_26/*/a2d*'

  # the same rows from end to end on generated clips with small networks, on a CPU
  openood-mm prepare moving_shapes --root data/moving_shapes --size demo
  openood-mm reproduce table1 --scale moving_shapes --data-root data/moving_shapes --rows 'hmdb51_25_26/*/a2d*'

  # an ablation's figure on real tables that come with their packages, a minute on a CPU: N of NP-Mix (Figure 10)
  openood-mm reproduce figure10 --scale htad

  # A2D and NP-Mix over 8 class partitions (Figure 13); one modality against two (Figure 1)
  openood-mm reproduce figure13 --scale mfeat --partitions 8
  openood-mm reproduce figure1 --scale mfeat

  # the networks that the authors published, tested as they tested them
  openood-mm reproduce table1 --data-root /data --checkpoints weights --rows 'hmdb51_25_26/*/a2d_npmix'

  # its rows on a cluster's GPUs: a Dask scheduler, or SLURM's jobs (docs/several-gpus.md)
  openood-mm reproduce table1 --data-root /data --scheduler slurm --workers 16 --resources GPU=1

  # what can be run now, without the rest; three seeds; in half precision
  openood-mm reproduce table9 --data-root /data --keep-going --seeds 3 --override --training.precision bfloat16
"""


@option_names("postprocessors", "device")
def main(argv: Sequence[str]) -> int:
    """List the rows, or run them and print the comparison.

    Returns:
        0; 1 when rows were left out or failed under ``--keep-going``, or a figure can't be drawn.
    """
    words, overrides = _split(list(argv))
    options = _parser().parse_args(words)

    from ..pipelines.missing import find_missing
    from ..pipelines.run import check_runs
    from ..pipelines.suites import settings_of
    from ..pipelines.table_runs import Roots, plan_table
    from ..pipelines.tables import load_scale, load_table

    table = load_table(options.table)
    runs = plan_table(
        table,
        Roots(options.data_root, options.splits, options.weights, options.output_dir, options.checkpoints),
        options.seeds,
        options.rows,
        load_scale(options.scale) if options.scale else None,
        settings_of(overrides),
        options.num_workers,
        options.partitions,
    )
    check_runs(runs)
    missing = {run: find_missing(run) for run in runs}
    _print_heading(table, runs, overrides)
    for run in runs if options.dry_run else ():
        print(run.plan([each.kind for each in missing[run]]))
    if options.dry_run:
        print()
    left_out = {} if options.dry_run else _run(runs, missing, options)
    drawn = _finish(table, runs, Path(options.output_dir), options.dry_run)
    if options.dry_run or left_out:
        _print_missing(missing)
    for run, reason in left_out.items():
        print(f"Not run: {run}: {reason}")
    return 0 if drawn and not left_out else 1


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the command's own words, and those after ``--override``."""
    from ..errors import UserError

    if "--override" not in words:
        return words, []
    place = words.index("--override")
    own, overrides = words[:place], [word for word in words[place + 1 :] if word != "--override"]
    if not overrides or not overrides[0].startswith("--"):
        raise UserError("after --override come --key value pairs, e.g. --override --optimizer.num_epochs 2")
    return own, overrides


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "reproduce",
        "Run the rows of one of the paper's tables: each trains a network, extracts embeddings, scores them, and is\n"
        "compared with the reported results. A figure is drawn of its rows, after their table. Nothing is downloaded.\n"
        "Finished rows are kept, and shared by tables and figures.",
        EXAMPLES,
    )
    parser.add_argument(
        "table",
        help="table1 ... table12, figure1, 3, 4, 10 (N of NP-Mix), 11 (alpha), 12 (seeds), 13 (partitions), or a YAML "
        "file of the same form",
    )
    parser.add_argument(
        "--data-root",
        default="",
        metavar="DIR",
        help="holds HMDB51, UCF101, ... (docs/clips.md); not needed on the scales htad and mfeat",
    )
    parser.add_argument(
        "--splits", default="splits", metavar="DIR", help="of 'openood-mm splits import' (%(default)s)"
    )
    parser.add_argument(
        "--weights", default="weights", metavar="DIR", help="of 'openood-mm weights' (%(default)s)"
    )
    parser.add_argument(
        "--checkpoints",
        default="",
        metavar="DIR",
        help="test the trained networks in DIR instead of training: files named as the authors' (openood-mm weights), "
        "or the --output-dir of other runs",
    )
    parser.add_argument("--rows", default="", metavar="PATTERN", help="rows by name, with * (default: all)")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1 (default: the table's, or 1)")
    parser.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="class partitions 0 to N-1 (default: the table's or the scale's, or 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list, run nothing")
    parser.add_argument(
        "--keep-going", action="store_true", help="leave out rows that can't run, and those that fail"
    )
    parser.add_argument(
        "--output-dir", default="results/reproduce", metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--scale",
        default="",
        metavar="NAME",
        help="the same rows on small data: htad, mfeat (real tables), moving_shapes (generated clips); or a YAML file",
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        default=min(10, os.cpu_count() or 1),
        metavar="N",
        help="processes that read clips (%(default)s)",
    )
    add_scheduler(parser)
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="jobs of SLURM at a time (default %(default)s)"
    )
    parser.add_argument(
        "--override", metavar="--key value", help="last: settings of the configs, other than the table's"
    )
    return parser


def _print_heading(table: Table, runs: Sequence[TableRun], overrides: Sequence[str]) -> None:
    from ..pipelines.compare import not_implemented_cells

    rows = len({run.name for run in runs})
    of = sum(len(run.rows) for run in table.runs)
    seeds = len({run.seed for run in runs})
    partitions = len({run.partition for run in runs})
    each_row = f"{seeds} {'seed' if seeds == 1 else 'seeds'} each"
    each_row = f"{partitions} class partitions, {each_row}" if partitions > 1 else each_row
    print(f"{table.heading}\n{rows} of {of} rows, {each_row}")
    for what, why, cells in not_implemented_cells(table):
        print(f"Not implemented here: {what} ({cells} reported cells): {why}.")
    for each in table.unknown:
        print(f"Unknown: {each.rstrip('.')}.")
    if runs[0].scale:
        print(
            f"Scale: {runs[0].scale.benchmark} with {runs[0].scale.network} in place of the rows' data and networks"
            f"{''.join(f', {own} for {row}' for row, own in runs[0].scale.modalities.items())}; "
            "the results say nothing about the paper's."
        )
        for pattern, why in runs[0].scale.leave_out.items():
            print(f"Left out on this scale: {pattern}: {why}.")
    if overrides:
        print(f"Settings other than the table's: {shlex.join(overrides)}")
    print(flush=True)


def _print_missing(missing: dict[TableRun, list[Missing]]) -> None:
    rows: dict[Missing, set[str]] = {}
    for run, things in missing.items():
        for each in things:
            rows.setdefault(each, set()).add(run.name)
    if rows:
        print("Missing:")
    for each, names in rows.items():
        print(f"  {each.what}; {len(names)} rows\n    {each.remedy}")


def _run(
    runs: Sequence[TableRun], missing: dict[TableRun, list[Missing]], options: argparse.Namespace
) -> dict[TableRun, str]:
    """Run what can be run; return the runs left out, with the reason."""
    from ..errors import UserError
    from ..pipelines.benchmark import run_in_parallel

    keep_going: bool = options.keep_going

    left_out: dict[TableRun, str] = {}
    lacking = [run for run in runs if missing[run]]
    if lacking and not keep_going:
        _print_missing(missing)
        rows = len({run.name for run in lacking})
        raise UserError(
            f"{rows} of {len({run.name for run in runs})} rows can't run: {missing[lacking[0]][0].what}"
            f"{', among others' if len({each for run in lacking for each in missing[run]}) > 1 else ''}. "
            "Nothing was run; --keep-going runs the other rows, --rows chooses some."
        )
    for run in runs:
        if not run.is_done() and not missing[run] and not keep_going:
            run.check_folder()
    for run in lacking:
        left_out[run] = "missing: " + "; ".join(each.what for each in missing[run])
    able = [run for run in runs if not missing[run]]
    if options.scheduler:
        failed: dict[TableRun, str] = {}
        resources = resources_of(options)
        run_in_parallel(able, options.workers, options.scheduler, resources, failed if keep_going else None)
        for run, reason in failed.items():
            print(f"openood-mm: {run}: {reason}", file=sys.stderr)
        return {**left_out, **failed}
    for place, run in enumerate(able, start=1):
        done = run.is_done()
        print(f"[{place}/{len(able)}] {run}{': done already' if done else ''}", flush=True)
        try:
            run.run()
        except UserError as error:
            if not keep_going:
                raise UserError(f"{run}: {error}") from error
            print(f"openood-mm: {run}: {error}", file=sys.stderr)
            left_out[run] = str(error)
    return left_out


def _finish(table: Table, runs: Sequence[TableRun], output_dir: Path, dry_run: bool) -> bool:
    """Print and write the comparison, draw the figures; return whether all could be drawn."""
    from ..pipelines.compare import compare, write_comparison

    rows = compare(table, runs)
    for row in rows:
        _print_row(row)
    if dry_run:
        return True
    root = output_dir / (runs[0].scale.benchmark.rpartition("/")[2] if runs[0].scale else "")
    name = table.name.replace(" ", "")
    path = write_comparison(root / f"{name}.csv", rows)
    print(f"Written: {path}; records in {root}/<row>/s<seed>/test/records")
    return _draw(table, [run.folder for run in runs if run.is_done()], root / name)


def _draw(table: Table, folders: Sequence[Path], out: Path) -> bool:
    from ..errors import UserError
    from ..reporting.figures import draw

    failed = False
    for kind, postprocessors in table.figures.items() if folders else ():
        try:
            drawn = draw(folders, out, [kind], postprocessors=postprocessors)
            print("\n".join([*drawn.texts, *map(str, drawn.files)]))
        except UserError as error:
            print(f"openood-mm: {error}", file=sys.stderr)
            failed = True
    return not failed


def _print_row(row: RowResult) -> None:
    from tabulate import tabulate

    from ..vocabulary import PAPER_METRICS

    if not row.cells:
        print(f"{row.name}: no results yet\n")
        return
    several = len({cell["ood_set"] for cell in row.cells}) > 1
    published = any(cell[f"{metric}_paper"] is not None for cell in row.cells for metric in PAPER_METRICS)
    lines = []
    for cell in row.cells:
        line: dict[str, object] = {"score": cell["postprocessor"]}
        if several:
            line["OOD set"] = cell["ood_set"]
        for metric in PAPER_METRICS:
            paper, ours, std, difference = (
                cell[f"{metric}_{what}"] for what in ("paper", "ours", "std", "difference")
            )
            blanks = " " * PAPER_METRICS.index(metric)  # keys of a line must differ
            value = _number(ours) + (f" ± {std:.2f}" if std is not None else "")
            if not published:
                line[metric] = value
                continue
            line[f"{metric} paper"] = _number(paper)
            line["ours" + blanks] = value
            line["diff" + blanks] = f"{difference:+.2f}" if difference is not None else ""
        line["n"] = cell["n"]
        lines.append(line)
    print(row.name)
    print(tabulate(lines, headers="keys", tablefmt="simple", disable_numparse=True, stralign="right"))
    if published and not all(cell["comparable"] for cell in row.cells):
        print("Not on the clips of the authors' lists, so no difference is given.")
    for note in row.notes:
        print(f"Note: {note.rstrip('.')}.")
    print(flush=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
