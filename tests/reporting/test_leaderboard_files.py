"""The files of leaderboards: written whole or not at all, the same bytes from the same records."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np
import pytest
from made_leaderboards import CHECKOUT, contents, csv_rows, far, record, write

from openood_multimodal.errors import UserError
from openood_multimodal.files import atomic
from openood_multimodal.reporting.leaderboard import COLUMNS, build, make_boards
from openood_multimodal.reporting.leaderboard_files import INDEX
from openood_multimodal.reporting.leaderboard_rows import rows_of
from openood_multimodal.reporting.page import PAGE
from openood_multimodal.reporting.published import published_records
from openood_multimodal.reporting.schema import DIGEST_NAMES

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
