"""The command line of the suite."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openood_multimodal.errors import MissingPackageError, UserError
from openood_multimodal.naming import did_you_mean

from . import page as pages
from .discover import Benchmark, find_benchmarks
from .load import Watch
from .measuring import Measurement, Report, say
from .results import Record, make_record, write_record
from .tables import machine_text, plain_table, settings_text, text
from .threads import set_threads, usable_cores

EXAMPLES = """examples:
  python -m benchmarks                            all, in quick form (minutes)
  python -m benchmarks --list                     what there is
  python -m benchmarks scoring --threads 2        one of them, at full size
  python -m benchmarks scoring --help             with its own options
  python -m benchmarks scoring growth --quick     two of them, in quick form
  python -m benchmarks page                       docs/benchmarks.md anew, from benchmarks/results/*.json
  python -m benchmarks page a.json b.json         the same, from these

A run writes one JSON into --out. Close everything else first: a run on a loaded machine says so.
"""


def main(words: Sequence[str]) -> int:
    """Run the command; return the exit code: 0, 2 for a mistake, 130 after Ctrl-C."""
    try:
        return _page(words[1:]) if words[:1] == ["page"] else _run(list(words))
    except UserError as error:
        say(f"Error: {error}")
        return 2
    except KeyboardInterrupt:
        say("Interrupted; what was measured before is in the JSON.")
        return 130


def _page(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks page", description="Write the figures of docs/benchmarks.md anew."
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT.json", help="default: all published")
    parser.add_argument(
        "--page", type=Path, default=pages.PAGE, help="the page (default: docs/benchmarks.md)"
    )
    options = parser.parse_args(words)
    pages.write_page(options.results or pages.published_results(), options.page)
    print(f"wrote {options.page}")
    return 0


def _run(words: list[str]) -> int:
    found = find_benchmarks()
    named = [word for word in words if word in found]
    rest = [word for word in words if word not in found]
    if "-h" in rest or "--help" in rest:
        _help(found, named)
        return 0
    if "--list" in rest:
        width = max(len(name) for name in found)
        print("\n".join(f"{name.ljust(width)}  {each.SUMMARY}" for name, each in found.items()))
        return 0
    if not named:
        rest.append("--quick")
    options = parse(found, named, rest)
    return run_benchmarks(found, options)


def common_parser(**settings: Any) -> argparse.ArgumentParser:
    """Return a parser with the suite's own options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
        **settings,
    )
    suite = parser.add_argument_group("the suite")
    suite.add_argument("--list", action="store_true", help="list the benchmarks and stop")
    suite.add_argument(
        "--quick", action="store_true", help="small sizes, seconds each (default without a NAME)"
    )
    suite.add_argument("--threads", type=int, metavar="N", help="of BLAS, torch, faiss (default: all cores)")
    suite.add_argument(
        "--out", type=Path, default=Path("results/benchmarks"), metavar="DIR", help="default: %(default)s"
    )
    suite.add_argument("-h", "--help", action="store_true", help="this; with a NAME, also its options")
    return parser


def _help(found: dict[str, Benchmark], named: Sequence[str]) -> None:
    parser = common_parser(
        usage="python -m benchmarks [NAME ...] [options]\n       python -m benchmarks page [RESULT.json ...]",
        description="Speed measurements.\n\nbenchmarks: " + ", ".join(found),
        epilog=EXAMPLES,
    )
    parser.print_help()
    for name in named:
        own = argparse.ArgumentParser(
            prog=f"python -m benchmarks {name}", description=found[name].__doc__, add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        found[name].add_arguments(own)
        print()
        own.print_help()


def parse(
    found: dict[str, Benchmark], named: Sequence[str], rest: Sequence[str]
) -> dict[str, argparse.Namespace]:
    """Return benchmark → its options.  An option of several benchmarks goes to all that have it.

    Raises:
        UserError: for a word that no benchmark named knows.
    """
    parsed, leftover = {}, []
    for name in dict.fromkeys(named) or found:
        parser = common_parser(exit_on_error=False)
        found[name].add_arguments(parser)
        try:
            options, unknown = parser.parse_known_args(list(rest))
            if options.quick:  # again, with the small sizes as defaults, so that what is written wins
                parser.set_defaults(**found[name].QUICK)
                options, unknown = parser.parse_known_args(list(rest))
        except argparse.ArgumentError as error:
            raise UserError(f"{name}: {error}. See --help.") from error
        parsed[name] = options
        leftover.append(unknown)
    strange = next((word for word in leftover[0] if all(word in each for each in leftover)), None)
    if strange is not None:
        of = f" of {', '.join(parsed)}" if strange.startswith("-") else ""
        what = f"there is no {'option' if of else 'benchmark'} '{strange}'{of}."
        raise UserError(f"{what}{'' if of else did_you_mean(strange, found)} See --help.")
    threads = next(iter(parsed.values())).threads
    if threads is not None and threads < 1:
        raise UserError(f"--threads must be at least 1, got {threads}.")
    for options in parsed.values():
        options.threads = threads or usable_cores()
    return parsed


def run_benchmarks(found: dict[str, Benchmark], options: dict[str, argparse.Namespace]) -> int:
    """Run them one after another; the JSON is written after each."""
    first = next(iter(options.values()))
    set_threads(first.threads)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    names = list(options) if len(options) < len(found) else ["all"]
    path = first.out / f"{'+'.join(names)}{'_quick' if first.quick else ''}_{stamp}.json"
    watch = Watch()
    reports: dict[str, Report] = {}
    record: Record = {}
    for name, own in options.items():
        say(f"== {name}: {found[name].SUMMARY}")
        try:
            reports[name] = found[name].run(own)
        except MissingPackageError as error:
            if len(options) == 1:
                raise
            say(f"{name} skipped: {error}")
            reports[name] = Report({}, [Measurement.skipped(name, str(error))])
        record = make_record(reports, watch.usage(), first.threads, first.quick)
        write_record(path, record)
    print(summary(record))
    print(f"\nwrote {path}")
    return 0


def summary(record: Record) -> str:
    """Return a record as text: the machine, a table a benchmark, ratios, notes, a warning if it was loaded."""
    parts = [machine_text(record)]
    for name, report in record["benchmarks"].items():
        lines = [f"{name}: {settings_text(report['settings'])}", "", plain_table(report["measurements"])]
        lines += [f"  {key}: {text(float(value))}" for key, value in report["ratios"].items()]
        lines += [f"  {note}" for note in report["notes"]]
        parts.append("\n".join(lines))
    if record["loaded"]:
        parts.append(f"WARNING: the machine was loaded: {'; '.join(record['loaded_because'])}.")
    return "\n\n".join(parts)
