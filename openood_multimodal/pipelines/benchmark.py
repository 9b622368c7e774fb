"""Run many jobs in parallel processes, resumably, with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError
from ..workers import end_with_parent
from .jobs import Job, is_done, run_job


def run_jobs(jobs: Sequence[Job], output_dir: Path, workers: int, keep_checkpoints: bool = False) -> int:
    """Run those of ``jobs`` that are not done yet; return how many ran.

    Every job runs on one thread, so that its result doesn't depend on the number of workers.

    Args:
        jobs: what to run.
        output_dir: each job has its folder below.
        workers: processes at a time, at least 1.
        keep_checkpoints: whether trained networks are kept.

    Raises:
        UserError: when a job fails; the message names it.  Finished jobs are kept.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; it must be at least 1.")
    waiting = [job for job in jobs if not is_done(job, output_dir)]
    replaced = sum((output_dir / job.folder / "done.json").is_file() for job in waiting)
    if replaced:
        print(
            f"{replaced} finished runs in {output_dir} were made with other settings or another version; they are "
            "made anew. (Interrupt, and give another --output-dir, to keep them.)",
            flush=True,
        )
    with tqdm(
        total=len(jobs), initial=len(jobs) - len(waiting), desc="Benchmark", unit="run", disable=None
    ) as bar:
        if waiting:
            _run(waiting, output_dir, min(workers, len(waiting)), keep_checkpoints, bar)
    return len(waiting)


def _run(jobs: Sequence[Job], output_dir: Path, workers: int, keep_checkpoints: bool, bar: tqdm) -> None:
    # spawned, not forked: torch's threads and CUDA don't survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        with _without_interrupts():  # workers inherit it: Ctrl-C goes to the whole group, the parent decides
            running: dict[Future[None], Job] = {
                pool.submit(run_job, job, output_dir, keep_checkpoints): job for job in jobs
            }
        try:
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = running.pop(future)
                    _check(future, job)
                    bar.set_postfix_str(str(job), refresh=False)
                    bar.update()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                for process in multiprocessing.active_children():
                    process.terminate()  # a job that has begun is started anew by the next run
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


def _check(future: Future[None], job: Job) -> None:
    try:
        future.result()
    except UserError as error:
        raise UserError(f"{job}: {error}") from error
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process died while {job} and others ran (killed, perhaps for memory); finished runs are "
            "kept: run the same command again, with fewer --workers."
        ) from error


def _prepare_worker() -> None:
    import torch

    end_with_parent()
    # tqdm's own lock is a semaphore, which a terminated worker would leave behind
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
