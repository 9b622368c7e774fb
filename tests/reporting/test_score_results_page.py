"""The tables of docs/results-scores.md: ranks, and a best score in bold only where every other one differs from it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from by_path import SCRIPTS, load
from scipy import stats

from openood_multimodal.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(SCRIPTS / "update_score_results_page.py")


def drawn(partitions: int, **offsets: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shared = 80 + 5 * rng.standard_normal(partitions)
    return pd.DataFrame(
        {name: shared + each + rng.standard_normal(partitions) for name, each in offsets.items()}
    )


def frame(values: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"benchmark": "b", "setting": "near", "modalities": "x+y", "postprocessor": score,
         "partition": str(partition), "seed": 0,
         "AUROC": value, "FPR@95": 100 - value, "ACC": 90.0}
        for score, column in values.items() for partition, value in column.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_holm_against_its_definition(script: ModuleType) -> None:
    # sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, never falling
    np.testing.assert_allclose(script.holm(np.array([0.03, 0.01, 0.5, 0.02])), [0.06, 0.04, 0.5, 0.06])


def test_ranks_and_paired_tests(script: ModuleType) -> None:
    values = drawn(20, good=9.0, close=8.9, bad=0.0)
    table = script.compared(values, lower=False)
    assert list(table.index[2:]) == ["bad"]
    assert list(table["rank"]) == [1, 2, 3]
    first, second = table.index[:2]
    raw = [stats.ttest_rel(values[each], values[first]).pvalue for each in (second, "bad")]
    assert table.loc["bad", "p"] == pytest.approx(2 * raw[1])
    assert table.loc[second, "p"] == pytest.approx(raw[0])
    assert list(script.compared(-values, lower=True).index) == list(table.index)
    equal = script.compared(values.assign(same=values[first]), lower=False)
    assert list(equal["rank"]) == [1, 1, 3, 4]
    assert equal["p"].dropna().max() == 1


def test_bold_only_where_all_others_differ(script: ModuleType) -> None:
    markdown, whole = script.tables(frame(drawn(20, good=9.0, close=8.9, bad=0.0)))
    assert "**" not in markdown
    assert markdown.count(" = |") == 4  # two scores, two metrics
    assert len(whole) == 6
    markdown, _ = script.tables(frame(drawn(20, good=9.0, worse=5.0, bad=0.0)))
    assert markdown.count("**") == 4
    assert "| 1 | `good` | **" in markdown


def test_scores_on_other_partitions_are_refused(script: ModuleType) -> None:
    values = drawn(6, one=0.0, two=1.0)
    values.loc[0, "two"] = np.nan
    for each in (values, drawn(4, one=0.0, two=1.0)):
        with pytest.raises(UserError, match="on the same partitions, or seeds of one, at least 5"):
            script.tables(frame(each.dropna()) if len(each) == 4 else frame(each).dropna())


def test_seeds_are_the_sample_where_there_is_one_partition_and_settings_are_apart(script: ModuleType) -> None:
    values = drawn(5, one=9.0, two=0.0)
    rows = frame(values).assign(seed=lambda each: each["partition"].astype(int), partition="0")
    markdown, whole = script.tables(pd.concat([rows, rows.assign(setting="far")]))
    assert "### b, far-OOD" in markdown
    assert "5 seeds; modalities `x`, `y`" in markdown
    assert whole.loc[whole["postprocessor"] == "one", "mean"].iloc[0] == pytest.approx(values["one"].mean())
    markdown, _ = script.tables(pd.concat([frame(values), frame(values + 2).assign(seed=1)]))
    assert "5 class partitions, each the mean of 2 seeds" in markdown
