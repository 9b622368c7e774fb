"""Sixteen processes and one folder, for each command that writes results: the files are of one of them."""

import contextlib
import csv
import io
import json
import multiprocessing
import os

import numpy as np
import pytest

from openood_multimodal.cli import main
from openood_multimodal.files.folders import reading_together
from openood_multimodal.reporting.records import read_records

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork")
FORK = multiprocessing.get_context("fork")
WRITERS = 16


def run(words, barrier, codes):
    barrier.wait()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        codes.put(main(words))


def together(commands):
    """Run commands at one moment; return their exit codes."""
    barrier, codes = FORK.Barrier(len(commands)), FORK.Queue()
    processes = [FORK.Process(target=run, args=(words, barrier, codes)) for words in commands]
    for each in processes:
        each.start()
    found = [codes.get(timeout=300) for _ in commands]
    for each in processes:
        each.join()
    return found


def of_one_run(folder):
    """Return the postprocessors that each of a folder's files names, after a look at nothing being left over."""
    with reading_together(folder):
        metrics = [name for name in json.loads((folder / "metrics.json").read_text()) if name != "_meta"]
        rows = [row["postprocessor"] for row in csv.DictReader((folder / "ood.csv").open())]
        records = [record.postprocessor for _, record in read_records(folder)]
        scores = sorted(path.name for path in (folder / "scores").iterdir())
    return metrics, rows, records, scores


def test_score(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "test.npz", features=rng.normal(size=(40, 8)), labels=np.arange(40) % 4)
    np.savez(tmp_path / "ood.npz", features=rng.normal(size=(30, 8)))
    np.savez(tmp_path / "head.npz", weight=rng.normal(size=(4, 8)), bias=np.zeros(4))
    monkeypatch.chdir(tmp_path)
    names = ("msp", "ebo", "mls", "gen")
    commands = [
        f"score --test test.npz --ood {name}=ood.npz --head head.npz --postprocessors {name} --out out".split()
        for name in names * (WRITERS // len(names))
    ]
    assert together(commands) == [0] * WRITERS
    (only,), *others = of_one_run(tmp_path / "out")
    assert others == [[only]] * 3
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_leaderboards_beside_writers_of_records(tmp_path, monkeypatch):
    test_score(tmp_path, monkeypatch)
    command = "score --test test.npz --ood {0}=ood.npz --head head.npz --postprocessors {0} --out out"
    build = ["leaderboard", "build", "--records", "out", "--no-published", "--out", "board"]
    commands = [command.format(("msp", "ebo")[n % 2]).split() for n in range(8)] + [build] * 8
    assert together(commands) == [0] * WRITERS
    assert json.loads((tmp_path / "board" / "leaderboard.json").read_text())["benchmarks"]


def test_tests_and_extractions_into_one_folder(tiny):
    assert main(tiny.train()) == 0
    commands = [tiny.test("--postprocessors", name) for name in ("msp", "ebo", "mls", "gen")] * (WRITERS // 4)
    assert together(commands) == [0] * WRITERS
    folder = tiny.folder / "test"
    (only,) = {row["postprocessor"] for row in csv.DictReader((folder / "results.csv").open())}
    assert {record.postprocessor for _, record in read_records(folder)} == {only}
    assert [path.name for path in (folder / "scores").iterdir()] == [only]
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
