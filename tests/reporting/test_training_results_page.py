"""The tables of docs/results-trainings.md: paired differences, Holm's correction, methods compared on the same runs."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from by_path import SCRIPTS, load
from scipy import stats

from openood_multimodal.errors import UserError

REFERENCE = "multimodal_multihead"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(SCRIPTS / "update_training_results_page.py")


def frame(partitions: int, **offsets: float) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {"benchmark": "b", "modalities": "x+y", "postprocessor": score, "partition": str(partition), "seed": 0,
         "training": training, "auxiliary": "", "AUROC": 80 + offset + rng.standard_normal(),
         "FPR@95": 50 - offset + rng.standard_normal(), "ACC": 90.0}
        for partition in range(partitions) for training, offset in offsets.items() for score in ("msp", "mds")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_differences_are_paired_t_tests_of_the_mean_of_scores_with_holms_correction(
    script: ModuleType,
) -> None:
    runs = frame(10, **{REFERENCE: 0.0, "a2d": 0.5, "dpu": -4.0})
    found = script.differences(runs)
    mean = runs.groupby(["training", "partition"])["AUROC"].mean().unstack(0)
    raw = {name: stats.ttest_rel(mean[name], mean[REFERENCE]).pvalue for name in ("a2d", "dpu")}
    at = found[found["postprocessor"].eq(script.MEAN) & found["metric"].eq("AUROC")].set_index("training")
    for name, p in raw.items():
        assert at.loc[name, "difference"] == pytest.approx((mean[name] - mean[REFERENCE]).mean())
        assert at.loc[name, "p"] == pytest.approx(p)
    assert at.loc["dpu", "p_holm"] == pytest.approx(2 * raw["dpu"])
    assert at.loc["a2d", "p_holm"] == pytest.approx(raw["a2d"])


def test_bold_where_the_correction_leaves_five_percent(script: ModuleType) -> None:
    lines, _ = script.section(frame(10, **{REFERENCE: 0.0, "a2d": 0.1, "dpu": -4.0}), "b near-OOD")
    of = {
        name: next(line for line in lines if line.startswith(f"| {script.title(name)} |"))
        for name in ("a2d", "dpu")
    }
    assert "**-" in of["dpu"]
    assert "**" not in of["a2d"]
    assert any("| reference | reference |" in line for line in lines)


def test_methods_are_compared_on_runs_that_all_have(script: ModuleType) -> None:
    runs = frame(6, **{REFERENCE: 0.0, "a2d": 1.0})
    lacking = runs[~(runs["training"].eq("a2d") & runs["partition"].eq("5"))]
    assert sorted(script.complete(lacking)["partition"].unique()) == ["0", "1", "2", "3", "4"]
    with pytest.raises(UserError, match="at least 5 are needed"):
        script.complete(runs[~(runs["training"].eq("a2d") & runs["partition"].isin(["4", "5"]))])


def test_methods_with_auxiliary_outliers_are_ranked_among_themselves(script: ModuleType) -> None:
    runs = frame(10, **{REFERENCE: 0.0, "a2d": 1.0, "dos": -4.0, "outlier_exposure": 2.0})
    outliers = runs["training"].isin(["dos", "outlier_exposure"])
    runs.loc[outliers, "auxiliary"] = "places"
    runs.loc[outliers, "benchmark"] += ", auxiliary places"
    lines, found = script.tables(runs)
    without, with_outliers = lines.split("### b, auxiliary places")
    methods = [line.split(" | ")[0] for line in without.splitlines() if line.startswith("| ")][1:]
    assert methods == ["| A2D", "| Multi-head"]
    methods = [line.split(" | ")[0] for line in with_outliers.splitlines() if line.startswith("| ")][1:]
    assert methods == ["| Multi-head, without outliers: not ranked", "| Outlier exposure", "| DOS"]
    mean = runs.groupby(["training", "partition"])["AUROC"].mean().unstack(0)
    chosen = (
        found["training"].eq("dos") & found["postprocessor"].eq(script.MEAN) & found["metric"].eq("AUROC")
    )
    expected = (mean["dos"] - mean[REFERENCE]).mean()
    assert found.loc[chosen, "difference"].item() == pytest.approx(expected)
