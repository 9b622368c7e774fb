"""Audits of splits (`datasets.auditing`) as text, as one JSON document, and as a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..files.atomic import write_bytes
from ..reporting.figures.style import plain_text
from ..version import __version__
from ..vocabulary import ID_SETS

SCHEMA_VERSION = 1
SHOWN = 12  # near classes printed a set; the JSON has all

Audit = Mapping[str, Any]

# the reference categorical palette's first two slots and its inks, checked for colour blindness and contrast
_BLUE, _ORANGE, _INK, _MUTED, _GRID = "#2a78d6", "#eb6834", "#0b0b0b", "#52514e", "#e1e0d9"


def audit_document(audits: Sequence[Audit]) -> dict[str, Any]:
    """Return the JSON document: ``schema_version``, ``package_version``, ``splits`` (see docs/splits.md)."""
    return {"schema_version": SCHEMA_VERSION, "package_version": __version__, "splits": list(audits)}


def audit_text(audits: Sequence[Audit]) -> str:
    """Return a table a split, one row a set, and below it what else was found."""
    return "\n\n".join(_split_text(audit) for audit in audits)


def summary_rows(audits: Sequence[Audit]) -> list[dict[str, str]]:
    """Return one row a split and OOD set, in percent of clips: what the figure shows."""
    rows = []
    for audit in audits:
        sets = audit["sets"]
        test = sets.get("test")
        for key, entry in sets.items():
            if not entry["ood"] and key != "test":
                continue
            rows.append(
                {
                    "split": audit["name"],
                    "set": key,
                    "clips": str(entry["clips"]),
                    "recording in train": _seen(entry, "any_class"),
                    "with the same class": "" if entry["ood"] else _seen(entry, "same_class"),
                    "segment overlaps train": _overlap(entry),
                    "in train itself": _twice(entry),
                    "classes in Kinetics-400": _known(entry),
                    "near ID classes": _near(audit, key) if entry["ood"] and test else "",
                }
            )
    return rows


def plot_audit(audits: Sequence[Audit], path: Path) -> Path | None:
    """Draw what share of test and OOD clips training knows, and of classes pretraining knows; one row a set.

    Returns:
        ``path``, or None where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None

    rows = _plot_rows(audits)
    figure = Figure(figsize=(12, 1.7 + 0.36 * max(len(rows), 3)), layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True, gridspec_kw={"width_ratios": [1.25, 1, 1]})
    _bars(left, rows, "seen", "Recording in training", "same", ("any class", "same class"))
    _bars(middle, rows, "overlap", "Segment overlaps a training clip", None, ())
    _bars(right, rows, "known", "Class known to Kinetics-400", None, ())
    left.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=8, color=_INK)
    for tick, row in zip(left.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row["test"] else "normal")
    left.set_ylim(len(rows) - 0.4, -0.6)
    figure.suptitle(
        "What a split leaks, in per cent of a set's clips (right: of its classes)", fontsize=11, color=_INK
    )
    plain_text(figure)
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue())
    return path


def _plot_rows(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for audit in audits:
        for key, entry in audit["sets"].items():
            if not entry["ood"] and (key != "test" and "test" in audit["sets"]):
                continue
            seen, timed = entry.get("in_train"), entry.get("in_train", {}).get("segments", {}).get("timed", 0)
            row: dict[str, Any] = {"test": not entry["ood"], "seen": None, "same": None, "overlap": None}
            row["label"] = f"{audit['name']}: {key}" if not entry["ood"] else key
            if seen:
                recordings = seen["recordings"]
                unknown = recordings["unknown"] == recordings["clips"]
                row["seen"] = None if unknown else 100 * recordings["any_class"] / recordings["clips"]
                row["same"] = (
                    None if unknown or entry["ood"] else 100 * recordings["same_class"] / recordings["clips"]
                )
                row["overlap"] = 100 * seen["segments"]["overlapping"] / timed if timed else None
            row["known"] = (
                100 * len(entry["kinetics400"]["classes"]) / entry["classes"] if entry["classes"] else None
            )
            rows.append(row)
    return rows


def _bars(
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    title: str,
    inner: str | None,
    names: tuple[str, ...],
) -> None:
    from matplotlib.patches import Patch

    for place, row in enumerate(rows):
        value = row[key]
        if value is None:
            axes.text(1, place, "not known", va="center", fontsize=7, color=_MUTED, style="italic")
            continue
        # a lighter step of the hue for the whole, the hue itself for the part that shares the class
        whole = "#86b6ef" if inner and row[inner] is not None else (_BLUE if row["test"] else _ORANGE)
        axes.barh(place, value, height=0.62, color=whole, zorder=2)
        if inner and row[inner] is not None:
            axes.barh(place, row[inner], height=0.62, color=_BLUE, zorder=3)
        text = "<0.1" if 0 < value < 0.1 else f"{value:.1f}" if 0 < value < 10 else f"{value:.0f}"
        if inner and row[inner] is not None and 0 < row[inner] < value:
            text += f"  (same class {row[inner]:.0f})" if row[inner] >= 10 else ""
        axes.text(value + 1.5, place, text, va="center", fontsize=7.5, color=_MUTED, zorder=4)
    axes.set_title(title, fontsize=9.5, color=_INK, loc="left")
    axes.set_xlim(0, 135 if inner else 118)
    axes.set_xticks(range(0, 101, 25))
    axes.tick_params(axis="both", length=0, labelsize=8, colors=_MUTED)
    axes.grid(axis="x", color=_GRID, linewidth=0.8, zorder=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color("#c3c2b7")
    if names:
        handles = [Patch(color=_BLUE), Patch(color="#86b6ef"), Patch(color=_ORANGE)]
        labels = [f"test clips, {names[1]}", f"test clips, {names[0]}", "OOD clips"]
        axes.figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=8, frameon=False)


def _split_text(audit: Audit) -> str:
    sets = audit["sets"]
    facts = [audit["track"] and f"track {audit['track']}", audit["modified"] and "modified"]
    facts += [f"seed {audit['seed']}" if audit["seed"] is not None else ""]
    head = ", ".join(fact for fact in facts if fact)
    lines = [f"{audit['name']}  ({audit['path']}{'; ' + head if head else ''})"]
    rows = []
    for key, entry in sets.items():
        rows.append(
            {
                "set": key,
                "clips": entry["clips"],
                "classes": entry["classes"],
                "recordings": entry["recordings"] if entry["recordings"] else "?",
                "a class": f"{entry['balance']['smallest']}-{entry['balance']['largest']}",
                "twice": entry["duplicates"]["clips"] or "",
                "rec. in train": _seen(entry, "any_class"),
                "same class": "" if entry["ood"] else _seen(entry, "same_class"),
                "rec. in val": _seen(entry, "any_class", "in_val"),
                "overlap train": _overlap(entry),
                "clip in train": _twice(entry),
                "K400 classes": _known(entry),
            }
        )
    used = [name for name in rows[0] if any(row[name] not in ("", None) for row in rows)] if rows else []
    table = [{name: row[name] for name in used} for row in rows]
    lines.append(tabulate(table, headers="keys", tablefmt="simple", disable_numparse=True))
    lines += [f"  {line}" for line in _findings(audit)]
    return "\n".join(lines)


def _findings(audit: Audit) -> list[str]:
    found = []
    if "train" not in audit["sets"]:
        found.append("no file is called train, so nothing is compared with training.")
    for key, entry in audit["sets"].items():
        if entry["unknown_recordings"]:
            found.append(f"{key}: the recording of {entry['unknown_recordings']} clips is unknown.")
        twice = entry["duplicates"]
        if twice["clips"]:
            conflict = f", {twice['conflicting']} with another class" if twice["conflicting"] else ""
            found.append(
                f"{key}: clips that stand twice: {twice['clips']}{conflict}, e.g. {twice['examples'][0]}."
            )
        if entry.get("content"):
            found += _same_content(key, entry)
        for other in ("in_train", "in_val", "in_test"):
            across = entry.get(other, {}).get("duplicates", {"clips": 0})
            if across["clips"]:
                place = other.replace("_", " ")
                example = across["examples"][0]
                found.append(f"{key}: clips that are also {place}: {across['clips']}, e.g. {example}.")
        near = entry.get("in_train", {}).get("segments")
        if near and near["neighbouring"]:
            found.append(
                f"{key}: {near['overlapping']} segments overlap a training clip, {near['neighbouring']} are less than "
                "1 s from one."
            )
        if entry["missing_files"] and entry["missing_files"]["incomplete_clips"]:
            missing = entry["missing_files"]
            parts = ", ".join(f"{count} {name}" for name, count in missing["by_modality"].items() if count)
            found.append(
                f"{key}: {missing['incomplete_clips']} clips lack files ({parts}) in {missing['root']}."
            )
    for each in audit["classes"]:
        if each["colliding_labels"]:
            found.append(
                f"{each['set']}: {each['colliding_labels']} OOD classes have a number that an ID class has."
            )
        for relation in ("same name", "same", "part", "alike"):
            pairs = [pair for pair in each["pairs"] if pair["relation"] == relation]
            if pairs:
                shown = ", ".join(f"{pair['id_class']} / {pair['ood_class']}" for pair in pairs[:SHOWN])
                more = f", and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
                found.append(f"{each['set']}: {_RELATION[relation]} ({len(pairs)}): {shown}{more}.")
    return found


def _same_content(key: str, entry: Mapping[str, Any]) -> list[str]:
    """Return what the files say: how many were read, and which clips are copies of others."""
    places = {"content": "earlier in the same set"}
    places |= {f"in_{side}": f"in {side}" for side in ID_SETS if f"in_{side}" in entry}
    read, lines = entry["content"]["hashed"], []
    for field, place in places.items():
        same = entry[field] if field == "content" else entry[field]["content"]
        if same["clips"]:
            parts = ", ".join(f"{count} {name}" for name, count in same["by_modality"].items() if count)
            conflict = f"; {same['conflicting']} with another class" if same["conflicting"] else ""
            clip, there = same["examples"][0]
            lines.append(
                f"{key}: clips whose content is also {place}: {same['clips']} ({parts}{conflict}), e.g. {clip} "
                f"is {there}."
            )
    if not lines:
        lines = [f"{key}: no clip's content is also {' or '.join(places.values())} ({read} clips read)."]
    if read < entry["clips"]:
        lines.append(
            f"{key}: the content of {entry['clips'] - read} of {entry['clips']} clips is unknown; their files are "
            "not there."
        )
    return lines


_RELATION = {
    "same name": "ID and OOD classes of one name",
    "same": "one action under two names",
    "part": "one is part of the other",
    "alike": "alike",
}


def _percent(part: int, whole: int) -> str:
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.1f} %" if part == 0 or share >= 0.1 else f"{share:.2f} %"


def _seen(entry: Mapping[str, Any], field: str, side: str = "in_train") -> str:
    seen = entry.get(side, {}).get("recordings")
    if seen is None:
        return ""
    return "?" if seen["unknown"] == seen["clips"] else _percent(seen[field], seen["clips"])


def _overlap(entry: Mapping[str, Any]) -> str:
    segments = entry.get("in_train", {}).get("segments")
    if segments is None:
        return ""
    return _percent(segments["overlapping"], segments["timed"]) if segments["timed"] else "?"


def _twice(entry: Mapping[str, Any]) -> str:
    across = entry.get("in_train", {}).get("duplicates")
    return "" if across is None else str(across["clips"])


def _known(entry: Mapping[str, Any]) -> str:
    return f"{len(entry['kinetics400']['classes'])} of {entry['classes']}"


def _near(audit: Audit, key: str) -> str:
    pairs: list[Mapping[str, Any]] = next(
        (each["pairs"] for each in audit["classes"] if each["set"] == key), []
    )
    counts = {
        relation: sum(pair["relation"] == relation for pair in pairs)
        for relation in ("same name", "same", "part", "alike")
    }
    said = [f"{count} {relation}" for relation, count in counts.items() if count]
    return ", ".join(said) if said else "none"
