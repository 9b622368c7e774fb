"""The JSON schema of result records: the type and range of every field, and migrations of older versions.

`docs/records.md` lists the fields.  To add one: raise `SCHEMA_VERSION`, add the field to `FIELDS` and to
`ResultRecord`, and register in `MIGRATIONS` how a record of the version before gets it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from ..errors import UserError
from ..files.text import parse_json
from ..naming import did_you_mean
from ..vocabulary import FIT_SETS, METRICS, SETTINGS, SOURCES, TRACKS

SCHEMA_VERSION = 3

DIGEST_NAMES = ("manifest", "training", "checkpoint", "store", "config", "inputs", "scores")
BOUNDS = ("value", "ci_low", "ci_high")

OPEN_ON_OWN = ("setting", "modalities", "networks", "training")
"""Fields that may be null on track ``own``: embeddings don't say what made them."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _add_unseen_recordings(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "unseen_recordings": None}  # version 1 didn't look


def _add_what_own_results_need(record: dict[str, Any]) -> dict[str, Any]:
    notes, digests = record.get("notes"), record.get("digests")
    searched = isinstance(notes, list) and any(str(note).startswith(SEARCHED_NOTE) for note in notes)
    if isinstance(digests, Mapping):
        digests = {**digests, "inputs": None, "scores": None}
    return {**record, "parameters_from": "searched" if searched else None, "digests": digests}


SEARCHED_NOTE = "parameters chosen by AUROC on the validation OOD set"
"""How the note begins that tells which parameters a search chose."""

MIGRATIONS: dict[int, Migration] = {1: _add_unseen_recordings, 2: _add_what_own_results_need}
"""Version → function that takes a record's JSON object of that version and returns one of the next."""


def migrate(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return ``raw`` as a record of the present schema version.

    Raises:
        UserError: when its version is missing, later than this package knows, or no longer migrated.
    """
    record = dict(raw)
    version = record.get("schema_version")
    if type(version) is not int:
        fail(where, "schema_version", f"must be an integer, is {version!r}")
    while version != SCHEMA_VERSION:
        if version not in MIGRATIONS:
            hint = (
                "update openood-multimodal to read it" if version > SCHEMA_VERSION else "it can't be migrated"
            )
            fail(where, "schema_version", f"is {version}; this package reads {SCHEMA_VERSION}: {hint}")
        record = MIGRATIONS[version](record)
        version += 1
        record["schema_version"] = version
    return record


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the JSON object in ``text``, which may hold neither NaN nor a key twice.

    Raises:
        UserError: when it is not that.
    """
    value = parse_json(text, where, "a result record", "Delete it, or write it again.")
    if not isinstance(value, dict):
        raise UserError(f"{where}: a record is a JSON object, this is a {type(value).__name__}.")
    return value


def validate(record: Mapping[str, Any], where: str) -> None:
    """Check a record's JSON object of the present version.

    Raises:
        UserError: naming ``where`` and the field, for a field that is unknown, missing, of a wrong type or
            out of range.
    """
    for name in record:
        if name not in FIELDS:
            fail(where, name, f"is not a field of records.{did_you_mean(name, FIELDS)}")
    for name, check in FIELDS.items():
        if name not in record:
            fail(where, name, "is missing")
        check(record[name], where, name)
    published = record["source"] == "published"
    missing = [] if published else [name for name in METRICS if name not in record["metrics"]]
    if missing:
        fail(where, f"metrics.{missing[0]}", "is missing; only a published record may lack metrics")
    for name in () if record["track"] == "own" else OPEN_ON_OWN:
        if record[name] is None:
            fail(where, name, "is null; only a record of track 'own' may leave it open")
    for name in () if published else ("n_id", "n_ood"):
        if record[name] is None:
            fail(where, name, "is null; only a published record may leave it open")


def fail(where: str, name: str, problem: str) -> NoReturn:
    """Raise the one kind of error that this module knows."""
    raise UserError(f"{where}: field '{name}' {problem}.")


Check = Callable[[Any, str, str], None]


def _text(value: Any, where: str, name: str) -> None:
    if not isinstance(value, str) or not value.strip():
        fail(where, name, f"must be a string that is not empty, is {value!r}")


def _one_of(*choices: str) -> Check:
    def check(value: Any, where: str, name: str) -> None:
        if value not in choices:
            fail(where, name, f"must be one of {', '.join(choices)}, is {value!r}")

    return check


def _count(least: int) -> Check:
    def check(value: Any, where: str, name: str) -> None:
        if type(value) is not int or value < least:
            fail(where, name, f"must be an integer of at least {least}, is {value!r}")

    return check


def _or_null(inner: Check) -> Check:
    def check(value: Any, where: str, name: str) -> None:
        if value is not None:
            inner(value, where, name)

    return check


def _texts(value: Any, where: str, name: str) -> None:
    if not isinstance(value, list):
        fail(where, name, f"must be a list of strings, is {value!r}")
    for index, item in enumerate(value):
        _text(item, where, f"{name}[{index}]")


def _modalities(value: Any, where: str, name: str) -> None:
    _texts(value, where, name)
    if not value or len(set(value)) != len(value):
        fail(where, name, f"must name at least one modality and none twice, is {value!r}")


def _plain(value: Any, where: str, name: str) -> None:
    """Check a free JSON value: its numbers are finite, its keys are strings."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                fail(where, name, f"has the key {key!r}, which is not a string")
            _plain(item, where, f"{name}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _plain(item, where, f"{name}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            fail(where, name, f"must be finite, is {value!r}")
    elif value is not None and type(value) not in (str, int, bool):
        fail(where, name, f"must be plain JSON, is a {type(value).__name__}")


def _mapping(value: Any, where: str, name: str) -> None:
    if not isinstance(value, Mapping):
        fail(where, name, f"must be a JSON object, is {value!r}")
    _plain(value, where, name)


def _networks(value: Any, where: str, name: str) -> None:
    (_mapping if isinstance(value, Mapping) else _text)(value, where, name)


def _exactly(value: Any, keys: tuple[str, ...], where: str, name: str) -> None:
    if not isinstance(value, Mapping):
        fail(where, name, f"must be a JSON object, is {value!r}")
    for key in value:
        if key not in keys:
            fail(where, f"{name}.{key}", f"is unknown.{did_you_mean(key, keys)}")
    for key in keys:
        if key not in value:
            fail(where, f"{name}.{key}", "is missing")


def _engine(value: Any, where: str, name: str) -> None:
    _exactly(value, ("name", "version"), where, name)
    _text(value["name"], where, f"{name}.name")
    _or_null(_text)(value["version"], where, f"{name}.version")


def _digests(value: Any, where: str, name: str) -> None:
    _exactly(value, DIGEST_NAMES, where, name)
    for key in DIGEST_NAMES:
        _or_null(_text)(value[key], where, f"{name}.{key}")


def _fraction(value: Any, where: str, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(where, name, f"must be a number, is {value!r}")
    if not 0 <= value <= 1:  # NaN fails too
        fail(where, name, f"must be a fraction from 0 to 1, is {value!r}")


def _metrics(value: Any, where: str, name: str) -> None:
    if not isinstance(value, Mapping) or not value:
        fail(where, name, f"must be a JSON object with at least one metric, is {value!r}")
    for metric, entry in value.items():
        label = f"{name}.{metric}"
        if metric not in METRICS:
            fail(where, label, f"is not a metric.{did_you_mean(metric, METRICS)}")
        _exactly(entry, BOUNDS, where, label)
        _fraction(entry["value"], where, f"{label}.value")
        low, high = entry["ci_low"], entry["ci_high"]
        if (low is None) != (high is None):
            fail(where, label, "has one bound of its interval; give both or neither")
        if low is not None:
            _fraction(low, where, f"{label}.ci_low")
            _fraction(high, where, f"{label}.ci_high")
            if not low <= entry["value"] <= high:
                fail(where, label, f"is {entry['value']}, outside its own interval {low} to {high}")


def _unseen(value: Any, where: str, name: str) -> None:
    _exactly(value, ("metrics", "n_id", "n_ood"), where, name)
    _or_null(_metrics)(value["metrics"], where, f"{name}.metrics")
    for key in ("n_id", "n_ood"):
        _count(0)(value[key], where, f"{name}.{key}")


def _version(value: Any, where: str, name: str) -> None:
    if type(value) is not int or value != SCHEMA_VERSION:
        fail(where, name, f"must be {SCHEMA_VERSION}, is {value!r}")


def _date(value: Any, where: str, name: str) -> None:
    _text(value, where, name)
    try:
        datetime.fromisoformat(value)
    except ValueError:
        fail(where, name, f"must be an ISO 8601 date, is {value!r}")


FIELDS: dict[str, Check] = {
    "schema_version": _version,
    "run_id": _text,
    "benchmark": _text,
    "partition": _text,
    "track": _one_of(*TRACKS),
    "setting": _or_null(_one_of(*SETTINGS)),
    "id_set": _text,
    "ood_set": _text,
    "modalities": _or_null(_modalities),
    "networks": _or_null(_networks),
    "training": _or_null(_text),
    "protocol": _or_null(_text),
    "synthesis": _or_null(_text),
    "discrepancy": _or_null(_text),
    "postprocessor": _text,
    "parameters": _mapping,
    "parameters_from": _or_null(_one_of("preset", "given", "searched")),
    "preset": _or_null(_text),
    "fit_on": _or_null(_one_of(*FIT_SETS)),
    "engine": _engine,
    "seed": _or_null(_count(0)),
    "best_epoch": _or_null(_count(0)),
    "metrics": _metrics,
    "n_id": _or_null(_count(1)),
    "n_ood": _or_null(_count(1)),
    "unseen_recordings": _or_null(_unseen),
    "digests": _digests,
    "notes": _texts,
    "package_version": _text,
    "date": _date,
    "source": _one_of(*SOURCES),
}
"""Field → check of its value, in the order in which records are written."""
