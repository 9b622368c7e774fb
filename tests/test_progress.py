"""What a log file gets of long work."""

from __future__ import annotations

import io

import pytest

from openood_multimodal import progress as module
from openood_multimodal.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_intervals_and_one_at_the_end(clock: list[float]) -> None:
    log = io.StringIO()
    with progress_bar(total=10, desc="Training", unit="step", file=log) as bar:
        for _ in range(10):
            clock[0] += 10
            bar.update()
            bar.set_postfix(loss="0.5")
    lines = log.getvalue().splitlines()
    assert [line.partition("%")[0] + "%" for line in lines] == [
        "Training:  30%",
        "Training:  60%",
        "Training:  90%",
        "Training: 100%",
    ]
    assert all("/10" in line and line.isprintable() for line in lines)


def test_short_work_leaves_nothing_in_a_log(clock: list[float]) -> None:
    log = io.StringIO()
    for _ in progress_bar(range(5), desc="Score", file=log):
        clock[0] += 1
    assert log.getvalue() == ""


def test_work_of_unknown_length(clock: list[float]) -> None:
    log = io.StringIO()
    with progress_bar(desc="Looking", unit=" files", file=log) as bar:
        for _ in range(4):
            clock[0] += 20
            bar.update(5)
    assert log.getvalue().startswith("Looking: 10 files")


def test_a_terminal_gets_a_bar_and_quiet_work_nothing() -> None:
    terminal, silent = Terminal(), Terminal()
    assert list(progress_bar(range(3), file=terminal)) == list(
        progress_bar(range(3), file=silent, quiet=True)
    )
    assert "3/3" in terminal.getvalue()
    assert silent.getvalue() == ""
