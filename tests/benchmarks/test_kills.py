"""Processes that the benchmark of kills kills, and what it says of them."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from running import checked, options

from benchmarks import kills
from benchmarks.parts import killing
from benchmarks.suite.measuring import Report
from openood_multimodal.errors import UserError

TALKS = "print('openood-mm: rank 1 of 2 on me: no 127.0.0.1:29500 in {}/x', flush=True); "


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        ("import time; time.sleep(60)", {"at_s": 0.05}, (-9, True)),
        ("import time; time.sleep(60)", {"limit_s": 0.3}, (None, False)),
        ("pass", {"at_s": 60.0}, (0, False)),
        ("raise SystemExit(2)", {"victim": lambda pid: None, "at_s": 0.0}, (2, False)),
    ],
)
def test_a_process_is_killed_at_its_moment(
    text: str, how: dict[str, Any], expected: tuple[int | None, bool], tmp_path: Path
) -> None:
    said = TALKS.format(tmp_path) if "exit" in text.lower() else ""
    ended = killing.run_killed(python(said + text), tmp_path, **{"limit_s": 30.0, **how})
    assert (ended.code, ended.killed) == expected
    assert ended.said == ("rank 1 of 2 on HOST: no HOST:PORT in x" if said else "")
    assert 0 <= ended.lived_s <= ended.wall_s


def test_every_kill_is_told_and_counts_if_somebody_was_there(tmp_path: Path) -> None:
    """A moment after the victim's end is drawn again; what differs is no equal result, whatever the exit code."""
    ends = [
        killing.Ended(0, 1.0, False, "", 1.0),  # too late
        killing.Ended(1, 2.0, True, "rank 0 is gone", 2.0),
        killing.Ended(0, 2.0, True, "", 2.0),
    ]
    moments = []

    def kill(number: int, moment: float) -> kills.Outcome:
        moments.append(moment)
        again = killing.Ended(0, 1.0, False, "", 3.0) if ends[number].code else None
        return ends[number], again, {"reached": number}, "x differs" if number == 2 else ""

    report = Report({})
    kills.Kills(options("kills", "--kills 2"), tmp_path, "score", report).each(10.0, kill)
    first, second = checked(report).values()
    assert (first.values["equal"], first.wall_s, first.note) == (True, 5.0, "rank 0 is gone")
    assert (second.values["equal"], second.values["again"], second.note) == (False, "", "x differs")
    assert len(moments) == 3
    assert max(moments[1:]) <= 1.0, "the victim lives no longer than was seen"


def test_what_a_process_started_ends_with_it_though_it_ended_first(tmp_path: Path) -> None:
    sleeping = "import time; time.sleep(60)"
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {sleeping!r}]).pid)"
    assert killing.run_killed(python(start), tmp_path, 30.0).code == 0
    child = Path("/proc", (tmp_path / "output.txt").read_text().strip())
    deadline = time.monotonic() + 5.0
    while (
        living := child.exists() and " Z " not in (child / "stat").read_text()
    ) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not living


class StillWriting:
    """A scheduler's file that isn't there, then half there, then whole."""

    def __init__(self, folder: Path) -> None:
        self.texts: list[str] = ["", '{"addr', '{"address": "tcp://a:1"}']
        self.folder = folder

    def read_text(self) -> str:
        return self.texts.pop(0) if self.texts else ""

    def with_name(self, name: str) -> Path:
        return self.folder / name


def test_the_schedulers_file_is_read_once_it_is_whole(tmp_path: Path) -> None:
    where: Any = StillWriting(tmp_path)
    alive: Any = Namespace(poll=lambda: None)
    assert killing._address(where, alive, 30.0) == "tcp://a:1"
    with pytest.raises(UserError, match=r"the Dask scheduler wasn't ready within 0\.1 s; .*cluster\.txt"):
        killing._address(where, alive, 0.1)
    dead: Any = Namespace(poll=lambda: 3)
    with pytest.raises(UserError, match="the Dask scheduler ended with 3 at once"):
        killing._address(tmp_path / "scheduler.json", dead, 30.0)
