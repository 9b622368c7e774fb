"""Runs of the paper's tables: each row and seed trains one network and tests it."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import load_config
from ..errors import ArgumentError, UserError
from ..files import file_sha256
from ..networks.clips.published_weights import authors_checkpoint
from .digest import effective_config
from .run import TRAINING, Command, Run, words_of
from .tables import RowGroup, Scale, Table, TableRow, flat

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
"""Keys of a table's runs that are not to be overridden, and what decides them."""


@dataclass(frozen=True)
class Roots:
    """Where files are.

    Attributes:
        data: holds the datasets' folders.
        splits: holds the manifests' folders.
        weights: holds published weights.
        output: every run has its folder below.
        checkpoints: holds trained networks, which are tested in place of training; empty to train.  Its files have the
            names that MultiOOD's authors publish theirs under, or it is the ``output`` of other runs.
    """

    data: str
    splits: str = "splits"
    weights: str = "weights"
    output: str = "results/reproduce"
    checkpoints: str = ""


ELSEWHERE = Roots("data", "splits", "weights", "output")
"""In place of a run's own roots where only its settings count."""


@dataclass(frozen=True, eq=False)
class TableRun(Run):
    """One row of a table with one seed.

    Attributes:
        group: the data, from the table.
        row: the training, from the table.
        table: the table itself.
        roots: where files are.
        scale: what takes the place of data and network, or None.
        overrides: dotted key → text, of whichever config has the key.
        num_workers: processes that read clips; doesn't change results.
    """

    group: RowGroup
    row: TableRow
    table: Table
    roots: Roots
    scale: Scale | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    num_workers: int = 0

    @property
    def id_set(self) -> str:
        """The benchmark's name, as published tables have it."""
        return self.group.benchmark.rpartition("/")[2]

    @property
    def name(self) -> str:
        """``<benchmark>/<modalities>/<network>/<training>``, the same for every seed."""
        training = f"{self.row.training}-{self.row.variant}" if self.row.variant else self.row.training
        return f"{self.id_set}/{'+'.join(self.group.modalities)}/{self.table.network}/{training}"

    @property
    def folder(self) -> Path:
        """Where its ``training/`` and ``test/`` go."""
        return self._below(self.roots.output)

    def _below(self, root: str) -> Path:
        scale = self.scale.benchmark.rpartition("/")[2] if self.scale else ""
        return Path(root, scale, self.name, f"s{self.seed}")

    @property
    def checkpoints(self) -> list[Path]:
        """The files that are taken in place of training it, the first that exists; none where it is trained.

        The authors' checkpoints are of one seed each, 0.
        """
        if not self.roots.checkpoints:
            return []
        authors = ""
        if not (self.scale or self.row.variant or self.seed):
            authors = authors_checkpoint(self.id_set, self.group.modalities, self.row.training)
        own = self._below(self.roots.checkpoints) / TRAINING / "best.ckpt"
        return [*([Path(self.roots.checkpoints, authors)] if authors else []), own]

    @property
    def checkpoint(self) -> Path:
        """The network that is tested."""
        found = [each for each in self.checkpoints if each.is_file()]
        return next(iter((*found, *self.checkpoints)), super().checkpoint)

    @property
    def postprocessors(self) -> list[str]:
        """The postprocessors, in order."""
        return list(self.row.postprocessors or self.table.postprocessors)

    def is_trained(self) -> bool:
        """Whether there is a network to test."""
        return super().is_trained() if self.trains else self.checkpoint.is_file()

    def is_done(self) -> bool:
        """Whether the folder holds the finished records of these settings."""
        return (self.trains or self.checkpoint.is_file()) and super().is_done()

    @property
    def trains(self) -> bool:
        """Whether the network is trained, and not given."""
        return not self.checkpoints

    def training_command(self) -> Command:
        """Return the training, also where a trained network is given."""
        files = [*self._files(with_ood=False), f"pipelines/train/{self.row.training}.yml"]
        words = [*self._common(files), "--exp_name", TRAINING, *self._overrides(files)]
        return Command(files, words, "multimodal_train")

    def test_commands(self) -> list[Command]:
        """Return the test: extraction into stores, scores, records."""
        files = [*self._files(with_ood=True), f"pipelines/test/{self.group.evaluator}.yml"]
        words = [*self._common(files), "--exp_name", "test", "--network.checkpoint", str(self.checkpoint)]
        # it holds all weights: those that the encoders began with aren't needed again
        base = load_config(files)
        for modality in self.group.modalities:
            key = f"network.encoders.{modality}.checkpoint"
            words += [f"--{key}", ""] if key in base else []
        words += ["--preset", self.table.preset, "--fit_on", self.group.fit_on]
        words += ["--postprocessors", *self.postprocessors]
        given = self.scale.postprocessor_args if self.scale else {}
        arguments = {name: dict(each) for name, each in given.items() if name in self.postprocessors}
        words += ["--postprocessor_args", json.dumps(arguments)] if arguments else []
        return [Command(files, [*words, *self._overrides(files)])]

    def settings(self) -> dict[str, Any]:
        """Return the content of the configs, and of a given checkpoint."""
        here = replace(self, roots=ELSEWHERE, num_workers=0)
        [test] = here.test_commands()
        settings: dict[str, Any] = {"test": effective_config(test.config())}
        if self.trains:
            return {"training": effective_config(here.training_command().config()), **settings}
        return {"checkpoint": file_sha256(self.checkpoint), **settings}

    def about(self) -> dict[str, Any]:
        """Return row and seed."""
        return {"row": self.name, "seed": self.seed}

    def has_key(self, key: str) -> bool:
        """Whether one of the run's configs has ``key``."""
        return key in load_config(self.all_files())

    def all_files(self) -> list[str]:
        """Return all config files, those of the test first."""
        return [*self.test_commands()[0].files, f"pipelines/train/{self.row.training}.yml"]

    def _files(self, with_ood: bool) -> list[str]:
        benchmark = self.scale.benchmark if self.scale else self.group.benchmark
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
        found = words_of({key: value for key, value in roots.items() if key in base})
        words = ["--dataset.modalities", *self.group.modalities, "--seed", str(self.seed), *found]
        return [*words, "--num_workers", str(self.num_workers), "--output_dir", str(self.folder)]

    def _overrides(self, files: Sequence[str]) -> list[str]:
        """Return the words of those settings that these configs have a key for."""
        base = load_config(files)
        chosen = {
            **flat(self.row.settings),
            **(flat(self.scale.settings) if self.scale else {}),
            **self.overrides,
        }
        return words_of({key: value for key, value in chosen.items() if key in base})


def plan_table(
    table: Table,
    roots: Roots,
    seeds: int = 1,
    pattern: str = "",
    scale: Scale | None = None,
    overrides: Mapping[str, str] | None = None,
    num_workers: int = 0,
) -> list[TableRun]:
    """Return a table's runs, the seeds 0 to ``seeds - 1`` of a row one after the other.

    Args:
        table: see `load_table`.
        roots: where files are.
        seeds: how many trainings a row, at least 1.
        pattern: of rows' names, with ``*``; without one, a part of the name; empty for all.
        scale: in place of data and networks.
        overrides: dotted key → text.
        num_workers: processes that read clips.

    Raises:
        UserError: when no row fits ``pattern``, a row is duplicated, an override belongs to no row's configs or is none
            of an override's business.
    """
    if seeds < 1:
        raise ArgumentError("seeds", f"is {seeds}; it must be at least 1.")
    if roots.checkpoints and not Path(roots.checkpoints).is_dir():
        raise ArgumentError("checkpoints", f"is {roots.checkpoints}, and there is no such folder.")
    overrides = dict(overrides or {})
    for key in overrides:
        if key in RESERVED:
            raise UserError(f"--{key} can't be overridden here: {RESERVED[key]} decides it.")
    runs = [
        TableRun(
            seed=seed,
            group=group,
            row=row,
            table=table,
            roots=roots,
            scale=scale,
            overrides=overrides,
            num_workers=num_workers,
        )
        for group in table.runs
        for row in group.rows
        for seed in range(seeds)
    ]
    twice = next((path for path, n in Counter(run.folder for run in runs).items() if n > 1), None)
    if twice is not None:
        raise UserError(f"the row {twice.parent} is in the table twice; give one of them a variant.")
    if pattern:
        wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
        names = list(dict.fromkeys(run.name for run in runs))
        runs = [run for run in runs if fnmatch.fnmatchcase(run.name, wanted)]
        if not runs:
            raise UserError(f"no row fits --rows '{pattern}'; the rows are\n  " + "\n  ".join(names))
    for key, value in overrides.items():
        if not any(run.has_key(key) for run in runs):
            load_config(runs[0].all_files(), [f"--{key}", value])  # which says so, with the nearest key
    return runs
