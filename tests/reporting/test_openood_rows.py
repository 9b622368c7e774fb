"""Rows for OpenOOD's own leaderboard, against literal means."""

import csv
import io

import numpy as np
import pytest

from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.reporting.openood_rows import COLUMNS, openood_rows, rows_csv
from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.reporting.schema import DIGEST_NAMES
from openood_multimodal.vocabulary import METRICS

NEAR, FAR = {"near1": 0.8, "near2": 0.6}, {"far1": 0.9}


def record(auroc=0.8, acc=0.9, **changes):
    values = {"AUROC": auroc, "ACC": acc}
    metrics = {n: {"value": values.get(n, 0.5), "ci_low": None, "ci_high": None} for n in METRICS}
    fields = {
        **{"run_id": "r", "benchmark": "bench", "partition": "0", "track": "grouped", "setting": "near"},
        **{"id_set": "bench", "ood_set": "near1", "modalities": ["video", "flow"]},
        **{
            "networks": {"video": "slowfast", "flow": "slowonly"},
            "training": "a2d_npmix",
            "protocol": "multiood-code",
        },
        **{"synthesis": "npmix", "discrepancy": "hellinger", "postprocessor": "ebo", "parameters": {}},
        **{"preset": "openood", "fit_on": "train", "engine": {"name": "openood", "version": "v"}, "seed": 0},
        **{
            "best_epoch": 3,
            "metrics": metrics,
            "n_id": 10,
            "n_ood": 20,
            "digests": dict.fromkeys(DIGEST_NAMES),
        },
        **changes,
    }
    fields["run_id"] += f"-{fields['seed']}-{fields['partition']}-{fields['setting']}"
    return ResultRecord(**fields)


def runs(seeds=range(3), **changes):
    """Near and far results of several seeds, each in a run of its own, as OpenOOD's host makes them."""
    for seed in seeds:
        for setting, sets in (("near", NEAR), ("far", FAR)):
            for name, auroc in sets.items():
                yield record(
                    auroc + 0.01 * seed**2,
                    0.9 - 0.02 * seed,
                    setting=setting,
                    ood_set=name,
                    seed=seed,
                    **changes,
                )


def test_a_row_is_the_mean_of_runs_each_the_mean_of_its_sets():
    (row,) = openood_rows(runs(), "bench")
    shift = np.array([0, 1, 4])
    assert row == {
        "Training": "A2D + NP-Mix",
        "Postprocessor": "EBO",
        "Near-OOD_AUROC": f"{np.mean(70 + shift):.2f} ± {np.std(70 + shift):.2f}",
        "Far-OOD_AUROC": f"{np.mean(90 + shift):.2f} ± {np.std(90 + shift):.2f}",
        "ID_Accuracy": f"88.00 ± {np.std([90, 88, 86]):.2f}",
        "Outlier_Data": "No",
        "Arch": "slowfast+slowonly (video+flow)",
        "Additional_Description": "track grouped, 3 runs",
    }
    text = rows_csv([row])
    assert text.splitlines()[0] == (
        "Training,Postprocessor,Near-OOD_AUROC,Far-OOD_AUROC,ID_Accuracy,Outlier_Data,Arch,Additional_Description"
    )
    assert list(csv.DictReader(io.StringIO(text))) == [row]
    assert tuple(row) == COLUMNS


def test_one_run_has_no_deviation_and_a_benchmark_without_far_sets_a_slash():
    (row,) = openood_rows([record(0.812)], "bench")
    assert (row["Near-OOD_AUROC"], row["Far-OOD_AUROC"], row["ID_Accuracy"]) == ("81.20", "/", "90.00")
    assert row["Additional_Description"] == "track grouped, 1 run"


def test_names_of_their_board_and_what_tells_alike_rows_apart():
    rows = openood_rows(
        [
            record(training="multimodal_baseline", postprocessor="openood-knn", parameters={"K": 10}),
            record(training="multimodal_baseline", postprocessor="openood-knn", parameters={"K": 50}),
            record(training="mine", postprocessor="own_score", partition="1"),
            record(training="mine", postprocessor="own_score", partition="2"),
        ],
        "bench",
    )
    assert [(row["Training"], row["Postprocessor"], row["Additional_Description"]) for row in rows] == [
        ("mine", "own_score", "track grouped, 2 runs, 2 class partitions"),
        ("CrossEntropy", "KNN", "track grouped, 1 run, K=10"),
        ("CrossEntropy", "KNN", "track grouped, 1 run, K=50"),
    ]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record()], "no record is of the benchmark 'bnech'.* Did you mean 'bench'"),
        ([record(source="published", benchmark="bnech")], "no record is of the benchmark 'bnech'"),
        ([record(benchmark="bnech", track="own", setting=None)], "the setting near or far"),
        (
            [*runs([0], benchmark="bnech"), record(benchmark="bnech", seed=1)],
            r"partition 0 and seed 1 \(a2d_npmix, ebo\) has no result on far1, near2",
        ),
    ],
)
def test_refusals(records, words):
    with pytest.raises(UserError, match=words):
        openood_rows(records, "bnech")


def test_the_command(tmp_path, capsys):
    for each in runs():
        each.write(tmp_path / "results" / f"s{each.seed}" / each.setting)
    words = ["leaderboard", "openood", "bench", "--records", str(tmp_path / "results")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text == rows_csv(openood_rows(runs(), "bench"))
    assert main([*words, "--out", str(tmp_path / "bench.csv")]) == 0
    assert (tmp_path / "bench.csv").read_text(encoding="utf-8") == text
    assert "bench.csv: 1 row" in capsys.readouterr().out
    assert main(["leaderboard", "openood", "bench", "--records", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
