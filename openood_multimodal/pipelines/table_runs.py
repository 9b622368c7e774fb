"""Runs of the paper's tables and figures: each row, partition and seed trains one network and tests it."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config, load_config
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
    """One row of a table on one class partition, with one seed.

    Attributes:
        group: the data, from the table.
        row: the training, from the table.
        table: the table itself.
        roots: where files are.
        scale: what takes the place of data and network, or None.
        partition: class partition; of clips, a generated split (`RowGroup.splits`).
        overrides: dotted key → text, of whichever config has the key.
        num_workers: processes that read clips; doesn't change results.
    """

    group: RowGroup
    row: TableRow
    table: Table
    roots: Roots
    scale: Scale | None = None
    partition: int = 0
    overrides: Mapping[str, str] = field(default_factory=dict)
    num_workers: int = 0

    @property
    def id_set(self) -> str:
        """The benchmark's name, as published tables have it."""
        return self.group.benchmark.rpartition("/")[2]

    @property
    def name(self) -> str:
        """``<benchmark>/<modalities>/<network>/<training>``, the same for every partition and seed."""
        training = f"{self.row.training}-{self.row.variant}" if self.row.variant else self.row.training
        return f"{self.id_set}/{'+'.join(self.group.modalities)}/{self.table.network}/{training}"

    @property
    def folder(self) -> Path:
        """Where its ``training/`` and ``test/`` go."""
        return self._below(self.roots.output)

    def _below(self, root: str) -> Path:
        scale = self.scale.benchmark.rpartition("/")[2] if self.scale else ""
        place = f"p{self.partition}_s{self.seed}" if self.partition else f"s{self.seed}"
        return Path(root, scale, self.name, place)

    @property
    def checkpoints(self) -> list[Path]:
        """The files that are taken in place of training it, the first that exists; none where it is trained.

        The authors' checkpoints are of one seed each, 0.
        """
        if not self.roots.checkpoints:
            return []
        authors = ""
        if not (self.scale or self.row.variant or self.seed or self.partition or self.group.splits):
            authors = authors_checkpoint(self.id_set, self.group.modalities, self.row.training)
        own = self._below(self.roots.checkpoints) / TRAINING / "best.ckpt"
        return [*([Path(self.roots.checkpoints, authors)] if authors else []), own]

    @property
    def checkpoint(self) -> Path:
        """The network that is tested."""
        found = [each for each in self.checkpoints if each.is_file()]
        return next(iter((*found, *self.checkpoints)), super().checkpoint)

    @property
    def modalities(self) -> list[str]:
        """The modalities of the data that it is run on, in order."""
        given = self.scale.modalities if self.scale else {}
        return [given.get(each, each) for each in self.group.modalities]

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

    def __str__(self) -> str:
        partition = f", partition {self.partition}" if self.partition else ""
        return f"{self.name}{partition}, seed {self.seed}"

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
        for modality in self.modalities:
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
        """Return row, partition and seed."""
        return {"row": self.name, "partition": self.partition, "seed": self.seed}

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
        own = self.scale.configs if self.scale else None
        more = self.table.configs if own is None else own
        return [f"datasets/{benchmark}.yml", *ood, f"networks/{network}.yml", *more]

    def _common(self, files: Sequence[str]) -> list[str]:
        base = load_config(files)
        roots = {
            "data_root": self.roots.data,
            "splits_root": self.roots.splits,
            "weights_root": self.roots.weights,
        }
        found = words_of({key: value for key, value in roots.items() if key in base})
        words = ["--dataset.modalities", *self.modalities, "--seed", str(self.seed), *found]
        if self.partition:
            words += ["--dataset.partition", str(self.partition)]
        if self.group.splits and not self.scale:
            words += self._splits(load_config(files, found))
        if "data_root" in base:  # clips; tables are read at once
            words += ["--num_workers", str(self.num_workers)]
        return [*words, "--output_dir", str(self.folder)]

    def _splits(self, config: Config) -> list[str]:
        """Return the words that put the split lists of `partition` in place of the config's."""
        seed = f"_seed{self.partition}" if self.partition else ""
        own, other = f"/{self.id_set}/", f"/{self.id_set}_{self.group.splits}{seed}/"
        return words_of(
            {
                key: str(value).replace(own, other)
                for key, value in config.leaves()
                if key.endswith("imglist_pth.manifest")
            }
        )

    @property
    def chosen(self) -> dict[str, str]:
        """The settings of the row, of the scale and of the user, dotted key → text; the later win."""
        scale = flat(self.scale.settings) if self.scale else {}
        return {**flat(self.row.settings), **scale, **self.overrides}

    def _overrides(self, files: Sequence[str]) -> list[str]:
        """Return the words of those settings that these configs have a key for."""
        base = load_config(files)
        return words_of({key: value for key, value in self.chosen.items() if key in base})


def plan_table(
    table: Table,
    roots: Roots,
    seeds: int | None = None,
    pattern: str = "",
    scale: Scale | None = None,
    overrides: Mapping[str, str] | None = None,
    num_workers: int = 0,
    partitions: int | None = None,
) -> list[TableRun]:
    """Return a table's runs, partitions and seeds of a row one after the other, each counted from 0.

    On a scale, rows that differ in their benchmark would be the same: those of the table's first benchmark are planned,
    unless ``pattern`` chooses.

    Args:
        table: see `load_table`.
        roots: where files are.
        seeds: how many seeds a row, at least 1; None for the table's own number.
        pattern: of rows' names, with ``*``; without one, a part of the name; empty for all.
        scale: in place of data and networks.
        overrides: dotted key → text.
        num_workers: processes that read clips.
        partitions: how many class partitions a row, at least 1; None for the table's or the scale's own number.

    Raises:
        UserError: when clips are needed and there is no folder of them, a benchmark has no further partitions, no row
            fits ``pattern``, a row is duplicated, an override belongs to no row's configs or is none of an override's
            business.
    """
    seeds = table.seeds or 1 if seeds is None else seeds
    partitions = table.partitions or (scale.partitions if scale else 1) if partitions is None else partitions
    for argument, number in (("seeds", seeds), ("partitions", partitions)):
        if number < 1:
            raise ArgumentError(argument, f"is {number}; it must be at least 1.")
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
            partition=partition,
            overrides=overrides,
            num_workers=num_workers,
        )
        for group in table.runs
        if pattern or not scale or group.benchmark == table.runs[0].benchmark
        for row in group.rows
        for partition in range(partitions)
        for seed in range(seeds)
    ]
    if scale:
        runs = [
            run for run in runs if not any(fnmatch.fnmatchcase(run.name, each) for each in scale.leave_out)
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
    for run in {run.name: run for run in runs}.values():
        _check_data(run, partitions)
    return runs


def _check_data(run: TableRun, partitions: int) -> None:
    """Check that a run's data has as many partitions, and that a folder is given where it is clips."""
    data = (run.scale.benchmark if run.scale else run.group.benchmark).rpartition("/")[2]
    if not run.roots.data and run.has_key("data_root"):
        raise ArgumentError(
            "data_root",
            f"isn't given, and {data} is clips: name the folder that holds them (docs/reproduce.md), or run the rows "
            "on a scale that needs none: --scale htad or mfeat.",
        )
    varied = run.has_key("dataset.benchmark") or (run.group.splits and not run.scale)
    if partitions > 1 and not varied:
        raise ArgumentError("partitions", f"is {partitions}, and {data} has one; give 1.")
    unknown = [
        each
        for each in run.group.modalities
        if run.scale and run.scale.modalities and each not in run.scale.modalities
    ]
    if unknown:
        raise UserError(
            f"the scale {data} has nothing in place of {unknown[0]} (row {run.name}); choose other rows, or a scale "
            "whose modalities name it."
        )
    if partitions > 1 and "dataset.partition" in run.chosen:
        raise UserError(f"{run.name} sets dataset.partition; leave it out, or run it on one partition.")
