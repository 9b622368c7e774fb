"""Benchmarks of growth, shards, conditions, decoding and training steps at tiny sizes."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import checked, options

from benchmarks import decoding, growth, jobs, shards, stress, training_step
from benchmarks.parts import clips, decoding_worker, processes, reading
from benchmarks.suite import command
from benchmarks.suite.discover import find_benchmarks
from benchmarks.suite.measuring import Times, timed
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors.run import all_scores

# --- growth


@pytest.mark.usefixtures("in_process")
def test_growth_measures_every_size() -> None:
    words = "--rows 300 600 --dim 24 --test 40 --dims 24 32 --dims-rows 300 --classes 6 --neighbours 5"
    report = growth.run(options("growth", f"{words} --vim-dim 8 --scores mds"))
    lines = checked(report)
    assert "mds: anonymous MiB a million added rows, 300 to 600" in report.ratios or sys.platform != "linux"
    sizes = ["N = 300, D = 24", "N = 600, D = 24", "N = 300, D = 32"]
    assert list(lines) == [f"{size}: {what}" for size in sizes for what in ("table", "mds")]
    seconds = [lines[f"{size}: mds"].wall_s or 0.0 for size in sizes]
    assert report.ratios["mds: µs an added row, 300 to 600"] == pytest.approx(
        (seconds[1] - seconds[0]) / 300 * 1e6
    )
    assert all(float(each.values["peak_MiB"] or 0.0) >= 0 for each in lines.values())


def test_growth_lists_what_ran_over_time_and_knows_every_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(module: str, task: dict[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        if task["scores"] == ["lof"]:
            raise processes.OverTimeError(f"over {limit_s:g} s")
        took = {"wall": [1.0], "cpu": [1.0], "fit_s": 1.0, "peak_MiB": 9.0, "anonymous_MiB": 5.0}
        return {**took, "wall": [2.0]} if task["scores"] == ["table"] else took

    monkeypatch.setattr(growth, "run_module", answer)
    words = "--rows 300 600 --dim 24 --test 40 --dims --classes 6 --neighbours 5 --vim-dim 8 --time-limit 7"
    report = growth.run(options("growth", f"{words} --scores all"))
    lines = checked(report)
    assert {name.partition(": ")[2] for name in lines} == {"table", *all_scores()}
    assert lines["N = 600, D = 24: lof"].note == "over 7 s"
    assert report.ratios["heat: anonymous MiB a million added rows, 300 to 600"] == 0.0
    assert not any(name.startswith("lof") for name in report.ratios)
    with pytest.raises(UserError, match=r"--scores names 'knnn'.*'knn'"):
        growth.run(options("growth", f"{words} --scores knnn"))


def test_growth_asks_for_disk_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth.shutil, "disk_usage", lambda folder: Namespace(free=2**30))
    with pytest.raises(UserError, match=r"1\.0 GiB free and 2\.3 GiB are needed"):
        growth.run(command.parse(find_benchmarks(), ["growth"], ["--threads", "1"])["growth"])


# --- shards


def test_shards_measures_one_process_and_a_cluster() -> None:
    pytest.importorskip("distributed")
    sizes = "--rows 400 800 --dim 24 --step 8 --scored 300 --queries 50 --classes 6"
    words = f"--workers 1 {sizes} --neighbours 5 --vim-dim 8"
    lines = checked(shards.run(options("shards", f"{words} --scores knn")))
    assert list(lines) == ["N = 400, one process: knn", "N = 400, cluster: knn", "N = 800, cluster: knn"]
    assert all(each.note == "" for each in lines.values())
    assert "worker_MiB" in lines["N = 800, cluster: knn"].values
    with pytest.raises(UserError, match=r"--rows 20 are fewer than are scored"):
        shards.run(options("shards", f"{words} --rows 20"))


# --- jobs


def test_jobs_measures_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs done here, one after the other: gaps between them are the overhead, all else but them is idle time."""

    def one_after_the_other(runs: Any, workers: int, scheduler: str | None) -> None:
        for each in runs:
            time.sleep(0.05)
            each.run()

    monkeypatch.setattr(jobs, "run_in_parallel", one_after_the_other)
    (line,) = checked(jobs.run(options("jobs", "--jobs 2 --pool 1 --clusters"))).values()
    values = line.values
    assert 50 <= values["overhead_ms"] < values["job_ms"]
    assert values["idle_ms"] == pytest.approx(1e3 * line.wall_s / 2 - values["job_ms"])


def test_jobs_compares_the_metrics_of_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, list[Namespace]] = {}
    monkeypatch.setattr(jobs, "_measure", lambda *given: (Times((1.0,), (1.0,)), {}))
    monkeypatch.setattr(jobs, "load_records", lambda folder: found[folder.name])
    one = [
        Namespace(partition="0", seed=seed, postprocessor="ebo", ood_set="x", metrics={}) for seed in (0, 1)
    ]
    changed = Namespace(**{**vars(one[1]), "metrics": {"auroc": 1.0}})
    for pool, cluster, expected in (
        (one, one, [True, True]),
        (one, [one[0], changed], [True, False]),
        ([changed, one[0]], [one[0], one[1]], [True, False]),
        ([one[1], *one], one[:1], [True, False]),
        ([], [], [False, False]),
    ):
        found.update(pool_of_1=pool, cluster_of_1=cluster)
        lines = jobs.run(options("jobs", "--jobs 2 --pool 1 --clusters 1")).measurements
        assert [each.values["same_results"] for each in lines] == expected


# --- stress


def test_stress_measures_every_condition_of_a_modality_beside_every_score() -> None:
    report = stress.run(options("stress", "--rows 300 --train 200 --dim 24 --classes 6 --scores msp mds"))
    conditions = ["missing:video=zero", "missing:video=mean", "noise:video=2", "noise:video=4"]
    conditions += ["swap:video=other", "swap:video=same"]
    lines = checked(report)
    assert list(lines) == ["scoring: msp", "scoring: mds", *conditions]
    dearest = max(lines[text].cpu_s or 0.0 for text in conditions)
    scored = [lines[f"scoring: {name}"].cpu_s or 0.0 for name in ("msp", "mds")]
    assert list(report.ratios.values()) == [dearest / each for each in (*scored, sum(scored))]
    with pytest.raises(UserError, match=r"'mdss'.*'mds'"):
        stress.run(options("stress", "--scores mdss"))


# --- decoding


class PoolInProcess:
    """A pool without processes."""

    def __init__(self, way: str, clips: list[Any], transforms: bool, workers: int) -> None:
        self.task = {"way": way, "clips": clips, "transforms": transforms}

    def first(self) -> None:
        decoding_worker.work(self.task)

    def round(self) -> tuple[float, float, float]:
        times = timed(self.first)
        return times.wall_s, times.cpu_s, 1.0

    def close(self) -> None:
        pass


def test_decoding_measures_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "Pool", PoolInProcess)
    words = (
        "--seconds 2.4 --keyframes 12 --width 64 --height 48 --workers 2 --clips 2 --rounds 1 --codecs h264"
    )
    report = decoding.run(options("decoding", words))
    lines = checked(report)
    assert len(lines) == 2 * 4
    reader = lines["h264, keyframes 12, 2.4 s, frames, 2 workers: reader"]
    bare = lines["h264, keyframes 12, 2.4 s, frames, 2 workers: bare loop"]
    assert reader.wall_s is not None
    assert bare.wall_s is not None
    assert reader.values["clips/s"] == pytest.approx(1 / reader.wall_s)
    assert reader.values["of bare loop"] == pytest.approx(bare.wall_s / reader.wall_s)
    assert report.ratios["reader, of bare loop: least"] > 0
    assert not any("10 s" in key for key in report.ratios)


def test_workers_share_the_clips(tmp_path: Path) -> None:
    kind = clips.Kind("mpeg4", 12, 0.5, 64, 48)
    tasks = [[str(path), 0, kind.frames] for path in clips.write_clips(tmp_path, kind, 3, seed=0)]
    with decoding.Pool("bare loop", tasks, False, 2) as pool:
        assert [len(each["clips"]) for each in pool._tasks] == [2, 1]
        pool.first()
        wall, cpu, peak = pool.round()
    assert wall > 0
    assert cpu > 0
    assert peak >= 0
    Path(tasks[0][0]).unlink()
    with (
        decoding.Pool("bare loop", tasks, False, 1) as pool,
        pytest.raises(RuntimeError, match="worker ended"),
    ):
        pool.first()


@pytest.mark.parametrize("codec", list(clips.CONTAINERS))
@pytest.mark.parametrize("seconds", [1.0, 3.5])  # less than a window, and more
def test_all_ways_give_the_same_frames(codec: str, seconds: float, tmp_path: Path) -> None:
    kind = clips.Kind(codec, 12, seconds, 64, 48)
    (path,) = clips.write_clips(tmp_path, kind, 1, seed=5)
    taken = [reading.read_clip(way, str(path), 7, kind.frames, False) for way in reading.WAYS]
    assert taken[0].shape == (reading.LENGTH, 48, 64, 3)
    for each in taken[1:]:
        np.testing.assert_array_equal(each, taken[0])
    assert reading.read_clip("reader", str(path), 7, kind.frames, True).shape == (3, reading.LENGTH, 224, 224)


def test_generated_clips_have_the_keyframes_asked_for(tmp_path: Path) -> None:
    import av

    for codec in clips.CONTAINERS:
        (path,) = clips.write_clips(tmp_path, clips.Kind(codec, 10, 1.5, 64, 48), 1, seed=0)
        with av.open(str(path)) as container:
            keys = [frame.key_frame for frame in container.decode(video=0)]
        assert len(keys) == 45
        assert np.flatnonzero(keys).tolist() == [0, 10, 20, 30, 40]


# --- training step


def test_training_step_measures_all_steps() -> None:
    report = training_step.run(options("training_step", "--classes 4 --bank 5 --rounds 2"))
    lines = checked(report)
    assert list(lines) == [f"{step}, C = 4" for step in training_step.STEPS]
    assert all(each.repeats == 2 for each in lines.values())
    assert len(report.ratios) == 2 + len(training_step.SYNTHESES) + len(training_step.TASKS)
