"""Files that belong together: of one writer, whole, whoever is killed and whoever reads meanwhile."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files import folders, listed
from openood_multimodal.files.folders import reading_together, writing_together
from openood_multimodal.files.locks import claim

CONTEXT = multiprocessing.get_context("fork")
NAMES = ("ood.csv", "scores/a/id.npz", "scores/a/x.npz", "records/a@x.record.json", "metrics.json")


def write(folder, text, names=NAMES, gone=()):
    with writing_together(folder, last="metrics.json") as stage:
        for name in names:
            (stage.path / name).parent.mkdir(parents=True, exist_ok=True)
            (stage.path / name).write_text(text)
        stage.remove(lambda: gone)


def contents(folder):
    found = listed(folder, recursive=True)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found if path.is_file()}


def write_for_ever(folder, text):
    while True:
        write(folder, text)


def test_other_files_stay_and_those_of_an_earlier_run_go(tmp_path):
    write(tmp_path / "out", "1")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    rest = ("ood.csv", "metrics.json")
    write(tmp_path / "out", "2", rest, gone=[*NAMES, "mine.txt"])
    assert contents(tmp_path / "out") == {"metrics.json": "2", "mine.txt": "mine", "ood.csv": "2"}
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "mine.txt", "ood.csv"]


def test_a_failure_changes_nothing(tmp_path):
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "new", "1", (*NAMES, "scores"))
    assert not (tmp_path / "new").exists()
    write(tmp_path / "out", "1")
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "out", "2", (*NAMES, "scores"))
    assert contents(tmp_path / "out") == dict.fromkeys(NAMES, "1")
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "ood.csv", "records", "scores"]


def test_a_file_is_no_folder_and_a_link_out_of_it_is_not_followed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"), writing_together(tmp_path / "file"):
        pass
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores").symlink_to(tmp_path)
    with pytest.raises(UserError, match="symbolic link"):
        write(tmp_path / "out", "1")
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


@pytest.mark.parametrize("step", range(len(NAMES) + 1))
def test_killed_at_each_step_the_next_reader_sees_one_run(tmp_path, step):
    write(tmp_path, "1")

    def stopped():
        done = 0
        replace = os.replace

        def counted(source, target):
            nonlocal done
            if not Path(target).name.startswith("."):
                if done == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
            replace(source, target)

        folders.os.replace = counted
        write(tmp_path, "2")
        os.kill(os.getpid(), signal.SIGKILL)

    process = CONTEXT.Process(target=stopped)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with reading_together(tmp_path):
        assert contents(tmp_path) == dict.fromkeys(NAMES, "2")
    assert sorted(os.listdir(tmp_path)) == ["metrics.json", "ood.csv", "records", "scores"]


def test_a_lock_whose_stage_was_never_made_or_is_gone_is_removed(tmp_path):
    write(tmp_path, "1")
    left = tmp_path / "..0123456789ab.tmp.lock"
    left.touch()
    write(tmp_path, "2")
    assert not left.exists()
    left.touch()
    with reading_together(tmp_path):
        assert not left.exists()
    (tmp_path / "..mine.tmp.lock").touch()
    with claim(tmp_path / ".ba9876543210.tmp"):  # a writer's that has not made its stage yet
        other = CONTEXT.Process(target=write, args=(tmp_path, "3"))
        other.start()
        other.join()
        assert (tmp_path / "..ba9876543210.tmp.lock").exists()
    assert (tmp_path / "..mine.tmp.lock").exists()


def test_a_stage_whose_lock_another_process_holds_is_not_taken(tmp_path, monkeypatch):
    tokens = iter(["0123456789ab", "ba9876543210"])
    monkeypatch.setattr(folders, "secrets", SimpleNamespace(token_hex=lambda _: next(tokens)))
    held = CONTEXT.Event()

    def hold():
        with claim(tmp_path / ".0123456789ab.tmp"):
            held.set()
            time.sleep(600)

    other = CONTEXT.Process(target=hold, daemon=True)
    other.start()
    assert held.wait(60)
    with writing_together(tmp_path) as stage:
        assert stage.path.name == ".ba9876543210.tmp"
    other.kill()
    other.join()


def test_sixteen_writers_and_a_reader(tmp_path):
    write(tmp_path, "first")
    writers = [CONTEXT.Process(target=write_for_ever, args=(tmp_path, f"{n}")) for n in range(16)]
    for each in writers:
        each.start()
    rng, seen = random.Random(0), set()
    for number in range(24):
        with reading_together(tmp_path):
            found = contents(tmp_path)
        assert set(found) == set(NAMES)
        assert len(set(found.values())) == 1
        seen |= set(found.values())
        if number % 2:  # one is killed wherever it is
            victim = writers.pop()
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()  # or it may still hold its lock when the last one tidies up
        time.sleep(rng.uniform(0, 0.02))
    assert len(seen) > 1
    for each in writers:
        each.kill()
        each.join()
    write(tmp_path, "last")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "last")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_planted_list_moves_and_removes_nothing_outside(tmp_path):
    out, stage = tmp_path / "out", tmp_path / "out" / ".0123456789ab.tmp"
    stage.mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    (out / "mine.csv").write_text("mine")
    for text in (
        '{"put": ["../../mine"], "remove": []}',
        '{"put": [], "remove": ["../mine", "mine.csv"]}',
        "[]",
        "{",
    ):
        (stage / ".commit.json").write_text(text)
        try:
            with reading_together(out):
                pass
        except UserError:
            pass
        stage.mkdir(exist_ok=True)
    assert (tmp_path / "mine").read_text() == (out / "mine.csv").read_text() == "mine"
