"""The tables of a benchmark, held against figures worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from openood_multimodal.reporting.aggregate import (
    mean_interval,
    mean_std,
    over_scores,
    paired_differences,
    signed_interval,
    summary,
)

# AUROC of (training, partition) → seeds; FPR@95 is 100 - AUROC, ACC 90
VALUES = {
    ("multimodal_multihead", "0"): [80.0, 82.0],
    ("multimodal_multihead", "1"): [70.0, 70.0],
    ("multimodal_multihead", "2"): [60.0, 66.0],
    ("a2d", "0"): [85.0, 87.0],  # means 86, 71, 64: differences of +5, +1, +1
    ("a2d", "1"): [70.0, 72.0],
    ("a2d", "2"): [64.0, 64.0],
}


def frame(values=VALUES, postprocessor="ebo"):
    rows = [
        {
            "benchmark": "b",
            "track": "demo",
            "modalities": "x+y",
            "training": training,
            "postprocessor": postprocessor,
            "partition": partition,
            "seed": seed,
            "ood_set": "o",
            "AUROC": auroc,
            "FPR@95": 100 - auroc,
            "ACC": 90.0,
        }
        for (training, partition), seeds in values.items()
        for seed, auroc in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def test_summary():
    """Seeds first: partition means 81, 70, 63 → mean 71.33, sample deviation √(164.67 / 2)."""
    rows = summary(frame()).set_index("training")
    row = rows.loc["multimodal_multihead"]
    assert (row["partitions"], row["seeds"]) == (3, 2)
    assert row["AUROC"] == pytest.approx(214 / 3)
    squares = sum((value - 214 / 3) ** 2 for value in (81, 70, 63))
    assert row["AUROC_std"] == pytest.approx(math.sqrt(squares / 2))
    assert row["FPR@95"] == pytest.approx(100 - 214 / 3)
    assert (row["ACC"], row["ACC_std"]) == (90.0, 0.0)
    assert list(rows.index) == ["multimodal_multihead", "a2d"]
    alone = summary(frame({("a2d", "0"): [85.0, 87.0]})).iloc[0]
    assert alone["AUROC"] == 86.0
    assert alone["AUROC_std"] == pytest.approx(math.sqrt(2))  # one partition: over its seeds
    assert math.isnan(summary(frame({("a2d", "0"): [85.0]})).iloc[0]["AUROC_std"])


def test_partitions_weigh_alike_whatever_their_seeds():
    uneven = {("a2d", "0"): [90.0, 90.0, 90.0], ("a2d", "1"): [60.0]}
    assert summary(frame(uneven)).iloc[0]["AUROC"] == 75.0


def test_paired_differences():
    found = paired_differences(frame())
    assert set(zip(found["training"], found["reference"], strict=True)) == {("a2d", "multimodal_multihead")}
    row = found[found["metric"] == "AUROC"].iloc[0]
    assert row["partitions"] == 3
    assert row["difference"] == pytest.approx(7 / 3)
    # (5, 1, 1): deviation √(16/3), t(0.975, 2) = 4.302653
    half = 4.302653 * math.sqrt(16 / 3) / math.sqrt(3)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((7 / 3 - half, 7 / 3 + half), abs=1e-5)
    fpr = found[found["metric"] == "FPR@95"].iloc[0]
    assert fpr["difference"] == pytest.approx(-7 / 3)


def test_pairs_are_of_the_same_partition():
    """A partition that only one of the two has does not count."""
    some = {key: value for key, value in VALUES.items() if key != ("a2d", "2")}
    row = paired_differences(frame(some)).iloc[0]
    assert (row["partitions"], row["difference"]) == (2, 3.0)
    shuffled = frame().sample(frac=1, random_state=0)
    assert paired_differences(shuffled).iloc[0]["difference"] == pytest.approx(7 / 3)
    one = {key: value for key, value in VALUES.items() if key[1] == "0"}
    row = paired_differences(frame(one)).iloc[0]
    assert row["difference"] == 5.0
    assert math.isnan(row["ci_low"])
    assert paired_differences(frame({("a2d", "0"): [1.0]})).empty


def test_seeds_are_the_pairs_of_one_partition():
    one = {("multimodal_multihead", "0"): [80.0, 82.0, 84.0], ("a2d", "0"): [81.0, 84.0, 87.0]}
    row = paired_differences(frame(one), one_partition="seeds").iloc[0]
    assert (row["difference"], row["partitions"]) == (2.0, 3)  # 1, 2, 3: deviation 1
    assert row["ci_high"] == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)
    several = paired_differences(frame(), one_partition="seeds")
    pd.testing.assert_frame_equal(several, paired_differences(frame()))


def test_other_columns_can_be_paired():
    data = pd.concat([frame(), frame({key: [v - 2 for v in vs] for key, vs in VALUES.items()}, "msp")])
    found = paired_differences(data, [("ebo", "msp")], column="postprocessor")
    assert set(found["training"]) == {"a2d", "multimodal_multihead"}
    auroc = found[found["metric"] == "AUROC"]
    assert auroc["difference"].tolist() == pytest.approx([2.0, 2.0])
    assert auroc["ci_low"].tolist() == pytest.approx([2.0, 2.0])
    # without saying so, scores are never mixed
    assert len(paired_differences(data)) == 2 * 3


def test_mean_over_scores():
    data = pd.concat([frame(), frame({key: [v - 2 for v in vs] for key, vs in VALUES.items()}, "msp")])
    averaged = over_scores(data)
    assert set(averaged["postprocessor"]) == {"mean of scores"}
    assert summary(averaged).set_index("training").loc["a2d", "AUROC"] == pytest.approx(
        (86 + 71 + 64) / 3 - 1
    )


def test_mean_interval_and_texts():
    import numpy as np

    assert mean_interval(np.array([3.0, 3.0, 3.0])) == (3.0, 3.0)
    assert all(map(math.isnan, mean_interval(np.array([3.0]))))
    assert mean_std(93.104, 0.416) == "93.10 ± 0.42"
    assert mean_std(93.104, math.nan) == "93.10"
    assert signed_interval(1.2, 0.31, 2.09) == "+1.20 [+0.31, +2.09]"
    assert signed_interval(-1.2, math.nan, math.nan) == "-1.20"
