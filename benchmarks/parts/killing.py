"""Commands of which one process is killed at a chosen moment, and a Dask cluster of processes to kill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple

from openood_multimodal.errors import MissingPackageError, UserError

from .processes import module_environment

POLL_S = 0.02
Victim = Callable[[int], int | None]


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: its exit code; None where it had to be ended after the time limit.
        lived_s: from the moment that the victim was there to the command's end.
        killed: whether the victim was there to be killed.
        said: the first message of the package.
        wall_s: of the whole command.
    """

    code: int | None
    lived_s: float
    killed: bool
    said: str
    wall_s: float

    @property
    def how(self) -> str:
        """What happened, in some words."""
        ends = {None: "did not end", 0: "went on to its end"}
        return ends.get(self.code, f"ended with {self.code}") + ("" if self.killed else ", nobody was killed")


def words(*given: Any, ranks: int = 0) -> list[str]:
    """Return a command of the package, under ``torchrun`` where several ranks are asked for."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    return [sys.executable, "-m", *(launch if ranks > 1 else []), "openood_multimodal", *map(str, given)]


def run_killed(
    command: Sequence[str],
    folder: Path,
    limit_s: float,
    victim: Victim = lambda pid: pid,
    at_s: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command in a folder; kill one of its processes, or one that works for it.

    Args:
        command: words.
        folder: its working directory.
        limit_s: seconds after which it is ended, with all that it started.
        victim: the command's process number → the victim's, or None while it isn't there.
        at_s: seconds after the victim was first seen, at which it is killed; None: nobody is.
        meanwhile: is called again and again.
    """
    output = folder / "output.txt"
    began = time.monotonic()
    seen: float | None = None
    killed = False
    with output.open("wb") as stream, _started(command, folder, stream) as process:
        while process.poll() is None and time.monotonic() < began + limit_s:
            meanwhile()
            now = time.monotonic()
            if seen is None or (at_s is not None and not killed and now >= seen + at_s):
                found = victim(process.pid)
                if found is not None and seen is None:
                    seen = now
                elif found is not None:
                    with suppress(ProcessLookupError):
                        os.kill(found, SIGKILL)
                        killed = True
            time.sleep(POLL_S)
        code = process.poll()
        ended = time.monotonic()
    meanwhile()
    lived = ended - (began if seen is None else seen)
    return Ended(code, lived, killed, _said(output.read_text(errors="replace"), folder), ended - began)


def _said(text: str, folder: Path) -> str:
    """Return the package's first message, without what differs from machine to machine."""
    found = re.search(r"^openood-mm: (.*)$", text, re.MULTILINE)
    if found is None:
        return ""
    shown = re.sub(r"(on|at|than) \S+( \()", r"\1 HOST\2", found[1].replace(f"{folder.resolve()}/", ""))
    shown = re.sub(r"(rank \d+ of \d+ on) [^\s:]+", r"\1 HOST", shown)
    shown = re.sub(r"(\w+://)?[\w.-]+:\d{2,5}\b", "HOST:PORT", shown)
    return shown if len(shown) <= 160 else f"{shown[:157]}..."


@contextmanager
def _started(command: Sequence[str], folder: Path, stream: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process; end it, and all that it started, when the block ends."""
    process = subprocess.Popen(  # noqa: S603 - this Python, known modules, no shell
        command,
        cwd=folder,
        env=module_environment(),
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        others = _children(process) if process.poll() is None else []
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)  # those that it started may live on where it has ended
        for each in others:  # torchrun's ranks are in sessions of their own
            with suppress(ProcessLookupError):
                os.kill(each, SIGKILL)
        process.wait()


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    import psutil

    with suppress(psutil.NoSuchProcess):
        return [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
    return []


def rank(number: int) -> Victim:
    """Return what finds a rank among the children of ``torchrun``."""
    import psutil

    def find(pid: int) -> int | None:
        with suppress(psutil.Error):
            for each in psutil.Process(pid).children():
                with suppress(psutil.Error):
                    if each.environ().get("RANK") == str(number):
                        return int(each.pid)
        return None

    return find


class Cluster:
    """A Dask scheduler and workers, each a process.

    Attributes:
        address: of the scheduler.
        scheduler: its process number.
        count: of workers.
    """

    def __init__(self, address: str, scheduler: int, count: int) -> None:
        self.address, self.scheduler, self.count = address, scheduler, count

    def workers(self, limit_s: float = 120.0) -> list[int]:
        """Return the workers' process numbers, once all are there."""
        from distributed import Client

        with Client(self.address, timeout=limit_s, set_as_default=False) as client:
            client.wait_for_workers(self.count, timeout=limit_s)
            return sorted(client.run(os.getpid).values())


@contextmanager
def cluster(folder: Path, workers: int, limit_s: float = 120.0) -> Iterator[Cluster]:
    """Start a scheduler and workers with a nanny each, which starts a killed one again; end them with the block.

    Raises:
        MissingPackageError: without Dask.
        UserError: naming what didn't start.
    """
    if find_spec("distributed") is None:
        raise MissingPackageError("this needs Dask: pip install 'openood-multimodal[cluster]'.")
    dask = [sys.executable, "-m", "dask"]
    where = folder / "scheduler.json"
    where.unlink(missing_ok=True)
    common = ["--scheduler-file", str(where), "--no-dashboard", "--host", "127.0.0.1"]
    spare = ["--nthreads", "1", "--nworkers", str(workers), "--local-directory", str(folder)]
    with (
        (folder / "cluster.txt").open("ab") as stream,
        _started([*dask, "scheduler", *common, "--port", "0"], folder, stream) as one,
    ):
        address = _address(where, one, limit_s)
        with _started([*dask, "worker", address, *common[2:], *spare], folder, stream):
            made = Cluster(address, one.pid, workers)
            _await_workers(made, limit_s)
            yield made


def _address(where: Path, process: subprocess.Popen[bytes], limit_s: float) -> str:
    """Return the scheduler's address, once it has written all of its file."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(FileNotFoundError, ValueError):  # not there, or half of it
            return str(json.loads(where.read_text())["address"])
        time.sleep(POLL_S)
    code = process.poll()
    what = f"wasn't ready within {limit_s:g} s" if code is None else f"ended with {code} at once"
    raise UserError(f"the Dask scheduler {what}; its output: {where.with_name('cluster.txt')}.")


def _await_workers(made: Cluster, limit_s: float) -> None:
    from distributed import TimeoutError as TooLateError

    try:
        made.workers(limit_s)
    except (OSError, TooLateError) as error:
        raise UserError(
            f"the {made.count} Dask workers weren't all at {made.address} within {limit_s:g} s: {error}."
        ) from error
