"""Result records: one JSON file for each run × postprocessor × OOD set.

Leaderboards, figures and pages are made from records and from nothing else.  `docs/records.md` lists the
fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..errors import UserError
from ..files import atomic, listed, read_text
from ..files.folders import reading_together
from ..files.paths import resolve_inside
from ..version import __version__
from . import schema
from .claims import Known, check_multiood_claim, known_manifest_digests

SUFFIX = ".record.json"
"""How the names of record files end."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """One result, checked when it is made: a record that breaks the schema can't exist.

    Metrics may be given as `evaluators.Metric`; NumPy scalars and tuples become plain JSON values.

    Attributes:
        run_id: names the run; the same for all its postprocessors and sets.
        benchmark: e.g. ``"htad_4_3"``.
        partition: which class partition of the benchmark, e.g. ``"0"``.
        track: ``"multiood"``, ``"grouped"``, ``"demo"`` or ``"own"``; tracks never mix.
        setting: ``"near"`` or ``"far"``; on track ``own`` None where it was not stated, as the next three.
        id_set: name of the ID set.
        ood_set: name of the OOD set.
        modalities: in order.
        networks: modality → network, or one name.
        training: name of the training method.
        protocol: ``"multiood-code"``, ``"multiood-paper"`` or None where the training has none.
        synthesis: outlier synthesis, or None.
        discrepancy: or None.
        postprocessor: name of the score.
        parameters: its parameters.
        parameters_from: ``"preset"``, ``"given"`` (at least one was set) or ``"searched"`` (on validation data);
            None where that is not known.
        preset: ``"openood"``, ``"multiood"``, another's name or None.
        fit_on: ``"train"`` or ``"val"``: what the postprocessor was fitted on.
        engine: ``{"name", "version"}`` of what computed the scores.
        seed: of the training.
        best_epoch: epoch of the checkpoint, or None.
        metrics: name → ``{"value", "ci_low", "ci_high"}``, fractions; bounds may be None.
        n_id: ID samples scored.
        n_ood: OOD samples scored.
        unseen_recordings: ``{"metrics", "n_id", "n_ood"}`` on the clips whose recording was not in training, metrics
            null where they are too few; None where recordings are unknown.
        digests: ``manifest``, ``training`` (the settings of the training, seed and data apart), ``checkpoint``,
            ``store``, ``config``, ``inputs`` (embeddings and head that were given), ``scores`` (of every sample) →
            SHA-256 or None.
        notes: a covariance without full rank, skipped clips, modified lists, ...
        package_version: of this package.
        date: ISO 8601.
        source: ``"published"`` or ``"reproduced"``.
        schema_version: 3.

    Raises:
        UserError: naming the field that is wrong.
    """

    schema_version: int = schema.SCHEMA_VERSION
    run_id: str
    benchmark: str
    partition: str
    track: str
    setting: str | None
    id_set: str
    ood_set: str
    modalities: Sequence[str] | None
    networks: Mapping[str, Any] | str | None
    training: str | None
    protocol: str | None
    synthesis: str | None
    discrepancy: str | None
    postprocessor: str
    parameters: Mapping[str, Any]
    parameters_from: str | None = None
    preset: str | None
    fit_on: str | None
    engine: Mapping[str, str | None]
    seed: int | None
    best_epoch: int | None
    metrics: Mapping[str, Any]
    n_id: int | None
    n_ood: int | None
    unseen_recordings: Mapping[str, Any] | None = None
    digests: Mapping[str, str | None]
    notes: Sequence[str] = ()
    package_version: str = __version__
    date: str = field(default_factory=_now)
    source: str = "reproduced"

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        self.validate()

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any], where: str = "record") -> ResultRecord:
        """Make a record from JSON, of this schema version or an older one; nothing is filled in or left out.

        Args:
            value: JSON text, or the object in it.
            where: file that it comes from, for messages.

        Raises:
            UserError: naming ``where`` and the field.
        """
        raw = schema.parse(value, where) if isinstance(value, str) else value
        migrated = schema.migrate(raw, where)
        schema.validate(migrated, where)
        return cls(**migrated)

    def validate(self, where: str = "record") -> None:
        """Check every field against the schema.

        Raises:
            UserError: naming ``where`` and the field.
        """
        schema.validate(self.to_dict(), where)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, fields in the schema's order."""
        return {name: _plain(getattr(self, name)) for name in schema.FIELDS}

    def to_json(self) -> str:
        """Return the JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    @property
    def file_name(self) -> str:
        """``<postprocessor>@<ood_set>.record.json``; all but letters, digits and ``_.-~`` as %XX."""
        name = f"{quote(self.postprocessor, safe='')}@{quote(self.ood_set, safe='')}{SUFFIX}"
        return f"%2E{name[1:]}" if name.startswith(".") else name  # hidden files are no records

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the record in one step, replacing an earlier one of this postprocessor and OOD set.

        Returns:
            The path of the file.

        Raises:
            UserError: when the record names a MultiOOD benchmark without its manifest.
        """
        path = resolve_inside(folder, self.file_name)
        check_multiood_claim(self.to_dict(), where=str(path))
        atomic.write_text(path, self.to_json())
        return path


def read_record(path: str | os.PathLike[str], known: Known | None = None) -> ResultRecord:
    """Read one record file.

    Args:
        path: the file.
        known: manifests of MultiOOD's benchmarks, as `known_manifest_digests` returns them (the default).

    Raises:
        UserError: naming the file and the field, or why it may not name its benchmark.
    """
    where = str(path)
    text = read_text(path, "json_bytes", "a result record")
    record = ResultRecord.from_json(text, where)
    check_multiood_claim(record.to_dict(), known, where)
    return record


def read_records(
    folder: str | os.PathLike[str], known: Known | None = None
) -> list[tuple[Path, ResultRecord]]:
    """Return path and record of every ``*.record.json`` below ``folder``, sorted by path.

    Records in one folder are all of one run, also while another process replaces them.

    Raises:
        UserError: as `read_record`.
    """
    found = []
    for home in sorted({path.parent for path in listed(folder, f"*{SUFFIX}", recursive=True)}):
        with reading_together(home.parent if home.name == "records" else home):
            found += [(path, read_record(path, known)) for path in listed(home, f"*{SUFFIX}")]
    return found


def load_records(folder: str | os.PathLike[str]) -> list[ResultRecord]:
    """Read every ``*.record.json`` under ``folder``, subfolders included.

    Returns:
        The records, sorted by their content, so that moving files about changes nothing.

    Raises:
        UserError: when the folder does not exist, a record is not valid, or two files hold the same result.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder to read records from.")
    known = known_manifest_digests()
    found: dict[str, tuple[Path, ResultRecord]] = {}
    for path, record in read_records(root, known):
        identity = _identity(record)
        if identity in found:
            raise UserError(
                f"{path} holds the same result as {found[identity][0]} (run {record.run_id}, "
                f"{record.postprocessor} on {record.ood_set}); it would count twice. Delete one of them."
            )
        found[identity] = path, record
    return sorted((record for _, record in found.values()), key=_order)


_ORDER = ("track", "setting", "benchmark", "partition", "ood_set", "training", "postprocessor", "run_id")
_SAME = ("run_id", "partition", "setting", "ood_set", "training", "modalities", "seed", "postprocessor")
_SAME_SCORE = ("parameters", "preset", "fit_on", "engine", "source", "benchmark", "networks")


def _order(record: ResultRecord) -> tuple[str, ...]:
    return (*(getattr(record, name) or "" for name in _ORDER), record.to_json())


def _identity(record: ResultRecord) -> str:
    return json.dumps([getattr(record, name) for name in (*_SAME, *_SAME_SCORE)], sort_keys=True)


def _plain(value: Any) -> Any:
    """Return ``value`` with NumPy scalars, tuples, mappings and metrics turned into JSON's own types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if all(hasattr(value, name) for name in schema.BOUNDS):
        return {name: _plain(getattr(value, name)) for name in schema.BOUNDS}
    return value
