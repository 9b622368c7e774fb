"""Leaderboards: a pure function of records, held against literal means; written whole or not at all."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files import atomic
from openood_multimodal.reporting.aggregate import content_of
from openood_multimodal.reporting.leaderboard import COLUMNS, build, choose, collect, make_boards
from openood_multimodal.reporting.leaderboard_files import INDEX
from openood_multimodal.reporting.leaderboard_rows import rows_of
from openood_multimodal.reporting.page import PAGE
from openood_multimodal.reporting.published import published_records
from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.reporting.schema import DIGEST_NAMES
from openood_multimodal.vocabulary import METRICS

CHECKOUT = Path(__file__).resolve().parents[2]


def record(auroc=0.8, fpr=0.4, acc=0.9, **changes):
    """One run's record; the run is named by what it was trained on."""
    values = {"FPR@95": fpr, "AUROC": auroc, "ACC": acc}
    fields = {
        "benchmark": "bench",
        "partition": "0",
        "track": "demo",
        "setting": "near",
        "id_set": "bench",
        "ood_set": "unseen",
        "modalities": ["a", "b"],
        "networks": "mlp_fusion",
        "training": "a2d",
        "protocol": "multiood-code",
        "synthesis": None,
        "discrepancy": "hellinger",
        "postprocessor": "msp",
        "parameters": {},
        "preset": "openood",
        "fit_on": "train",
        "engine": {"name": "native", "version": "0.1.0"},
        "seed": 0,
        "best_epoch": 3,
        "metrics": {
            name: {"value": values.get(name, 0.5), "ci_low": None, "ci_high": None} for name in METRICS
        },
        "n_id": 100,
        "n_ood": 200,
        "digests": dict.fromkeys(DIGEST_NAMES),
        "date": "2025-01-01",
        **changes,
    }
    run = [fields[name] for name in ("benchmark", "partition", "training", "modalities", "seed", "track")]
    fields.setdefault("run_id", hashlib.sha256(json.dumps(run).encode()).hexdigest()[:16])
    return ResultRecord(**fields)


CONDITION = {
    **{"kind": "noise", "modalities": ["a"], "severity": 3, "level": "embedding"},
    **{"applied_to": "both", "seed": 0},
}


def published(**changes):
    metrics = {"AUROC": {"value": 0.9, "ci_low": None, "ci_high": None}}
    return record(
        **{
            "source": "published",
            "seed": None,
            "metrics": metrics,
            "run_id": "paper",
            "notes": ["P, Table 1"],
        }
        | {"engine": {"name": "theirs", "version": None}}
        | changes
    )


def write(folder, *records):
    for each in records:
        each.write(Path(folder) / each.run_id)
    return folder


def only(rows, **values):
    found = [
        row
        for row in rows
        if all({**row.values, "ood_set": row.ood_set}[name] == value for name, value in values.items())
    ]
    assert len(found) == 1, found
    return found[0]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


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


def far(ood_set, auroc, **changes):
    return record(auroc=auroc, ood_set=ood_set, setting="far", **changes)


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


# ranks and tracks


def test_ranks_are_within_inputs_and_overall_and_equal_values_share_one():
    values = {"p": 0.9, "q": 0.8, "r": 0.8, "s": 0.7}
    records = [record(auroc=value, postprocessor=name) for name, value in values.items()]
    records += [record(auroc=0.85, postprocessor="p", modalities=["a"])]
    records += [record(auroc=0.99, postprocessor="p", track="grouped")]
    rows, _ = rows_of(records)
    pair = [row for row in rows if row.values["modalities"] == "a+b" and row.values["track"] == "demo"]
    assert [(row.values["postprocessor"], row.rank, row.rank_all) for row in pair] == [
        ("p", 1, 1),
        ("q", 2, 3),
        ("r", 2, 3),
        ("s", 4, 5),
    ]
    single = only(rows, modalities="a")
    assert (single.rank, single.rank_all) == (1, 2)
    other = only(rows, track="grouped")
    assert (other.rank, other.rank_all) == (1, 1)


def test_equal_values_tie_whatever_the_last_bit_says():
    assert 100 * 0.57 != (100 * 0.56 + 100 * 0.58) / 2
    rows, _ = rows_of(
        [
            record(auroc=0.57),
            record(auroc=0.56, postprocessor="p"),
            record(auroc=0.58, postprocessor="p", seed=1),
        ]
    )
    assert [row.rank for row in rows] == [1, 1]


def test_the_average_rank_is_over_the_single_sets():
    rows, _ = rows_of(
        far(name, value, postprocessor=score)
        for score, pair in {"p": (0.9, 0.5), "q": (0.8, 0.6), "r": (0.7, 0.4)}.items()
        for name, value in zip("xy", pair, strict=True)
    )
    ranks = {row.values["postprocessor"]: row.average_rank for row in rows if row.ood_set == "average"}
    assert ranks == {"p": 1.5, "q": 1.5, "r": 3.0}


def test_published_and_reproduced_rows_stand_side_by_side_and_say_which_they_are():
    board = make_boards([published(), record(auroc=0.8), record(auroc=0.95, training="mine")])["bench"]
    rows = [(row["source"], row["rank"], row["AUROC"], row["n_runs"]) for row in csv_rows(board.csv())]
    assert rows == [
        ("reproduced", "1", "95.00", "1"),
        ("published", "2", "90.00", ""),
        ("reproduced", "3", "80.00", "1"),
    ]
    page = board.markdown()
    assert "P, Table 1: 1 result" in page
    assert "| 2   | [A2D]      | [MSP]   | 90.00     |" in page
    assert "| 1   | mine       | [MSP]   | **95.00** |" in page
    assert page.endswith(
        "\n\n[A2D]: https://arxiv.org/abs/2405.17419\n[MSP]: https://arxiv.org/abs/1610.02136\n"
    )


def test_tracks_are_sections_of_their_own():
    page = make_boards([record(), record(track="grouped")])["bench"].markdown()
    grouped, demo = page.index("track grouped"), page.index("track demo")
    assert grouped < demo
    assert page.count("| 1   |") == 2


# the page


def test_the_page_marks_the_best_of_each_column_and_shows_what_tells_rows_apart():
    page = make_boards(
        [
            record(auroc=0.9, fpr=0.3, acc=0.5, parameters={"K": 5}, postprocessor="knn"),
            record(auroc=0.8, fpr=0.2, acc=0.5, parameters={"K": 9}, postprocessor="knn", seed=0),
        ]
    )["bench"].markdown()
    assert "**90.00**" in page
    assert "**20.00**" in page
    assert page.count("**50.00**") == 2
    assert '{"K": 5}' in page
    assert "preset" not in page.partition("## ")[2]


def test_names_cannot_break_the_table_nor_leave_the_folder(tmp_path):
    name = "../a|b\n<c>"
    folder = write(tmp_path / "records", record(benchmark=name, training="x|y\nz", id_set="i|j"))
    built = build(tmp_path / "out", [folder], published=False)
    assert set(contents(tmp_path / "out")) == {*built.boards[name].files(), INDEX, PAGE}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "records"]
    assert "x\\|y z" in built.boards[name].markdown()


def test_notes_that_differ_in_numbers_only_are_told_once():
    records = [record(seed=seed, notes=[f"checkpoint of epoch {seed}"]) for seed in range(5)]
    page = make_boards(records)["bench"].markdown()
    assert "checkpoint of epoch …: 5 results" in page
    assert "epoch 3" not in page


# which records count


def test_synthetic_data_is_left_out(tmp_path):
    folder = write(
        tmp_path / "r",
        record(notes=["synthetic data"], seed=1),
        record(benchmark="synthetic_far", seed=2),
        record(seed=3),
    )
    collected = collect([folder], published=False)
    assert collected.synthetic == 2
    assert [each.seed for each in collected.records] == [3]


def test_the_same_record_twice_counts_once_whatever_its_date(tmp_path):
    write(tmp_path / "r", record(), record(seed=1))
    write(tmp_path / "s", record(date="2026-02-03", package_version="9"))
    folders = [tmp_path / "r", tmp_path / "s", tmp_path, tmp_path / "r"]
    assert len(collect(folders, published=False).records) == 2


def test_the_same_network_tested_twice_counts_once(tmp_path):
    config = {**dict.fromkeys(DIGEST_NAMES), "checkpoint": "c", "config": "another path of the checkpoint"}
    write(tmp_path / "r", record(), record(run_id="again", digests=config))
    (kept,) = collect([tmp_path / "r"], published=False).records
    assert kept.run_id in (record().run_id, "again")


OWN = {
    "track": "own",
    "setting": None,
    "modalities": None,
    "networks": None,
    "training": None,
    "protocol": None,
}


def test_own_rows_are_beside_others_and_ranked_apart():
    ours = [record(0.99, **{**OWN, **more}) for more in ({}, {"training": "mine"}, {"setting": "near"})]
    board = make_boards([record(0.8, track="grouped"), published(track="multiood"), *ours])["bench"]
    assert {(row.values["track"], row.rank, row.rank_all) for row in board.rows} == {
        ("multiood", 1, 1),
        ("grouped", 1, 1),
        ("own", 1, 1),
    }
    headings = [line for line in board.markdown().splitlines() if line.startswith("#")]
    assert headings == [
        "# Leaderboard: bench",
        "## Near-OOD, track multiood: bench against unseen",
        "### a + b (mlp_fusion)",
        "## Near-OOD, track grouped: bench against unseen",
        "### a + b (mlp_fusion)",
        "## Near-OOD, track own: bench against unseen",
        "### Modalities not stated",
        "## OOD, track own: bench against unseen",
        "### Modalities not stated",
    ]
    assert "nothing shows on which clips" in board.markdown()
    assert [row["training"] for row in csv_rows(board.csv()) if row["track"] == "own"] == ["", "", "mine"]


def test_own_rows_of_sets_of_other_sizes_are_pointed_out():
    words = "The rows of unseen rest on sets of different sizes"
    same = [record(**OWN), record(**OWN | {"training": "mine"})]
    assert words not in make_boards(same)["bench"].markdown()
    assert (
        words in make_boards([same[0], record(**OWN | {"training": "mine", "n_id": 99})])["bench"].markdown()
    )


@pytest.mark.parametrize(
    ("change", "words"), [({}, "disagree about one result"), ({"run_id": "other"}, "partition 0 and seed 0")]
)
def test_records_that_contradict_each_other_are_refused_by_both_names(tmp_path, change, words):
    write(tmp_path / "r", record(auroc=0.8))
    write(tmp_path / "s", record(auroc=0.81, **change))
    with pytest.raises(UserError, match=words) as error:
        build(tmp_path / "out", [tmp_path / "s", tmp_path / "r"])
    for folder in "rs":
        (path,) = (tmp_path / folder).rglob("*.record.json")
        assert str(path) in str(error.value)
    assert contents(tmp_path / "out") == {}


def asked(value, **changes):
    """A record with failure detection."""
    entry = {"value": value, "ci_low": None, "ci_high": None}
    return record(failure={"metrics": {"AURC": entry, "OSCR": entry}, "val_range": None}, **changes)


def test_other_metrics_are_averaged_as_the_rest_and_columns_only_where_there_are_any():
    runs = {("0", 0): 0.1, ("0", 1): 0.3, ("1", 0): 0.4}
    made = [asked(value, partition=partition, seed=seed) for (partition, seed), value in runs.items()]
    other = record(training="plain", seed=0)
    (board,) = make_boards([*made, other]).values()
    (plain,) = make_boards([other]).values()
    table = list(csv.DictReader(io.StringIO(board.csv())))
    row, without = (next(row for row in table if row["training"] == name) for name in ("a2d", "plain"))
    assert (row["AURC"], row["AURC_std"], row["OSCR"]) == ("30.00", "14.14", "30.00")  # seeds first
    assert (without["AURC"], without["AURC_std"]) == ("", "")
    assert set(table[0]) - set(next(csv.reader(io.StringIO(plain.csv())))) == {
        "AURC", "AURC_std", "OSCR", "OSCR_std"
    }  # fmt: skip
    partly = make_boards([*made, record(partition="1", seed=1)])["bench"]
    assert "AURC" not in partly.rows[0].means  # a mean over other runs than the row's


def test_a_result_with_other_metrics_and_without_counts_once_with_them(tmp_path):
    write(tmp_path / "r", record(auroc=0.8))
    write(tmp_path / "s", asked(0.1, auroc=0.8))
    for order in ("rs", "sr"):
        (kept,) = collect([tmp_path / name for name in order], published=False).records
        assert kept.failure is not None
    write(tmp_path / "t", asked(0.2, auroc=0.8))
    with pytest.raises(UserError, match="disagree about one result"):
        collect([tmp_path], published=False)


def test_average_is_no_name_for_an_ood_set(tmp_path):
    write(tmp_path, record(ood_set="average"))
    with pytest.raises(UserError, match=r"msp@average\.record\.json.*ood_set"):
        collect([tmp_path])


def test_nothing_to_build_from():
    with pytest.raises(UserError, match="name a folder with records"):
        choose(make_boards([]), None)


# bytes and files


def many(seeds=(0, 1, 2)):
    rng = np.random.default_rng(0)
    return [
        far(ood_set, float(rng.random()), fpr=float(rng.random()), **which, partition=p, seed=s)
        for ood_set in ("x", "y")
        for which in ({"training": "a2d"}, {"training": "mine"}, {"benchmark": "other", "track": "grouped"})
        for p in ("0", "1", "2")
        for s in seeds
    ]


def test_order_and_place_of_the_records_change_no_byte(tmp_path):
    records = many()
    build(tmp_path / "out", [write(tmp_path / "r", *records)])
    shuffled = list(records)
    random.Random(0).shuffle(shuffled)
    assert rows_of(records) == rows_of(shuffled)  # to the last bit
    for index, each in enumerate(shuffled):
        each.write(tmp_path / "elsewhere" / str(index % 3) / str(index))
    build(tmp_path / "out2", [tmp_path / "elsewhere" / str(i) for i in (2, 0, 1)])
    assert contents(tmp_path / "out") == contents(tmp_path / "out2")
    assert {"bench.csv", "bench.md", "other.csv", "far_hmdb51.md", INDEX} <= set(contents(tmp_path / "out"))


def test_the_index_tells_what_the_files_are_and_were_made_from(tmp_path):
    folder = write(tmp_path / "r", *many())
    build(tmp_path / "out", [folder])
    files = contents(tmp_path / "out")
    index = json.loads(files.pop(INDEX))["benchmarks"]
    del files[PAGE]
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert {name: sha for entry in index.values() for name, sha in entry["files"].items()} == sums
    assert index["bench"]["records"] == {"reproduced": 36}
    assert index["hmdb51_25_26"]["records"] == {"published": 96}
    before = index["bench"]["records_sha256"]
    record(training="third").write(folder / "third")
    build(tmp_path / "out", [folder])
    after = json.loads(contents(tmp_path / "out")[INDEX])["benchmarks"]
    assert after["bench"]["records_sha256"] != before
    assert after["other"] == index["other"]


def test_a_chosen_benchmark_leaves_the_others_and_a_full_build_removes_what_has_no_record_now(tmp_path):
    out = tmp_path / "out"
    build(out, [write(tmp_path / "r", *many())], published=False)
    (out / "README.md").write_text("mine")
    old = contents(out)
    write(tmp_path / "s", record(training="new"))
    build(out, [tmp_path / "s"], ["bench"], published=False)
    new = contents(out)
    assert new["other.csv"] == old["other.csv"]
    assert new["bench.csv"] != old["bench.csv"]
    assert set(json.loads(new[INDEX])["benchmarks"]) == {"bench", "other"}
    build(out, [tmp_path / "s"], published=False)
    assert set(contents(out)) == {"bench.csv", "bench.md", INDEX, PAGE, "README.md"}


def test_an_index_cannot_have_other_files_removed(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "keep.md").write_text("mine")
    (out / "keep.txt").write_text("mine")
    (out / INDEX).write_text(json.dumps({"benchmarks": {"x": {"files": {"../keep.md": "", "keep.txt": ""}}}}))
    build(out, [write(tmp_path / "r", record())], published=False)
    assert (tmp_path / "keep.md").exists()
    assert (out / "keep.txt").exists()
    (out / INDEX).write_text('{"benchmarks": [1]}')
    with pytest.raises(UserError, match=r"leaderboard\.json"):
        build(out, [tmp_path / "r"], published=False)


posix = pytest.mark.skipif(sys.platform == "win32", reason="forks, kills and locks are POSIX's")


def _build_for_ever(out, folders):
    while True:
        for folder in folders:
            build(out, [folder], published=False)


@posix
def test_killed_at_random_it_leaves_old_or_new_files_never_half(tmp_path):
    first, second = write(tmp_path / "r", *many()), write(tmp_path / "s", *many(seeds=(0, 1)))
    whole = []
    for index, folder in enumerate((first, second)):
        build(tmp_path / str(index), [folder], published=False)
        whole.append(contents(tmp_path / str(index)))
    assert all(whole[0][name] != whole[1][name] for name in whole[0])
    out, rng = tmp_path / "out", random.Random(0)
    build(out, [first], published=False)
    context = multiprocessing.get_context("fork")
    for _ in range(50):
        process = context.Process(target=_build_for_ever, args=(out, (second, first)))
        process.start()
        time.sleep(rng.uniform(0.005, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        files = contents(out)
        kept = {name: data for name, data in files.items() if not name.startswith(".")}
        assert set(kept) == set(whole[0])
        for name, data in kept.items():
            assert data in (whole[0][name], whole[1][name]), name
    build(out, [second], published=False)  # the lock died with the process, and leftovers go
    assert contents(out) == whole[1]


def _write_then_build(number, folder, out, start):
    start.wait()
    for seed in range(3):
        record(seed=seed, training=f"t{number}", auroc=(number + 1) / 20).write(folder / f"t{number}_{seed}")
        time.sleep(0.05)
    if number % 8 == 0:
        build(out, [folder], published=False)


@posix
def test_sixteen_at_once_lose_nothing_while_builds_are_killed(tmp_path):
    records, out = tmp_path / "records", tmp_path / "out"
    first = write(tmp_path / "first", record(training="first"))
    build(out, [first], published=False)
    context, rng = multiprocessing.get_context("fork"), random.Random(0)
    start = context.Barrier(16)
    writers = [context.Process(target=_write_then_build, args=(i, records, out, start)) for i in range(16)]
    for process in writers:
        process.start()
    killed = 0
    while any(process.is_alive() for process in writers):
        builder = context.Process(target=_build_for_ever, args=(out, [first]))
        builder.start()
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(builder.pid, signal.SIGKILL)
        builder.join()
        killed += 1
        time.sleep(0.1)  # a turn for the others
        for path in out.iterdir():
            if not path.name.startswith("."):
                assert path.read_bytes().endswith(b"\n"), path  # whole
    assert killed > 1
    assert [process.exitcode for process in writers] == [0] * 16
    assert len(list(records.rglob("*.record.json"))) == 48
    build(out, [records], published=False)
    rows = csv_rows((out / "bench.csv").read_text(encoding="utf-8"))
    assert {(row["training"], row["n_seeds"]) for row in rows} == {(f"t{i}", "3") for i in range(16)}
    build(tmp_path / "alone", [records], published=False)
    assert contents(out) == contents(tmp_path / "alone")
    assert set(contents(out)) == {"bench.csv", "bench.md", INDEX, PAGE}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_files(tmp_path, monkeypatch, call):
    folder = write(tmp_path / "r", record())
    build(tmp_path / "out", [folder], published=False)
    old = contents(tmp_path / "out")
    record(seed=1).write(folder / "more")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="No space"):
        build(tmp_path / "out", [folder], published=False)
    assert contents(tmp_path / "out") == old


# the boards of this repository


def test_every_published_result_is_a_row():
    boards = make_boards(published_records())
    assert {name: len(board.rows) for name, board in boards.items()} == {
        "epic_kitchens_4_4": 81,
        "far_hmdb51": 106,
        "far_kinetics600": 100,
        "hmdb51_25_26": 94,
        "kinetics600_129_100": 61,
        "ucf101_50_51": 31,
    }
    assert [name for name, board in boards.items() if board.incomplete] == ["far_hmdb51"]
    best = csv_rows(boards["far_hmdb51"].csv())
    assert list(best[0]) == list(COLUMNS)
    first = [row for row in best if row["ood_set"] == "average" and row["rank"] == "1"]
    assert [(row["training"], row["postprocessor"], row["AUROC"], row["FPR@95"]) for row in first] == [
        ("dpu", "modality_virtual_logits", "96.90", "10.32")
    ]


def test_the_committed_leaderboards_are_what_build_makes(tmp_path):
    folder = CHECKOUT / "leaderboard"
    records = folder / "records"
    build(tmp_path, [records] if any(records.rglob("*.record.json")) else [])
    remedy = "run: openood-mm leaderboard build (in the checkout), and commit leaderboard/"
    expected, committed = contents(tmp_path), contents(folder)
    for name in sorted(set(expected) | {name for name in committed if name.endswith((".csv", ".md"))}):
        if name in ("README.md", PAGE):
            continue
        assert name in expected, f"{name} has no record; {remedy}"
        assert name in committed, f"{name} is missing; {remedy}"
        if name != INDEX:
            assert committed[name] == expected[name], f"{name} is out of date; {remedy}"
    assert _index(committed) == _index(expected), remedy


def _index(files):
    entries = json.loads(files[INDEX])["benchmarks"]
    # a new version of the package alone makes no leaderboard stale
    return {
        name: {key: value for key, value in entry.items() if key != "package_version"}
        for name, entry in entries.items()
    }


def test_trainings_with_other_settings_are_rows_of_their_own():
    plain = dict.fromkeys(DIGEST_NAMES)
    digests = [{**plain, "training": letter * 64, "checkpoint": letter} for letter in "ab"]
    records = [record(seed=i, run_id=str(i), digests=each) for i, each in enumerate(digests)]
    rows = make_boards(records)[records[0].benchmark].rows
    assert sorted(row.values["settings"] for row in rows) == ["a" * 8, "b" * 8]
