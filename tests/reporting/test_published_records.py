"""The published tables as records: each result once, with the paper's figures."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from openood_multimodal import resources
from openood_multimodal.errors import UserError
from openood_multimodal.reporting.leaderboard import make_boards
from openood_multimodal.reporting.published import published_records
from openood_multimodal.vocabulary import UNVERIFIED

FOLDER = Path(__file__).resolve().parents[2] / "leaderboard" / "published"
CELL = (
    "id_set",
    "ood_set",
    "modalities",
    "networks",
    "training",
    "synthesis",
    "discrepancy",
    "postprocessor",
)


def cell(record):
    return (
        record.id_set,
        record.ood_set,
        "+".join(record.modalities),
        "+".join(record.networks[name] for name in record.modalities),
        record.training,
        record.synthesis or "",
        record.discrepancy or "",
        record.postprocessor,
    )


def rows():
    for number in range(1, 13):
        with (FOLDER / f"table{number}.csv").open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def published():
    return published_records()


@pytest.fixture(scope="module")
def records(published):
    return [record for record in published if record.engine["name"] == "multiood"]


def test_each_result_is_there_once(records):
    assert len(records) == 460
    assert {cell(record) for record in records} == {tuple(row[name] for name in CELL) for row in rows()}
    assert len({cell(record) for record in records}) == 460


def test_tables_are_those_that_print_a_result_in_full(records):
    tables = Counter(int(note.rpartition(" ")[2]) for record in records for note in record.notes)
    assert tables == {1: 120, 5: 12, 6: 12, 7: 100, 8: 100, 9: 60, 10: 16, 11: 20, 12: 20}
    without = Counter(record.notes[0].rpartition(" ")[2] for record in records if "ACC" not in record.metrics)
    assert without == {"5": 12, "6": 12, "10": 16}


def test_figures_are_those_of_every_table(records):
    found = {cell(record): record for record in records}
    compared = 0
    for row in rows():
        metrics = found[tuple(row[name] for name in CELL)].metrics
        for name in ("FPR@95", "AUROC", "ACC"):
            if row[name]:
                assert f"{100 * metrics[name]['value']:.2f}" == row[name], row
                compared += 1
    assert compared == 3 * 604 - 64
    assert {name for record in records for name in record.metrics} == {"FPR@95", "AUROC", "ACC"}


def test_what_records_say_of_themselves(records):
    assert {(record.source, record.track, record.partition, record.seed) for record in records} == {
        ("published", "multiood", "0", None)
    }
    assert {record.benchmark for record in records if record.ood_set == "average"} == {
        "far_hmdb51",
        "far_kinetics600",
    }
    assert {record.id_set for record in records if record.fit_on == "val"} == {
        "kinetics600_129_100",
        "far_kinetics600",
    }
    assert all(
        (record.protocol == "multiood-code") == record.training.startswith("a2d") for record in records
    )
    names = [(record.run_id, record.postprocessor, record.ood_set) for record in records]
    assert len(set(names)) == len(names)


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "published"))


@pytest.mark.parametrize(
    ("table", "old", "new", "words"),
    [
        (7, "17.33,95.99", "17.33,9x.99", ("table7.csv, line ", "AUROC", "'9x.99'")),
        (7, "17.33,95.99", "17.33,nan", ("table7.csv, line ", "AUROC")),
        (7, "17.33,95.99", "17.33,195.99", ("table7.csv, line ", "AUROC")),
        (7, "17.33,95.99", "17.33", ("table7.csv, line ", "cells")),
        (6, "43.36,87.46", "43.36,87.47", ("table6.csv, line 2", "AUROC", "87.46", "table1.csv, line ")),
        (5, "FPR@95,AUROC", "AUROC,FPR@95", ("table5.csv", "columns")),
        (9, "video+audio,slowfast_r101+resnet18", "video+audio,x", ("table9.csv, line 2", "networks")),
    ],
)
def test_a_damaged_table_is_refused_by_name(copy, table, old, new, words):
    path = copy / f"table{table}.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as error:
        published_records(copy)
    assert all(word in str(error.value) for word in words), error.value


def test_a_missing_table_is_named(copy):
    (copy / "table8.csv").unlink()
    with pytest.raises(UserError, match=r"table8\.csv"):
        published_records(copy)


def test_tables_are_found_in_an_installation_too(monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "openood_multimodal"
    shutil.copytree(FOLDER, package / "_data" / "leaderboard" / "published")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.leaderboard_dir() == package / "_data" / "leaderboard"
    assert len(published_records()) == 485


def test_later_papers(published):
    later = [record for record in published if record.engine["name"] != "multiood"]
    counts = Counter((record.engine["name"], UNVERIFIED in record.notes) for record in later)
    assert counts == {("dpu", True): 3, ("feature-mixing", True): 1, ("modality-aware-ood", False): 21}
    assert all(record.notes[0].count("arXiv:") == 1 for record in later)
    log = [record for record in later if record.seed is not None]
    assert {(record.training, record.postprocessor) for record in log} == {("dpu", "modality_virtual_logits")}
    id_clips = {"hmdb51_25_26": 459, "ucf101_50_51": 1030, "epic_kitchens_4_4": 536, "far_hmdb51": 877}
    id_clips["kinetics600_129_100"] = 4902
    for record in log:  # OOD positive: whole counts of ID test clips
        clips = record.metrics["FPR@95"]["value"] * id_clips[record.id_set]
        assert clips == pytest.approx(round(clips), abs=5e-5 * id_clips[record.id_set])


def test_rows_from_a_summary_are_unverified_wherever_they_are_ranked(published):
    board = make_boards(published)["hmdb51_25_26"]
    unverified = [row for row in board.rows if row.values["training"] == "dpu" and row.n_seeds == 1]
    assert {row.tier for row in unverified} == {"unverified"}
    assert {row.tier for row in board.rows if row not in unverified} == {"published"}
    page = board.markdown()
    assert "| 10* | [DPU]" in page
    assert "| unverified |" in page
    assert "**unverified**: a paper's results as somebody's summary gives them" in page
    cells = {(each["tier"], each["notes"].rpartition("unverified: ")[2]) for each in board.cells()}
    assert ("unverified", "read in a summary of the paper, not in its tables") in cells
    (seeds,) = (each for each in board.cells() if each["postprocessor"] == "modality_virtual_logits")
    assert (seeds["n_seeds"], seeds["AUROC"], seeds["tier"]) == ("3", "90.34", "published")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",yes,", ",perhaps,", ("later.csv, line 2", "unverified", "'perhaps'", "yes or no")),
        ("virtual_logits,1,", "virtual_logits,first,", ("later.csv, line 6", "seed", "'first'")),
        (",date,", ",day,", ("later.csv", "columns")),
    ],
)
def test_a_damaged_table_of_later_papers_is_refused(copy, old, new, words):
    path = copy / "later.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as error:
        published_records(copy)
    assert all(word in str(error.value) for word in words), error.value
