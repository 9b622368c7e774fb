"""``openood-mm leaderboard``: records and published results in, ranked tables out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files.names import listed
from .main import subparser

if TYPE_CHECKING:
    from ..reporting.leaderboard import Board

RECORDS = "leaderboard/records"
SUBMISSIONS = "leaderboard/submissions"
FORMATS = ("csv", "jsonl", "latex", "bibtex", "openood", "openood-links")

EXAMPLES = """  # the published results, with leaderboard/records and leaderboard/submissions if these folders are there
  openood-mm leaderboard build

  # your own runs beside them
  openood-mm leaderboard build --records results/demo results/mine --out results/leaderboard

  # print one
  openood-mm leaderboard show hmdb51_25_26
  openood-mm leaderboard show htad_4_3 --records results/demo

  # a folder that others can verify, and its verification
  openood-mm leaderboard submit results/mine/test --to submission
  openood-mm leaderboard verify submission

  # a run beside the published results of its cells
  openood-mm leaderboard compare results/hmdb51

  # tables for a paper, and what to cite; rows as JSON Lines; rows for OpenOOD's own leaderboard
  openood-mm leaderboard export hmdb51_25_26 --format latex --where postprocessor=knn postprocessor=vim
  openood-mm leaderboard export hmdb51_25_26 --format bibtex --out methods.bib
  openood-mm leaderboard export --format jsonl --columns all --out rows.jsonl
  openood-mm leaderboard export htad_4_3 --format openood --records results --out htad_4_3.csv
"""


def main(argv: Sequence[str]) -> int:
    """Build all leaderboards, print one, submit, verify or compare results, or export rows."""
    options = _parser().parse_args(list(argv))
    alone = {"submit": _submit, "verify": _verify, "compare": _compare}
    if options.action in alone:
        return alone[options.action](options)

    from ..reporting.leaderboard import build, choose, collect, make_boards

    default = (RECORDS, SUBMISSIONS)
    folders = options.records or [each for each in default if listed(each, "*.record.json", recursive=True)]
    if options.action in ("openood", "export") and options.format.startswith("openood"):
        return _openood_rows(options, folders)
    if options.action in ("show", "export"):
        collected = collect(folders, options.published, options.synthetic)
        made = make_boards(collected.records)
        for name in options.names:
            if name not in made and collected.synthetic:
                raise UserError(
                    f"no record of measured data is of the benchmark '{name}'; {collected.synthetic} of generated "
                    "data are left out (--synthetic counts them, to try a table: they are no results)."
                )
        boards = choose(made, options.names)
        if options.action == "export":
            return _export(options, list(boards.values()))
        print(boards[options.names[0]].markdown(), end="")
        return 0
    from ..pipelines.verify_results import tier_of

    verified = tier_of if options.verify else None
    built = build(options.out, folders, options.benchmark, options.published, verified)
    for board in built.boards.values():
        results = " and ".join(f"{n} {source}" for source, n in sorted(board.counts.items()))
        paths = ", ".join(str(Path(options.out) / name) for name in board.files())
        rows = f"{len(board.rows)} row{'s' if len(board.rows) > 1 else ''}"
        plural = "s" if sum(board.counts.values()) > 1 else ""
        print(f"{board.name}: {rows} from {results} result{plural}: {paths}")
        for line in board.incomplete:
            print(f"  {line}")
    page = Path(options.out) / "index.html"
    print(f"page: no {page}: {built.no_page}" if built.no_page else f"page: {page}, for any browser, offline")
    if built.synthetic:
        print(f"left out: {built.synthetic} record{'s' if built.synthetic > 1 else ''} of synthetic data")
    return 0


def _submit(options: argparse.Namespace) -> int:
    from ..pipelines.submission import submit
    from ..reporting.verification import count_tiers

    target = options.to or f"{SUBMISSIONS}/{Path(options.run).resolve().name}"
    found = submit(options.run, target, options.embeddings)
    print(f"{target}: {count_tiers(found)}")
    for remark in sorted({remark for each in found for remark in each.remarks}):
        print(f"  {remark}")
    print(f"Anybody can verify it: openood-mm leaderboard verify {target}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from ..files.atomic import write_text
    from ..pipelines.submission import verify_folder
    from ..reporting.verification import report

    found = [each for folder in options.folder for each in verify_folder(folder)]
    page = report(found)
    if options.report:
        write_text(options.report, page)
    print(page, end="")
    return 1 if any(each.reason for each in found) else 0


def _compare(options: argparse.Namespace) -> int:
    from tabulate import tabulate

    from ..files.atomic import write_csv
    from ..reporting.compare import as_table, compare
    from ..reporting.leaderboard import collect
    from ..reporting.published import published_records
    from ..reporting.records import ResultRecord, read_record

    def read(name: str) -> Sequence[ResultRecord]:
        return [read_record(name)] if Path(name).is_file() else collect([name], False, True).records

    references = published_records() if options.to == "published" else read(options.to)
    found = compare(read(options.run), references)
    if not found:
        raise UserError(f"{options.run} has no results of runs to compare; published ones are left out.")
    table = as_table(found)
    shown = [{name: cell for name, cell in row.items() if name != "why"} for row in table]
    print(tabulate(shown, headers="keys", disable_numparse=True))
    print()
    for why in dict.fromkeys(row["why"] for row in table):
        of = dict.fromkeys(row["verdict"] for row in table if row["why"] == why)
        print(f"{' / '.join(of)}: {why}.")
    if options.out:
        write_csv(options.out, list(table[0]), table)
    return 0


def _export(options: argparse.Namespace, boards: Sequence[Board]) -> int:
    from ..reporting.exports import FORMATS, select

    where: dict[str, list[str]] = {}
    for word in options.where:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--where takes FIELD=VALUE, e.g. postprocessor=knn; this is '{word}'.")
        where.setdefault(name, []).append(value)
    selected = select(boards, where, options.sort, options.columns)
    rows = sum(len(each.rows) for each in selected)
    return _give(FORMATS[options.format](selected), rows, options.out)


def _openood_rows(options: argparse.Namespace, folders: Sequence[str]) -> int:
    from ..reporting.leaderboard import collect
    from ..reporting.openood_rows import links_csv, openood_rows, rows_csv

    given = [f"--{name}" for name in ("where", "sort", "columns") if getattr(options, name, None)]
    if given or len(options.names) != 1:
        raise UserError(
            f"--format {options.format} takes the name of one benchmark"
            + (f", and not {' or '.join(given)}: OpenOOD's columns are fixed." if given else ".")
        )
    synthetic = getattr(options, "synthetic", False)
    rows = openood_rows(collect(folders, published=False, synthetic=synthetic).records, options.names[0])
    return _give((links_csv if options.format == "openood-links" else rows_csv)(rows), len(rows), options.out)


def _give(text: str, rows: int, out: str | None) -> int:
    from ..files.atomic import write_text

    if out is None:
        print(text, end="")
        return 0
    write_text(out, text)
    print(f"{out}: {rows} row{'s' if rows > 1 else ''}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "leaderboard",
        "Build leaderboards from result records: one CSV and one Markdown page per benchmark, mean ± std over\n"
        "partitions and seeds, ranks by AUROC; tracks kept apart; published results beside reproduced ones.",
        EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    sources = argparse.ArgumentParser(add_help=False)
    sources.add_argument(
        "--records",
        nargs="+",
        action="extend",
        metavar="DIR",
        help=f"folders with *.record.json, at any depth (default: {RECORDS} and {SUBMISSIONS}, if they are there)",
    )
    shared = argparse.ArgumentParser(add_help=False, parents=[sources])
    shared.add_argument(
        "--no-published", dest="published", action="store_false", help="without the published results"
    )
    making = actions.add_parser("build", parents=[shared], allow_abbrev=False, help="write all leaderboards")
    making.add_argument("--out", default="leaderboard", metavar="DIR", help="default: %(default)s")
    making.add_argument(
        "--benchmark", nargs="+", metavar="NAME", help="only these; the other files stay as they are"
    )
    making.add_argument(
        "--verify",
        action="store_true",
        help="derive every result again from what is beside its record, for the column tier; a refused one is an error",
    )
    submitting = actions.add_parser(
        "submit",
        allow_abbrev=False,
        help="write a submission: records, scores, split, config, SHA-256 of all files",
    )
    submitting.add_argument("run", metavar="RUN", help="folder of a test, of score --out, or of several")
    submitting.add_argument(
        "--to", metavar="DIR", help=f"a new folder (default: {SUBMISSIONS}/<name of RUN>)"
    )
    submitting.add_argument(
        "--embeddings",
        action="store_true",
        help="with embeddings and head, from which scores can be computed again",
    )
    verifying = actions.add_parser(
        "verify", allow_abbrev=False, help="derive submitted results again; exit code 1 where one is refused"
    )
    verifying.add_argument("folder", nargs="+", metavar="DIR", help="submissions or runs, at any depth")
    verifying.add_argument("--report", metavar="FILE", help="write the report (Markdown) there, too")
    comparing = actions.add_parser(
        "compare",
        allow_abbrev=False,
        help="a run beside its published results: difference, interval, verdict",
    )
    comparing.add_argument("run", metavar="RUN", help="folder with records, or one record")
    comparing.add_argument(
        "--to", default="published", metavar="WHAT", help="published (default), or records of other runs"
    )
    comparing.add_argument("--out", metavar="FILE", help="write the table there, too, as CSV")
    showing = actions.add_parser("show", parents=[shared], allow_abbrev=False, help="print one leaderboard")
    showing.add_argument("names", nargs=1, metavar="NAME", help="of the benchmark")
    exporting = actions.add_parser(
        "export",
        parents=[shared],
        allow_abbrev=False,
        help="rows for a paper, a program or OpenOOD's leaderboard",
    )
    exporting.add_argument("names", nargs="*", metavar="NAME", help="of benchmarks (default: all)")
    exporting.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="csv, jsonl, latex (booktabs), bibtex (papers of the methods), openood (rows of its leaderboard), "
        "openood-links (the papers' links beside them)",
    )
    exporting.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="only rows with this value; the same field again: or with that one",
    )
    exporting.add_argument("--sort", metavar="METRIC", help="orders and ranks the rows (default: AUROC)")
    exporting.add_argument(
        "--columns", nargs="+", metavar="NAME", help="these, or all (default: those that the page shows)"
    )
    rows = actions.add_parser(
        "openood", parents=[sources], allow_abbrev=False, help="the same as export --format openood"
    )
    rows.add_argument("names", nargs=1, metavar="NAME", help="of the benchmark")
    rows.set_defaults(format="openood")
    for each in (exporting, rows):
        each.add_argument("--out", metavar="FILE", help="where they go (default: the terminal)")
    for each in (showing, exporting):
        each.add_argument(
            "--synthetic",
            action="store_true",
            help="also count records of generated data, to try a table (they are no results)",
        )
    return parser
