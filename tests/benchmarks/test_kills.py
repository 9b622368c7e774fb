"""Processes that the benchmark of kills kills, and what it says of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from running import checked, options

from benchmarks import kills
from benchmarks.parts import killing
from benchmarks.suite.measuring import Report

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
