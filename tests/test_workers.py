"""Workers end with their parent, however it ends."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from openood_multimodal.pipelines.benchmark import _prepare_worker
from openood_multimodal.workers import end_with_parent


def work(path):
    path.write_text(str(os.getpid()))
    time.sleep(120)


def parent(path, initializer):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer) as pool:
        pool.submit(work, path)


@pytest.mark.skipif(os.name != "posix", reason="kill")
@pytest.mark.parametrize("initializer", [end_with_parent, _prepare_worker])
def test_workers_of_a_killed_parent_end(tmp_path, initializer):
    process = multiprocessing.get_context("spawn").Process(
        target=parent, args=(tmp_path / "pid", initializer)
    )
    process.start()
    deadline = time.monotonic() + 90
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int((tmp_path / "pid").read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker lives on")
