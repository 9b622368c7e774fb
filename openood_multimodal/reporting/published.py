"""Results that papers report, as records: MultiOOD's (``leaderboard/published/table<N>.csv``) and later ones.

A result in several of MultiOOD's tables becomes one record, of the table that reports it in full.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_table, text_sha256
from ..resources import leaderboard_dir
from ..vocabulary import PAPER_METRICS, UNVERIFIED
from .records import ResultRecord
from .schema import DIGEST_NAMES, SCHEMA_VERSION

TABLES = (1, 7, 8, 9, 11, 12, 2, 3, 4, 5, 6, 10)
"""Tables in the order in which a repeated result is taken: 2, 3, 4 shorten 7, 8, 9; 5, 6, 10 print no accuracy."""

COLUMNS = (
    *("table", "id_set", "ood_set", "setting", "modalities", "networks", "training", "synthesis"),
    *("discrepancy", "postprocessor", "FPR@95", "AUROC", "ACC", "source"),
)
CELL = COLUMNS[1:10]
LATER = (*CELL, "seed", *PAPER_METRICS, "engine", "date", "unverified", "source")
RUN = ("id_set", "modalities", "networks", "training", "synthesis", "discrepancy")

ENGINE = "multiood"
"""Name of the engine of MultiOOD's rows: the authors' own code."""

MULTIOOD = {"seed": "", "engine": ENGINE, "date": "2024-05-27", "unverified": "no"}
"""What `LATER` asks for, of MultiOOD's rows; the date is that of the paper's first version, arXiv:2405.17419."""


def published_records(folder: Path | None = None) -> list[ResultRecord]:
    """Return every published result once.

    ``FPR@95`` is the one with OOD positive, as ``leaderboard/published/README.md`` shows from the figures.
    MultiOOD's paper is silent on how scores were fitted; ``protocol``, ``preset`` and ``fit_on`` are those of the
    authors' code, which fits on the validation set where Kinetics is in-distribution.  Of later papers, ``preset``
    and ``fit_on`` are None.  Results that were read in a summary of the paper have the note `UNVERIFIED`.

    Args:
        folder: where the tables are; the packaged ones by default.

    Raises:
        UserError: naming the file and row, for a table that can't be read, or two tables that disagree.
    """
    root = leaderboard_dir() / "published" if folder is None else folder
    found: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
    for table in TABLES:
        path = root / f"table{table}.csv"
        for line, row in read_table(path, "a published table", COLUMNS):
            where = f"{path}, line {line}"
            cell = tuple(row[name] for name in CELL)
            if cell in found:
                _check_same(where, row, *found[cell])
            else:
                found[cell] = where, row
    rows = [(where, MULTIOOD | row) for where, row in found.values()]
    path = root / "later.csv"
    rows += [(f"{path}, line {line}", row) for line, row in read_table(path, "a published table", LATER)]
    return [ResultRecord.from_json(_record(row, where), where) for where, row in rows]


def _check_same(where: str, row: dict[str, str], other: str, there: dict[str, str]) -> None:
    for name in PAPER_METRICS:
        if row[name] and there[name] and row[name] != there[name]:
            raise UserError(
                f"{where}: {name} is {row[name]}, and {there[name]} in {other}, of the same result."
            )


def _record(row: dict[str, str], where: str) -> dict[str, Any]:
    modalities, networks = row["modalities"].split("+"), row["networks"].split("+")
    if len(modalities) != len(networks):
        raise UserError(f"{where}: {len(networks)} networks for {len(modalities)} modalities.")
    if row["unverified"] not in ("yes", "no"):
        raise UserError(f"{where}: unverified is '{row['unverified']}'; it must be yes or no.")
    if row["seed"] and not row["seed"].isdecimal():
        raise UserError(f"{where}: seed is '{row['seed']}', not a number.")
    of_multiood = row["engine"] == ENGINE
    run = text_sha256("|".join([row[name] for name in RUN] + [row["seed"]] * bool(row["seed"])))[:16]
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"published-{run}",
        "benchmark": row["id_set"],
        "partition": "0",
        "track": "multiood",
        "setting": row["setting"],
        "id_set": row["id_set"],
        "ood_set": row["ood_set"],
        "csid": [],
        "condition": None,
        "modalities": modalities,
        "networks": dict(zip(modalities, networks, strict=True)),
        "training": row["training"],
        "protocol": "multiood-code" if row["discrepancy"] else None,
        "synthesis": row["synthesis"] or None,
        "discrepancy": row["discrepancy"] or None,
        "auxiliary": None,
        "postprocessor": row["postprocessor"],
        "parameters": {},
        "parameters_from": "preset" if of_multiood else None,
        "preset": "multiood" if of_multiood else None,
        "fit_on": ("val" if "kinetics600" in row["id_set"] else "train") if of_multiood else None,
        "engine": {"name": row["engine"], "version": None},
        "seed": int(row["seed"]) if row["seed"] else None,
        "best_epoch": None,
        "metrics": {
            name: {"value": _fraction(row[name], name, where), "ci_low": None, "ci_high": None}
            for name in PAPER_METRICS
            if row[name]
        },
        "n_id": None,
        "n_ood": None,
        "unseen_recordings": None,
        "digests": dict.fromkeys(DIGEST_NAMES),
        "environment": {},
        "notes": [row["source"], *([UNVERIFIED] if row["unverified"] == "yes" else [])],
        "package_version": "0.1.0",  # these tables came with it; not the reader's, or digests would change
        "date": row["date"],
        "source": "published",
    }


def _fraction(text: str, name: str, where: str) -> float:
    try:
        return float(Decimal(text) / 100)
    except InvalidOperation as error:
        raise UserError(f"{where}: {name} is '{text}', not a number.") from error
