"""The paper's tables, as data, hold to what the paper prints twice.

The paper prints its results redundantly: differences beside the values, averages over four sets, the same
row in several tables, accuracies repeated along a table, and percentages that must be whole counts of test
clips. Each redundancy is a check on the transcription. What does not add up is listed here, and explained in
``leaderboard/published/README.md``; the lists must stay exact (an entry that adds up is an error too).
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "leaderboard" / "published"
CELL = ("id_set", "ood_set", "modalities", "training", "synthesis", "discrepancy", "postprocessor")
METHOD = ("setting", "modalities", "networks", "training", "synthesis", "discrepancy", "postprocessor")
COLUMNS = ["table", "id_set", "ood_set", *METHOD, "FPR@95", "AUROC", "ACC", "source"]
DELTA_COLUMNS = ["table", *CELL, "metric", "delta"]
HALF = Decimal("0.005")

ROWS = {1: 120, 2: 50, 3: 50, 4: 20, 5: 20, 6: 20, 7: 100, 8: 100, 9: 60, 10: 24, 11: 20, 12: 20}
NO_ACC = {5, 6, 10}
WITH_DELTAS = set(ROWS) - NO_ACC

# The ID test clips, counted in the authors' split lists.
ID_CLIPS = {
    "hmdb51_25_26": 459,
    "ucf101_50_51": 1030,
    "epic_kitchens_4_4": 536,
    "kinetics600_129_100": 4902,
    "far_hmdb51": 877,
    "far_kinetics600": 8694,
}
OOD_SETS = {
    "hmdb51_25_26": {"hmdb51"},
    "ucf101_50_51": {"ucf101"},
    "epic_kitchens_4_4": {"epic_kitchens"},
    "kinetics600_129_100": {"kinetics600"},
    "far_hmdb51": {"kinetics600", "ucf101", "epic_kitchens", "hac", "average"},
    "far_kinetics600": {"hmdb51", "ucf101", "epic_kitchens", "hac", "average"},
}
SCORES = {"ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"}
FEW_SCORES = {"ebo", "ash", "gen", "knn", "vim"}
ABLATION_SCORES = {"ebo", "gen", "knn", "vim"}
POSTPROCESSORS = {"msp"} | SCORES
# training -> (synthesis, discrepancy) that may stand beside it
TRAININGS = {
    "multimodal_baseline": {("", "")},
    "multimodal_logitnorm": {("", "")},
    "a2d": {("", "hellinger")},
    "a2d_logitnorm": {("", "hellinger")},
    "a2d_npmix": {("npmix", d) for d in ("hellinger", "l1", "l2", "wasserstein")},
    "a2d_npmix_logitnorm": {("npmix", "hellinger")},
    "a2d_synthesis": {(s, "hellinger") for s in ("vos", "npos", "mixup")},
    "multimodal_contrastive": {("", "")},
    "multimodal_rna": {("", "")},
    "cross_modal_distillation": {("", "")},
    "cross_modal_translation": {("", "")},
}
# what a printed difference is taken from
BEFORE = {
    "a2d": "multimodal_baseline",
    "a2d_npmix": "multimodal_baseline",
    "a2d_logitnorm": "multimodal_logitnorm",
    "a2d_npmix_logitnorm": "multimodal_logitnorm",
}
NETWORKS = {
    "video+flow": "slowfast_r101+slowonly_r50",
    "video+audio": "slowfast_r101+resnet18",
    "audio+flow": "resnet18+slowonly_r50",
    "video+audio+flow": "slowfast_r101+resnet18+slowonly_r50",
}
OTHER_NETWORKS = {11: ("video+flow", "i3d+tsn"), 12: ("video+audio", "swin_t+ast")}

# (table, id_set, ood_set, training, postprocessor, metric) -> the difference as printed; "" if unreadable
DELTA_EXCEPTIONS = {
    (1, "ucf101_50_51", "ucf101", "a2d", "mds", "AUROC"): "0.97",
    (2, "far_hmdb51", "hac", "a2d_npmix", "ebo", "FPR@95"): "-10.14",
    (7, "far_hmdb51", "hac", "a2d_npmix", "ebo", "FPR@95"): "-10.14",
    (8, "far_kinetics600", "average", "a2d_npmix", "mds", "FPR@95"): "-1.87",
    (12, "epic_kitchens_4_4", "epic_kitchens", "a2d_npmix", "ash", "AUROC"): "",
    (12, "epic_kitchens_4_4", "epic_kitchens", "a2d_npmix", "knn", "FPR@95"): "-13.00",
    (12, "epic_kitchens_4_4", "epic_kitchens", "a2d_npmix", "vim", "AUROC"): "11.10",
}
# (table, id_set, ood_set, modalities, training, postprocessor, metric) -> the percentage as printed
COUNT_EXCEPTIONS = {
    (1, "hmdb51_25_26", "hmdb51", "video+flow", "multimodal_logitnorm", "msp", "FPR@95"): "48.84",
    (2, "far_hmdb51", "ucf101", "video+flow", "a2d_npmix", "knn", "FPR@95"): "33.06",
    (7, "far_hmdb51", "ucf101", "video+flow", "a2d_npmix", "knn", "FPR@95"): "33.06",
    (7, "far_hmdb51", "hac", "video+flow", "multimodal_baseline", "mls", "FPR@95"): "33.06",
    (8, "far_kinetics600", "hmdb51", "video+flow", "multimodal_baseline", "mds", "FPR@95"): "89.01",
    (9, "epic_kitchens_4_4", "epic_kitchens", "video+audio", "a2d_npmix", "ash", "ACC"): "60.44",
    (10, "hmdb51_25_26", "hmdb51", "video+flow", "multimodal_rna", "ebo", "FPR@95"): "55.55",
}

Row = dict[str, str]


def read(name: str) -> tuple[list[str], list[Row]]:
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
        return list(reader.fieldnames or []), rows


def table(number: int) -> list[Row]:
    return read(f"table{number}.csv")[1]


def every_row() -> list[Row]:
    return [row for number in ROWS for row in table(number)]


def key(row: Row, *columns: str) -> tuple[str, ...]:
    return tuple(row[c] for c in columns)


def test_the_folder_holds_the_twelve_tables_and_nothing_unknown() -> None:
    expected = {f"table{n}.csv" for n in ROWS} | {"deltas.csv", "later.csv", "README.md"}
    assert {p.name for p in FOLDER.iterdir() if not p.name.startswith(".")} == expected


@pytest.mark.parametrize("number", ROWS)
def test_schema_and_row_count(number: int) -> None:
    columns, rows = read(f"table{number}.csv")
    assert columns == COLUMNS
    assert len(rows) == ROWS[number]
    for row in rows:
        assert None not in row, row
        assert None not in row.values(), row
        assert row["table"] == str(number)
        assert row["source"] == f"MultiOOD (NeurIPS 2024), Table {number}"


@pytest.mark.parametrize("number", ROWS)
def test_values_are_percentages_with_two_decimals(number: int) -> None:
    for row in table(number):
        for metric in ("FPR@95", "AUROC", "ACC"):
            if metric == "ACC" and number in NO_ACC:
                assert row[metric] == "", row
                continue
            assert re.fullmatch(r"\d{1,2}\.\d\d", row[metric]), (metric, row)
            assert 0 < Decimal(row[metric]) < 100, (metric, row)
        # With OOD positive the ROC curve rises through (FPR@95, 0.95), which bounds its area.
        fpr, auroc = Decimal(row["FPR@95"]) / 100, Decimal(row["AUROC"]) / 100
        assert Decimal("0.95") * (1 - fpr) - HALF <= auroc <= 1 - Decimal("0.05") * fpr + HALF, row


def test_names() -> None:
    for row in every_row():
        assert row["ood_set"] in OOD_SETS[row["id_set"]], row
        assert row["setting"] == ("far" if row["id_set"].startswith("far_") else "near"), row
        assert row["postprocessor"] in POSTPROCESSORS, row
        assert key(row, "synthesis", "discrepancy") in TRAININGS[row["training"]], row
        if row["training"].endswith("logitnorm"):
            assert row["postprocessor"] == "msp", row
        number = int(row["table"])
        if number in OTHER_NETWORKS:
            assert key(row, "modalities", "networks") == OTHER_NETWORKS[number], row
        else:
            assert row["networks"] == NETWORKS[row["modalities"]], row


def test_no_cell_group_stands_twice_in_a_table() -> None:
    for number in ROWS:
        keys = [key(row, *CELL) for row in table(number)]
        assert len(keys) == len(set(keys)), number


def test_every_block_is_complete() -> None:
    full, few, ablation = POSTPROCESSORS, FEW_SCORES, ABLATION_SCORES
    expected = {1: full, 2: few, 3: few, 4: few, 5: ablation, 6: ablation, 7: full, 8: full}
    expected |= {9: few, 10: ablation, 11: full, 12: full}
    for number in ROWS:
        blocks = defaultdict(set)
        sets = defaultdict(set)
        for row in table(number):
            block = key(row, "id_set", "modalities", "training", "synthesis", "discrepancy")
            blocks[(*block, row["ood_set"])].add(row["postprocessor"])
            sets[block].add(row["ood_set"])
        for block, found in blocks.items():
            assert found == ({"msp"} if block[2].endswith("logitnorm") else expected[number]), (number, block)
        for block, found in sets.items():
            assert found == OOD_SETS[block[0]], (number, block)


def test_averages_of_the_far_tables() -> None:
    checked = 0
    for number in (2, 3, 7, 8):
        groups = defaultdict(list)
        for row in table(number):
            groups[key(row, "training", "postprocessor")].append(row)
        for group, rows in groups.items():
            average = [row for row in rows if row["ood_set"] == "average"]
            each = [row for row in rows if row["ood_set"] != "average"]
            assert (len(average), len(each)) == (1, 4), (number, group)
            for metric in ("FPR@95", "AUROC"):
                mean = sum((Decimal(row[metric]) for row in each), Decimal(0)) / 4
                assert abs(mean - Decimal(average[0][metric])) <= HALF, (number, group, metric, mean)
                checked += 1
    assert checked == 120


def test_accuracy_belongs_to_the_network_but_for_react_and_ash() -> None:
    for number in WITH_DELTAS:
        accuracy = defaultdict(set)
        for row in table(number):
            shaped = row["postprocessor"] if row["postprocessor"] in {"react", "ash"} else ""
            accuracy[(*key(row, "id_set", "modalities", "training"), shaped)].add(row["ACC"])
        for network, values in accuracy.items():
            assert len(values) == 1, (number, network, values)


def test_what_two_tables_print_is_the_same_in_both() -> None:
    cells = defaultdict(list)
    for row in every_row():
        cells[key(row, *CELL, "networks")].append(row)
    repeated: dict[tuple[int, ...], int] = defaultdict(int)
    for cell, rows in cells.items():
        repeated[tuple(int(row["table"]) for row in rows)] += 1
        for metric in ("FPR@95", "AUROC", "ACC"):
            printed = {row[metric] for row in rows if row[metric]}
            assert len(printed) <= 1, (cell, metric)
    # Tables 2 and 3 are shortened from 7 and 8, Table 4 from 9; the ablations repeat eight rows of Table 1.
    assert {tables: n for tables, n in repeated.items() if len(tables) > 1} == {
        (2, 7): 50,
        (3, 8): 50,
        (4, 9): 20,
        (1, 5, 6, 10): 8,
    }


def test_differences_are_there_for_every_row_that_the_paper_prints_them_for() -> None:
    columns, deltas = read("deltas.csv")
    assert columns == DELTA_COLUMNS
    found = [key(row, "table", *CELL, "metric") for row in deltas]
    expected = {
        (*key(row, "table", *CELL), metric)
        for row in every_row()
        if int(row["table"]) in WITH_DELTAS and row["training"] in BEFORE
        for metric in ("FPR@95", "AUROC")
    }
    assert len(found) == len(set(found)) == 580
    assert set(found) == expected


def test_after_is_before_plus_difference() -> None:
    values = {key(row, "table", *CELL): row for row in every_row()}
    odd = {}
    for row in read("deltas.csv")[1]:
        after = values[key(row, "table", *CELL)]
        before_cell = {**row, "training": BEFORE[row["training"]], "synthesis": "", "discrepancy": ""}
        before = values[key(before_cell, "table", *CELL)]
        metric = row["metric"]
        difference = Decimal(after[metric]) - Decimal(before[metric])
        if row["delta"] == "" or Decimal(row["delta"]) != difference:
            where = (int(row["table"]), *key(row, "id_set", "ood_set", "training", "postprocessor", "metric"))
            odd[where] = row["delta"]
    assert odd == DELTA_EXCEPTIONS


def test_percentages_are_whole_counts_of_id_test_clips() -> None:
    """FPR@95 too: the authors' code takes OOD as positive, so that its false positives are ID test clips."""
    odd = {}
    for row in every_row():
        clips = ID_CLIPS[row["id_set"]]
        for metric in ("FPR@95", "ACC"):
            if row[metric] == "" or (metric == "FPR@95" and row["ood_set"] == "average"):
                continue
            percent = Decimal(row[metric])
            nearest = Decimal(round(percent * clips / 100)) * 100 / clips
            if abs(nearest - percent) > HALF:
                where = key(row, "id_set", "ood_set", "modalities", "training", "postprocessor")
                odd[(int(row["table"]), *where, metric)] = row[metric]
    assert odd == COUNT_EXCEPTIONS


def test_what_the_text_of_the_paper_says() -> None:
    """Largest changes quoted in the introduction and in Sections 5.2 and 5.3."""
    deltas = [row for row in read("deltas.csv")[1] if row["delta"]]

    def largest(number: int, training: str, metric: str) -> tuple[str, str, str]:
        rows = [r for r in deltas if key(r, "table", "training", "metric") == (str(number), training, metric)]
        assert rows
        pick = min if metric == "FPR@95" else max
        best = pick(rows, key=lambda r: Decimal(r["delta"]))
        return best["id_set"], best["postprocessor"], best["delta"]

    assert largest(1, "a2d", "FPR@95") == ("ucf101_50_51", "ash", "-19.62")
    assert largest(1, "a2d", "AUROC") == ("kinetics600_129_100", "mds", "14.82")
    assert largest(1, "a2d_npmix", "FPR@95") == ("ucf101_50_51", "ash", "-21.46")
    assert largest(7, "a2d_npmix", "FPR@95") == ("far_hmdb51", "ash", "-23.38")
    assert largest(8, "a2d_npmix", "FPR@95") == ("far_kinetics600", "react", "-14.43")


def test_every_exception_is_explained_in_the_readme() -> None:
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()

    def explained(number: int, id_set: str, postprocessor: str, metric: str, printed: str) -> bool:
        words = (id_set, f"`{postprocessor}`", metric, printed)
        tables = re.compile(rf"^\| [\d, ]*\b{number}\b")
        return any(tables.match(line) and all(w in line for w in words) for line in lines)

    for (number, id_set, _, _, postprocessor, metric), printed in DELTA_EXCEPTIONS.items():
        assert explained(number, id_set, postprocessor, metric, printed), (number, id_set, postprocessor)
    for (number, id_set, _, _, _, postprocessor, metric), printed in COUNT_EXCEPTIONS.items():
        assert explained(number, id_set, postprocessor, metric, printed), (number, id_set, postprocessor)
