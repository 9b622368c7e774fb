"""Result records: one JSON file for each run × postprocessor × OOD set.

Leaderboards, figures and pages are made from records only.  `docs/records.md` lists the
fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

import numpy as np
from pydantic import ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from ..errors import UserError
from ..files import atomic, listed, read_text
from ..files.folders import reading_together
from ..files.paths import resolve_inside
from ..files.text import parse_json
from ..machine import describe_machine
from ..version import __version__
from ..vocabulary import APART, FIT_SETS, METRICS, SETTINGS, SOURCES, TRACKS
from . import schema
from .claims import check_multiood_claim

Text = schema.Text

SUFFIX = ".record.json"
"""How the names of record files end."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True, config=schema.EXACT)
class ResultRecord:
    """One result, checked when it is made: a record that breaks the schema can't exist.

    Metrics may be given as `evaluators.Metric`; NumPy scalars and tuples become plain JSON values.

    Attributes:
        run_id: names the run; the same for all its postprocessors and sets.
        benchmark: e.g. ``"htad_4_3"``.
        partition: which class partition of the benchmark, e.g. ``"0"``.
        track: ``"multiood"``, ``"grouped"``, ``"demo"`` or ``"own"``; tracks never mix.
        condition: None for clean test sets, or what was done to them: ``kind``, ``modalities``, ``severity`` (a
            number, or the name of a variant), ``level`` (``"embedding"`` or ``"input"``), ``applied_to`` (``"id"``,
            ``"ood"`` or ``"both"``) and ``seed``.
        setting: ``"near"`` or ``"far"``; on track ``own`` None where it was not stated, as the next three.
        id_set: name of the ID set.
        ood_set: name of the OOD set.
        csid: names of the covariate-shifted ID sets that count as ID beside the ID test set (full-spectrum evaluation).
        modalities: in order.
        networks: modality → network, or one name.
        training: name of the training method.
        protocol: ``"multiood-code"``, ``"multiood-paper"`` or None where the training has none.
        synthesis: outlier synthesis, or None.
        discrepancy: or None.
        auxiliary: ``{"name", "digest"}`` of the outlier data that training used, or None.
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
        failure: ``{"metrics", "val_range"}``: metrics of failure detection as above, and the smallest and largest
            validation score, which AUTC takes for 0 and 1 (or None); None where not asked for.
        calibration: ``{"metrics", "temperature", "scaled"}`` of the fused softmax on the ID samples: metrics as it is,
            the temperature found on validation data and the metrics with it (or None, both); None where not asked for.
        n_id: ID samples scored.
        n_ood: OOD samples scored.
        unseen_recordings: ``{"metrics", "n_id", "n_ood"}`` on the clips whose recording was not in training, metrics
            null where they are too few; None where recordings are unknown.
        digests: ``manifest``, ``training`` (the settings of the training, seed and data apart), ``checkpoint``,
            ``store``, ``config``, ``inputs`` (embeddings and head that were given), ``scores`` (of every sample) →
            SHA-256 or None.
        notes: a covariance without full rank, skipped clips, modified lists, ...
        environment: what computed it: ``blas`` and ``torch``, with CPU capability and threads; empty where not known.
        package_version: of this package.
        date: ISO 8601.
        source: ``"published"`` or ``"reproduced"``.
        schema_version: 5.

    Raises:
        UserError: naming the field that is wrong.
    """

    schema_version: int = schema.SCHEMA_VERSION
    run_id: Text
    benchmark: Text
    partition: Text
    track: Annotated[str, schema.shape(Literal[TRACKS])]
    setting: Annotated[str | None, schema.shape(Literal[(*SETTINGS, None)])]
    id_set: Text
    ood_set: Text
    csid: Annotated[Sequence[str], schema.shape(schema.Sets)] = field(default_factory=list)
    condition: Annotated[Mapping[str, Any] | None, schema.shape(schema.Condition | None)] = None
    modalities: Annotated[Sequence[str] | None, schema.shape(schema.Modalities | None)]
    networks: Annotated[Mapping[str, Any] | str | None, schema.shape(schema.Networks | None)]
    training: Text | None
    protocol: Text | None
    synthesis: Text | None
    discrepancy: Text | None
    auxiliary: Annotated[Mapping[str, str | None] | None, schema.shape(schema.Auxiliary | None)] = None
    postprocessor: Text
    parameters: Annotated[Mapping[str, Any], schema.shape(schema.Plain)]
    parameters_from: Annotated[str | None, schema.shape(Literal["preset", "given", "searched", None])] = None
    preset: Text | None
    fit_on: Annotated[str | None, schema.shape(Literal[(*FIT_SETS, None)])]
    engine: Annotated[Mapping[str, str | None], schema.shape(schema.Engine)]
    seed: schema.NotNegative | None
    best_epoch: schema.NotNegative | None
    metrics: Annotated[Mapping[str, Any], schema.shape(schema.Metrics)]
    failure: Annotated[Mapping[str, Any] | None, schema.shape(schema.Failure | None)] = None
    calibration: Annotated[Mapping[str, Any] | None, schema.shape(schema.Calibration | None)] = None
    n_id: schema.Positive | None
    n_ood: schema.Positive | None
    unseen_recordings: Annotated[Mapping[str, Any] | None, schema.shape(schema.Unseen | None)] = None
    digests: Annotated[Mapping[str, str | None], schema.shape(schema.Digests)]
    notes: Annotated[Sequence[str], schema.shape(list[Text])] = field(default_factory=list)
    environment: Annotated[Mapping[str, str], schema.shape(dict[Text, Text])] = field(
        default_factory=describe_machine
    )
    package_version: Text = __version__
    date: schema.Date = field(default_factory=_now)
    source: Annotated[str, schema.shape(Literal[SOURCES])] = "reproduced"

    @field_validator("*", mode="before")
    @classmethod
    def _as_json(cls, value: Any) -> Any:
        return _plain(value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Check fields whose values depend on others."""
        if self.schema_version != schema.SCHEMA_VERSION:
            raise schema.wrong("schema_version", f"must be {schema.SCHEMA_VERSION}")
        published = self.source == "published"
        lacking = None if published else next((name for name in METRICS if name not in self.metrics), None)
        if lacking:
            raise schema.wrong(f"metrics.{lacking}", "is missing; only a published record may lack metrics")
        for name in () if self.track == "own" else schema.OPEN_ON_OWN:
            if getattr(self, name) is None:
                raise schema.wrong(name, "is null; only a record of track 'own' may leave it open")
        for name in () if published else ("n_id", "n_ood"):
            if getattr(self, name) is None:
                raise schema.wrong(name, "is null; only a published record may leave it open")
        return self

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any], where: str = "record") -> ResultRecord:
        """Make a record from JSON, of this schema version or an older one; nothing is filled in or left out.

        Args:
            value: JSON text, or the object in it.
            where: file that it comes from, for messages.

        Raises:
            UserError: naming ``where`` and the field.
        """
        if isinstance(value, str):
            value = parse_json(value, where, "a result record", "Delete it, or write it again.")
            if not isinstance(value, dict):
                raise UserError(f"{where}: a record is a JSON object, this is a {type(value).__name__}.")
        try:
            migrated = schema.migrate(value)
            for name in FIELDS:
                if name not in migrated and name not in schema.OPTIONAL:
                    raise schema.FieldError(name, "is missing")
            return cls(**migrated)
        except schema.FieldError as error:
            raise schema.FieldError(error.name, error.problem, where) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, fields in the schema's order; those of `schema.OPTIONAL` only where they are set."""
        values = {name: _plain(getattr(self, name)) for name in FIELDS}
        return {
            name: value for name, value in values.items() if value is not None or name not in schema.OPTIONAL
        }

    def to_json(self) -> str:
        """Return the JSON text of `to_dict`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    @property
    def file_name(self) -> str:
        """``<postprocessor>@<ood_set>.record.json``; all but letters, digits and ``_.-~`` as %XX.

        Covariate-shifted sets and a condition follow the OOD set.
        """
        condition = dict(self.condition or {})
        parts = [self.postprocessor, self.ood_set, "~".join(["csid", *self.csid] if self.csid else [])]
        parts += (
            ["~".join(map(str, (*condition.pop("modalities"), *condition.values())))] if condition else []
        )
        name = "@".join(quote(part, safe="") for part in parts if part) + SUFFIX
        return f"%2E{name[1:]}" if name.startswith(".") else name  # hidden files are no records

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the record in one step, replacing an earlier one of this postprocessor, OOD set and condition.

        Returns:
            The path of the file.

        Raises:
            UserError: when the record names a MultiOOD benchmark without its manifest.
        """
        path = resolve_inside(folder, self.file_name)
        check_multiood_claim(self.to_dict(), where=str(path))
        atomic.write_text(path, self.to_json())
        return path


FIELDS = tuple(each.name for each in fields(ResultRecord))
"""Names of a record's fields, in the order in which they are written."""

_pydantics_init = ResultRecord.__init__


def _init(self: ResultRecord, /, **values: Any) -> None:
    try:
        _pydantics_init(self, **values)
    except ValidationError as error:
        raise schema.field_error(error, FIELDS) from None


ResultRecord.__init__ = _init  # type: ignore[method-assign,assignment]


def read_record(path: str | os.PathLike[str]) -> ResultRecord:
    """Read one record file.

    Raises:
        UserError: naming the file and the field, or why it may not name its benchmark.
    """
    where = str(path)
    text = read_text(path, "json_bytes", "a result record")
    record = ResultRecord.from_json(text, where)
    check_multiood_claim(record.to_dict(), where)
    return record


def read_records(folder: str | os.PathLike[str]) -> list[tuple[Path, ResultRecord]]:
    """Return path and record of every ``*.record.json`` below ``folder``, sorted by path.

    Records in one folder are all of one run, also while another process replaces them.

    Raises:
        UserError: as `read_record`.
    """
    found = []
    for home in sorted({path.parent for path in listed(folder, f"*{SUFFIX}", recursive=True)}):
        with reading_together(home.parent if home.name == "records" else home):
            found += [(path, read_record(path)) for path in listed(home, f"*{SUFFIX}")]
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
    found: dict[str, tuple[Path, ResultRecord]] = {}
    for path, record in read_records(root):
        identity = _identity(record)
        if identity in found:
            raise UserError(
                f"{path} holds the same result as {found[identity][0]} (run {record.run_id}, "
                f"{record.postprocessor} on {record.ood_set}); it would count twice. Delete one of them."
            )
        found[identity] = path, record
    return sorted((record for _, record in found.values()), key=_order)


_ORDER = ("track", "setting", "benchmark", "partition", "ood_set", "training", "postprocessor", "run_id")
_SAME = (
    "run_id",
    "partition",
    "setting",
    "ood_set",
    "training",
    "modalities",
    "seed",
    "postprocessor",
    *APART,
)
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
