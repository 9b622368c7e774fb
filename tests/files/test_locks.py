"""Locks: one holder at a time, none left behind by the killed."""

import multiprocessing
import os
import signal
import time

import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files.locks import FOLDER_LOCK, _claimed, claim, holding

CONTEXT = multiprocessing.get_context("spawn")


def count(folder, times):
    for _ in range(times):
        with holding(folder, announce=False):
            number = int((folder / "n").read_text())
            time.sleep(0.001)
            (folder / "n").write_text(str(number + 1))


def hold(folder, ready):
    with holding(folder):
        ready.set()
        time.sleep(60)


def test_sixteen_processes_take_turns(tmp_path):
    (tmp_path / "n").write_text("0")
    processes = [CONTEXT.Process(target=count, args=(tmp_path, 25)) for _ in range(16)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(120)
    assert (tmp_path / "n").read_text() == "400"
    assert not (tmp_path / FOLDER_LOCK).exists()


def test_who_waits_is_told_for_whom_and_a_killed_holder_is_succeeded(tmp_path, capfd):
    ready = CONTEXT.Event()
    holder = CONTEXT.Process(target=hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    with _claimed(tmp_path / FOLDER_LOCK) as claimed:
        assert claimed == "busy"
    waiting = CONTEXT.Process(target=count_once, args=(tmp_path,))
    waiting.start()
    while not (said := capfd.readouterr().err):
        time.sleep(0.05)
    assert f"process {holder.pid} on" in said
    os.kill(holder.pid, signal.SIGKILL)
    waiting.join(60)
    assert waiting.exitcode == 0
    assert (tmp_path / "n").read_text() == "1"
    assert not (tmp_path / FOLDER_LOCK).exists()


def count_once(folder):
    (folder / "n").write_text("0")
    count_announced(folder)


def count_announced(folder):
    with holding(folder):
        (folder / "n").write_text("1")


def test_a_lock_file_left_by_a_killed_process_is_taken_over(tmp_path):
    (tmp_path / ".a.lock").write_text("")
    with claim(tmp_path / "a") as claimed:
        assert claimed == "inherited"
    assert not (tmp_path / ".a.lock").exists()
    with claim(tmp_path / "a") as claimed:
        assert claimed == "ours"


def test_a_folder_held_by_this_process_is_not_waited_for(tmp_path):
    with holding(tmp_path), holding(tmp_path / "."):
        assert (tmp_path / FOLDER_LOCK).exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="a is a file"), holding(tmp_path / "a"):
        pass
