"""One JSON a run: made, checked, written, read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openood_multimodal import __version__
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_json

from . import machine
from .load import Usage, loaded_reasons
from .measuring import Report

SCHEMA_VERSION = 1

Record = dict[str, Any]

_NUMBER = (int, float)
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "date": (str,),
    "package_version": (str,),
    "git": (dict, type(None)),
    "machine": (dict,),
    "threads": (int,),
    "blas": (list,),
    "versions": (dict,),
    "quick": (bool,),
    "loaded": (bool,),
    "loaded_because": (list,),
    "usage": (dict,),
    "benchmarks": (dict,),
}
_REPORT: Mapping[str, tuple[type, ...]] = {
    "settings": (dict,),
    "measurements": (list,),
    "ratios": (dict,),
    "notes": (list,),
}
_MEASUREMENT: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "wall_s": (*_NUMBER, type(None)),
    "cpu_s": (*_NUMBER, type(None)),
    "wall_min_s": (*_NUMBER, type(None)),
    "wall_max_s": (*_NUMBER, type(None)),
    "repeats": (int,),
    "values": (dict,),
    "note": (str,),
    "computes": (bool,),
}


def make_record(reports: Mapping[str, Report], usage: Usage, threads: int, quick: bool) -> Record:
    """Return the record of a run: see docs/benchmarks.md for its fields."""
    measurements = [each for report in reports.values() for each in report.measurements]
    reasons = loaded_reasons(usage, measurements)
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "package_version": __version__,
        "git": machine.commit(),
        "machine": machine.machine(),
        "threads": threads,
        "blas": machine.blas(),
        "versions": machine.versions(),
        "quick": quick,
        "loaded": bool(reasons),
        "loaded_because": reasons,
        "usage": {**_rounded(usage._asdict()), "others_share": _rounded(usage.others_share)},
        "benchmarks": {name: _rounded(asdict(report)) for name, report in reports.items()},
    }


def _rounded(value: Any) -> Any:
    """Return ``value`` with floats of six significant digits: more would be noise in a diff."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def write_record(path: Path, record: Record) -> None:
    """Write a record, replacing the file at once."""
    check_record(record, str(path))
    write_json(path, record)


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        UserError: when the file is absent, is not JSON, or not a run of this suite.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    check_record(record, str(path))
    return dict(record)


def check_record(record: Any, where: str) -> None:
    """Hold a record to the schema.

    Raises:
        UserError: naming the first field that is absent, unknown or of another type.
    """
    _check(record, _FIELDS, where)
    if record["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema_version {record['schema_version']}, this suite reads {SCHEMA_VERSION}."
        )
    for name, report in record["benchmarks"].items():
        _check(report, _REPORT, f"{where}: benchmarks.{name}")
        seen = set()
        for position, each in enumerate(report["measurements"]):
            here = f"{where}: benchmarks.{name}.measurements[{position}]"
            _check(each, _MEASUREMENT, here)
            if each["name"] in seen:
                raise UserError(f"{here}: the name '{each['name']}' is taken by another measurement.")
            seen.add(each["name"])
            if (each["wall_s"] is None) != (each["repeats"] == 0):
                raise UserError(f"{here}: what ran has wall_s and repeats, what was skipped neither.")
        for key, value in report["ratios"].items():
            if not isinstance(value, _NUMBER) or isinstance(value, bool):
                raise UserError(f"{where}: benchmarks.{name}.ratios.{key} must be a number, got {value!r}.")


def _check(section: Any, fields: Mapping[str, tuple[type, ...]], where: str) -> None:
    if not isinstance(section, dict):
        raise UserError(f"{where} must be an object, got {type(section).__name__}.")
    for key in (*fields, *section):
        if key not in section:
            raise UserError(f"{where} has no field '{key}'.")
        if key not in fields:
            raise UserError(f"{where} has the field '{key}', which the schema does not know.")
    for key, kinds in fields.items():
        value = section[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UserError(f"{where}: '{key}' is {value!r}, of type {type(value).__name__}.")
