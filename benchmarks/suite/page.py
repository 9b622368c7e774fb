"""The generated part of docs/benchmarks.md: a pure function of published records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text

from .machine import REPOSITORY
from .results import Record, read_record
from .tables import machine_text, markdown_table, settings_text, text

PAGE = REPOSITORY / "docs" / "benchmarks.md"
PUBLISHED = REPOSITORY / "benchmarks" / "results"
BEGIN = "<!-- figures: begin; made by `python -m benchmarks page`, don't edit -->"
END = "<!-- figures: end -->"

_LONG = 20  # rows of a table that is folded away


def published_results(folder: Path = PUBLISHED) -> list[Path]:
    """Return the published records, in the order of their names."""
    return sorted(folder.glob("*.json"))


def figures(records: Sequence[tuple[str, Record]]) -> str:
    """Return the section's Markdown.

    Args:
        records: file name and record, in the order in which they stand on the page.
    """
    if not records:
        return "No results have been published yet."
    return "\n\n".join(_run(name, record) for name, record in records)


def _run(name: str, record: Mapping[str, Any]) -> str:
    git = record["git"]
    at = f", commit {git['commit'][:9]}{' with changes' if git['modified'] else ''}" if git else ""
    form = "quick form" if record["quick"] else "full size"
    parts = [
        f"### {', '.join(record['benchmarks'])}: {form}, {record['date'][:10]}",
        f"`benchmarks/results/{name}`, version {record['package_version']}{at}. {machine_text(record)}.",
    ]
    if record["loaded"]:
        parts.append(
            f"**This machine was loaded**, so take the figures for orientation only: "
            f"{'; '.join(record['loaded_because'])}."
        )
    for benchmark, report in record["benchmarks"].items():
        parts += [f"#### {benchmark}", f"{settings_text(report['settings'])}."]
        if report["ratios"]:
            lines = [f"| {key} | {text(float(value))} |" for key, value in report["ratios"].items()]
            parts.append("\n".join(["| ratio | |", "| --- | ---: |", *lines]))
        if report["notes"]:
            parts.append("\n".join(f"- {note}" for note in report["notes"]))
        if report["measurements"]:
            parts.append(_table(report["measurements"]))
    return "\n\n".join(parts)


def _table(measurements: Sequence[Mapping[str, Any]]) -> str:
    table = markdown_table(measurements)
    if len(measurements) <= _LONG:
        return table
    return f"<details><summary>{len(measurements)} measurements</summary>\n\n{table}\n\n</details>"


def replaced(page: str, section: str) -> str:
    """Return the page with ``section`` between the markers.

    Raises:
        UserError: when the page lacks a marker, or has one twice.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise UserError(f"the page must hold '{BEGIN}' and then '{END}', once each.")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{rest.split(END)[1]}"


def write_page(paths: Sequence[Path], page: Path = PAGE) -> None:
    """Write the section anew from these records.

    Raises:
        UserError: for a file that is no record, a page without markers.
    """
    records = [(path.name, read_record(path)) for path in paths]
    try:
        old = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page} can't be read: {error.strerror or error}.") from error
    write_text(page, replaced(old, figures(records)))
