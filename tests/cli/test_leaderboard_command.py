"""``openood-mm leaderboard``: what is printed, what is refused, and with which exit code."""

import errno
import json

import pytest
from made_records import RECORD

from openood_multimodal.cli import main
from openood_multimodal.files import atomic
from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.vocabulary import METRICS as NAMES

METRICS = {name: {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6} for name in NAMES}


def record(**changes):
    where = {"benchmark": "htad_4_3", "id_set": "htad_4_3", "ood_set": "htad_ood", "track": "grouped"}
    modalities = ["audio", "accelerometer"]
    fields = {**RECORD, **where, "run_id": "r0", "modalities": modalities, "metrics": METRICS, **changes}
    return ResultRecord(**fields)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *argv):
    code = main(["leaderboard", *argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_without_records_it_builds_from_the_published_results(capsys, tmp_path):
    code, out, err = run(capsys, "build")
    assert (code, err) == (0, "")
    assert "hmdb51_25_26: 94 rows from 96 published results: leaderboard/hmdb51_25_26.csv" in out
    assert len(names(tmp_path / "leaderboard")) == 14  # six boards, the page, the index


def test_records_in_the_usual_folder_are_taken_without_being_named(capsys, tmp_path):
    record().write(tmp_path / "leaderboard" / "records" / "htad_4_3" / "mine")
    code, out, _ = run(capsys, "build")
    assert code == 0
    assert "htad_4_3: 1 row from 1 reproduced result: leaderboard/htad_4_3.csv" in out
    assert "htad_4_3.csv" in names(tmp_path / "leaderboard")
    code, out, _ = run(capsys, "show", "htad_4_3")
    assert code == 0
    assert out == (tmp_path / "leaderboard" / "htad_4_3.md").read_text(encoding="utf-8")


def test_choices(capsys, tmp_path):
    record().write(tmp_path / "a")
    record(run_id="r1", seed=1).write(tmp_path / "b")
    code, _, _ = run(capsys, "build", "--records", "a", "--records", "b", "--no-published", "--out", "out")
    assert code == 0
    assert names(tmp_path / "out") == ["htad_4_3.csv", "htad_4_3.md", "index.html", "leaderboard.json"]
    assert "50.00 ± 0.00" in (tmp_path / "out" / "htad_4_3.md").read_text(encoding="utf-8")
    code, _, _ = run(capsys, "build", "--benchmark", "ucf101_50_51", "--out", "two")
    assert code == 0
    assert names(tmp_path / "two") == [
        "index.html",
        "leaderboard.json",
        "ucf101_50_51.csv",
        "ucf101_50_51.md",
    ]


def test_synthetic_data_is_said_to_be_left_out(capsys, tmp_path):
    record(benchmark="synthetic_far").write(tmp_path / "r" / "a")
    record(run_id="r1", notes=["synthetic data"]).write(tmp_path / "r" / "b")
    code, out, _ = run(capsys, "build", "--records", "r")
    assert code == 0
    assert "left out: 2 records of synthetic data" in out
    assert "htad" not in out
    assert not any("synthetic" in name for name in names(tmp_path / "leaderboard"))
    code, _, err = run(capsys, "show", "synthetic_far", "--records", "r")
    assert code == 2
    assert "synthetic_far" in err
    assert "--synthetic" in err
    code, out, _ = run(capsys, "show", "synthetic_far", "--synthetic", "--records", "r")
    assert code == 0
    assert "# Leaderboard: synthetic_far" in out


def test_methods_without_an_average_are_printed(capsys, tmp_path):
    for ood_set in ("x", "y"):
        record(ood_set=ood_set).write(tmp_path / "r" / "a")
    record(run_id="r1", training="mine", ood_set="x").write(tmp_path / "r" / "b")
    code, out, _ = run(capsys, "build", "--records", "r", "--no-published")
    assert code == 0
    assert "mine, msp, reproduced: not in the average over OOD sets, for want of y (1 run)" in out


def damaged(**changes):
    return json.dumps({**record().to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (damaged(metrics_=1), "field 'metrics_'"),
        (damaged(seed="0"), "field 'seed'"),
        (damaged(modalities="audio"), "field 'modalities'"),
        (damaged(metrics={**METRICS, "AUROC": {**METRICS["AUROC"], "value": float("nan")}}), "NaN"),
        (damaged(metrics={**METRICS, "AUROC": {**METRICS["AUROC"], "value": 80.0}}), "metrics.AUROC.value"),
        (damaged(schema_version=99), "field 'schema_version'"),
        (damaged(benchmark="hmdb51_25_26", track="multiood"), "hmdb51_25_26"),
        (damaged()[:-5], "JSON"),
    ],
)
def test_a_bad_record_is_refused_by_name_and_nothing_is_written(capsys, tmp_path, text, words):
    record(run_id="good", seed=1).write(tmp_path / "r" / "good")
    run(capsys, "build", "--records", "r", "--no-published")
    before = {path: path.read_bytes() for path in (tmp_path / "leaderboard").iterdir()}
    assert len(before) == 4
    record(run_id="later", seed=2).write(tmp_path / "r" / "later")
    (tmp_path / "r" / "bad.record.json").write_text(text, encoding="utf-8")
    code, _, err = run(capsys, "build", "--records", "r", "--no-published")
    assert code == 2
    assert "bad.record.json" in err
    assert words in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "leaderboard").iterdir()} == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["build", "--records", "nowhere"], "nowhere: there is no such folder"),
        (["build", "--records", "empty"], "empty: there is no *.record.json below it"),
        (["build", "--benchmark", "hmdb51_25_27"], "Did you mean 'hmdb51_25_26'?"),
        (["show", "ucf101"], "Did you mean 'ucf101_50_51'?"),
        (["build", "--no-published"], "no record to build a leaderboard from"),
        (["build", "--out", "file"], "file is a file; name a folder"),
    ],
)
def test_bad_input(capsys, tmp_path, argv, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["bild"], ["show"], ["build", "--record", "x"]])
def test_usage(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", *argv])
    assert stop.value.code == 2


def test_a_full_disk_is_exit_code_1(capsys, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    code, _, err = run(capsys, "build")
    assert code == 1
    assert "No space left on device" in err
