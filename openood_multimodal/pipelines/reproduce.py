"""Run the rows of a published table: each trains one network and tests it, in a folder of its own, resumably.

A job is what two ``openood-mm run`` commands do; `ReproduceJob.train_command` and `test_command` are those commands.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config, load_config
from ..errors import UserError
from ..files import file_sha256, holding, read_json, text_sha256
from ..files.atomic import write_json
from ..networks.clips.published_weights import authors_checkpoint
from ..registry import PIPELINES
from .digest import effective_config, first_difference
from .reproduce_tables import Scale, Table, TableRow, TableRun, flat

RESERVED = {
    "output_dir": "--output-dir",
    "exp_name": "--output-dir",
    "seed": "--seeds",
    "data_root": "--data-root",
    "splits_root": "--splits",
    "weights_root": "--weights",
    "dataset.modalities": "the table's rows",
    "network.modalities": "the table's rows",
    "network.checkpoint": "the training of the row",
    "network.pretrained": "the training of the row",
}
"""Keys that are not to be overridden, and what decides them."""


@dataclass(frozen=True)
class Roots:
    """Where things lie.

    Attributes:
        data: holds the data sets' folders.
        splits: holds the manifests' folders.
        weights: holds published weights.
        output: every job has its folder below.
        checkpoints: holds trained networks, which are tested in place of training; empty to train.  Its files have the
            names that MultiOOD's authors publish theirs under, or it is the ``output`` of other runs.
    """

    data: str
    splits: str = "splits"
    weights: str = "weights"
    output: str = "results/reproduce"
    checkpoints: str = ""


ELSEWHERE = Roots("data", "splits", "weights", "output")
"""In place of a job's own roots where only its settings count."""


@dataclass(frozen=True, eq=False)
class ReproduceJob:
    """One row of a table with one seed.

    Attributes:
        run: the data, from the table.
        row: the training, from the table.
        table: the table itself.
        seed: of the training.
        roots: where things lie.
        scale: what takes the place of data and network, or None.
        overrides: dotted key → text, of whichever config has the key.
        num_workers: processes that read clips; doesn't change results.
    """

    run: TableRun
    row: TableRow
    table: Table
    seed: int
    roots: Roots
    scale: Scale | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    num_workers: int = 0

    @property
    def name(self) -> str:
        """``<benchmark>/<modalities>/<network>/<training>``, the same for every seed."""
        training = f"{self.row.training}-{self.row.variant}" if self.row.variant else self.row.training
        benchmark = self.run.benchmark.rpartition("/")[2]
        return f"{benchmark}/{'+'.join(self.run.modalities)}/{self.table.network}/{training}"

    @property
    def folder(self) -> Path:
        """Where its ``training/`` and ``test/`` go."""
        return self._below(self.roots.output)

    def _below(self, root: str) -> Path:
        scale = self.scale.benchmark.rpartition("/")[2] if self.scale else ""
        return Path(root, scale, self.name, f"s{self.seed}")

    @property
    def checkpoints(self) -> list[Path]:
        """The files that are taken in place of training it, the first that is there; none where it is trained.

        The authors' checkpoints are of one seed each, 0.
        """
        if not self.roots.checkpoints:
            return []
        authors = ""
        if not (self.scale or self.row.variant or self.seed):
            benchmark = self.run.benchmark.rpartition("/")[2]
            authors = authors_checkpoint(benchmark, self.run.modalities, self.row.training)
        own = self._below(self.roots.checkpoints) / "training" / "best.ckpt"
        return [*([Path(self.roots.checkpoints, authors)] if authors else []), own]

    @property
    def checkpoint(self) -> Path:
        """The network that is tested."""
        found = [each for each in self.checkpoints if each.is_file()]
        return next(iter((*found, *self.checkpoints)), self.folder / "training" / "best.ckpt")

    @property
    def postprocessors(self) -> list[str]:
        """The scores, in order."""
        return list(self.row.postprocessors or self.table.postprocessors)

    def train_command(self) -> tuple[list[str], list[str]]:
        """Return the config files and the override words of the training."""
        files = [*self._files(with_ood=False), f"pipelines/train/{self.row.training}.yml"]
        words = [*self._common(files), "--exp_name", "training"]
        return files, [*words, *self._settings(files)]

    def test_command(self) -> tuple[list[str], list[str]]:
        """Return the same of the test: extraction into stores, scores, records."""
        files = [*self._files(with_ood=True), f"pipelines/test/{self.run.evaluator}.yml"]
        words = [*self._common(files), "--exp_name", "test"]
        words += ["--network.checkpoint", str(self.checkpoint)]
        # it holds all weights: those that the encoders began with aren't needed again
        base = load_config(files)
        for modality in self.run.modalities:
            key = f"network.encoders.{modality}.checkpoint"
            words += [f"--{key}", ""] if key in base else []
        words += ["--preset", self.table.preset, "--fit_on", self.run.fit_on]
        words += ["--postprocessors", *self.postprocessors]
        given = self.scale.postprocessor_args if self.scale else {}
        arguments = {name: dict(each) for name, each in given.items() if name in self.postprocessors}
        words += ["--postprocessor_args", json.dumps(arguments)] if arguments else []
        return files, [*words, *self._settings(files)]

    def configs(self) -> tuple[Config, Config]:
        """Return the training's and the test's config.

        Raises:
            UserError: for a config, key or value that doesn't exist.
        """
        return load_config(*self.train_command()), load_config(*self.test_command())

    def effective(self) -> dict[str, Any]:
        """Return all that decides the results, wherever things lie."""
        training, test = replace(self, roots=ELSEWHERE, num_workers=0).configs()
        if self.checkpoints:
            return {"checkpoint": file_sha256(self.checkpoint), "test": effective_config(test)}
        return {"training": effective_config(training), "test": effective_config(test)}

    def _files(self, with_ood: bool) -> list[str]:
        benchmark = self.scale.benchmark if self.scale else self.run.benchmark
        network = self.scale.network if self.scale else self.table.network
        ood = [f"datasets/{benchmark}_ood.yml"] if with_ood else []
        return [f"datasets/{benchmark}.yml", *ood, f"networks/{network}.yml", *self.table.configs]

    def _common(self, files: Sequence[str]) -> list[str]:
        base = load_config(files)
        roots = {
            "data_root": self.roots.data,
            "splits_root": self.roots.splits,
            "weights_root": self.roots.weights,
        }
        found = [word for key, value in roots.items() if key in base for word in (f"--{key}", value)]
        words = ["--dataset.modalities", *self.run.modalities, "--seed", str(self.seed), *found]
        return [*words, "--num_workers", str(self.num_workers), "--output_dir", str(self.folder)]

    def _settings(self, files: Sequence[str]) -> list[str]:
        """Return the words of those settings that these configs have a key for."""
        base = load_config(files)
        chosen = {
            **flat(self.row.settings),
            **(flat(self.scale.settings) if self.scale else {}),
            **self.overrides,
        }
        return [word for key, value in chosen.items() if key in base for word in (f"--{key}", value)]


def plan(
    table: Table,
    roots: Roots,
    seeds: int = 1,
    pattern: str = "",
    scale: Scale | None = None,
    overrides: Mapping[str, str] | None = None,
    num_workers: int = 0,
) -> list[ReproduceJob]:
    """Return a table's jobs, the seeds 0 to ``seeds - 1`` of a row one after the other.

    Args:
        table: see `load_table`.
        roots: where things lie.
        seeds: how many trainings a row, at least 1.
        pattern: of rows' names, with ``*``; without one, a part of the name; empty for all.
        scale: in place of data and networks.
        overrides: dotted key → text.
        num_workers: processes that read clips.

    Raises:
        UserError: when no row fits ``pattern``, a row stands twice, an override belongs to no row's configs or is none
            of an override's business.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be at least 1.")
    if roots.checkpoints and not Path(roots.checkpoints).is_dir():
        raise UserError(f"--checkpoints: there is no folder {roots.checkpoints}.")
    overrides = dict(overrides or {})
    for key in overrides:
        if key in RESERVED:
            raise UserError(f"--{key} can't be overridden here: {RESERVED[key]} decides it.")
    jobs = [
        ReproduceJob(run, row, table, seed, roots, scale, overrides, num_workers)
        for run in table.runs
        for row in run.rows
        for seed in range(seeds)
    ]
    folders = [job.folder for job in jobs]
    twice = next((each for each in folders if folders.count(each) > 1), None)
    if twice is not None:
        raise UserError(f"the row {twice.parent} stands twice in the table; give one of them a variant.")
    if pattern:
        wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
        names = list(dict.fromkeys(job.name for job in jobs))
        jobs = [job for job in jobs if fnmatch.fnmatchcase(job.name, wanted)]
        if not jobs:
            raise UserError(f"no row fits --rows '{pattern}'; the rows are\n  " + "\n  ".join(names))
    for key, value in overrides.items():
        if not any(_has(job, key) for job in jobs):
            load_config(_all_files(jobs[0]), [f"--{key}", value])  # which says so, with the nearest key
    return jobs


def _has(job: ReproduceJob, key: str) -> bool:
    return key in load_config(_all_files(job))


def _all_files(job: ReproduceJob) -> list[str]:
    return [*job.test_command()[0], f"pipelines/train/{job.row.training}.yml"]


def is_done(job: ReproduceJob) -> bool:
    """Whether the folder of ``job`` holds its finished records, of the same settings."""
    content = _read(job.folder / "done.json")
    if job.checkpoints and not job.checkpoint.is_file():
        return False
    return content is not None and content.get("digest") == digest(job)


def is_begun(job: ReproduceJob) -> bool:
    """Whether a run of ``job`` has been started."""
    return (job.folder / "job.json").is_file()


def is_trained(job: ReproduceJob) -> bool:
    """Whether there is a network to test: its training has come to its end (only then is there a last checkpoint)."""
    if job.checkpoints:
        return job.checkpoint.is_file()
    return all((job.folder / "training" / name).is_file() for name in ("best.ckpt", "last.ckpt"))


def digest(job: ReproduceJob) -> str:
    """Return the SHA-256 of all settings that decide the job's results; not of where things lie."""
    text = json.dumps(job.effective(), sort_keys=True, default=str)
    return text_sha256(text)


def run_job(job: ReproduceJob) -> None:
    """Train, extract, score; go on where an earlier run of the same settings stopped.

    A second process on the same row waits, and finds it done.

    Raises:
        UserError: when the folder holds a run of other settings, and whatever training and test raise.
    """
    with holding(job.folder):
        _run(job)


def _run(job: ReproduceJob) -> None:
    if is_done(job):
        return
    check_folder(job)
    effective = json.loads(json.dumps(job.effective(), default=str))
    write_json(job.folder / "job.json", {"row": job.name, "seed": job.seed, "settings": effective})
    training, test = job.configs()
    if not job.checkpoints:
        PIPELINES.get(training["pipeline"]["name"])(training).run()
    PIPELINES.get(test["pipeline"]["name"])(test).run()
    write_json(job.folder / "done.json", {"row": job.name, "seed": job.seed, "digest": digest(job)})


def check_folder(job: ReproduceJob) -> None:
    """Refuse a folder in which a run of other settings has begun.

    Raises:
        UserError: naming the first setting that differs.
    """
    begun = _read(job.folder / "job.json")
    if begun is None:
        return
    effective = json.loads(json.dumps(job.effective(), default=str))
    difference = first_difference(begun.get("settings", {}), effective)
    if difference is not None:
        raise UserError(
            f"{job.folder} holds a run of other settings ({difference}); give another --output-dir, or delete "
            "that folder."
        )


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(UserError):
        content = read_json(path)
        return content if isinstance(content, dict) else None
    return None
