"""Making files from files: what is still missing, by all cores, safe against kills and against a second process.

A job turns one source into one or two targets.  Its targets are written beside their places and renamed there, so
that a target is whole or absent.  While a process makes a job's targets it holds a lock of the operating system on
``.<name>.lock`` beside them; the system releases it when the process ends, however it ends, so a lock is never
stale.  Whoever holds it also removes what a killed predecessor left half-written.  (Where the system or the network
drive has no such locks, two processes may do the same work twice; both results are whole, and equal.)
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Literal

from ..errors import MissingPackageError, UserError
from ..files.atomic import is_temporary_of, lock_beside
from ..files.locks import claim
from ..files.paths import remove
from ..workers import end_with_parent

State = Literal["made", "present", "busy", "failed"]


@dataclass(frozen=True)
class Job:
    """One source and the files to be made of it.

    Attributes:
        clip: the (first) clip that needs them, for messages.
        source: file to read.
        targets: files to write; the last one is renamed into place last, and so marks the job as done.
    """

    clip: str
    source: Path
    targets: tuple[Path, ...]

    def exists(self) -> bool:
        """Tell whether all targets are there."""
        return all(target.is_file() for target in self.targets)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: made now (and what was tolerated), there already, busy elsewhere, or failed (and why)."""

    job: Job
    state: State
    reason: str = ""


Make = Callable[[Job], str | None]
"""Writes a job's targets atomically, and returns what was tolerated in the source, if anything; raises UserError when
the source is at fault.  Goes to other processes."""
Finished = Callable[[Job], bool]
"""Tells whether a job's targets are there and as wanted.  Goes to other processes."""


@contextmanager
def waiting_claim(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` for the block, once no other process does; what a killed one left is removed."""
    while True:
        with claim(target) as claimed:
            if claimed != "busy":
                if claimed == "inherited":
                    remove_leftovers([target])
                yield
                return
        time.sleep(0.05)


_OF_ALL = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)
"""Errors of the system that the next job would meet, too."""


def do_job(job: Job, make: Make, finished: Finished, again: bool = False, wait: bool = False) -> Outcome:
    """Do one job in this process.

    Args:
        job: what to do.
        make: see `Make`.
        finished: see `Finished`.
        again: make the targets even where they are there.
        wait: where another process is at it, wait for its end instead of returning ``busy``.

    Raises:
        OSError: when the targets can't be written (a full disk); no further job would fare better.
        MissingPackageError: likewise.
    """
    try:
        if not again and finished(job) and not lock_beside(job.targets[0]).exists():
            return Outcome(job, "present")
        while True:
            with claim(job.targets[0]) as claimed:
                if claimed == "inherited":
                    remove_leftovers(job.targets)
                if claimed != "busy":
                    if not again and finished(job):  # another process, a moment ago
                        return Outcome(job, "present")
                    return Outcome(job, "made", make(job) or "")
            if not wait:
                return Outcome(job, "busy")
            again = False  # what it makes is as new as ours would be
            time.sleep(0.2)
    except MissingPackageError:
        raise
    except UserError as error:
        return Outcome(job, "failed", str(error))
    except OSError as error:
        if error.errno in _OF_ALL:
            raise
        return Outcome(job, "failed", f"{error.filename or job.source}: {error.strerror or error}.")
    except MemoryError:
        return Outcome(job, "failed", f"{job.source}: not enough memory for its frames.")


def do_jobs(
    jobs: Sequence[Job],
    make: Make,
    finished: Finished,
    again: bool = False,
    workers: int = 1,
    prepare_worker: Callable[[], None] | None = None,
) -> Generator[Outcome, None, None]:
    """Do all jobs, by ``workers`` processes, and yield their outcomes as they come, each job's once.

    Jobs that another process is at come last and are waited for.  When the caller stops listening (an exception,
    Ctrl-C), workers end their frame, remove what they have half-written and end; when this process is killed, they
    end at once.

    Args:
        jobs: what to do, no two with the same target.
        make: see `Make`.
        finished: see `Finished`.
        again: make the targets even where they are there.
        workers: processes; 1 works in this one.
        prepare_worker: called once in each process.

    Raises:
        OSError, MissingPackageError: as `do_job`.
        UserError: when workers can't be started.
    """
    if workers <= 1 or len(jobs) <= 1:
        if prepare_worker is not None:
            prepare_worker()
        busy = []
        for job in jobs:
            outcome = do_job(job, make, finished, again)
            if outcome.state == "busy":
                busy.append(job)
            else:
                yield outcome
        for job in busy:
            yield do_job(job, make, finished, again, wait=True)
        return
    yield from _by_processes(jobs, make, finished, again, min(workers, len(jobs)), prepare_worker)


def _by_processes(
    jobs: Sequence[Job],
    make: Make,
    finished: Finished,
    again: bool,
    workers: int,
    prepare_worker: Callable[[], None] | None,
) -> Iterator[Outcome]:
    """Do jobs by processes.  Where one dies (a crash in a codec, want of memory), its job fails, and no other."""

    def attempt(part: Sequence[Job], workers: int, wait: bool) -> Generator[Outcome, None, None]:
        return _by_pool(part, _Task(make, finished, again, wait), min(workers, len(part)), prepare_worker)

    left = {job.targets: job for job in jobs}
    wait = False
    while left:
        busy = 0
        try:
            for outcome in attempt(list(left.values()), workers, wait):
                if outcome.state == "busy":
                    busy += 1
                else:
                    del left[outcome.job.targets]
                    yield outcome
            wait = busy > 0
        except BrokenProcessPool:
            # Whoever died has left its lock.
            suspects = [job for job in left.values() if lock_beside(job.targets[0]).exists()]
            for job in suspects:
                try:
                    outcomes = list(attempt([job], 1, wait=True))
                except BrokenProcessPool:
                    reason = "the process that read it was killed: it crashed, or wanted too much memory."
                    outcomes = [Outcome(job, "failed", f"{job.source}: {reason}")]
                del left[job.targets]
                yield from outcomes
            if not suspects:
                raise UserError(
                    "a worker process was killed before it began, probably for lack of memory; use fewer workers=."
                ) from None


def _by_pool(
    jobs: Sequence[Job], task: _Task, workers: int, prepare_worker: Callable[[], None] | None
) -> Generator[Outcome, None, None]:
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (prepare_worker,))
    try:
        for future in as_completed([pool.submit(task, job) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        _end(set(active_children()) - others)
        pool.shutdown(wait=True)


def _end(processes: Iterable[BaseProcess], grace: float = 5.0) -> None:
    """Ask processes to end, and end those that are in one long computation when the grace is over."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()


def remove_leftovers(targets: Iterable[Path]) -> None:
    """Remove the temporary files of writers that were killed; call it with the lock, so that none is at work."""
    for target in targets:
        with suppress(OSError):
            for entry in os.scandir(target.parent):
                if is_temporary_of(entry.name, target.name):
                    remove(target.parent, entry.name)


class Stopped(BaseException):
    """A worker was asked to end; passes through ``except Exception``."""


_doing: Literal["nothing", "a job", "cleaning up"] = "nothing"


@dataclass(frozen=True)
class _Task:
    """`do_job` as a worker does it."""

    make: Make
    finished: Finished
    again: bool
    wait: bool

    def __call__(self, job: Job) -> Outcome:
        global _doing
        try:
            _doing = "a job"
            return do_job(job, self.make, self.finished, self.again, self.wait)
        except Stopped:  # half-written files are gone by now
            os._exit(1)
        finally:
            _doing = "nothing"


def _stop(signum: int, frame: FrameType | None) -> None:
    global _doing
    if _doing == "nothing":
        os._exit(1)
    if _doing == "a job":
        _doing = "cleaning up"
        raise Stopped


def _start_worker(prepare: Callable[[], None] | None) -> None:
    """Make a worker end cleanly when asked to, and at once when its parent has been killed."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent asks us to end
    end_with_parent()
    if prepare is not None:
        prepare()
