"""Put figures into docs/what-the-numbers-depend-on.md, between its markers.

    python scripts/update_dependence_page.py --lists MultiOOD    # audit and grouped splits of the authors' lists
    python scripts/update_dependence_page.py --demo              # the demo sets, about a minute
    python scripts/update_dependence_page.py                     # only the page, from docs/results/
    python scripts/update_dependence_page.py --check             # tell whether the page is as the data has it

``--lists`` writes docs/results/split_audit.json and split_audit.png, ``--demo`` docs/results/dependence.json.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from page_blocks import with_block
from tabulate import tabulate

from openood_multimodal.datasets.clip_benchmarks import available_clip_benchmarks
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.files.atomic import write_json, write_text
from openood_multimodal.splits.auditing import audit_split, load_splits
from openood_multimodal.splits.grouped_pools import pool_from
from openood_multimodal.splits.grouped_splits import GroupedSplit, Pool, make_grouped
from openood_multimodal.splits.report import plot_audit

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "what-the-numbers-depend-on.md"
RESULTS = DOCS / "results"
AUDIT, FIGURE, DEMO = RESULTS / "split_audit.json", RESULTS / "split_audit.png", RESULTS / "dependence.json"
RELATIONS = ("same name", "same", "part", "alike")


def audit_figures(audits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a set of each split: counts, from which the page makes its percentages."""
    rows = []
    for audit in audits:
        pairs = {each["set"]: each["pairs"] for each in audit["classes"]}
        for key, entry in audit["sets"].items():
            train = entry.get("in_train", {})
            row = {"split": audit["name"], "set": key, "ood": entry["ood"], "clips": entry["clips"]}
            row |= {"classes": entry["classes"], "recordings": entry["recordings"]}
            row |= {"twice": entry["duplicates"]["clips"], "unknown": entry["unknown_recordings"]}
            row["seen"] = train.get("recordings", {}).get("any_class")
            row["seen_same_class"] = None if entry["ood"] else train.get("recordings", {}).get("same_class")
            row |= {
                name: train.get("segments", {}).get(name) for name in ("timed", "overlapping", "neighbouring")
            }
            row["kinetics400"] = len(entry["kinetics400"]["classes"])
            near = [pair["relation"] for pair in pairs.get(key, [])]
            row["near"] = {relation: near.count(relation) for relation in RELATIONS} if entry["ood"] else None
            rows.append(row)
    return rows


def grouped_figures(folder: Path) -> dict[str, Any]:
    """Return benchmark → what its grouped split of seed 0 holds, with the manifests' digests; and HAC's."""
    found = {}
    for name in available_clip_benchmarks():
        pool = pool_from([folder], name)
        found[name] = _grouped(pool, make_grouped(pool))
        for key, manifest in pool.ood.items():
            if key == "farood_hac" and "hac" not in found:
                found["hac"] = _grouped(*_hac(manifest))
    return found


def _hac(manifest: Manifest) -> tuple[Pool, GroupedSplit]:
    """HAC is in-distribution in no benchmark; with all its classes in-distribution, its split shows all the same."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pool = pool_from([manifest.write(Path(folder) / "farood_hac.csv")], None)
    return pool, make_grouped(pool)


def _grouped(pool: Pool, split: GroupedSplit) -> dict[str, Any]:
    worst = max(split.balance, key=lambda each: each.deviation / each.clips)
    return {
        "sets": {
            key: {
                "clips": len(manifest),
                "of": len(pool.ood[key]) if key in pool.ood else len(pool.clips),
                "recordings": len(set(manifest.groups) - {""}),
                "sha256": manifest.digest(),
            }
            for key, manifest in split.manifests.items()
        },
        "worst_class": worst.class_name,
        "worst_points": round(100 * worst.deviation / worst.clips, 2),
        "within_bound": all(each.within for each in split.balance),
    }


def blocks() -> dict[str, str]:
    """Return marker → what stands there."""
    audit = json.loads(AUDIT.read_text(encoding="utf-8"))
    demo = json.loads(DEMO.read_text(encoding="utf-8"))
    made = {
        "leakage": _leakage(audit["audit"]),
        "classes": _classes(audit["audit"]),
        "grouped": _grouped_table(audit["grouped"]),
        "heads": _heads(),
    }
    made["convention"] = _demo_table(demo, "convention", ("FPR@95", "FPR@95_ID_TPR", "AUROC"))
    made["fit_set"] = _pairs_table(demo, "fit_set", "train", "val")
    made["slices"] = _pairs_table(demo, "slices", "openood", "multiood")
    made["ties"] = _demo_table(demo, "ties", ("tied", "AUROC", "FPR@95", "FPR@95_ID_TPR"))
    return made


def _leakage(rows: list[dict[str, Any]]) -> str:
    table = [
        {
            "benchmark": row["split"],
            "set": row["set"],
            "clips": row["clips"],
            "recording in train": _share(row["seen"], row["clips"], row["unknown"]),
            "with the same class": _share(row["seen_same_class"], row["clips"]),
            "overlaps a training segment": _share(row["overlapping"], row["timed"]),
            "less than 1 s from one": _share(row["neighbouring"], row["timed"]),
        }
        for row in rows
        if row["set"] not in ("train", "val")
    ]
    return _table(table)


def _classes(rows: list[dict[str, Any]]) -> str:
    table = []
    for row in rows:
        if row["set"] in ("train", "val"):
            continue
        near = row["near"] or {}
        table.append(
            {
                "benchmark": row["split"],
                "set": row["set"],
                "classes": row["classes"],
                "in Kinetics-400": f"{row['kinetics400']} ({100 * row['kinetics400'] / row['classes']:.0f} %)",
                **{f"near: {relation}": near.get(relation, "") for relation in RELATIONS[1:]},
            }
        )
    return _table(table)


def _grouped_table(grouped: dict[str, Any]) -> str:
    table = []
    for name, each in grouped.items():
        sizes = [each["sets"][side] for side in ("train", "val", "test")]
        kept = [
            f"{key.partition('_')[2]} {part['clips']} of {part['of']}"
            for key, part in each["sets"].items()
            if "ood" in key
        ]
        table.append(
            {
                "benchmark": name,
                "train / val / test": " / ".join(str(part["clips"]) for part in sizes),
                "recordings": " / ".join(str(part["recordings"]) for part in sizes),
                "OOD clips kept": ", ".join(kept),
                "class farthest from its share": f"{each['worst_class']}, {each['worst_points']:.1f} points",
            }
        )
    return _table(table)


def _heads() -> str:
    with (RESULTS / "differences.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["training"] == "multimodal_multihead" and row["reference"] == "multimodal_baseline"
        ]
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row["postprocessor"] != "mean of scores" or row["metric"] not in ("AUROC", "FPR@95"):
            continue
        key = (row["benchmark"], row["modalities"])
        table.setdefault(key, {"benchmark": key[0], "modalities": key[1]})[row["metric"]] = (
            f"{float(row['difference']):+.2f} [{float(row['ci_low']):+.2f}, {float(row['ci_high']):+.2f}]"
        )
    return _table(list(table.values()))


def _demo_table(demo: dict[str, Any], section: str, columns: tuple[str, ...]) -> str:
    table = []
    for benchmark, sections in demo.items():
        for name, figures in sections[section].items():
            table.append(
                {"benchmark": benchmark, "score": name} | {each: f"{figures[each]:.2f}" for each in columns}
            )
    return _table(table)


def _pairs_table(demo: dict[str, Any], section: str, one: str, other: str) -> str:
    table = []
    for benchmark, sections in demo.items():
        names = dict.fromkeys(name.partition(", ")[0] for name in sections[section])
        for name in names:
            a, b = sections[section][f"{name}, {one}"], sections[section][f"{name}, {other}"]
            row = {"benchmark": benchmark, "score": name}
            for metric in ("AUROC", "FPR@95"):
                row |= {f"{metric}, {one}": f"{a[metric]:.2f}", f"{metric}, {other}": f"{b[metric]:.2f}"}
            table.append(row)
    return _table(table)


def _share(part: int | None, whole: int | None, unknown: int = 0) -> str:
    if part is None or not whole:
        return "" if part is None else "not known"
    share = 100 * part / whole
    text = f"{share:.2f} %" if 0 < share < 1 else f"{share:.1f} %"
    return f"{text} ({unknown} not known)" if unknown else text


def _table(rows: list[dict[str, Any]]) -> str:
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def rendered(text: str) -> str:
    """Return the page ``text`` with every block as the data has it."""
    for name, block in blocks().items():
        text = with_block(text, name, block, PAGE)
    return text


def main() -> int:
    """Compute what is asked for, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", type=Path, metavar="FOLDER", help="a checkout of MultiOOD, or its lists")
    parser.add_argument("--demo", action="store_true", help="train and score on the demo sets")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when the page would change")
    options = parser.parse_args()
    if options.check:
        text = PAGE.read_text(encoding="utf-8")
        same = rendered(text) == text
        print(f"{PAGE}: {'as the data has it' if same else 'differs from the data'}")
        return 0 if same else 1
    if options.lists is not None:
        audits = [audit_split(split) for split in load_splits([options.lists])]
        write_json(AUDIT, {"audit": audit_figures(audits), "grouped": grouped_figures(options.lists)})
        plot_audit(audits, FIGURE)
    if options.demo:
        from dependence_demo import figures

        write_json(DEMO, figures())
    write_text(PAGE, rendered(PAGE.read_text(encoding="utf-8")))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
