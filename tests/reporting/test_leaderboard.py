"""Leaderboards: ranks, sections and pages, a pure function of records."""

import csv
import io

import pytest
from made_leaderboards import contents, csv_rows, far, only, published, record, write

from openood_multimodal.errors import UserError
from openood_multimodal.reporting.leaderboard import build, choose, collect, make_boards
from openood_multimodal.reporting.leaderboard_files import INDEX
from openood_multimodal.reporting.leaderboard_rows import rows_of
from openood_multimodal.reporting.page import PAGE
from openood_multimodal.reporting.schema import DIGEST_NAMES

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
