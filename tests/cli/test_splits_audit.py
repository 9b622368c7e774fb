"""``openood-mm splits audit``: table, JSON, plot; and the page of figures equals its data."""

import json
import math
import os
from pathlib import Path

import pytest
from by_path import SCRIPTS, load

from openood_multimodal.cli import splits, splits_audit
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.splits.report import audit_text, summary_rows

ROOT = Path(__file__).parents[2]
LISTS = os.environ.get("MULTIOOD_LISTS", "")


@pytest.fixture
def folder(tmp_path):
    """A split in which one of two test clips, and the OOD clip, are of training recordings."""

    def write(name, rows, label):
        Manifest.create(
            clips=[row[0] for row in rows],
            labels=[label] * len(rows),
            class_names=[row[1] for row in rows],
            files={"video": [f"{row[0]}.mp4" for row in rows]},
            groups=[row[2] for row in rows],
            starts=[0.0] * len(rows),
            stops=[math.nan] * len(rows),
        ).write(tmp_path / name)

    write("train.csv", [("a", "golf", "A"), ("b", "golf", "B")], 0)
    write("test.csv", [("c", "golf", "A"), ("d", "golf", "C")], 0)
    write("nearood_x.csv", [("e", "Golf", "B")], -1)
    return tmp_path


def test_table_json_and_plot(folder, capsys):
    pytest.importorskip("matplotlib")
    out = folder / "out"
    arguments = [
        str(folder),
        "--json",
        str(out / "a.json"),
        "--plot",
        str(out / "a.png"),
        "--root",
        str(folder),
    ]
    assert splits.main(["audit", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "50.0 %" in printed
    assert "100.0 %" in printed
    assert "ID and OOD classes of one name (1): golf / Golf" in printed
    assert "test: 2 clips lack files (2 video)" in printed
    document = json.loads((out / "a.json").read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    (split,) = document["splits"]
    assert split["sets"]["test"]["in_train"]["recordings"]["any_class"] == 1
    assert (out / "a.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_the_summary(folder):
    from openood_multimodal.splits.auditing import audit_split, load_splits

    audits = [audit_split(split) for split in load_splits([folder])]
    test, ood = summary_rows(audits)
    assert (test["recording in train"], test["with the same class"]) == ("50.0 %", "50.0 %")
    assert (ood["recording in train"], ood["near ID classes"]) == ("100.0 %", "1 same name")
    assert "?" in audit_text(audits)  # no stop, so no overlap can be told


def test_what_is_refused(folder):
    with pytest.raises(UserError, match=r"end its name in \.png"):
        splits_audit.main([str(folder), "--plot", "a.pdf"])
    with pytest.raises(UserError, match="is not a folder"):
        splits_audit.main([str(folder), "--root", str(folder / "nowhere")])


def page_script():
    return load(SCRIPTS / "update_dependence_page.py")


def test_the_page_is_as_its_data_has_it():
    script = page_script()
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.rendered(text) == text


@pytest.mark.skipif(not LISTS, reason="MULTIOOD_LISTS names no folder with the authors' lists")
def test_the_page_s_data_is_that_of_the_authors_lists():
    from openood_multimodal.splits.auditing import audit_split, load_splits

    script = page_script()
    stored = json.loads(script.AUDIT.read_text(encoding="utf-8"))["audit"]
    found = script.audit_figures([audit_split(split) for split in load_splits([Path(LISTS)])])
    assert found == stored
    seen = {(row["split"], row["set"]): (row["seen"], row["clips"]) for row in found}
    assert seen["hmdb51_25_26", "test"] == (403, 459)
    assert seen["epic_kitchens_4_4", "test"] == (536, 536)
    assert seen["kinetics600_129_100", "test"] == (11, 4902)
