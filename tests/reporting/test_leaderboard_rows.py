"""Rows of leaderboards: means over runs, held against literal ones, and what makes a row of its own."""

import numpy as np
import pytest
from made_leaderboards import CONDITION, csv_rows, far, only, published, record

from openood_multimodal.reporting.aggregate import content_of
from openood_multimodal.reporting.leaderboard import collect, make_boards
from openood_multimodal.reporting.leaderboard_rows import rows_of
from openood_multimodal.reporting.schema import DIGEST_NAMES
from openood_multimodal.vocabulary import METRICS

# what stands in a row


def test_mean_and_std_are_over_partitions_after_seeds():
    values = {"0": {0: 0.80, 1: 0.90, 2: 0.70}, "1": {0: 0.60}, "2": {0: 0.75, 5: 0.95}}  # unbalanced
    rows, _ = rows_of(
        record(auroc=value, partition=partition, seed=seed)
        for partition, seeds in values.items()
        for seed, value in seeds.items()
    )
    per_partition = [100 * np.mean(list(seeds.values())) for seeds in values.values()]
    (row,) = rows
    assert row.means["AUROC"] == pytest.approx(np.mean(per_partition), abs=1e-12)
    assert row.means["AUROC"] != pytest.approx(100 * np.mean([0.8, 0.9, 0.7, 0.6, 0.75, 0.95]), abs=0.1)
    assert row.stds["AUROC"] == pytest.approx(np.std(per_partition, ddof=1), abs=1e-12)
    assert (row.std_over, len(row.partitions), row.n_seeds, row.n_runs) == ("partitions", 3, 4, 6)


def test_a_row_has_the_weakest_tier_of_its_results_and_their_splits():
    digests = [dict.fromkeys(DIGEST_NAMES) | {"manifest": letter * 64} for letter in "ab"]
    both = [record(seed=seed, digests=each) for seed, each in enumerate(digests)]
    (row,), _ = rows_of(both)
    assert (row.tier, row.splits) == ("self-reported", ("a" * 64, "b" * 64))
    for tiers, tier in (
        (("verified", "re-scored"), "verified"),
        (("verified", "self-reported"), "self-reported"),
    ):
        known = {content_of(each): name for each, name in zip(both, tiers, strict=True)}
        board = make_boards(both, known)["bench"]
        (cells,) = csv_rows(board.csv())
        assert (cells["tier"], cells["split"]) == (tier, f"{'a' * 12} {'b' * 12}")
        page = board.markdown()
        assert f"| {tier} " in page
        assert f"**{tier}**" in page


def test_with_one_partition_the_std_is_over_seeds_and_one_run_has_none():
    (row,), _ = rows_of(record(fpr=value, seed=seed) for seed, value in enumerate((0.2, 0.3, 0.7)))
    assert row.std_over == "seeds"
    assert row.means["FPR@95"] == pytest.approx(40)
    assert row.stds["FPR@95"] == pytest.approx(np.std([20, 30, 70], ddof=1))
    (row,), _ = rows_of([record()])
    assert (row.std_over, row.stds) == ("", {})


def test_intervals_are_the_mean_of_the_runs_intervals():
    def metrics(low, high):
        return {name: {"value": 0.5, "ci_low": low, "ci_high": high} for name in METRICS}

    (row,), _ = rows_of(
        record(seed=seed, metrics=metrics(*bounds)) for seed, bounds in enumerate([(0.4, 0.6), (0.3, 0.52)])
    )
    assert row.intervals["AUROC"] == pytest.approx((35, 56))


@pytest.mark.parametrize(
    "change",
    [
        {"postprocessor": "ebo"},
        {"parameters": {"K": 10}},
        {"preset": "multiood"},
        {"fit_on": "val"},
        {"protocol": "multiood-paper"},
        {"discrepancy": "l1"},
        {"synthesis": "npmix"},
        {"engine": {"name": "openood", "version": "1.5"}},
        {"engine": {"name": "native", "version": "0.2.0"}},
        {"networks": {"a": "x", "b": "y"}},
        {"modalities": ["a"]},
        {"track": "grouped"},
        {"setting": "far"},
        {"training": "mine"},
        {"condition": CONDITION},
        {"csid": ["cartoon"]},
        {"auxiliary": {"name": "ucf", "digest": None}},
    ],
)
def test_what_differs_is_another_row(change):
    board = make_boards([record(auroc=0.8), record(auroc=0.6, seed=1, **change)])["bench"]
    assert sorted(row.means["AUROC"] for row in board.rows) == pytest.approx([60, 80])
    cells = csv_rows(board.csv())
    different = [name for name in cells[0] if cells[0][name] != cells[1][name]]
    assert set(different) & set(change), different


def test_conditions_shifted_sets_and_auxiliary_data_are_ranked_apart():
    changes = [
        {},
        {"condition": CONDITION},
        {"condition": {**CONDITION, "applied_to": "id"}},
        {"csid": ["cartoon"]},
        {"auxiliary": {"name": "ucf", "digest": "d" * 64}},
    ]
    records = [
        record(auroc=0.9 - 0.1 * worse - 0.05 * place, training=training, **change)
        for place, change in enumerate(changes)
        for worse, training in enumerate(("a2d", "mine"))
    ]
    board = make_boards(records)["bench"]
    assert sorted((row.rank, row.rank_all) for row in board.rows) == [(1, 1)] * 5 + [(2, 2)] * 5
    cells = csv_rows(board.csv())
    assert list(cells[0])[4:9] == ["ood_set", "csid", "condition", "auxiliary", "modalities"]
    assert {cell["condition"] for cell in cells} == {
        "",
        "noise:a=3, embedding, both",
        "noise:a=3, embedding, id",
    }
    page = board.markdown()
    assert page.count("\n### ") == 5
    assert "auxiliary outlier data ucf" in page
    assert "full spectrum with cartoon" in page
    plain = make_boards(records[:2])["bench"]
    assert not {"csid", "condition", "auxiliary"} & set(csv_rows(plain.csv())[0])
    assert "condition" not in plain.markdown()


def test_draws_of_one_condition_are_averaged_as_seeds_are(tmp_path):
    for draw in (0, 1, 2):
        record(auroc=0.5 + draw / 10, condition={**CONDITION, "seed": draw}).write(tmp_path)
    (row,) = make_boards(collect([tmp_path], published=False).records)["bench"].rows
    assert (row.means["AUROC"], row.n_seeds, row.n_runs) == (pytest.approx(60), 3, 3)


def test_networks_of_the_modalities_are_named_in_their_order():
    rows, _ = rows_of([record(networks={"b": "second", "a": "first"})])
    assert rows[0].values["networks"] == "first+second"
    rows, _ = rows_of([record(networks={"a": "first", "extra": 1})])
    assert rows[0].values["networks"] == '{"a": "first", "extra": 1}'


# the average over OOD sets


def test_the_average_is_taken_for_each_run_over_all_its_sets():
    values = {("0", 0): (0.9, 0.5), ("0", 1): (0.8, 0.6), ("1", 0): (0.4, 0.2)}
    rows, incomplete = rows_of(
        far(name, value, partition=partition, seed=seed)
        for (partition, seed), pair in values.items()
        for name, value in zip(("x", "y"), pair, strict=True)
    )
    assert incomplete == []
    assert [row.ood_set for row in rows] == ["x", "y", "average"]
    average = only(rows, ood_set="average")
    assert average.means["AUROC"] == pytest.approx((70 + 30) / 2)
    assert average.stds["AUROC"] == pytest.approx(np.std([70, 30], ddof=1))
    assert average.n_runs == 3


def test_a_run_without_all_sets_has_no_average_and_it_is_said():
    whole = [far(name, 0.8, seed=seed) for name in ("x", "y", "z") for seed in (0, 1)]
    part = [far(name, 0.9, seed=0, training="mine") for name in ("x", "z")]
    mixed = [far(name, 0.7, seed=0, training="mixed") for name in ("x", "y", "z")]
    mixed += [far("x", 0.1, seed=1, training="mixed")]
    board = make_boards([*whole, *part, *mixed])["bench"]
    averages = {row.values["training"]: row for row in board.rows if row.ood_set == "average"}
    assert set(averages) == {"a2d", "mixed"}
    assert (averages["mixed"].n_runs, averages["mixed"].means["AUROC"]) == (1, pytest.approx(70))
    assert len(board.incomplete) == 2
    assert "mine" in board.incomplete[0]
    assert "y (1 run)" in board.incomplete[0]
    assert "y (1 run), z (1 run)" in board.incomplete[1]
    assert all(line in board.markdown() for line in board.incomplete)
    assert only(board.rows, training="mine", ood_set="x").average_rank is None


def test_sets_of_another_track_setting_or_id_set_are_not_asked_for():
    rows, incomplete = rows_of([far("x", 0.5), record(ood_set="y"), record(ood_set="z", track="grouped")])
    assert incomplete == []
    assert all(row.ood_set != "average" for row in rows)


def test_sets_of_two_networks_are_not_averaged():
    digests = [{**dict.fromkeys(DIGEST_NAMES), "checkpoint": c * 64} for c in "ab"]
    rows, incomplete = rows_of(
        far(name, 0.5, digests=digest) for name, digest in zip("xy", digests, strict=True)
    )
    assert [row.ood_set for row in rows] == ["x", "y"]
    assert len(incomplete) == 1


def test_a_printed_average_is_taken_as_printed():
    def printed(name, value):
        metrics = {"AUROC": {"value": value, "ci_low": None, "ci_high": None}}
        return published(ood_set=name, setting="far", metrics=metrics)

    rows, _ = rows_of([printed("x", 0.5), printed("y", 0.6), printed("average", 0.5501)])
    assert only(rows, ood_set="average").means == {"AUROC": pytest.approx(55.01)}
