"""Rows of the paper's tables: what is planned, what is missing, what resumes, and ours beside the paper's."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from openood_multimodal.config import load_config
from openood_multimodal.datasets.clip_benchmarks import load_clip_benchmark
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_json
from openood_multimodal.pipelines import run as run_module
from openood_multimodal.pipelines.compare import (
    compare,
    not_implemented_cells,
    printed_cells,
    write_comparison,
)
from openood_multimodal.pipelines.missing import find_missing
from openood_multimodal.pipelines.table_runs import Roots, TableRun, plan_table
from openood_multimodal.pipelines.tables import (
    NotImplementedRow,
    available_tables,
    load_scale,
    load_table,
    published_rows,
)
from openood_multimodal.reporting.published import published_records
from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.vocabulary import METRICS

HMDB = "hmdb51_25_26/video+flow/clip_fusion"


def jobs(tmp_path: Path, table: str = "table1", pattern: str = "", **more) -> list[TableRun]:
    roots = Roots(
        str(tmp_path / "data"), str(tmp_path / "splits"), str(tmp_path / "weights"), str(tmp_path / "out")
    )
    return plan_table(load_table(table), roots, pattern=pattern, **more)


def finish(job: TableRun, values: dict[tuple[str, str], float], **fields) -> None:
    """Leave what a finished run leaves: records with these AUROCs (FPR@95 and ACC: 0.5), and the mark."""
    benchmark = job.id_set
    template = published_records()[0].to_dict()
    known = load_clip_benchmark(benchmark).manifest_digests[0]
    for (score, ood_set), auroc in values.items():
        record = {
            **template,
            **{"source": "reproduced", "benchmark": benchmark, "id_set": benchmark, "ood_set": ood_set},
            **{"postprocessor": score, "seed": job.seed, "run_id": f"run{job.seed}", "notes": ["a note"]},
            "digests": {**template["digests"], "manifest": known},
            "metrics": {
                name: {"value": auroc if name == "AUROC" else 0.5, "ci_low": None, "ci_high": None}
                for name in METRICS
            },
            **{"n_id": 459, "n_ood": 3744},
            **fields,
        }
        ResultRecord.from_json(record).write(job.folder / "test" / "records")
    write_json(job.folder / "done.json", {"digest": job.digest()})


def test_plan_and_patterns(tmp_path):
    everything = jobs(tmp_path, seeds=2)
    assert len(everything) == len({job.folder for job in everything}) == 24 * 2
    assert [job.seed for job in everything[:4]] == [0, 1, 0, 1]
    assert [job.name for job in jobs(tmp_path, pattern="hmdb51*/a2d_npmix")] == [f"{HMDB}/a2d_npmix"]
    assert [job.name.rpartition("/")[2] for job in jobs(tmp_path, pattern="epic_kitchens_4_4")] == [
        *("multimodal_baseline", "multimodal_logitnorm", "a2d", "a2d_logitnorm"),
        *("a2d_npmix", "a2d_npmix_logitnorm"),
    ]
    with pytest.raises(
        UserError, match=r"no row fits --rows 'svhn'; the rows are\n  hmdb51_25_26/video\+flow"
    ):
        jobs(tmp_path, pattern="svhn")
    with pytest.raises(UserError, match=r"^seeds is 0"):
        jobs(tmp_path, seeds=0)
    with pytest.raises(UserError, match=r"no table or figure 'tabel1'.*Did you mean 'table1'"):
        load_table("tabel1")


def test_overrides_reach_the_configs_that_have_the_key(tmp_path):
    job = jobs(
        tmp_path,
        pattern="hmdb51*/a2d",
        overrides={"optimizer.num_epochs": "3", "dataset.test.batch_size": "4", "evaluator.ood_scheme": "x"},
    )[0]
    training, test = (each.config() for each in job.commands())
    assert training["optimizer"]["num_epochs"] == 3
    assert training["dataset"]["test"]["batch_size"] == test["dataset"]["test"]["batch_size"] == 4
    assert test["evaluator"]["ood_scheme"] == "x"
    # a key that only some rows have is no mistake; one that none has is
    assert len(jobs(tmp_path, overrides={"trainer.start_epoch": "4"})) == 24
    with pytest.raises(UserError, match=r"optimiser\.lr.*Did you mean 'optimizer\.lr'"):
        jobs(tmp_path, overrides={"optimiser.lr": "1"})
    with pytest.raises(UserError, match="--seed can't be overridden here: --seeds decides it"):
        jobs(tmp_path, overrides={"seed": "1"})


def test_a_wrong_parameter_shows_before_anything_runs(tmp_path):
    job = jobs(tmp_path, pattern="hmdb51*/a2d")[0]
    job.check()
    for key, value, message in (
        ("network.encoders.video.name", "slowfast_r11", "Did you mean 'slowfast_r101'"),
        ("network.encoders.video.name", "slowonly_r50_flow", "is an encoder of flow"),
        ("trainer.discrepancy", "helinger", "Did you mean 'hellinger'"),
        ("optimizer.name", "adm", "adam"),
        ("preprocessor.protocol", "multiod-code", "Did you mean 'multiood-code'"),
        ("dataset.train.imglist_pth.on_error", "ignore", "on_error"),
        ("training.precision", "float8", "precision"),
    ):
        with pytest.raises(UserError, match=message):
            replace(job, overrides={key: value}).check()


def test_settings_count_and_places_do_not(tmp_path):
    job = jobs(tmp_path, pattern="hmdb51*/a2d")[0]
    elsewhere = replace(job, roots=Roots("/d", "/s", "/w", "/o"), num_workers=7)
    assert elsewhere.digest() == job.digest()
    assert replace(job, seed=1).digest() != job.digest()
    assert replace(job, overrides={"optimizer.lr": "0.1"}).digest() != job.digest()


def test_the_test_takes_the_training_network_and_no_starting_weights(tmp_path):
    training, test = (each.config() for each in jobs(tmp_path, pattern="hmdb51*/a2d")[0].commands())
    assert test["network"]["checkpoint"] == f"{training['output_dir']}/best.ckpt"
    assert [test["network"]["encoders"][each]["checkpoint"] for each in ("video", "flow")] == ["", ""]
    assert training["network"]["encoders"]["video"]["checkpoint"].startswith(str(tmp_path / "weights"))


def test_what_is_missing_and_where_it_comes_from(tmp_path):
    job = jobs(tmp_path, pattern="hmdb51*/a2d")[0]
    found = [each for each in find_missing(job) if each.kind != "package"]
    assert [each.kind for each in found] == ["splits", "data", "weights", "weights"]
    assert found[0].what.startswith("no train.csv, val.csv, test.csv, nearood_hmdb51.csv in ")
    assert found[0].remedy.startswith("openood-mm splits import --from MultiOOD --benchmark hmdb51_25_26")
    assert found[1].remedy == "openood-mm prepare hmdb51"
    assert found[2].remedy.endswith("0dd54025.pth")

    splits, data = tmp_path / "splits" / "hmdb51_25_26", tmp_path / "data" / "HMDB51"
    splits.mkdir(parents=True)
    for name in ("train", "val", "test", "nearood_hmdb51"):
        label = -1 if name.startswith("near") else 0
        row = f"wave/a.avi,{label},wave,a,video/wave/a.avi,flow/a_flow_x.mp4,,"
        (splits / f"{name}.csv").write_text(f"clip,label,class_name,group,video,flow,start,stop\n{row}\n")
    for name in ("video/wave/a.avi", "flow/a_flow_x.mp4"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    for each in found[2:]:
        path = Path(each.what.split()[2])
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (only,) = (each for each in find_missing(job) if each.kind != "package")
    assert only.what.startswith(f"no {data}/flow/a_flow_y.mp4 (flow of the first clip in")
    assert only.remedy == f"openood-mm prepare hmdb51 --root {data} --manifests {splits}"
    (data / "flow/a_flow_y.mp4").touch()
    assert not [each for each in find_missing(job) if each.kind != "package"]


def test_ours_beside_the_printed_cell(tmp_path):
    first, second = jobs(tmp_path, pattern="hmdb51*/a2d_npmix", seeds=2)
    finish(first, {("ebo", "hmdb51"): 0.88, ("knn", "hmdb51"): 0.5})
    finish(second, {("ebo", "hmdb51"): 0.90})
    (row,) = compare(load_table("table1"), [first, second])
    cells = {cell["postprocessor"]: cell for cell in row.cells}
    assert list(cells) == ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"]
    auroc = {what: cells["ebo"][f"AUROC_{what}"] for what in ("paper", "ours", "std", "difference")}
    assert (auroc["paper"], auroc["ours"], cells["ebo"]["n"]) == (88.91, pytest.approx(89.0), 2)
    assert auroc["difference"] == pytest.approx(0.09)
    assert auroc["std"] == pytest.approx(2**0.5)
    assert (cells["knn"]["n"], cells["knn"]["AUROC_std"]) == (1, None)
    assert (cells["msp"]["n"], cells["msp"]["AUROC_ours"]) == (0, None)
    assert row.notes == ["a note"]

    path = write_comparison(tmp_path / "table.csv", [row])
    lines = {line["postprocessor"]: line for line in csv.DictReader(path.open())}
    assert lines["ebo"]["AUROC_difference"] == "0.09"
    assert lines["msp"]["AUROC_ours"] == ""


def test_seeds_are_averaged_within_a_partition(tmp_path):
    planned = jobs(
        tmp_path, "figure10", "*/multimodal_baseline", scale=load_scale("htad"), partitions=2, seeds=2
    )
    assert [(job.partition, job.seed) for job in planned] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({job.folder for job in planned}) == 4
    for job, auroc in zip(planned, (0.5, 0.7, 0.9, 0.8), strict=True):
        if (job.partition, job.seed) != (1, 1):
            fields = {"benchmark": "htad_4_3", "track": "demo", "partition": str(job.partition)}
            finish(job, {("ebo", "htad_ood"): auroc}, **fields)
    [row] = compare(load_table("figure10"), planned)
    [cell] = row.cells
    assert (cell["AUROC_ours"], cell["n"]) == (pytest.approx(75.0), 3)  # of 60 and 90, not of three runs
    assert cell["AUROC_std"] == pytest.approx(30 / 2**0.5)


def test_the_average_is_over_a_rows_sets(tmp_path):
    (job,) = jobs(tmp_path, "table2", "baseline")
    sets = ("kinetics600", "ucf101", "epic_kitchens", "hac")
    finish(
        job,
        {("ebo", name): value for name, value in zip(sets, (0.9, 0.8, 0.7, 0.6), strict=True)},
        setting="far",
    )
    (row,) = compare(load_table("table2"), [job])
    mean = next(cell for cell in row.cells if (cell["postprocessor"], cell["ood_set"]) == ("ebo", "average"))
    assert mean["AUROC_ours"] == pytest.approx(75.0)


def test_an_average_of_some_sets_is_none(tmp_path):
    (job,) = jobs(tmp_path, "table2", "baseline")
    finish(job, {("ebo", "ucf101"): 0.8, ("ebo", "hac"): 0.6}, setting="far")
    (row,) = compare(load_table("table2"), [job])
    mean = next(cell for cell in row.cells if (cell["postprocessor"], cell["ood_set"]) == ("ebo", "average"))
    assert (mean["n"], mean["AUROC_ours"]) == (0, None)


def test_other_clips_give_no_difference(tmp_path):
    (job,) = jobs(tmp_path, pattern="hmdb51*/a2d_npmix")
    finish(job, {("ebo", "hmdb51"): 0.88}, benchmark="hmdb51_25_26_modified", track="demo")
    (row,) = compare(load_table("table1"), [job])
    cell = next(cell for cell in row.cells if cell["postprocessor"] == "ebo")
    assert not cell["comparable"]
    assert cell["AUROC_ours"] == pytest.approx(88.0)
    assert cell["AUROC_difference"] is None


def test_another_scale_has_nothing_of_the_papers_beside_it(tmp_path):
    (job,) = jobs(tmp_path, pattern="hmdb51*/a2d_npmix", scale=load_scale("moving_shapes"))
    (real,) = jobs(tmp_path, pattern="hmdb51*/a2d_npmix")
    assert printed_cells(job, published_rows(1))
    assert compare(load_table("table1"), [job])[0].cells == []
    assert job.folder != real.folder
    assert job.digest() != real.digest()


def test_what_is_not_implemented_is_counted():
    lacking = replace(
        load_table("table6"), not_implemented=[NotImplementedRow("a2d_synthesis", "why", "vos")]
    )
    assert not_implemented_cells(lacking) == [("a2d_synthesis, vos", "why", 4)]
    assert all(not load_table(name).not_implemented for name in available_tables())


@pytest.mark.parametrize(("number", "rows"), [(6, 5), (10, 6)])
def test_every_reported_cell_has_a_run(tmp_path, number, rows):
    planned = jobs(tmp_path, f"table{number}")
    for job in planned:
        job.check()
    assert len(planned) == rows
    cells = [tuple(row.values()) for job in planned for row in printed_cells(job, published_rows(number))]
    assert sorted(cells) == sorted(tuple(row.values()) for row in published_rows(number))


class Steps:
    """Pipelines that only note that they ran."""

    def __init__(self, fail: str = "") -> None:
        self.ran: list[str] = []
        self.fail = fail

    def get(self, name: str):
        def build(config):
            pipeline = type("Pipeline", (), {})()
            pipeline.run = lambda: self._run(name)
            return pipeline

        return build

    def _run(self, name: str) -> None:
        if name == self.fail:
            raise UserError("stopped")
        self.ran.append(name)


def test_a_row_goes_on_where_it_stopped_and_refuses_other_settings(tmp_path, monkeypatch):
    job = jobs(tmp_path, pattern="hmdb51*/a2d_npmix")[0]
    monkeypatch.setattr(run_module, "PIPELINES", Steps(fail="multimodal_test"))
    with pytest.raises(UserError, match="stopped"):
        job.run()
    assert not job.is_done()
    with pytest.raises(UserError, match=r"of other settings \(training.*lr: 0.0001 there, 0.1 here"):
        replace(job, overrides={"optimizer.lr": "0.1"}).run()
    steps = Steps()
    monkeypatch.setattr(run_module, "PIPELINES", steps)
    job.run()
    assert steps.ran == ["multimodal_train", "multimodal_test"]
    assert job.is_done()
    assert find_missing(job) == []  # data and weights of a finished row may be gone
    job.run()
    assert len(steps.ran) == 2
    assert json.loads((job.folder / "job.json").read_text())["row"] == job.name


def test_the_printed_commands_are_what_runs(tmp_path):
    job = jobs(tmp_path, pattern="epic*/a2d_npmix")[0]
    training, test = (each.config() for each in job.commands())
    for command, config in zip(job.commands(), (training, test), strict=True):
        program, run, first, *words = shlex.split(str(command))
        assert (program, run, first) == ("openood-mm", "run", "--config")
        place = next(number for number, word in enumerate(words) if word.startswith("--"))
        assert load_config(words[:place], words[place:]) == config
    assert training["output_dir"] == str(job.folder / "training")
    assert (test["output_dir"], test["preset"], test["fit_on"]) == (
        str(job.folder / "test"),
        "multiood",
        "train",
    )


def test_the_authors_checkpoints_are_found_by_their_names(tmp_path):
    from openood_multimodal.networks.clips.published_weights import NETWORK_WEIGHTS

    (tmp_path / "weights").mkdir()
    names = set()
    for table in ("table1", "table3", "table4", "table7", "table8"):
        roots = Roots("data", checkpoints=str(tmp_path / "weights"), output=str(tmp_path / "out"))
        for job in plan_table(load_table(table), roots, seeds=2):
            authors = [each.name for each in job.checkpoints if each.suffix == ".pt"]
            assert len(authors) <= (1 if job.seed == 0 else 0)
            assert "logitnorm" not in job.row.training or not authors
            names.update(authors)
    assert names == {each.file for each in NETWORK_WEIGHTS}

    job = jobs_with(tmp_path, "hmdb51_25_26/*/a2d_npmix")
    [missing] = [each for each in find_missing(job) if each.kind == "checkpoint"]
    assert "HMDB_near_ood_a2d_npmix.pt or " in missing.what
    assert "huggingface.co" in missing.remedy
    assert not [each for each in find_missing(job) if each.kind == "weights"]
    file = tmp_path / "weights" / "HMDB_near_ood_a2d_npmix.pt"
    file.write_bytes(b"one")
    assert job.checkpoint == file
    assert job.test_commands()[0].config()["network.checkpoint"] == str(file)
    before = job.digest()
    file.write_bytes(b"two")
    assert job.digest() != before  # another network is another result


def jobs_with(tmp_path, pattern):
    roots = Roots("data", checkpoints=str(tmp_path / "weights"), output=str(tmp_path / "out"))
    [job] = plan_table(load_table("table1"), roots, pattern=pattern)
    return job


def test_a_checkpoint_without_a_card_is_compared_where_the_clips_are_the_authors(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "HMDB_near_ood_a2d.pt").write_bytes(b"one")
    job = jobs_with(tmp_path, "hmdb51_25_26/*/a2d")
    unknown = {"track": "own", "training": None, "protocol": None, "synthesis": None, "discrepancy": None}
    finish(job, {("msp", "hmdb51"): 0.9}, **unknown)
    [row] = compare(job.table, [job])
    [cell] = [each for each in row.cells if each["n"]]
    assert cell["comparable"]
    assert cell["AUROC_difference"] is not None
    other = {**published_records()[0].to_dict()["digests"], "manifest": "0" * 64}
    finish(job, {("msp", "hmdb51"): 0.9}, **unknown, digests=other)
    [row] = compare(job.table, [job])
    assert not next(each for each in row.cells if each["n"])["comparable"]
