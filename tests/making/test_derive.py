"""Making files from files: kills, a second process, crashes."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_bytes
from openood_multimodal.making.derive import Job, Outcome, claim, do_job, do_jobs, waiting_claim


@dataclass(frozen=True)
class Copy:
    """Makes targets of a source; a source's text says what happens on the way."""

    log: Path

    def __call__(self, job: Job) -> None:
        text = job.source.read_text()
        if text == "broken":
            raise UserError(f"{job.source} is broken.")
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("slow"):
            time.sleep(float(text.split()[1]))
        if text == "full":
            raise OSError(28, "No space left on device", str(job.targets[0]))
        for target in job.targets:
            write_bytes(target, text.upper().encode())
        with open(self.log, "a") as log:
            log.write(job.clip + "\n")


def exists(job: Job) -> bool:
    return job.exists()


def make_jobs(folder, texts):
    jobs = []
    for name, text in texts.items():
        (folder / name).write_text(text)
        jobs.append(Job(name, folder / name, (folder / "out" / f"{name}.x", folder / "out" / f"{name}.y")))
    return jobs


def states(outcomes):
    return {outcome.job.clip: outcome.state for outcome in outcomes}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_missing_is_made(workers, tmp_path):
    jobs = make_jobs(tmp_path, {"a": "one", "b": "two", "c": "broken"})
    write_bytes(jobs[0].targets[0], b"x")
    write_bytes(jobs[0].targets[1], b"y")
    make = Copy(tmp_path / "log")

    outcomes = list(do_jobs(jobs, make, exists, workers=workers))
    assert states(outcomes) == {"a": "present", "b": "made", "c": "failed"}
    assert [o.reason for o in outcomes if o.state == "failed"] == [f"{tmp_path / 'c'} is broken."]
    assert jobs[0].targets[0].read_bytes() == b"x"
    assert jobs[1].targets[1].read_bytes() == b"TWO"
    assert sorted(os.listdir(tmp_path / "out")) == ["a.x", "a.y", "b.x", "b.y"]

    assert states(do_jobs(jobs[:2], make, exists, again=True, workers=workers)) == {"a": "made", "b": "made"}
    assert jobs[0].targets[0].read_bytes() == b"ONE"


def test_a_crash_costs_one_clip(tmp_path):
    texts = {f"clip{i}": "fine" for i in range(5)} | {"bad": "crash", "slow": "slow 0.5"}
    jobs = make_jobs(tmp_path, texts)

    outcomes = list(do_jobs(jobs, Copy(tmp_path / "log"), exists, workers=2))
    assert len(outcomes) == len(jobs)
    assert {clip for clip, state in states(outcomes).items() if state != "made"} <= {"bad"} | (
        {clip for clip, state in states(outcomes).items() if state == "present"}
    )
    assert states(outcomes)["bad"] == "failed"
    assert "crashed" in next(o.reason for o in outcomes if o.state == "failed")
    assert all(job.exists() for job in jobs if job.clip != "bad")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_all(workers, tmp_path):
    jobs = make_jobs(tmp_path, {"a": "full", "b": "full"})
    with pytest.raises(OSError, match="No space left"):
        list(do_jobs(jobs, Copy(tmp_path / "log"), exists, workers=workers))


def test_one_holder_at_a_time(tmp_path):
    target = tmp_path / "deep" / "x"
    with claim(target) as first:
        assert first == "ours"
        with claim(target) as second:
            assert second == "busy"
        with claim(tmp_path / "deep" / "y") as other:
            assert other == "ours"
    assert os.listdir(tmp_path / "deep") == []
    with claim(target) as again:
        assert again == "ours"


def test_waiting_for_the_lock(tmp_path):
    target, order = tmp_path / "x", []
    (tmp_path / ".x.lock").touch()
    (tmp_path / ".x.0123456789ab.tmp").touch()

    def other():
        with waiting_claim(target):
            order.append("other")

    with waiting_claim(target):
        assert os.listdir(tmp_path) == [".x.lock"]
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    (job,) = make_jobs(tmp_path, {"a": "one"})
    out = tmp_path / "out"
    out.mkdir()
    for name in (".a.x.lock", ".a.x.0123456789ab.tmp", ".a.y.0123456789ab.tmp", ".b.x.0123456789ab.tmp"):
        (out / name).touch()

    assert do_job(job, Copy(tmp_path / "log"), exists).state == "made"
    assert sorted(os.listdir(out)) == [".b.x.0123456789ab.tmp", "a.x", "a.y"]

    (out / ".a.x.lock").touch()  # killed between the last renaming and the end
    assert do_job(job, Copy(tmp_path / "log"), exists) == Outcome(job, "present")
    assert sorted(os.listdir(out)) == [".b.x.0123456789ab.tmp", "a.x", "a.y"]


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_derive import Copy, exists, make_jobs, do_jobs, Job
folder = Path(sys.argv[1])
names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name.startswith("c"))
jobs = [Job(n, folder / n, (folder / "out" / (n + ".x"), folder / "out" / (n + ".y"))) for n in names]
if __name__ == "__main__":
    for outcome in do_jobs(jobs, Copy(folder / "log"), exists, workers=int(sys.argv[2])):
        assert outcome.state in ("made", "present"), outcome
"""


def start(tmp_path, workers):
    script = tmp_path / "run.py"
    script.write_text(RUN.format(tests=str(Path(__file__).parent)))
    return subprocess.Popen([sys.executable, str(script), str(tmp_path), str(workers)])


def test_two_processes_share_the_work(tmp_path):
    make_jobs(tmp_path, {f"c{i}": "slow 0.1" for i in range(20)})
    runs = [start(tmp_path, 1), start(tmp_path, 1)]
    assert [run.wait(60) for run in runs] == [0, 0]

    assert len(os.listdir(tmp_path / "out")) == 40  # no locks, no temporary files
    made = (tmp_path / "log").read_text().split()
    assert sorted(made) == sorted(f"c{i}" for i in range(20))  # each once


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how, tmp_path):
    make_jobs(tmp_path, {f"c{i}": "slow 30" for i in range(4)})
    run = start(tmp_path, 2)
    deadline = time.monotonic() + 120  # workers that start on a busy machine
    locks = tmp_path / "out"
    while time.monotonic() < deadline and (not locks.exists() or len(os.listdir(locks)) < 2):
        time.sleep(0.05)
    assert len(os.listdir(locks)) == 2
    run.send_signal(how)
    assert run.wait(15) != 0

    # the system has released the locks, as it does when nobody is left
    deadline = time.monotonic() + 10
    claimed = ["busy"]
    while "busy" in claimed and time.monotonic() < deadline:
        claimed = []
        for name in ("c0", "c1"):
            with claim(locks / f"{name}.x") as state:
                claimed.append(state)
        time.sleep(0.05)
    assert "busy" not in claimed
    if how == signal.SIGINT:
        assert claimed == ["ours", "ours"]  # they cleaned up
