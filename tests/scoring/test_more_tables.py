"""Failure detection and calibration beside the table of scores."""

import csv

import numpy as np
import pytest
import scipy.special

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.calibration import calibration_metrics
from openood_multimodal.evaluators.failure import autc, failure_metrics
from openood_multimodal.reporting.records import load_records
from openood_multimodal.reporting.schema import BOUNDS
from openood_multimodal.vocabulary import FAILURE_METRICS


def evaluated(arrays, **more):
    return evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, postprocessors="msp,mds", **more)


def values(rows, **keys):
    return {row["metric"]: row["value"] for row in rows if keys.items() <= row.items()}


def test_failure(arrays):
    table = evaluated(arrays, val=arrays.val, metrics=["failure"])
    assert set(table.attrs) == {"notes", "failure"}
    rows = table.attrs["failure"]
    logits = {name: each @ arrays.head[0].T + arrays.head[1]
              for name, each in {"id": arrays.test[0], "val": arrays.val[0], **arrays.ood}.items()}  # fmt: skip
    conf = {
        name: scipy.special.logit(scipy.special.softmax(each.astype("f8"), 1).max(1))
        for name, each in logits.items()
    }
    right = logits["id"].argmax(axis=1) == arrays.test[1]
    expected = {name: each.value for name, each in failure_metrics(conf["id"], right).items()}
    assert values(rows, postprocessor="msp", dataset="id") == pytest.approx(expected, rel=1e-3)
    near = values(rows, postprocessor="msp", dataset="near")
    assert list(near) == ["OSCR", "AUROC_scope", "AUTC"]
    scaled = autc(conf["id"], conf["near"], conf["val"].min(), conf["val"].max()).value
    assert near["AUTC"] == pytest.approx(scaled, rel=1e-3)
    assert {row["postprocessor"] for row in rows} == {"msp", "mds"}
    assert evaluated(arrays).equals(table)  # the table of scores is the same


def test_records_hold_both(arrays, tmp_path):
    table = evaluated(arrays, val=arrays.val, metrics=("failure", "calibration"), records=tmp_path, seed=3)
    found = load_records(tmp_path)
    assert len(found) == 2 * len(arrays.ood)
    for record in found:
        failure, own = record.failure, {"postprocessor": record.postprocessor}
        of_id, of_ood = (
            values(table.attrs["failure"], dataset=name, **own) for name in ("id", record.ood_set)
        )
        assert {name: each["value"] for name, each in failure["metrics"].items()} == of_id | of_ood
        assert list(failure["metrics"]) == [name for name in FAILURE_METRICS if name in failure["metrics"]]
        assert "AUTC" in failure["metrics"]
        for kind, name in (("metrics", "as they are"), ("scaled", "scaled on val")):
            told = {name: each["value"] for name, each in record.calibration[kind].items()}
            assert told == values(table.attrs["calibration"], probabilities=name)
        bounds = [
            row for row in table.attrs["failure"] if own.items() <= row.items() and row["metric"] == "AURC"
        ]
        assert failure["metrics"]["AURC"] == {key: bounds[0][key] for key in BOUNDS}
    assert evaluated(arrays, records=tmp_path) is not None
    assert all(record.failure is record.calibration is None for record in load_records(tmp_path))


def test_without_a_validation_set(arrays):
    attrs = evaluated(arrays, metrics=("failure", "calibration")).attrs
    assert "AUTC" not in values(attrs["failure"], dataset="near")
    assert {row["probabilities"] for row in attrs["calibration"]} == {"as they are"}


def test_calibration(arrays):
    rows = evaluated(arrays, val=arrays.val, metrics="calibration").attrs["calibration"]
    logits = arrays.test[0].astype("f8") @ arrays.head[0].T + arrays.head[1]
    expected = calibration_metrics(scipy.special.log_softmax(logits, 1), arrays.test[1])
    assert values(rows, probabilities="as they are") == pytest.approx(
        {name: each.value for name, each in expected.items()}, rel=1e-4
    )
    (temperature,) = {row["temperature"] for row in rows} - {1.0}
    scaled = values(rows, probabilities="scaled on val")
    again = calibration_metrics(scipy.special.log_softmax(logits / temperature, 1), arrays.test[1])
    assert scaled["NLL"] == pytest.approx(again["NLL"].value, rel=1e-4)


def test_an_unknown_table(arrays):
    with pytest.raises(
        UserError, match=r"metrics name 'failures'; there are failure, calibration.*'failure'"
    ):
        evaluated(arrays, metrics="failures")


def test_the_command(arrays, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (features, labels) in {"train": arrays.train, "val": arrays.val, "test": arrays.test}.items():
        np.savez(f"{name}.npz", features=features, labels=labels)
    np.savez("near.npz", features=arrays.ood["near"])
    np.savez("head.npz", weight=arrays.head[0], bias=arrays.head[1])
    words = ["score", "--val", "val.npz", "--test", "test.npz", "--ood", "near=near.npz", "--head", "head.npz",
             "--postprocessors", "msp,ebo", "--out", "out"]  # fmt: skip
    assert main([*words, "--metrics", "failure", "calibration"]) == 0
    out = capsys.readouterr().out
    assert "Failure (fractions" in out
    assert "scaled on val" in out
    rows = list(csv.DictReader((tmp_path / "out" / "failure.csv").open()))
    assert {row["dataset"] for row in rows} == {"id", "near"}
    for row in rows:
        assert 0 <= float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]) <= 1
    rows = list(csv.DictReader((tmp_path / "out" / "calibration.csv").open()))
    assert [row["metric"] for row in rows] == 2 * ["ECE", "ECE_mass", "Brier", "NLL"]
    assert sorted(p.name for p in (tmp_path / "out" / "scores" / "msp").iterdir()) == ["id.npz", "near.npz"]
    assert main(words) == 0  # a later run without them leaves none behind
    assert not (tmp_path / "out" / "failure.csv").exists()
    assert not (tmp_path / "out" / "calibration.csv").exists()
