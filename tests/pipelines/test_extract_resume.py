"""Extraction of clips: killed anywhere, it goes on to the same bytes; unreadable clips are left out, and said."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.files import atomic
from openood_multimodal.pipelines import ExtractPipeline, TestPipeline
from openood_multimodal.reporting.records import load_records

FEW = (
    *("--pipeline.name", "multimodal_extract", "--dataset.split_names", "val", "test"),
    *(
        "--ood_dataset.split_names",
        "nearood",
        "--dataset.val.batch_size",
        "3",
        "--dataset.test.batch_size",
        "3",
    ),
    *("--ood_dataset.batch_size", "3"),
)
STORES = {"val": 8, "test": 8, "moving_shapes_near": 4}


class KilledError(BaseException):
    """Nothing in the package may catch it."""


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Flushing to disk guards against power cuts, which are not tested here."""
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: None)


@pytest.fixture
def kill_at(monkeypatch):
    """Return a function that makes the n-th instant from now on raise: before an array is flushed or a file renamed."""
    flush, replace = np.memmap.flush, os.replace
    left = [10**9]

    def instant():
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    def flushed(self):
        instant()
        flush(self)

    def renamed(source, target):
        instant()
        replace(source, target)

    monkeypatch.setattr(np.memmap, "flush", flushed)
    monkeypatch.setattr(atomic.os, "replace", renamed)

    def arm(number):
        before, left[0] = left[0], number
        return 10**9 - before

    return arm


def extract(clips, checkpoint, *more):
    return ExtractPipeline(clips.config(clips.test(checkpoint, *FEW, *more))).run()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_killed_at_random_instants(clips, trained_on_clips, kill_at):
    expected = files(extract(clips, trained_on_clips))
    instants = kill_at(10**9)
    assert instants > 40
    for number in random.Random(8).sample(range(instants), 20):
        victim = type(clips)(clips.data, clips.folder / f"killed_{number}")
        kill_at(number)
        with pytest.raises(KilledError):
            extract(victim, trained_on_clips)
        kill_at(10**9)
        found = files(extract(victim, trained_on_clips))
        assert found == expected, (
            f"killed at instant {number}: {[k for k in expected if found.get(k) != expected[k]]}"
        )
        shutil.rmtree(victim.folder)


def test_what_is_there_is_not_read_again(clips, trained_on_clips, kill_at, monkeypatch):
    """After a kill only the batches that lack a row are read; after the end none."""
    from openood_multimodal.datasets.clips import MultimodalClipDataset

    load, read = MultimodalClipDataset._read, []

    def counting(self, place, out):
        read.append((self.name, place))
        load(self, place, out)

    monkeypatch.setattr(MultimodalClipDataset, "_read", counting)
    original, writes = EmbeddingStore.write, []

    def write(self, *columns):
        if len(writes) == 4:  # the three batches of val, one of test
            raise KilledError
        writes.append(1)
        original(self, *columns)

    monkeypatch.setattr(EmbeddingStore, "write", write)
    with pytest.raises(KilledError):
        extract(clips, trained_on_clips)
    assert len(read) == 8 + 6  # the batch that was being written is lost
    monkeypatch.setattr(EmbeddingStore, "write", original)
    read.clear()
    extract(clips, trained_on_clips)
    assert read == [
        *(("moving_shapes_test", place) for place in range(3, 8)),
        *(("moving_shapes_ood_nearood", place) for place in range(4)),
    ]
    read.clear()
    extract(clips, trained_on_clips)
    assert read == []


@pytest.mark.parametrize(
    "condition",
    [(), ("--condition.name", "noise:video=5", "--condition.level", "input")],
    ids=["clean", "noise"],
)
def test_a_process_is_killed(clips, trained_on_clips, environment, condition):
    """SIGKILL, at a random moment after the first rows; a process with workers goes on."""
    expected = files(extract(clips, trained_on_clips, *condition))
    slow = (
        "import time\n"
        "from openood_multimodal.embeddings.store import EmbeddingStore\n"
        "write = EmbeddingStore.write\n"
        "def late(self, *columns):\n"
        "    write(self, *columns)\n"
        "    time.sleep(0.05)\n"
        "EmbeddingStore.write = late\n"
        "from openood_multimodal.cli import main\n"
    )
    draws = random.Random(3)
    for number in range(2):
        victim = type(clips)(clips.data, clips.folder / f"process_{number}")
        words = ["run", *victim.test(trained_on_clips, *FEW, *condition)]
        process = subprocess.Popen(
            [sys.executable, "-c", f"{slow}main({words!r})"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stores = victim.folder / "test" / "embeddings"
        end = time.monotonic() + 120
        while not list(stores.glob("*/meta.json")) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draws.random() * 0.4)
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, err.decode()[-2000:]
        assert not (stores / "head.npz").exists()
        assert files(extract(victim, trained_on_clips, *condition, "--num_workers", str(number))) == expected


def test_workers_change_nothing(clips, trained_on_clips):
    alone = files(extract(clips, trained_on_clips))
    other = type(clips)(clips.data, clips.folder / "workers")
    assert files(extract(other, trained_on_clips, "--num_workers", "2")) == alone


@pytest.fixture
def broken(clips, tmp_path):
    """Clips of which two of test are cut short and one of near-OOD is gone."""
    data = tmp_path / "data"
    shutil.copytree(clips.data, data)
    rows = list(csv.DictReader((data / "test.csv").open()))
    names = [rows[1]["clip"], rows[2]["clip"]]
    for row in rows[1:3]:
        (data / row["video"]).write_bytes(b"no video")
    near = next(csv.DictReader((data / "nearood_moving_shapes_near.csv").open()))
    (data / near["flow"]).unlink()
    return type(clips)(data, tmp_path), names, near["clip"]


SKIP = (
    *("--dataset.test.imglist_pth.on_error", "skip"),
    *("--ood_dataset.nearood.moving_shapes_near.imglist_pth.on_error", "skip"),
)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_clips(broken, trained_on_clips, capsys, workers):
    clips, names, near = broken
    folder = extract(clips, trained_on_clips, *SKIP, "--num_workers", str(workers))
    store = EmbeddingStore.open(folder / "test")
    assert [each.clip for each in store.skipped] == names
    meta = json.loads((folder / "test" / "meta.json").read_text())
    assert [row[:2] for row in meta["skipped"]] == [[1, names[0]], [2, names[1]]]
    assert all(name in row[2] for name, row in zip(names, meta["skipped"], strict=True))
    embeddings = store.embeddings()
    assert len(embeddings) == 6
    assert not set(names) & set(embeddings.clips)
    assert np.isfinite(embeddings.features).all()
    out = capsys.readouterr().out
    assert f"Note: 2 clips skipped of test: {', '.join(names)}" in out
    assert f"Note: 1 clip skipped of moving_shapes_near: {near}" in out
    assert f"{folder / 'test'}: 6 clips" in out
    # who then doesn't want any skipped is told so
    with pytest.raises(UserError, match=r"lacks clips that could not be read \(2 of 8.*Delete the folder"):
        extract(clips, trained_on_clips)


def test_killed_while_clips_are_skipped(broken, trained_on_clips, kill_at):
    clips, _, _ = broken
    expected = files(extract(clips, trained_on_clips, *SKIP))
    instants = kill_at(10**9)
    for number in random.Random(9).sample(range(instants), 4):
        victim = type(clips)(clips.data, clips.folder / f"killed_{number}")
        kill_at(number)
        with pytest.raises(KilledError):
            extract(victim, trained_on_clips, *SKIP)
        kill_at(10**9)
        assert files(extract(victim, trained_on_clips, *SKIP)) == expected


def test_a_broken_clip_is_named_where_none_is_to_be_skipped(broken, trained_on_clips):
    clips, names, _ = broken
    with pytest.raises(UserError, match=names[0]):
        extract(clips, trained_on_clips)


def test_records_say_what_was_skipped(broken, trained_on_clips):
    clips, names, near = broken
    more = (*SKIP, "--postprocessors", "msp", "--dataset.val.imglist_pth.on_error", "skip")
    notes = [f"2 clips skipped of test: {', '.join(names)}", f"1 clip skipped of moving_shapes_near: {near}"]
    for saving in ("true", "true", "false"):  # extracted, found again, and not kept at all
        words = clips.test(trained_on_clips, *more, "--recorder.save_embeddings", saving)
        TestPipeline(clips.config(words)).run()
        (record,) = load_records(clips.folder / "test")
        assert (record.n_id, record.n_ood) == (6, 3)
        assert [note for note in record.notes if "skipped" in note] == notes


def test_scores_decode_nothing(clips, trained_on_clips, tmp_path):
    """All files of the clips are gone; the manifests stay."""
    data = tmp_path / "data"
    shutil.copytree(clips.data, data)
    copy = type(clips)(data, tmp_path)
    stores = ExtractPipeline(copy.config(copy.test(trained_on_clips))).run()
    for kind in ("video", "audio", "flow"):
        shutil.rmtree(data / kind)
    native = ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"]
    for evaluator, setting in (("near_ood", "near"), ("far_ood", "far")):
        words = ("--postprocessors", *native, "--exp_name", evaluator, "--recorder.embeddings", str(stores))
        config = copy.config(copy.test(trained_on_clips, *words, evaluator=evaluator))
        config["postprocessor_args"] = {"vim": {"dim": 8}, "knn": {"K": 5}}
        records = TestPipeline(config).run()
        assert [record.postprocessor for record in records] == native
        assert {record.setting for record in records} == {setting}
        assert not (tmp_path / evaluator / "embeddings").exists()
        near = EmbeddingStore.open(stores / f"moving_shapes_{setting}")
        assert {record.digests["store"] for record in records} == {near.digest()}
