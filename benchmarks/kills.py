"""What is left of a training, an extraction, a suite and scores when one of their processes is killed.

Each command runs undisturbed first, then with SIGKILL of one process at a random moment, uniform over the length of the
undisturbed run (of a suite: from the beginning of its first run to the end of its last), then again if it did not end
well.  ``equal`` is whether the result is that of the reference:

* ``training``: one of two ranks, then the same command; checkpoints to the bit, losses and accuracies of every epoch;
* ``extraction``: one of two ranks, then the same command with two ranks, one, and three in turn; all files of the
  stores, to the byte, are one process's;
* ``worker``: a worker of a Dask cluster, during a suite; metrics and digests of all records, and the table, are those
  of this host's pool, no run has finished twice, and none but the killed worker's has begun twice;
* ``scheduler``: the scheduler, during a suite, then a new one, and the same command; as before;
* ``score``: a worker, during ``score --scheduler``; one process's scores, to 1e-9, nearest neighbours to the bit.

Times are of the killed command and what followed it.  They are not what is measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from openood_multimodal.errors import UserError
from openood_multimodal.files import file_sha256, read_csv, text_sha256
from openood_multimodal.files.atomic import write_npz, write_text

from .parts.embeddings import STREAMS, Source
from .parts.killing import Cluster, Ended, Victim, cluster, rank, run_killed, words
from .suite.measuring import Measurement, Report, Times, cpu_seconds, say

NAME = "kills"
SUMMARY = "SIGKILL of ranks, workers and a scheduler at random moments: what the same command resumes"
QUICK = {"kills": 1, "epochs": 4, "rows": 4000}

SUITE = """runs:
- benchmark: synthetic/synthetic_far
  trainings: [multimodal_baseline, a2d_npmix]
partitions: 2
seeds: 1
postprocessors: [msp, ebo]
settings:
  optimizer.num_epochs: {epochs}
  network.hidden_dim: 8
  network.embedding_dim: 6
"""
SMALL = ("--network.hidden_dim", 8, "--network.embedding_dim", 6)
DATA = "datasets/synthetic/synthetic_far"
WORKERS = 2

Outcome = tuple[Ended, Ended | None, dict[str, Any], str]
"""How the command ended, and the second one, if there was one; figures; what differs from the reference."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=10, help="of each kind (default: %(default)s)")
    parser.add_argument(
        "--what", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of kills (default: all)"
    )
    parser.add_argument("--epochs", type=int, default=20, help="of a training (default: %(default)s)")
    parser.add_argument(
        "--rows", type=int, default=60_000, help="training rows of scores (default: %(default)s)"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=240.0,
        metavar="SECONDS",
        help="of a command (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for the outputs (default: the temporary folder)")


def run(options: argparse.Namespace) -> Report:
    report = Report({key: getattr(options, key) for key in ("kills", "epochs", "rows", "seed")})
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-", dir=options.folder) as folder:
        for kind in options.what:
            tests = Kills(options, Path(folder), kind, report)
            say(f"{kind}: undisturbed ...")
            with tests.clusters:
                KINDS[kind](tests)
            mine = [each for each in report.measurements if each.name.startswith(f"{kind}, ")]
            report.ratios[f"{kind}: equal, of {len(mine)}"] = float(
                sum(bool(m.values["equal"]) for m in mine)
            )
    return report


class Kills:
    """Kills of one kind.

    Args:
        options: the benchmark's.
        folder: for outputs.
        kind: names the measurements.
        report: gets them.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, kind: str, report: Report) -> None:
        self.options, self.folder, self.kind, self.report = options, folder, kind, report
        self.rng = np.random.default_rng((options.seed, [*KINDS].index(kind)))
        self.clusters = ExitStack()
        self.current: Cluster | None = None

    def cluster(self) -> Cluster:
        """Return a cluster of `WORKERS`: the last one, or a new one in place of one whose scheduler was killed."""
        self.current = self.current or self.clusters.enter_context(cluster(self.folder, WORKERS))
        return self.current

    def run(self, command: list[str], **how: Any) -> Ended:
        """Run a command in the folder, within the time limit."""
        return run_killed(command, self.folder, self.options.time_limit, **how)

    def good(self, command: list[str], **how: Any) -> Ended:
        """Run a command that nothing disturbs."""
        ended = self.run(command, **how)
        if ended.code != 0:
            raise RuntimeError(f"{self.kind}: {ended.how}: {ended.said}; see {self.folder}/output.txt")
        return ended

    def each(self, length: float, kill: Callable[[int, float], Outcome]) -> None:
        """Make the kills, and a measurement of each.

        Args:
            length: seconds that the victim lives where nothing disturbs it.
            kill: a number and the moment → `Outcome`.
        """
        tries = 0
        for number in range(self.options.kills):
            cpu = cpu_seconds()
            while True:  # the victim may have ended before its moment: machines don't keep time
                moment = float(self.rng.uniform(0, length))
                first, second, values, differs = kill(tries, moment)
                tries += 1
                if first.killed or first.code != 0:
                    break
                length = min(length, first.lived_s)
            wall = first.wall_s + (second.wall_s if second else 0.0)
            figures = {
                "kill_s": moment,
                "of_run": moment / length,
                **values,
                "ended": first.how,
                "again": second.how if second else "",
                "equal": not differs and (second or first).code == 0,
            }
            note = "; ".join(filter(None, (first.said, differs)))
            name = f"{self.kind}, kill {number + 1}"
            say(f"{name}: {figures} {note}")
            times = Times((wall,), (cpu_seconds() - cpu,))
            self.report.measurements.append(Measurement.of(name, times, figures, note, computes=False))


def _train(epochs: int, folder: Path, ranks: int) -> list[str]:
    files = (f"{DATA}.yml", "networks/mlp_fusion.yml", "pipelines/train/a2d_npmix.yml")
    synthesis = ("--trainer.start_epoch", 2, "--trainer.bank_size", 20, "--optimizer.num_epochs", epochs)
    often = (
        "--recorder.min_state_seconds",
        0,
        "--recorder.state_seconds",
        0.1,
        "--recorder.tensorboard",
        "false",
    )
    more = ("--output_dir", folder, "--exp_name", "run")
    return words("run", "--config", *files, *SMALL, *synthesis, *often, *more, ranks=ranks)


def _training(tests: Kills) -> None:
    from openood_multimodal.pipelines.state import FILE, read_state

    def command(folder: str) -> list[str]:
        return _train(tests.options.epochs, tests.folder / folder, 2)

    def result(folder: str) -> dict[str, str]:
        where = tests.folder / folder / "run"
        files = {
            each.name: file_sha256(each) for each in where.iterdir() if each.suffix in (".ckpt", ".json")
        }
        timing = ("seconds", "samples_per_second", "data_wait")
        columns = zip(*read_csv(where / "log.csv"), strict=True)
        return {**files, "log.csv": text_sha256(repr([each for each in columns if each[0] not in timing]))}

    length = tests.good(command("reference"), victim=rank(0)).lived_s
    expected = result("reference")

    def kill(number: int, moment: float) -> Outcome:
        victim, folder = number % 2, f"training{number}"
        first = tests.run(command(folder), victim=rank(victim), at_s=moment)
        reached, state = "nothing written", tests.folder / folder / "run" / FILE
        if state.is_file():
            found = read_state(state)
            part = found["trainer"]["progress"]
            reached = f"epoch {found['epoch_idx']}" + (f" and {part['batches']} batches" if part else "")
        second = tests.run(command(folder)) if first.code != 0 else None
        return (
            first,
            second,
            {"victim": f"rank {victim}", "reached": reached},
            differing(expected, result, folder),
        )

    tests.each(length, kill)


def _extraction(tests: Kills) -> None:
    checkpoint = tests.folder / "trained" / "run" / "best.ckpt"
    tests.good(_train(2, tests.folder / "trained", 1))

    def command(folder: str, ranks: int) -> list[str]:
        files = (f"{DATA}.yml", f"{DATA}_ood.yml", "networks/mlp_fusion.yml", "pipelines/test/near_ood.yml")
        sizes = [word for split in ("train", "val", "test") for word in (f"--dataset.{split}.batch_size", 1)]
        what = ("--pipeline.name", "multimodal_extract", "--network.checkpoint", checkpoint)
        where = ("--output_dir", tests.folder / folder, "--exp_name", "test")
        return words("run", "--config", *files, *SMALL, *sizes, *what, *where, ranks=ranks)

    def result(folder: str) -> dict[str, str]:
        stores = tests.folder / folder / "test" / "embeddings"
        return {str(each.relative_to(stores)): file_sha256(each) for each in files_of(stores)}

    tests.good(command("one", 1))
    expected = result("one")
    length = tests.good(command("two", 2), victim=rank(0)).lived_s

    def kill(number: int, moment: float) -> Outcome:
        victim, folder, ranks = number % 2, f"extraction{number}", (2, 1, 3)[number % 3]
        first = tests.run(command(folder, 2), victim=rank(victim), at_s=moment)
        done = [
            np.load(each) for each in sorted((tests.folder / folder).rglob("done.npy")) if each.stat().st_size
        ]
        reached = f"{sum(int(each.sum()) for each in done)} rows of {len(done)} sets"
        second = tests.run(command(folder, ranks)) if first.code != 0 else None
        values = {"victim": f"rank {victim}", "reached": reached, "ranks_again": ranks if second else None}
        return first, second, values, differing(expected, result, folder)

    tests.each(length, kill)


class Suite:
    """A suite of four runs, in the pool and on a cluster, and a look at what happens in its folders."""

    def __init__(self, tests: Kills) -> None:
        self.tests, self.starts, self.ends = tests, set[tuple[str, int]](), set[tuple[str, int]]()
        write_text(tests.folder / "suite.yml", SUITE.format(epochs=tests.options.epochs))
        tests.good(self.command("pool"))
        self.expected = self.result("pool")
        tests.good(self.command("undisturbed", tests.cluster()), meanwhile=self.look("undisturbed"))
        first, last = min(at for _, at in self.starts), max(at for _, at in self.ends)
        self.length = (last - first) / 1e9

    def command(self, folder: str, on: Cluster | None = None) -> list[str]:
        """Return the command, in the pool or on a cluster."""
        where = ("--scheduler", on.address) if on else ("--workers", WORKERS)
        return words("benchmark", "--suite", "suite.yml", "--output-dir", folder, *where)

    def result(self, folder: str) -> dict[str, str]:
        """Return the digests of the table and of what decides every record."""
        from openood_multimodal.reporting.records import load_records

        where = self.tests.folder / folder
        found = {each: file_sha256(where / each) for each in ("leaderboard.csv", "differences.csv")}
        for each in load_records(where):
            key = f"{each.training} p{each.partition} s{each.seed} {each.postprocessor} {each.ood_set}"
            found[key] = text_sha256(repr((each.metrics, each.digests)))
        return found

    def look(self, folder: str) -> Callable[[], None]:
        """Return what notes every beginning and end of a run in the folder."""
        self.starts, self.ends = set(), set()
        where = self.tests.folder / folder

        def look() -> None:
            for name, seen in (("job.json", self.starts), ("done.json", self.ends)):
                for each in where.glob(f"*/*/*/*/{name}"):
                    with suppress(FileNotFoundError):  # it was replaced, with its folder
                        seen.add((str(each.parent), each.stat().st_mtime_ns))

        return look

    def twice(self, interrupted: int) -> str:
        """Return a complaint of runs that have finished twice, or begun again more often than ``interrupted``."""
        runs = {folder for folder, _ in self.starts}
        if len(self.ends) != len(runs) or len(self.starts) > len(runs) + interrupted:
            return f"{len(runs)} runs began {len(self.starts)} times, ended {len(self.ends)} times"
        return ""

    def kill(self, number: int, moment: float) -> Outcome:
        """Kill the scheduler, or a worker, in the course of the suite."""
        kind, tests = self.tests.kind, self.tests
        folder = f"{kind}{number}"
        look = self.look(folder)
        made = tests.cluster()
        pid = made.scheduler if kind == "scheduler" else made.workers()[number % WORKERS]
        values: dict[str, Any] = {}

        def victim(_: int) -> int | None:
            """Begin to count when the first run begins; what is noted last, is noted at the kill."""
            values.update(began=len(self.starts), finished=len(self.ends))
            return pid if self.starts else None

        first = tests.run(self.command(folder, made), victim=victim, at_s=moment, meanwhile=look)
        if kind == "scheduler" and first.killed:
            tests.current = None
        second = None
        if first.code != 0:  # while the former workers may still be at work
            second = tests.run(self.command(folder, tests.cluster()), meanwhile=look)
        values["began_in_all"] = len(self.starts)
        twice = self.twice(WORKERS if kind == "scheduler" else 1)
        return (
            first,
            second,
            values,
            "; ".join(filter(None, (differing(self.expected, self.result, folder), twice))),
        )


def _suite(tests: Kills) -> None:
    suite = Suite(tests)
    tests.each(suite.length, suite.kill)


def _score(tests: Kills) -> None:
    source = Source(64, 10, seed=tests.options.seed)
    for name, stream in STREAMS.items():
        rows = tests.options.rows // (1 if name == "train" else 4)
        parts = list(source.draw(stream, rows, ood=name == "ood"))
        features, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        write_npz(tests.folder / f"{name}.npz", {"features": features, "labels": labels})
    write_npz(tests.folder / "head.npz", source.head().arrays())

    def command(folder: str, on: Cluster | None = None) -> list[str]:
        sets = ("--train", "train.npz", "--test", "test.npz", "--ood", "other=ood.npz", "--head", "head.npz")
        which = ("--postprocessors", "msp,mds,vim,knn", "--set", "vim.dim=32", "--chunk-rows", 512)
        where = ("--scheduler", on.address) if on else ()
        return words("score", *sets, *which, "--out", folder, *where)

    def scores(folder: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in sorted((tests.folder / folder).rglob("*.npz")):
            with np.load(each) as arrays:
                found |= {f"{each.parent.name}/{each.name}/{key}": arrays[key] for key in arrays.files}
        return found

    tests.good(command("one"))
    expected = scores("one")
    length = tests.good(command("undisturbed", tests.cluster())).lived_s

    def kill(number: int, moment: float) -> Outcome:
        folder = f"score{number}"
        made = tests.cluster()
        victim = _given(made.workers()[number % WORKERS])
        first = tests.run(command(folder, made), victim=victim, at_s=moment)
        second = tests.run(command(folder, made)) if first.code != 0 else None
        found = scores(folder)
        off = [name for name, values in expected.items() if not _close(name, values, found.get(name))]
        return first, second, {}, f"{len(off)} arrays differ, such as {off[0]}" if off else ""

    tests.each(length, kill)


def _close(name: str, one: Any, other: Any) -> bool:
    if other is None or one.shape != other.shape:
        return False
    exact = "knn" in name or one.dtype.kind != "f"
    return bool(np.array_equal(one, other) if exact else np.allclose(one, other, rtol=1e-9, atol=1e-12))


def _given(pid: int) -> Victim:
    return lambda _: pid


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, but for locks."""
    return [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.name.endswith(".lock")]


def differing(expected: dict[str, str], result: Callable[[str], dict[str, str]], folder: str) -> str:
    """Return what differs from what is expected, or nothing."""
    try:
        found = result(folder)
    except (OSError, UserError) as error:
        return f"nothing to compare: {type(error).__name__}"
    off = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    return f"{len(off)} of {len(expected)} differ, such as {off[0]}" if off else ""


KINDS: dict[str, Callable[[Kills], None]] = {
    "training": _training,
    "extraction": _extraction,
    "worker": _suite,
    "scheduler": _suite,
    "score": _score,
}
