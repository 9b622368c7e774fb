"""Benchmarks run by tests."""

from __future__ import annotations

from argparse import Namespace

from benchmarks.suite import command
from benchmarks.suite.discover import find_benchmarks
from benchmarks.suite.load import Usage
from benchmarks.suite.measuring import Measurement, Report
from benchmarks.suite.results import check_record, make_record


def options(name: str, words: str = "") -> Namespace:
    return command.parse(find_benchmarks(), [name], ["--quick", "--threads", "1", *words.split()])[name]


def checked(report: Report) -> dict[str, Measurement]:
    """Hold a report to the schema; return its measurements by name."""
    record = make_record({"it": report}, Usage(None, 1, 1.0, 1.0, None), 1, True)
    check_record(record, "it")
    return {each.name: each for each in report.measurements}
