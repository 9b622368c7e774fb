"""``openood-mm leaderboard``: records and published results in, ranked tables out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files.names import listed
from .main import subparser

RECORDS = "leaderboard/records"
SUBMISSIONS = "leaderboard/submissions"

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

  # rows for OpenOOD's own leaderboard, from runs of several seeds
  openood-mm leaderboard openood htad_4_3 --records results --out htad_4_3.csv
"""


def main(argv: Sequence[str]) -> int:
    """Build all leaderboards, print one, submit or verify results, or write rows for OpenOOD's."""
    options = _parser().parse_args(list(argv))
    if options.action in ("submit", "verify"):
        return _submit(options) if options.action == "submit" else _verify(options)

    from ..reporting.leaderboard import build, choose, collect, make_boards

    default = (RECORDS, SUBMISSIONS)
    folders = options.records or [each for each in default if listed(each, "*.record.json", recursive=True)]
    if options.action == "openood":
        return _openood_rows(options, folders)
    if options.action == "show":
        collected = collect(folders, options.published, options.synthetic)
        made = make_boards(collected.records)
        if options.name not in made and collected.synthetic:
            raise UserError(
                f"no record of measured data is of the benchmark '{options.name}'; {collected.synthetic} of generated "
                "data are left out (--synthetic counts them, to try a table: they are no results)."
            )
        boards = choose(made, [options.name])
        print(boards[options.name].markdown(), end="")
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


def _openood_rows(options: argparse.Namespace, folders: Sequence[str]) -> int:
    from ..files.atomic import write_text
    from ..reporting.leaderboard import collect
    from ..reporting.openood_rows import openood_rows, rows_csv

    rows = openood_rows(collect(folders, published=False).records, options.name)
    if options.out is None:
        print(rows_csv(rows), end="")
        return 0
    write_text(options.out, rows_csv(rows))
    print(f"{options.out}: {len(rows)} row{'s' if len(rows) > 1 else ''}")
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
    showing = actions.add_parser("show", parents=[shared], allow_abbrev=False, help="print one leaderboard")
    showing.add_argument("name", metavar="NAME", help="of the benchmark")
    showing.add_argument(
        "--synthetic",
        action="store_true",
        help="also count records of generated data, to try a table (they are no results)",
    )
    rows = actions.add_parser(
        "openood", parents=[sources], allow_abbrev=False, help="rows for OpenOOD's own leaderboard, as CSV"
    )
    rows.add_argument("name", metavar="NAME", help="of the benchmark")
    rows.add_argument("--out", metavar="FILE", help="where they go (default: the terminal)")
    return parser
