"""``openood-mm reproduce``: a table from end to end on generated clips, dry runs, and what can't run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from openood_multimodal.config import find_config
from openood_multimodal.moving_shapes import generate
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.reporting.records import load_records

SMALL = [
    *("--override", "--dataset.num_classes", "4", "--optimizer.num_epochs", "3", "--trainer.bank_size", "4"),
    *(
        "--preprocessor.video.frames",
        "4",
        "--preprocessor.video.size",
        "32",
        "--preprocessor.video.short_side",
    ),
    *("36", "--preprocessor.flow.frames", "4", "--preprocessor.flow.size", "32"),
    *("--preprocessor.flow.short_side", "36", "--num_gpus", "0", "--recorder.tensorboard", "false"),
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("shapes"), layout="hmdb51", size="tiny").root


def scaled(shapes: Path, output: Path, *more: str) -> list[str]:
    return [
        *("reproduce", "table11", "--scale", "moving_shapes", "--data-root", str(shapes)),
        *("--output-dir", str(output), "--num-workers", "0", *more, *SMALL),
    ]


def test_a_table_on_generated_clips(cli, shapes, tmp_path, monkeypatch):
    done = cli(scaled(shapes, tmp_path))
    assert done.code == 0, done.err
    root = tmp_path / "moving_shapes"
    records = load_records(root)
    assert {(record.training, record.postprocessor) for record in records} == {
        (training, score)
        for training in ("multimodal_baseline", "a2d_npmix")
        for score in ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
    } | {("multimodal_logitnorm", "msp"), ("a2d_npmix_logitnorm", "msp")}
    assert {(record.track, record.id_set) for record in records} == {("demo", "moving_shapes")}
    mixed = [record for record in records if record.synthesis]
    assert len(mixed) == 10

    # what is printed and written is what the records say, with nothing of the paper's beside it
    lines = list(csv.DictReader((root / "table11.csv").open()))
    values = {f"{100 * record.metrics['AUROC']['value']:.2f}" for record in records}
    assert len(lines) == len(records) == 20
    assert {line["AUROC_ours"] for line in lines} == values
    assert {(line["AUROC_paper"], line["AUROC_difference"], line["n"]) for line in lines} == {("", "", "1")}
    assert all(value in done.out for value in values)
    assert "the results say nothing about the paper's" in done.out

    # again: nothing runs, the same figures
    monkeypatch.setattr(TestPipeline, "run", lambda self: pytest.fail("it ran again"))
    again = cli(scaled(shapes, tmp_path))
    assert (again.code, again.out.count("done already")) == (0, 4)
    assert list(csv.DictReader((root / "table11.csv").open())) == lines

    # other settings don't mix with it
    other = cli([*scaled(shapes, tmp_path, "--keep-going"), "--optimizer.lr", "0.5"])
    assert other.code == 1
    assert "lr: 0.001 there, 0.5 here" in other.err


def test_a_dry_run_lists_and_runs_nothing(cli, tmp_path):
    where = ["--data-root", str(tmp_path / "data"), "--splits", str(tmp_path / "splits")]
    where += ["--weights", str(tmp_path / "weights"), "--output-dir", str(tmp_path / "out")]
    done = cli(["reproduce", "table6", "--dry-run", *where])
    assert done.code == 0
    assert done.out.count("openood-mm run --config datasets/hmdb51/hmdb51_25_26.yml") == 10
    assert "missing: splits, data, weights" in done.out
    assert "Not implemented here" not in done.out
    assert "Unknown: how scores were fitted" in done.out
    assert "36.38" in done.out
    assert "88.91" in done.out
    assert "openood-mm splits import --from MultiOOD --benchmark hmdb51_25_26" in done.out
    assert not list(tmp_path.iterdir())


def test_a_row_without_a_method_is_named_with_its_cells(cli, tmp_path):
    lacking = "not_implemented: [{training: a2d_synthesis, synthesis: vos, why: no such synthesis}]\n"
    (tmp_path / "mine.yml").write_text(find_config("tables/table6.yml").read_text() + lacking)
    done = cli(["reproduce", str(tmp_path / "mine.yml"), "--dry-run", "--data-root", str(tmp_path / "data")])
    assert "Not implemented here: a2d_synthesis, vos (4 reported cells): no such synthesis." in done.out


def test_rows_that_cannot_run(cli, shapes, tmp_path):
    where = ["--data-root", str(tmp_path / "data"), "--output-dir", str(tmp_path / "out")]
    stopped = cli(["reproduce", "table1", "--rows", "hmdb51*/a2d", *where])
    assert stopped.code == 2
    assert "1 of 1 rows can't run: no train.csv" in stopped.err
    assert f"no folder {tmp_path / 'data' / 'HMDB51'}" in stopped.out
    assert not (tmp_path / "out").exists()
    going = cli(["reproduce", "table1", "--rows", "hmdb51*/a2d", "--keep-going", *where])
    assert going.code == 1
    assert "Not run: hmdb51_25_26/video+flow/clip_fusion/a2d, seed 0: missing: no train.csv" in going.out
    assert "n = " not in going.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table0", "--data-root", "d"], "there is no table or figure 'table0'"),
        (["figur10"], "to reproduce. Did you mean 'figure10'"),
        (["figure2"], "There are table1, "),
        (["figure10"], "--data-root isn't given, and hmdb51_25_26 is clips: name the folder that holds them"),
        (["figure10", "--scale", "htod"], "there is no scale 'htod'. Did you mean 'htad'"),
        (["figure10", "--scale", "htad", "--partitions", "0"], "--partitions is 0; it must be at least 1"),
        (["figure10", "--scale", "htad", "--partitions", "99"], "htad_4_3 has no partition 98"),
        (
            ["figure12", "--data-root", "d", "--partitions", "2"],
            "--partitions is 2, and hmdb51_25_26 has one",
        ),
        (
            ["figure13", "--data-root", "d", "--scale", "moving_shapes"],
            "--partitions is 5, and moving_shapes has one",
        ),
        (
            ["table2", "--scale", "htad"],
            "the evaluator 'far_ood' needs farood sets, and htad_4_3_ood has nearood only",
        ),
        (
            ["table4", "--scale", "htad"],
            "the scale htad_4_3 has nothing in place of audio (row epic_kitchens_4_4/",
        ),
        (
            ["figure13", "--scale", "htad", "--override", "--dataset.partition", "3"],
            "sets dataset.partition; leave it out, or run it on one partition",
        ),
        (["table1", "--data-root", "d", "--scale", "moving"], "there is no scale 'moving'"),
        (["table1", "--data-root", "d", "--rows", "imagenet"], "no row fits --rows 'imagenet'"),
        (["table1", "--data-root", "d", "--override", "lr"], "after --override come --key value pairs"),
        (["table1", "--data-root", "d", "--override", "--optimizer.lr", "x"], "--optimizer.lr x"),
        (["table1", "--data-root", "d", "--override", "--output_dir", "x"], "--output-dir decides it"),
    ],
)
def test_mistakes(cli, words, message):
    done = cli(["reproduce", *words])
    assert done.code == 2
    assert message in done.err
    assert len(done.err.split("\n  ")[0].splitlines()) == 1


def test_a_table_of_ones_own(cli, shapes, tmp_path):
    table = {
        "title": "Mine",
        "network": "clip_fusion_small",
        "postprocessors": ["msp"],
        "runs": [
            {
                "benchmark": "moving_shapes/moving_shapes",
                "modalities": ["flow"],
                "rows": [{"training": "multimodal_baseline"}],
            }
        ],
    }
    path = tmp_path / "mine.yml"
    path.write_text(json.dumps(table))
    done = cli(["reproduce", str(path), "--data-root", str(shapes), "--dry-run"])
    assert done.code == 0, done.err
    assert "not begun; can run" in done.out
    assert "no results yet" in done.out
    (tmp_path / "bad.yml").write_text(json.dumps({**table, "benchmarks": []}))
    bad = cli(["reproduce", str(tmp_path / "bad.yml"), "--data-root", "d"])
    assert (bad.code, "benchmarks is not a parameter of Table" in bad.err) == (2, True)


def test_trained_networks_in_place_of_training(cli, shapes, tmp_path, monkeypatch):
    rows = ("--rows", "*/a2d_npmix")
    first = cli(scaled(shapes, tmp_path / "first", *rows))
    assert first.code == 0, first.err
    monkeypatch.setattr(TrainPipeline, "run", lambda self: pytest.fail("it trained"))
    given = ("--checkpoints", str(tmp_path / "first"), *rows)
    plan = cli(scaled(shapes, tmp_path / "second", "--dry-run", *given))
    assert plan.out.count("openood-mm run") == 1
    assert "pipelines/test/near_ood.yml" in plan.out
    done = cli(scaled(shapes, tmp_path / "second", *given))
    assert done.code == 0, done.err
    values = [
        [{**line} for line in csv.DictReader((tmp_path / name / "moving_shapes" / "table11.csv").open())]
        for name in ("first", "second")
    ]
    assert values[0] == values[1]
    assert cli(scaled(shapes, tmp_path / "second", *given)).out.count("done already") == 1

    # into the folder of a training: refused
    mixed = cli(scaled(shapes, tmp_path / "first", *given))
    assert (mixed.code, "holds a run of other settings" in mixed.err) == (2, True)
    missing = cli(scaled(shapes, tmp_path / "third", "--checkpoints", str(tmp_path / "second"), *rows))
    assert missing.code == 2
    assert "training/best.ckpt in" in missing.err
    none = cli(scaled(shapes, tmp_path / "third", "--checkpoints", str(tmp_path / "nowhere")))
    assert (none.code, "there is no such folder" in none.err) == (2, True)


def test_a_figure_on_real_tables(cli, tmp_path):
    """Figure 11 in small: a run an alpha, their table, and what is drawn of it."""
    pytest.importorskip("multiviewstacking")
    pytest.importorskip("matplotlib")
    words = ["reproduce", "figure11", "--scale", "htad", "--partitions", "1", "--output-dir", str(tmp_path)]
    words += ["--rows", "*[e2x]"]  # all but alpha 4
    small = ["--optimizer.num_epochs", "2", "--trainer.start_epoch", "1", "--trainer.bank_size", "4"]
    small += ["--network.hidden_dim", "8", "--network.embedding_dim", "6", "--recorder.tensorboard", "false"]
    small += ["--postprocessors", "ebo,gen,knn,vim", "--postprocessor_args", '{"vim": {"dim": 4}}']
    done = cli([*words, "--override", *small])
    assert done.code == 0, done.err
    root = tmp_path / "htad_4_3"
    names = [path.name for path in root.glob("figure11/*.png")]
    assert names == ["parameter-alpha-htad_4_3-near-accelerometer+audio-a2d_npmix.png"]
    lines = list(csv.DictReader((root / "figure11.csv").open()))
    rows = list(dict.fromkeys(line["row"].rpartition("/")[2] for line in lines))
    assert rows == ["multimodal_baseline", "a2d_npmix-alpha2", "a2d_npmix"]
    values = {f"{100 * record.metrics['AUROC']['value']:.2f}" for record in load_records(root)}
    assert {line["AUROC_ours"] for line in lines} == values
    assert all(value in done.out for value in values)
    assert " paper" not in done.out.partition("clip_fusion/")[2]
