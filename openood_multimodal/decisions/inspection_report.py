"""The files of ``openood-mm inspect``: a CSV file per table, a page, a figure, contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import MissingPackageError
from ..escapes import markdown
from ..files import atomic, listed
from ..files.folders import writing_together
from ..reporting.figures.classes import accepted_by_class
from ..reporting.figures.style import drawing, save
from .inspection import Inspection
from .inspection_tables import COLUMNS, TEST, Rows

PAGE, FIGURE, TABLES, SHEETS = "inspection.md", "classes", "tables", "sheets"
_SHOWN, _OF_A_SET = 10, 5
SET_NAMES = {"val": "validation", TEST: "test"}
"""What a reader calls the set that thresholds are from."""


class Sheets(NamedTuple):
    """Contact sheets that were drawn.

    Attributes:
        files: (set, clip) → path in the folder of the page.
        notes: what could not be drawn, and why.
    """

    files: Mapping[tuple[str, str], str]
    notes: Sequence[str] = ()


def write_inspection(
    folder: Path, found: Inspection, draw: Callable[[Path], Sheets] | None = None
) -> tuple[list[Path], list[str]]:
    """Write the files of an inspection, in place of those of an earlier one; other files in ``folder`` stay.

    Args:
        folder: made when missing.
        found: what to write.
        draw: draws contact sheets into a folder, e.g. `making.worst_clips.draw_worst`; None: no sheets.

    Returns:
        The paths of the page, the figure and the folders of tables and sheets; and the notes.

    Raises:
        UserError: when ``folder`` is a file.
        OSError: when the disk is full or can't be written; nothing has been changed then.
    """
    notes = list(found.notes)
    with writing_together(folder, last=PAGE) as stage:
        for name, rows in found.tables.items():
            atomic.write_csv(stage.path / TABLES / f"{name}.csv", COLUMNS[name], rows)
        sheets = draw(stage.path) if draw is not None else Sheets({})
        notes += sheets.notes
        scores = ranked(found.tables["sets"])
        figures: list[Path] = []
        try:
            with drawing():
                by_class = found.tables["id_classes"], found.tables["ood_classes"]
                figures = save(accepted_by_class(*by_class, scores, found.tpr), stage.path, FIGURE, ("png",))
        except MissingPackageError as error:
            notes.append(f"No figure is drawn: {error}")
        atomic.write_text(stage.path / PAGE, page(found, scores, bool(figures), sheets.files, notes))
        stage.remove(lambda: _earlier(folder))
    names = [PAGE, *(each.name for each in figures), TABLES, *([SHEETS] if sheets.files else [])]
    return [folder / name for name in names], notes


def _earlier(folder: Path) -> list[str]:
    sheets = [f"{SHEETS}/{path.name}" for path in listed(folder / SHEETS, "*.png")]
    return [f"{FIGURE}.png", *(f"{TABLES}/{name}.csv" for name in COLUMNS), *sheets]


def ranked(sets: Rows) -> list[str]:
    """Return the scores, that with the highest mean AUROC over the OOD sets first."""
    areas: dict[str, float] = {}
    for row in sets:
        if row["dataset"] != TEST:
            areas[row["postprocessor"]] = areas.get(row["postprocessor"], 0.0) + row["AUROC"]
    return sorted(areas, key=lambda name: -areas[name])


def page(
    found: Inspection,
    scores: Sequence[str],
    figure: bool,
    sheets: Mapping[tuple[str, str], str],
    notes: Sequence[str],
) -> str:
    """Return the page.

    Args:
        found: what to show.
        scores: in the order of `ranked`; tables of one score are those of the first.
        figure: whether there is one.
        sheets: (set, clip) → path of its contact sheet.
        notes: what a reader has to know.
    """
    tables, best = found.tables, scores[0]
    lines = [
        "# Where the scores go wrong",
        "",
        f"A score accepts a sample that reaches its threshold. {100 * found.tpr:g} % of the ID "
        f"{SET_NAMES[found.threshold_set]} samples reach it. Shares are in percent. Each table begins with the largest "
        "errors; the CSV files in tables/ have all rows, and 95 % intervals.",
        "",
        "## Accepted as ID",
        "",
        *_markdown([list(map(markdown, line)) for line in overview(tables["sets"], scores)], "---:"),
        *(["", f"![Share of each class that each score accepts]({FIGURE}.png)"] if figure else []),
    ]

    def table(name: str, title: str, columns: Sequence[str], of: str = "") -> None:
        rows = [row for row in tables.get(name, ()) if row.get("postprocessor", of) == of]
        if rows:
            lines.extend(["", f"## {title}", *_table(columns, rows, sheets, f"{TABLES}/{name}.csv")])

    table("id_classes", f"ID classes that {markdown(best)} rejects",
          ("class", "samples", "rejected", "share", "accuracy", "confused_with"), best)  # fmt: skip
    table("ood_classes", f"OOD classes that pass {markdown(best)}",
          ("dataset", "class", "samples", "accepted", "share", "predicted_as"), best)  # fmt: skip
    table("hardest", f"Samples that most of the {len(scores)} scores decide wrongly",
          ("dataset", "row", "clip", "class", "predicted", "wrong_scores"))  # fmt: skip
    table("scores", "Scores that disagree", ("first", "second", "rank_correlation", "decided_differently"))
    table("disagreements", "Samples on which scores disagree",
          ("dataset", "row", "clip", "class", "highest", "highest_rank", "lowest", "lowest_rank"))  # fmt: skip
    table("modalities", "Modalities that disagree", COLUMNS["modalities"])
    table("modality_samples", "Samples on which modalities disagree",
          ("dataset", "row", "clip", "class", "fused", "predictions", "distance"))  # fmt: skip
    table("label_errors", "Likely label errors",
          ("dataset", "row", "clip", "class", "suggested", "predicted", "score"))  # fmt: skip
    if notes:
        lines += ["", "## Notes", "", *(f"- {markdown(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def overview(sets: Rows, scores: Sequence[str]) -> list[list[str]]:
    """Return the first table, heading first: a row a score; what it accepts of each set, and the AUROC, in percent."""
    names = list(dict.fromkeys(row["dataset"] for row in sets))
    by = {(row["postprocessor"], row["dataset"]): row for row in sets}
    lines = [["score", *(head for name in names for head in _heads(name))]]
    for score in scores:
        values = [by[score, name][column] for name in names for column in ("share", "AUROC")]
        lines.append([score, *(f"{100 * value:.1f}" for value in values if value != "")])
    return lines


def _heads(name: str) -> list[str]:
    return [f"{name} accepted"] if name == TEST else [f"{name} accepted", f"{name} AUROC"]


def _table(columns: Sequence[str], rows: Rows, sheets: Mapping[tuple[str, str], str], file: str) -> list[str]:
    """Return the first rows of a table; of each set where its rows name sets of samples."""
    shown: Rows = []
    if "row" in columns:
        for dataset in dict.fromkeys(row["dataset"] for row in rows):
            shown += [row for row in rows if row["dataset"] == dataset][:_OF_A_SET]
    else:
        shown = list(rows[:_SHOWN])
    heads = [name.replace("_", " ") for name in columns]
    lines = ["", *_markdown([heads, *([_cell(row, name, sheets) for name in columns] for row in shown)])]
    if len(shown) < len(rows):
        lines += ["", f"{len(rows) - len(shown)} more rows are in {file}."]
    return lines


def _cell(row: Mapping[str, Any], name: str, sheets: Mapping[tuple[str, str], str]) -> str:
    value = row[name]
    if isinstance(value, float):
        return f"{100 * value:.1f}" if name in _PERCENT else f"{value:.2f}"
    sheet = sheets.get((str(row.get("dataset")), str(value))) if name == "clip" else None
    return f"[{markdown(str(value))}]({sheet})" if sheet else markdown(str(value))


_PERCENT = ("share", "accuracy", "agreement", "decided_differently", "first_accuracy", "second_accuracy")


def _markdown(lines: Sequence[Sequence[str]], align: str = "---") -> list[str]:
    """Return a table of Markdown; the first of ``lines`` is its heading."""
    rules = ["---", *[align] * (len(lines[0]) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (lines[0], rules, *lines[1:])]
