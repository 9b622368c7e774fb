"""One measurement in a process of its own: fresh libraries, its own peak of memory, and a time limit."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.suite.machine import REPOSITORY


class OverTimeError(Exception):
    """The process took longer than it was allowed to."""


def run_module(module: str, task: Mapping[str, Any], limit_s: float | None = None) -> dict[str, Any]:
    """Run ``python -m <module>`` with a task; return what it answered.

    Args:
        module: calls `answer` with the function that does the work.
        task: JSON.
        limit_s: wall seconds after which the process is ended.

    Raises:
        OverTimeError: when it was.
        RuntimeError: when it failed; the message holds the end of what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-") as folder:
        asked, answered = Path(folder, "task.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(task), encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603 - this Python, our own module, no shell
                [sys.executable, "-m", module, str(asked), str(answered)],
                env=module_environment(),
                timeout=limit_s,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise OverTimeError(f"over {limit_s:g} s") from error
        if done.returncode or not answered.is_file():
            tail = (done.stderr or done.stdout).strip().splitlines()[-12:]
            raise RuntimeError(f"{module} ended with {done.returncode}:\n" + "\n".join(tail))
        return dict(json.loads(answered.read_text(encoding="utf-8")))


def module_environment() -> dict[str, str]:
    """Return the environment of a process that imports modules of this checkout."""
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in paths if each)}


def answer(work: Any) -> None:
    """In the process: read the task, call ``work(task) -> dict``, write its answer."""
    asked, answered = sys.argv[1:3]
    result = work(json.loads(Path(asked).read_text(encoding="utf-8")))
    Path(answered).write_text(json.dumps(result), encoding="utf-8")


def reset_peak() -> None:
    """Let `peak_mb` start anew from the memory in use, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Return the peak of this process's resident memory since `reset_peak`, in MiB, mapped files included."""
    peak = status_mb("VmHWM")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def status_mb(field: str) -> float | None:
    """Return a field of /proc/self/status in MiB (``VmRSS``, ``RssAnon``), or None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) / 2**10 if found else None
