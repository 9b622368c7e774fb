"""A leaderboard for people: Markdown, a section for each track and setting, a table for each input."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from tabulate import tabulate

from ..escapes import markdown as text
from ..vocabulary import APART, AVERAGE, TABLE_METRICS
from .aggregate import Method
from .leaderboard_rows import Row, decimals
from .methods import TITLES as SCORES
from .methods import TRAININGS, linked, references

TITLES = {"AUROC": "AUROC ↑", "FPR@95": "FPR@95 ↓", "ACC": "ACC ↑"}
DETAILS = ("protocol", "synthesis", "settings", "discrepancy", "preset", "parameters", "fit_on", "engine")
"""Columns that are shown only where rows would look alike without them."""

NAMED = {"csid": "full spectrum with", "condition": "condition", "auxiliary": "auxiliary outlier data"}
"""Field of `APART` → as headings call it."""

ALIKE = 3
"""Notes that differ in numbers only are listed one by one up to this many."""

TRACKS = {
    "multiood": "the authors' own split lists of MultiOOD, for comparison with published results; their random "
    "splits leave clips of one recording on both sides",
    "grouped": "no recording stands on both sides of a split",
    "demo": "data without recordings",
    "own": "somebody's own embeddings or checkpoint, named by whoever scored them: nothing shows on which clips the "
    "network was trained, or which it was tested on, so these rows are not comparable with other tracks",
}
PUBLISHED = (
    "**published**: the figures of a paper, not run here; MultiOOD prints no deviations. Its FPR@95 is entered as "
    "OOD positive: so its authors' code computes it, and its figures are, but for a few slips, whole counts of ID "
    "test clips, although its text defines FPR@95 the other way round. See `leaderboard/published/README.md`."
)
TIERS = {
    "unverified": "**unverified**: a paper's results as somebody's summary gives them; the paper's own table was not "
    "read. Their ranks are marked with *.",
    "published": PUBLISHED,
    "self-reported": "**self-reported**: from result records made with this package; nothing else was checked.",
    "verified": "**verified**: metrics and intervals were computed again from the scores of every sample.",
    "re-scored": "**re-scored**: these scores, too, were computed again, from the embeddings and the head.",
}
"""Tier → what the page says of it.  A row of several runs has the weakest of theirs."""
LEGEND = (
    "All figures are percentages; **bold** is the best of its column in a table. `#` is the rank by AUROC within "
    "the table (on the average, where there are several OOD sets); equal values share a rank.",
    "FPR@95 takes OOD as positive, as OpenOOD does: the share of ID samples flagged as OOD where 95 % of the OOD "
    "samples are. ACC is the accuracy on the ID test set (full spectrum: on all ID sets).",
    "± is the sample standard deviation over class partitions, seeds averaged first; with one partition, over "
    "seeds. `runs` is partitions x seeds. A reproduced result without ± is one run.",
)


def markdown(name: str, rows: Sequence[Row], incomplete: Sequence[str]) -> str:
    """Return the page of one benchmark.

    Args:
        name: of the benchmark.
        rows: as `leaderboard_rows.rows_of` returns them.
        incomplete: lines about methods without an average.
    """
    tiers = {row.tier for row in rows}
    legend = [
        *LEGEND,
        *(what for tier, what in TIERS.items() if tier in tiers),
    ]
    parts = [f"# Leaderboard: {text(name)}", "\n".join(f"- {line}" for line in legend)]
    for (track, setting, id_set), section in _grouped(rows, ("track", "setting", "id_set")):
        parts += _section(track, setting, id_set, section)
    if incomplete:
        parts.append("Incomplete:\n\n" + "\n".join(f"- {text(line)}" for line in incomplete))
    papers = [
        *references((row.values["training"] for row in rows), TRAININGS),
        *references((row.values["postprocessor"] for row in rows), SCORES),
    ]
    return "\n\n".join([*parts, *(["\n".join(papers)] if papers else [])]) + "\n"


def _section(track: str, setting: str, id_set: str, rows: Sequence[Row]) -> list[str]:
    sets = sorted({row.ood_set for row in rows}, key=lambda name: (name != AVERAGE, name))
    singles = [name for name in sets if name != AVERAGE]
    against = text(singles[0]) if len(singles) == 1 else f"{len(singles)} OOD sets"
    parts = [
        f"## {setting.capitalize() + '-OOD' if setting else 'OOD'}, track {track}: {text(id_set)} against {against}",
        f"Track {track}: {TRACKS[track]}.",
    ]
    groups = _grouped(rows, (*APART, "modalities", "networks"))
    overview = _overview(groups, _lead(sets))
    if len(groups) > 1 and overview:
        parts += ["Best by AUROC of each table below:", overview]
    for (*apart, modalities, networks), group in groups:
        said = (f", {NAMED[name]} {text(value)}" for name, value in zip(APART, apart, strict=True) if value)
        parts.append(f"### {_input(modalities, networks)}{''.join(said)}")
        parts += _several(group, sets) if len(sets) > 1 else [_single(group)]
        parts.append("\n".join(f"- {line}" for line in _notes(group)))
    return [part for part in parts if part]


def _input(modalities: str, networks: str) -> str:
    named = text(modalities.replace("+", " + ")) or "Modalities not stated"
    return f"{named} ({text(networks)})" if networks else named


def _lead(sets: Sequence[str]) -> str:
    """Return the set by which rows are ordered: the average, where there are several."""
    return sets[0] if len(sets) == 1 else AVERAGE


def _overview(groups: Sequence[tuple[Method, list[Row]]], ood_set: str) -> str:
    lines = []
    for (*_, modalities, networks), group in groups:
        best = [row for row in group if row.ood_set == ood_set and row.rank == 1]
        for row in best:
            cells = {"modalities": text(modalities), "networks": text(networks), **_names(row, ())}
            lines.append(cells | {TITLES[name]: figure(row, name) for name in TABLE_METRICS} | _origin(row))
    return _table(lines)


def _single(rows: Sequence[Row]) -> str:
    details = _needed_details(rows)
    best = {name: _best(rows, name) for name in TABLE_METRICS}
    return _table(
        {"#": _rank(row), **_names(row, details)}
        | {TITLES[name]: figure(row, name, best[name]) for name in TABLE_METRICS}
        | _origin(row)
        for row in rows
    )


def _several(rows: Sequence[Row], sets: Sequence[str]) -> list[str]:
    """Return two tables with a column for each OOD set: AUROC (with ACC), and FPR@95."""
    by_method: dict[Method, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_method[row.method][row.ood_set] = row
    methods = sorted(by_method.values(), key=_place)
    details = _needed_details([next(iter(each.values())) for each in methods])
    best = {
        (name, each): _best([r for r in rows if r.ood_set == each], name)
        for name in TABLE_METRICS
        for each in sets
    }
    tables = []
    for metric in ("AUROC", "FPR@95"):
        lines = []
        for each in methods:
            first = each.get(AVERAGE) or next(iter(each.values()))
            line = {"#": _rank(each.get(AVERAGE)), **_names(first, details)}
            line |= {
                text(name): figure(each[name], metric, best[metric, name]) if name in each else ""
                for name in sets
            }
            if metric == "AUROC":
                line["mean rank"] = decimals(first.average_rank)
                line[TITLES["ACC"]] = figure(first, "ACC", best["ACC", first.ood_set])
            lines.append(line | _origin(first))
        tables += [f"{TITLES[metric]}", _table(lines)]
    return tables


def _place(each: dict[str, Row]) -> tuple[bool, int, float, Method]:
    first = next(iter(each.values()))
    rank = each[AVERAGE].rank if AVERAGE in each else None
    return rank is None, rank or 0, first.average_rank or 0.0, first.method


def _rank(row: Row | None) -> str:
    mark = "*" if row is not None and row.tier == "unverified" else ""
    return "-" if row is None or row.rank is None else f"{row.rank}{mark}"


def _names(row: Row, details: Iterable[str]) -> dict[str, str]:
    return {
        "training": linked(row.values["training"], TRAININGS),
        **{name: text(row.values[name]) for name in (*details, *APART)},
        "score": linked(row.values["postprocessor"], SCORES),
    }


def _origin(row: Row) -> dict[str, str]:
    n_partitions = len(row.partitions)
    runs = f"{n_partitions} x {row.n_seeds}"
    if row.n_runs != n_partitions * row.n_seeds:
        runs = f"{row.n_runs} of {runs}"
    if not row.counted:
        runs = ""
    return {"runs": runs, "tier": row.tier}


def _needed_details(rows: Sequence[Row]) -> list[str]:
    """Return the columns of `DETAILS` in which rows with the same names differ."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row.values[name] for name in ("training", "postprocessor", "source"))].append(row)
    return [
        name
        for name in DETAILS
        if any(len({row.values[name] for row in each}) > 1 for each in groups.values())
    ]


def figure(row: Row, metric: str, best: str = "") -> str:
    """Return ``"93.10 ± 0.42"``, bold where the mean is ``best``; ``""`` where there is none."""
    if metric not in row.means:
        return ""
    mean = decimals(row.means[metric])
    shown = f"{mean} ± {decimals(row.stds[metric])}" if metric in row.stds else mean
    return f"**{shown}**" if mean == best else shown


def _best(rows: Iterable[Row], metric: str) -> str:
    values = [row.means[metric] for row in rows if metric in row.means]
    pick: Callable[[list[float]], float] = min if metric == "FPR@95" else max
    return decimals(pick(values)) if values else ""


def _notes(rows: Sequence[Row]) -> list[str]:
    """Return a line for each distinct note of the records, and one where rows rest on other partitions."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        published = row.values["source"] == "published"
        if published or row.ood_set != AVERAGE:  # our averages repeat the notes of their sets
            for note, n in row.notes.items():
                # notes that differ in a number only (the epoch of a checkpoint) would fill the page
                counts[note if published else re.sub(r"\d+", "…", note)][note] += n
    lines = []
    for pattern, notes in sorted(counts.items()):
        few = notes if len(notes) <= ALIKE else {pattern: notes.total()}
        lines += [f"{text(note)}: {n} result{'s' if n > 1 else ''}" for note, n in sorted(few.items())]
    ours = {row.partitions for row in rows if row.values["source"] == "reproduced"}
    if len(ours) > 1:
        lines.append("These rows rest on different class partitions (see `runs`): compare them with care")
    for ood_set in sorted({row.ood_set for row in rows if row.values["track"] == "own"}):
        if len({(row.n_id, row.n_ood) for row in rows if row.ood_set == ood_set}) > 1:
            lines.append(
                f"The rows of {text(ood_set)} rest on sets of different sizes (`n_id`, `n_ood` in the CSV): compare "
                "them with care"
            )
    return lines


def _grouped(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[Method, list[Row]]]:
    """Return the runs of neighbouring rows that agree in these columns."""
    return [
        (values, list(each))
        for values, each in groupby(rows, key=lambda row: tuple(row.values[name] for name in names))
    ]


def _table(lines: Iterable[dict[str, str]]) -> str:
    """Return a Markdown table, without the columns that are empty throughout."""
    kept = list(lines)
    empty = {name for line in kept for name in line if not any(each.get(name) for each in kept)}
    shown = [{name: cell for name, cell in line.items() if name not in empty} for line in kept]
    return tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True)
