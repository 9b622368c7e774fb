"""A run beside its published cell, or beside other runs: difference, interval and verdict against literal values."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from made_leaderboards import record
from scipy import stats

from openood_multimodal.cli import main
from openood_multimodal.reporting.compare import compare
from openood_multimodal.reporting.published import published_records
from openood_multimodal.vocabulary import METRICS, UNVERIFIED

CELL = {"benchmark": "hmdb51_25_26", "postprocessor": "knn", "training": "a2d_npmix"}


@pytest.fixture(scope="module")
def cell():
    """The published result that the runs below are held against."""
    return next(
        each
        for each in published_records()
        if all(getattr(each, name) == value for name, value in CELL.items())
        and each.modalities == ["video", "flow"] and each.synthesis == "npmix"
    )  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return [
        each
        for each in published_records()
        if each.postprocessor == "knn" and each.benchmark == "hmdb51_25_26"
    ]


def runs(cell, offsets, half=None, **changes):
    """Runs whose AUROC is the published one plus so many points."""
    same = ("benchmark", "setting", "id_set", "ood_set", "modalities", "networks", "training", "protocol", "synthesis",
            "discrepancy", "postprocessor", "preset", "fit_on", "track")  # fmt: skip
    fields = {name: getattr(cell, name) for name in same} | changes
    for seed, offset in enumerate(offsets):
        value = cell.metrics["AUROC"]["value"] + offset / 100
        bounds = (None, None) if half is None else (value - half / 100, value + half / 100)
        other = {"value": 0.5, "ci_low": None, "ci_high": None}
        metrics = {**dict.fromkeys(METRICS, other), "AUROC": dict(zip(other, (value, *bounds), strict=True))}
        yield record(metrics=metrics, seed=seed, run_id=f"r{seed}", **fields)


def auroc(found):
    return next(each for each in found if each.metric == "AUROC")


@pytest.mark.parametrize(
    ("offsets", "half", "verdict", "why"),
    [
        ([0.4, -0.4, 0.2], None, "agrees", "3 runs: the interval is where one more run would be"),
        ([-6, -6.2, -5.9], None, "differs", "3 runs"),
        ([6, -6, 0], None, "can't tell", "wider than ± 5 points"),
        ([0.5], 2, "agrees", "one run: the interval is about its test samples"),
        ([4], 2, "differs", "one run"),
        ([0.5], None, "can't tell", "there is no interval"),
    ],
)
def test_verdicts(cell, published, offsets, half, verdict, why):
    found = auroc(compare(runs(cell, offsets, half), published))
    assert (found.verdict, why in "; ".join(found.reasons)) == (verdict, True)
    assert found.difference == pytest.approx(np.mean(offsets))
    assert found.reference.values["source"] == "published"
    if len(offsets) > 1:
        width = (
            stats.t.ppf(0.975, len(offsets) - 1) * np.std(offsets, ddof=1) * math.sqrt(1 + 1 / len(offsets))
        )
        assert (found.low, found.high) == pytest.approx((found.difference - width, found.difference + width))


def test_openoods_implementation_has_the_same_cell(cell, published):
    engine = {"name": "openood", "version": "v1.5"}
    ours = runs(cell, [0, 0.1], postprocessor="openood-knn", engine=engine)
    assert auroc(compare(ours, published)).verdict == "agrees"


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({"track": "own"}, "can't tell", "nothing shows that these runs are on the paper's split"),
        ({"preset": "openood"}, "agrees", "preset: openood, there multiood"),
        ({"modalities": ["video"], "networks": "slowfast_r101"}, "no reference", "no result of this ID and OOD set"),
        ({"condition": {"kind": "noise", "modalities": ["video"], "severity": 1, "level": "embedding",
                        "applied_to": "both", "seed": 0}}, "no reference", "no result of this"),
    ],
)  # fmt: skip
def test_what_is_not_the_same(cell, published, changes, verdict, why):
    found = auroc(compare(runs(cell, [0.4, -0.4, 0.2], **changes), published))
    assert (found.verdict, why in "; ".join(found.reasons)) == (verdict, True)


def test_an_unverified_reference_is_said_to_be_one(cell):
    later = replace(cell, notes=["another paper", UNVERIFIED])
    assert UNVERIFIED in auroc(compare(runs(cell, [0.4, -0.4, 0.2]), [later])).reasons
    assert UNVERIFIED not in auroc(compare(runs(cell, [0.4, -0.4, 0.2]), [cell])).reasons


def test_other_runs_are_compared_by_welchs_interval(cell):
    digests = dict.fromkeys(cell.digests) | {"manifest": "a" * 64}
    ours, theirs = [1.0, -1.0, 0.6], [3.0, 3.4, 2.6, 3.1]
    found = auroc(compare(runs(cell, ours, digests=digests), runs(cell, theirs, digests=digests)))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.verdict == "differs"
    unknown = auroc(compare(runs(cell, ours), runs(cell, ours, digests=digests)))
    assert (unknown.verdict, unknown.reasons[0]) == (
        "can't tell",
        "the splits are not the same, or not known",
    )


def test_the_command(cell, tmp_path, capsys):
    for each in runs(cell, [0.4, -0.4, 0.2], track="own"):
        (tmp_path / "runs" / each.run_id).mkdir(parents=True)
        path = tmp_path / "runs" / each.run_id / "knn.record.json"
        path.write_text(each.to_json(), encoding="utf-8")
    assert main(["leaderboard", "compare", str(tmp_path / "runs"), "--out", str(tmp_path / "t.csv")]) == 0
    shown = capsys.readouterr().out
    assert "+0.07 [" in shown
    assert "can't tell: nothing shows that these runs are on the paper's split;" in shown
    rows = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert [row["metric"] for row in rows] == ["AUROC", "FPR@95", "ACC"]
    assert main(["leaderboard", "compare", str(path), "--to", str(tmp_path / "runs")]) == 0
    assert "the splits are not the same, or not known" in capsys.readouterr().out
    for words, message in (
        ([str(tmp_path / "none")], "no such folder"),
        ([str(path), "--to", "nothing"], "nothing:"),
    ):
        assert main(["leaderboard", "compare", *words]) == 2
        assert message in capsys.readouterr().err
