"""Runs in parallel processes, or on a cluster, resumably, with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tqdm import tqdm

from ..cluster import cluster_executor, lost, one_at_a_time
from ..errors import ArgumentError, UserError
from ..progress import progress_bar
from ..workers import end_with_parent
from .run import Run


def run_in_parallel(
    runs: Sequence[Run],
    workers: int,
    scheduler: str | None = None,
    resources: Mapping[str, float] = MappingProxyType({}),
    failed: dict[Any, str] | None = None,
) -> int:
    """Run those of ``runs`` that are not done yet; return how many ran.

    Every run has one thread, so that its result doesn't depend on the number of workers.

    Args:
        runs: what to run.
        workers: processes at a time, at least 1.
        scheduler: of Dask, in place of processes of this host; see `cluster.cluster_executor`.
        resources: what a worker of the scheduler must have for a run.
        failed: gets the runs that fail, with the reason; the others go on.

    Raises:
        UserError: when a run fails and there is no ``failed``; the message names it.  Finished runs are kept.
    """
    if workers < 1:
        raise ArgumentError("workers", f"is {workers}; it must be at least 1.")
    waiting = [run for run in runs if not run.is_done()]
    replaced = [run for run in waiting if (run.folder / "done.json").is_file()]
    if replaced:
        trained = sum(run.is_trained() for run in replaced)
        again = f" ({trained} need no training, only their tests)" if trained else ""
        print(
            f"{len(replaced)} finished runs were made with other settings or another version; they are "
            f"replaced{again}. "
            "(Interrupt, and give another --output-dir, to keep them.)",
            flush=True,
        )
    with progress_bar(total=len(runs), initial=len(runs) - len(waiting), desc="Benchmark", unit="run") as bar:
        if waiting and scheduler is None:
            # spawned, not forked: torch's threads and CUDA don't survive a fork
            context = multiprocessing.get_context("spawn")
            count = min(workers, len(waiting))
            with ProcessPoolExecutor(count, mp_context=context, initializer=_prepare_worker) as pool:
                _run(pool, {run: (run.run,) for run in waiting}, bar, failed)
        elif waiting:
            folder = Path(os.path.commonpath([run.folder.parent.resolve() for run in waiting]))
            with cluster_executor(str(scheduler), folder, workers, dict(resources)) as pool:
                _run(pool, {run: (run_on_worker, run, os.getcwd()) for run in waiting}, bar, failed)
    return len(waiting)


def _run(
    pool: Executor, calls: Mapping[Run, tuple[Any, ...]], bar: tqdm, failed: dict[Any, str] | None = None
) -> None:
    """Let ``pool`` make every run's call: a function and its arguments."""
    with _without_interrupts():  # workers inherit it: Ctrl-C goes to the whole group, the parent decides
        running: dict[Future[None], Run] = {pool.submit(*call): run for run, call in calls.items()}
    try:
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                run = running.pop(future)
                _check(future, run, failed)
                bar.set_postfix_str(str(run), refresh=False)
                bar.update()
    except BaseException as error:
        for future in running:
            future.cancel()
        pool.shutdown(wait=False)
        if isinstance(error, KeyboardInterrupt):
            for process in multiprocessing.active_children():
                process.terminate()  # the same command goes on where they are
        raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore SIGINT for a moment; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _check(future: Future[None], run: Run, failed: dict[Any, str] | None = None) -> None:
    try:
        future.result()
    except UserError as error:
        if failed is None:
            raise UserError(f"{run}: {error}") from error
        failed[run] = str(error)
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process died while {run} and others ran (killed, perhaps for memory); finished runs are "
            "kept: run the same command again, with fewer --workers."
        ) from error
    except Exception as error:
        said = lost(error, str(run), "finished runs are kept: ")
        if said is None:
            raise
        raise said from error


def _prepare_worker() -> None:
    import torch

    end_with_parent()
    # tqdm's own lock is a semaphore, which a terminated worker would leave behind
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def run_on_worker(run: Run, folder: str) -> None:
    """Do a run on a worker, from the folder that its relative paths begin at.

    Raises:
        UserError: when the worker has no such folder, and what the run raises.
    """
    import torch

    with one_at_a_time:
        torch.set_num_threads(1)
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{platform.node()} has no folder {folder}, which the run was planned in: give it to all workers, or "
                "start from a shared folder."
            ) from error
        run.run()
