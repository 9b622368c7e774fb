"""Rows of leaderboards for papers, programs and OpenOOD's board: what they hold, and the command."""

import csv
import io
import json

import pytest
from made_leaderboards import CONDITION, record, write

from openood_multimodal.cli import main
from openood_multimodal.reporting import exports
from openood_multimodal.reporting.leaderboard import make_boards
from openood_multimodal.reporting.leaderboard_rows import decimals


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three scores on two seeds, one of them under a condition, too; two of them tied in AUROC."""
    return write(
        tmp_path_factory.mktemp("records"),
        *(
            record(auroc, fpr, postprocessor=name, seed=seed, **changes)
            for name, auroc, fpr in (("msp", 0.7, 0.5), ("knn", 0.9, 0.3), ("mls", 0.7, 0.6))
            for seed in (0, 1)
            for changes in ({}, {"condition": CONDITION} if name == "msp" else {})
        ),
    )


def export(folder, capsys, *words, code=0):
    done = main(["leaderboard", "export", *words, "--records", str(folder), "--no-published"])
    out, err = capsys.readouterr()
    assert done == code, err
    return out if code == 0 else err


def test_json_lines_rank_within_tables_and_hold_what_the_csv_holds(folder, capsys):
    rows = [json.loads(line) for line in export(folder, capsys, "--format", "jsonl").splitlines()]
    assert [(row["condition"], row["postprocessor"], row["rank"]) for row in rows] == [
        ("", "knn", 1),
        ("", "mls", 2),
        ("", "msp", 2),
        ("noise:a=3, embedding, both", "msp", 1),
    ]
    assert (rows[0]["AUROC"], rows[0]["AUROC_std"], rows[0]["n_runs"]) == (90.0, 0.0, 2)
    assert {"protocol", "tier", "split", "std_over", "n_seeds"} <= set(rows[0])
    table = list(csv.DictReader(io.StringIO(export(folder, capsys, "--format", "csv", "--sort", "FPR@95"))))
    assert [(row["rank"], row["postprocessor"], row["FPR@95"]) for row in table] == [
        ("1", "knn", "30.00"),
        ("2", "msp", "50.00"),
        ("3", "mls", "60.00"),
        ("1", "msp", "50.00"),
    ]
    everything = json.loads(export(folder, capsys, "--format", "jsonl", "--columns", "all").splitlines()[0])
    assert set(rows[0]) < set(everything)
    assert everything["engine"] == "native 0.1.0"
    assert everything["rank_in_input"] == 1


def test_latex_has_a_table_for_each_group_that_is_ranked_together(folder, capsys):
    text = export(
        folder, capsys, "bench", "--format", "latex", "--where", "postprocessor=knn", "postprocessor=mls"
    )
    assert text == "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage[T1]{fontenc}",
            r"\begin{table}",
            r"\centering",
            r"\caption{bench, Near-OOD, demo, bench, unseen}",
            r"\begin{tabular}{rllrrrrl}",
            r"\toprule",
            r"\# & Training & Score & AUROC $\uparrow$ & FPR@95 $\downarrow$ & ACC $\uparrow$ & Runs & Tier \\",
            r"\midrule",
            r"1 & A2D & KNN & 90.00 $\pm$ 0.00 & 30.00 $\pm$ 0.00 & 90.00 $\pm$ 0.00 & 1 $\times$ 2 & self-reported \\",
            r"2 & A2D & MaxLogit & 70.00 $\pm$ 0.00 & 60.00 $\pm$ 0.00 & 90.00 $\pm$ 0.00 & 1 $\times$ 2 "
            r"& self-reported \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
    assert export(folder, capsys, "--format", "latex").count(r"\begin{table}") == 2


def test_bibtex_is_of_the_rows_that_are_chosen(folder, capsys, tmp_path):
    out = tmp_path / "methods.bib"
    words = ("--format", "bibtex", "--where", "postprocessor=knn", "--out", str(out))
    assert export(folder, capsys, *words) == f"{out}: 1 row\n"
    entries = [line for line in out.read_text().splitlines() if line.startswith("@")]
    assert entries == ["@inproceedings{dong2024multiood,", "@inproceedings{sun2022out,"]


def test_openoods_rows_and_links(folder, capsys):
    rows = export(folder, capsys, "bench", "--format", "openood")
    assert main(["leaderboard", "openood", "bench", "--records", str(folder)]) == 0
    assert rows == capsys.readouterr().out
    assert export(folder, capsys, "bench", "--format", "openood-links") == (
        "Alias,Link\n"
        "A2D,https://arxiv.org/abs/2405.17419\n"
        "KNN,https://arxiv.org/abs/2204.06507\n"
        "MLS,https://arxiv.org/abs/1911.11132\n"
        "MSP,https://arxiv.org/abs/1610.02136\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bensh", "--format", "csv"], "no record is of the benchmark 'bensh'. Did you mean 'bench'?"),
        (["--format", "csv", "--where", "score=knn"], "no field 'score' to choose by"),
        (["--format", "csv", "--where", "postprocessor=kn"], "no row has the postprocessor 'kn'. Did you mean 'knn'?"),
        (["--format", "csv", "--where", "knn"], "--where takes FIELD=VALUE"),
        (["--format", "csv", "--where", "postprocessor=knn", "condition=noise:a=3, embedding, both"], "leave one of"),
        (["--format", "csv", "--sort", "AUROk"], "no row has the metric 'AUROk' to be ranked by."),
        (["--format", "latex", "--columns", "seeds"], "there is no column 'seeds'"),
        (["--format", "openood"], "--format openood takes the name of one benchmark."),
        (["bench", "--format", "openood", "--sort", "AUROC"], "and not --sort"),
    ],
)  # fmt: skip
def test_bad_input(folder, capsys, words, message):
    assert message in export(folder, capsys, *words, code=2)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(80.125, "80.13"), (80.5049999999, "80.50"), (0.005, "0.01"), (100, "100.00"), (None, "")],
)
def test_decimals_round_halves_up_as_the_page_does(value, shown):
    assert decimals(value) == shown


def test_the_most_decimals_are_six():
    (selected,) = exports.select(make_boards([record(1 / 3)]).values())
    assert exports.records([selected])[0]["AUROC"] == 33.333333
