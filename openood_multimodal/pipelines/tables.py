"""The paper's tables and figures as data: ``configs/tables/<name>.yml`` says which runs they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config, bind, find_config, read_config
from ..errors import UserError
from ..files import read_table
from ..naming import did_you_mean
from ..reporting.figures import FIGURES
from ..resources import leaderboard_dir, list_configs


@dataclass(frozen=True)
class TableRow:
    """One training and its test.

    Attributes:
        training: a config below ``pipelines/train/``, without ``.yml``.
        variant: tells rows of the same training apart; part of their folder.
        postprocessors: scores in place of the table's.
        settings: overrides, dotted key → value, of the configs that have the key.
    """

    training: str
    variant: str = ""
    postprocessors: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowGroup:
    """Rows on the same data.

    Attributes:
        benchmark: config below ``datasets/``, without ``.yml``.
        modalities: in the order of the concatenated embedding.
        rows: the training runs.
        evaluator: ``near_ood`` or ``far_ood``.
        fit_on: split that scores are fitted on, ``train`` or ``val``.
        splits: ``grouped``: a clip benchmark's partitions are the splits that ``openood-mm splits generate`` makes,
            one a seed; empty where it has one split.
    """

    benchmark: str
    modalities: list[str]
    rows: list[TableRow]
    evaluator: str = "near_ood"
    fit_on: str = "train"
    splits: str = ""


@dataclass(frozen=True)
class NotImplementedRow:
    """Printed rows that this package has no method for.

    Attributes:
        training: as in ``leaderboard/published/table<N>.csv``.
        why: what is missing.
        synthesis: likewise; empty for any.
    """

    training: str
    why: str
    synthesis: str = ""


@dataclass(frozen=True)
class Table:
    """One table, or one figure with the runs that it is drawn from.

    Attributes:
        title: what it shows.
        network: config below ``networks/``, without ``.yml``.
        runs: what can be run.
        postprocessors: scores of every row that names none.
        table: number of the published table; None for your own, and for figures.
        figure: number of the published figure, or None.
        figures: what is drawn of the runs (`reporting.figures.FIGURES`) → its postprocessors; empty for all or the
            best.
        partitions: how many of the class partitions 0, 1, ... each row is run on; None for the scale's, or 1.
        seeds: how many seeds, likewise; None for 1.
        encoders: modality → its encoder, as the published table calls it.
        configs: further configs of every row, after the network's.
        preset: of the scores' parameters.
        not_implemented: printed rows without a method here.
        unknown: settings that neither the paper nor the authors' code states, and what is taken.
    """

    title: str
    network: str
    runs: list[RowGroup]
    postprocessors: list[str]
    table: int | None = None
    figure: int | None = None
    figures: Mapping[str, list[str]] = field(default_factory=dict)
    partitions: int | None = None
    seeds: int | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    preset: str = "multiood"
    not_implemented: list[NotImplementedRow] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"{self.name.capitalize()}: {self.title}" if self.name != "table" else self.title

    @property
    def name(self) -> str:
        """What its outputs are called: ``table 1``, ``figure 10``, or ``table`` for your own."""
        numbers = {"table": self.table, "figure": self.figure}
        return next((f"{kind} {number}" for kind, number in numbers.items() if number is not None), "table")

    def published(self) -> list[dict[str, str]]:
        """Return the printed cells, in the paper's order; nothing for your own table.

        Raises:
            UserError: when there is no such published table.
        """
        return [] if self.table is None else published_rows(self.table)


@dataclass(frozen=True)
class Scale:
    """What takes the place of a table's data and networks, to see it run where neither is at hand.

    Attributes:
        benchmark: of every row.
        network: of every row.
        settings: overrides on top of the row's; keys that a row's configs lack are left out.
        postprocessor_args: score → parameters in place of the preset's.
        modalities: a row's modality → the one in its place; empty where the names are the same.
        configs: in place of the table's; None for these.
        partitions: how many class partitions a row is run on, unless the table or the user says.
        leave_out: pattern of rows' names → why they aren't run on it.
    """

    benchmark: str
    network: str
    modalities: Mapping[str, str] = field(default_factory=dict)
    configs: list[str] | None = None
    partitions: int = 1
    leave_out: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    postprocessor_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def available_tables() -> list[str]:
    """Return the names of the packaged tables, ``table1`` first, and then of the figures."""
    names = [Path(name).stem for name in list_configs() if name.startswith("tables/")]
    return sorted(names, key=lambda name: (name.startswith("figure"), len(name), name))


def load_table(name: str) -> Table:
    """Return the packaged table or figure ``name`` (``table1``, ``figure10``), or that in the YAML file ``name``.

    Raises:
        UserError: when there is none, it has an unknown key or a value of the wrong type, or names a row twice.
    """
    if not name.endswith((".yml", ".yaml")):
        known = available_tables()
        if name not in known:
            raise UserError(
                f"there is no table or figure '{name}' to reproduce.{did_you_mean(name, known)} There are "
                f"{', '.join(known)}."
            )
        name = f"tables/{name}.yml"
    path = find_config(name)
    table = bind(read_config(path), Table, where=str(path), ignore=())
    if not any(run.rows for run in table.runs):
        raise UserError(f"{path} has no row.")
    for kind in table.figures:
        if kind not in FIGURES:
            raise UserError(
                f"{path}: figures names '{kind}', which none is called.{did_you_mean(kind, FIGURES)}"
            )
    return table


def load_scale(name: str) -> Scale:
    """Return the packaged scale ``name`` (``htad``), or that in the YAML file ``name``.

    Raises:
        UserError: when there is none, or it is malformed.
    """
    if not name.endswith((".yml", ".yaml")):
        known = [Path(each).stem for each in list_configs() if each.startswith("scales/")]
        if name not in known:
            raise UserError(f"there is no scale '{name}'.{did_you_mean(name, known)}")
        name = f"scales/{name}.yml"
    path = find_config(name)
    return bind(read_config(path), Scale, where=str(path), ignore=())


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as dotted key → the text that follows it on a command line."""
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in Config(settings).leaves()
    }


def published_rows(number: int) -> list[dict[str, str]]:
    """Return the rows of ``leaderboard/published/table<number>.csv`` as they stand there.

    Raises:
        UserError: when there is no such file.
    """
    path = leaderboard_dir() / "published" / f"table{number}.csv"
    if not path.is_file():
        raise UserError(f"there is no published table {number} ({path}).")
    return [row for _, row in read_table(path, "a published table")]
