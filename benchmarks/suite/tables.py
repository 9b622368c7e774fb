"""A record's figures as tables, on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = ("", "wall", "CPU", "runs")


def seconds(value: float | None) -> str:
    """Return seconds with a unit and three digits: ``12.3 s``, ``4.56 ms``."""
    if value is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= size or unit == "µs":
            return f"{_digits(value / size)} {unit}"
    raise AssertionError("unreachable")


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def text(value: Any) -> str:
    """Return a figure as it stands in a table: at most four significant digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{4 if abs(value) >= 1e-3 else 2}g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10000 else str(value)
    return str(value)


def rows(measurements: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return a table's head and rows: name, wall, CPU, repeats, then every key of the values, notes last.

    A key that ends in ``_s`` is of seconds.
    """
    keys: list[str] = []
    for each in measurements:
        keys += [key for key in each["values"] if key not in keys]
    notes = any(each["note"] for each in measurements)
    titles = [key.removesuffix("_s") if key.endswith("_s") else key.replace("_", " ") for key in keys]
    head = [*_HEAD, *titles, *(["note"] if notes else [])]
    body = []
    for each in measurements:
        cells = [each["name"], seconds(each["wall_s"]), seconds(each["cpu_s"]), str(each["repeats"] or "-")]
        cells += [_value(key, each["values"].get(key)) for key in keys]
        body.append([*cells, *([each["note"]] if notes else [])])
    return head, body


def _value(key: str, value: Any) -> str:
    return seconds(value) if key.endswith("_s") and value is not None else text(value)


def plain_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a terminal."""
    head, body = rows(measurements)
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    named = {0, len(head) - 1} if "note" in head else {0}
    lines = [
        "  ".join(
            cell.ljust(width) if i in named else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *body]
    ]
    return "\n".join(lines)


def markdown_table(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Return the table in Markdown."""
    head, body = rows(measurements)
    left = {0, len(head) - 1} if "note" in head else {0}
    rule = ["---" if i in left else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in [head, rule, *body])


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return ``key value, key value, ...``; lists with blanks between."""
    return ", ".join(
        f"{key} {' '.join(text(each) for each in value) if isinstance(value, list) else text(value)}"
        for key, value in settings.items()
    )


def machine_text(record: Mapping[str, Any]) -> str:
    """Return one line: machine, threads, BLAS, versions."""
    machine = record["machine"]
    ram = f", {machine['ram_gib']:.0f} GiB" if machine.get("ram_gib") else ""
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    libraries = sorted(
        {f"{each['library']} {each['version'] or ''}".strip() + f" ({each['of']})" for each in record["blas"]}
    )
    versions = ", ".join(f"{name} {each}" for name, each in record["versions"].items() if each)
    threads = "1 thread" if record["threads"] == 1 else f"{record['threads']} threads"
    return (
        f"{machine['cpu']}, {cores}{ram}, {machine['os']}, Python {machine['python']}; {threads}; "
        f"BLAS {', '.join(libraries) or 'unknown'}; {versions}"
    )
