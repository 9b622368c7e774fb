"""What the page shows, as JSON: the rows of all leaderboards, the runs behind each, and what they rest on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...escapes import LATEX, one_line
from ...files import text_sha256
from ...vocabulary import AVERAGE
from ..aggregate import INTERVALS, method_of
from ..colours import style_of
from ..columns import EMPTY, NAMES, SCOPE, SETTINGS, Line, columns_of, is_lower_better, tables_of
from ..exports import ALWAYS
from ..leaderboard_markdown import TRACKS
from ..leaderboard_rows import digits_of, rounded
from ..methods import TITLES, TRAININGS, title_of
from ..papers import bibtex_of, paper_of
from ..records import ResultRecord
from ..schema import DIGEST_NAMES
from .commands import commands

if TYPE_CHECKING:
    from ..leaderboard import Board

RECORD = ("run_id", "partition", "seed", "best_epoch", *DIGEST_NAMES)
"""What the page tells of each record of a row."""


class _Strings:
    """Every text once; rows refer to texts by their place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return where ``text``, on one line and with marks that aren't seen written out, is."""
        return self.places.setdefault(one_line(text), len(self.places))

    def mapped(self, texts: Iterable[str]) -> list[int]:
        """Return the places of several."""
        return [self.place(text) for text in texts]


def payload(boards: Mapping[str, Board]) -> dict[str, Any]:
    """Return all that the page needs to know, plain JSON that depends on the boards alone.

    Args:
        boards: name → leaderboard, in the order of the page's tabs.

    Returns:
        ``strings`` holds every text once.  ``scopes`` has for each table the places of its benchmark and of the values
        of ``scope``, the columns that are shown at first, and those among them without which rows would look alike.
        A row of ``rows`` has ``id`` (names it in links), ``text`` (place in ``strings`` of each of ``fields``),
        ``mean``, ``std``, ``low``, ``high`` (percent or null, for each of ``metrics``), ``ranks`` (as in the CSV),
        ``counts`` (partitions, seeds, runs), ``runs`` (partition, seed, then ``metrics``), ``records`` (as ``record``
        names their columns) and ``command``.
    """
    strings = _Strings()
    tables = [table for board in boards.values() for table in tables_of(board)]
    columns = columns_of(tables)
    metrics = [column.name for column in columns if column.kind == "metric"]
    fields = list(tables[0].lines[0].texts)
    rows = []
    for board in boards.values():
        records = _by_row(board.records)
        for line in (line for table in tables_of(board) for line in table.lines):
            row = line.row
            behind = records[row.method, row.ood_set] or records[row.method, ""]
            rows.append(
                _row(line, [line.texts[name] for name in fields], metrics, behind, strings, board.name)
            )
    trainings, scores = (
        {row.values[name] for board in boards.values() for row in board.rows}
        for name in ("training", "postprocessor")
    )
    return {
        "boards": {one_line(name): board.digest for name, board in boards.items()},
        "fields": fields,
        "scope": SCOPE,
        "scopes": [
            [strings.mapped((table.benchmark, *table.scope.values())), table.shown, table.differing]
            for table in tables
        ],
        "columns": [column._asdict() for column in columns],
        "names": NAMES,
        "empty": EMPTY,
        "settings": SETTINGS,
        "always": ALWAYS,
        "latex": LATEX,
        "metrics": metrics,
        "digits": {name: digits_of(name) for name in metrics},
        "lower": [name for name in metrics if is_lower_better(name)],
        "average": AVERAGE,
        "record": RECORD,
        "tracks": TRACKS,
        "methods": {"training": _methods(trainings, TRAININGS), "postprocessor": _methods(scores, TITLES)},
        "rows": rows,
        "strings": list(strings.places),
    }


def _by_row(records: Iterable[ResultRecord]) -> dict[tuple[Any, str], list[ResultRecord]]:
    """Return (method, OOD set) → records; the empty set's are all of the method, for averages over sets."""
    found: dict[tuple[Any, str], list[ResultRecord]] = defaultdict(list)
    for record in sorted(
        records, key=lambda each: (each.partition, each.seed or 0, each.ood_set, each.run_id)
    ):
        for ood_set in (record.ood_set, ""):
            found[method_of(record), ood_set].append(record)
    return found


def _row(
    line: Line,
    texts: Sequence[str],
    metrics: Sequence[str],
    records: Sequence[ResultRecord],
    strings: _Strings,
    benchmark: str,
) -> dict[str, Any]:
    row = line.row
    bounds = {
        name: row.intervals.get(name, (None, None)) if name in INTERVALS else (None, None) for name in metrics
    }
    return {
        "id": text_sha256("\n".join((benchmark, *row.method, row.ood_set)))[:10],
        "text": strings.mapped(texts),
        "mean": [rounded(row.means.get(name)) for name in metrics],
        "std": [rounded(row.stds.get(name)) for name in metrics],
        "low": [rounded(bounds[name][0]) for name in metrics],
        "high": [rounded(bounds[name][1]) for name in metrics],
        "ranks": [row.rank, row.rank_all, rounded(row.average_rank)],
        "counts": line.counts,
        "runs": []
        if not line.counts
        else [
            [strings.place(partition), *seeds, *(rounded(values.get(name)) for name in metrics)]
            for partition, *seeds, values in row.runs
        ],
        "records": [
            strings.mapped(_text(getattr(each, name, each.digests.get(name))) for name in RECORD)
            for each in records
        ],
        "command": strings.mapped(commands(records)),
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _methods(names: Iterable[str], titles: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return name → its title, and its paper's address and BibTeX entries (key → entry) where they are known."""
    return {
        one_line(name): {
            "title": one_line(title_of(name, titles)),
            "paper": paper.url if (paper := paper_of(name)) else "",
            "bibtex": bibtex_of(name),
            "style": style_of(name),
        }
        for name in sorted(names)
    }
