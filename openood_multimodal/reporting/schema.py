"""The schema of result records: shapes of their fields, migrations of older versions, and messages.

`docs/records.md` lists the fields.  To add one: raise `SCHEMA_VERSION`, add the field to `records.ResultRecord`, and
register in `MIGRATIONS` how a record of the version before gets it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    JsonValue,
    ValidationError,
    with_config,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from ..errors import UserError
from ..naming import did_you_mean
from ..vocabulary import (
    APPLY_TO,
    CALIBRATION_METRICS,
    FAILURE_METRICS,
    LEVELS,
    METRICS,
    UPPER_BOUNDS,
)

SCHEMA_VERSION = 5

DIGEST_NAMES = ("manifest", "training", "checkpoint", "store", "config", "inputs", "scores")
BOUNDS = ("value", "ci_low", "ci_high")

OPEN_ON_OWN = ("setting", "modalities", "networks", "training")
"""Fields that may be null on track ``own``: embeddings don't say what made them."""

OPTIONAL = ("failure", "calibration")
"""Fields that a record has only where they were asked for."""

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


def _add_environment(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "environment": {}}  # version 3 didn't keep it


def _add_what_was_done_to_the_data(record: dict[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "condition": None,
        "csid": [],
        "auxiliary": None,
    }  # version 4 knew clean test sets alone


MIGRATIONS: dict[int, Migration] = {
    1: _add_unseen_recordings,
    2: _add_what_own_results_need,
    3: _add_environment,
    4: _add_what_was_done_to_the_data,
}
"""Version → function that takes a record's JSON object of that version and returns one of the next."""


def migrate(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``raw`` as a record of the present schema version.

    Raises:
        FieldError: when its version is missing, later than this package knows, or no longer migrated.
    """
    record = dict(raw)
    version = record.get("schema_version")
    if type(version) is not int:
        raise FieldError("schema_version", f"must be an integer, is {version!r}")
    while version != SCHEMA_VERSION:
        if version not in MIGRATIONS:
            hint = (
                "update openood-multimodal to read it" if version > SCHEMA_VERSION else "it can't be migrated"
            )
            raise FieldError("schema_version", f"is {version}; this package reads {SCHEMA_VERSION}: {hint}")
        record = MIGRATIONS[version](record)
        version += 1
        record["schema_version"] = version
    return record


class FieldError(UserError):
    """A field of a record that is missing, unknown or wrong."""

    def __init__(self, name: str, problem: str, where: str = "record") -> None:
        super().__init__(f"{where}: field '{name}' {problem}{'' if problem[-1] in '.?' else '.'}")
        self.name = name
        self.problem = problem


def field_error(error: ValidationError, fields: Sequence[str]) -> FieldError:
    """Return pydantic's first error as one of ours; an unknown name before anything else.

    Args:
        error: of a record.
        fields: names of the record's fields.
    """
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] in _UNKNOWN), found[0])
    place = [str(part) for part in first["loc"] if part != "[key]"]
    place = place[:1] if place and place[0] in FREE else place
    name = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in place).lstrip(".")
    if first["type"] in _UNKNOWN:
        known = fields if len(place) == 1 else KEYS.get(place[-2], BOUNDS)
        what = "is not a field of records" if len(place) == 1 else "is unknown"
        return FieldError(name, f"{what}.{did_you_mean(place[-1], known)}")
    if first["type"] == "field":
        context = first["ctx"]
        return FieldError(".".join(filter(None, (name, context["field"]))), context["problem"])
    return FieldError(name, _problem(first))


FREE = ("parameters", "networks")
"""Fields that hold JSON of any shape; a fault is told of the whole."""

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MUST_BE = {
    "string_type": "a string that is not empty",
    "string_pattern_mismatch": "a string that is not empty",
    "less_than_equal": "a fraction from 0 to 1",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "float_type": "a number",
    "list_type": "a list of strings",
    "dict_type": "a JSON object",
}


def _problem(error: ErrorDetails) -> str:
    if error["type"].startswith("missing"):
        return "is missing"
    if error["type"] == "literal_error":
        expected = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"must be one of {expected}, is {error['input']!r}"
    if error["type"] == "value_error":
        return f"{error['ctx']['error']}, is {error['input']!r}"
    must = _MUST_BE.get(error["type"], "")
    if error["type"] in ("greater_than_equal", "finite_number") and error["loc"][0] not in FREE:
        fraction = isinstance(error["input"], float)
        must = _MUST_BE["less_than_equal"] if fraction else f"at least {error['ctx']['ge']}"
    return f"must be {must}, is {error['input']!r}" if must else f"{error['msg']}, is {error['input']!r}"


def wrong(field: str, problem: str) -> PydanticCustomError:
    """Return what a validator raises about a field, or a part of its own, with a message of ours."""
    return PydanticCustomError("field", "{problem}", {"field": field, "problem": problem})


def shape(of: Any) -> Any:
    """Return what makes pydantic check an annotated field as ``of``."""
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(of))


def _date(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be an ISO 8601 date") from None
    return value


def _distinct(value: list[str]) -> list[str]:
    if not value or len(set(value)) != len(value):
        raise ValueError("must hold at least one name and none twice")
    return value


def _none_twice(value: list[str]) -> list[str]:
    return _distinct(value) if value else value


def _severity(value: Any) -> Any:
    if isinstance(value, bool) or not (value is None or isinstance(value, (int, float, str))):
        raise ValueError("must be a number, a text or null")
    return value


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in names:
            raise wrong("", f"is not a metric.{did_you_mean(value, names)}")
        return value

    return check


def _any_metric(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise ValueError("must be a JSON object with at least one metric")
    return value


def _within(bounds: Any) -> Any:
    value, low, high = bounds["value"], bounds["ci_low"], bounds["ci_high"]
    if (low is None) != (high is None):
        raise wrong("", "has one bound of its interval; give both or neither")
    if low is not None and high is not None and not low <= value <= high:
        raise wrong("", f"is {value}, outside its own interval {low} to {high}")
    return bounds


def _below_bounds(value: dict[str, Any]) -> dict[str, Any]:
    for name, metric in value.items():
        upper = UPPER_BOUNDS.get(name, 1.0)
        for key, number in metric.items():
            if number is not None and not (0 <= number <= upper and number < math.inf):
                to = f"a number from 0 to {upper:g}" if upper < math.inf else "a finite number, at least 0"
                raise wrong(f"{name}.{key}", f"must be {to}, is {number}")
    return value


def _rising(value: list[float]) -> list[float]:
    if len(value) != 2 or not -math.inf < value[0] < value[1] < math.inf:
        raise ValueError("must be the smallest and the largest validation score")
    return value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _scaled_by_range(value: Detection) -> Detection:
    if "AUTC" in value["metrics"] and value["val_range"] is None:
        raise wrong("val_range", "is null, and AUTC is scaled by it")
    return value


def _scaled_by_temperature(value: Softmax) -> Softmax:
    if (value["temperature"] is None) != (value["scaled"] is None):
        raise wrong("temperature", "and 'scaled' go together; give both or neither")
    return value


EXACT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(pattern=r"\S")]
Date = Annotated[Text, AfterValidator(_date)]
Real = Annotated[float, Field(allow_inf_nan=True)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Modalities = Annotated[list[Text], AfterValidator(_distinct)]
Sets = Annotated[list[Text], AfterValidator(_none_twice)]
Plain = dict[str, JsonValue]
Networks = Text | Plain
NotNegative = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


@with_config(EXACT)
class Bounds(TypedDict):
    """A metric."""

    value: Fraction
    ci_low: Fraction | None
    ci_high: Fraction | None


@with_config(EXACT)
class WideBounds(TypedDict):
    """A metric that may exceed 1; see `UPPER_BOUNDS`."""

    value: Real
    ci_low: Real | None
    ci_high: Real | None


Metric = Annotated[Bounds, AfterValidator(_within)]
Metrics = Annotated[
    dict[Annotated[str, AfterValidator(_one_of(METRICS))], Metric], AfterValidator(_any_metric)
]
FailureMetrics = Annotated[
    dict[Annotated[str, AfterValidator(_one_of(FAILURE_METRICS))], Metric], AfterValidator(_any_metric)
]
CalibrationMetrics = Annotated[
    dict[
        Annotated[str, AfterValidator(_one_of(CALIBRATION_METRICS))],
        Annotated[WideBounds, AfterValidator(_within)],
    ],
    AfterValidator(_any_metric),
    AfterValidator(_below_bounds),
]


@with_config(EXACT)
class Detection(TypedDict):
    """Failure detection of one score with one OOD set."""

    metrics: FailureMetrics
    val_range: Annotated[list[float], AfterValidator(_rising)] | None


Failure = Annotated[Detection, AfterValidator(_scaled_by_range)]


@with_config(EXACT)
class Softmax(TypedDict):
    """Calibration of the fused softmax."""

    metrics: CalibrationMetrics
    temperature: Annotated[float, AfterValidator(_positive)] | None
    scaled: CalibrationMetrics | None


Calibration = Annotated[Softmax, AfterValidator(_scaled_by_temperature)]


@with_config(EXACT)
class Unseen(TypedDict):
    """Metrics on clips of unseen recordings."""

    metrics: Metrics | None
    n_id: NotNegative
    n_ood: NotNegative


@with_config(EXACT)
class Engine(TypedDict):
    """What computed the scores."""

    name: Text
    version: Text | None


@with_config(EXACT)
class Digests(TypedDict):
    """SHA-256 of what a result rests on."""

    manifest: Text | None
    training: Text | None
    checkpoint: Text | None
    store: Text | None
    config: Text | None
    inputs: Text | None
    scores: Text | None


@with_config(EXACT)
class Condition(TypedDict):
    """What was done to test samples before they were scored."""

    kind: Text
    modalities: Modalities
    severity: Annotated[JsonValue, AfterValidator(_severity)]
    level: Annotated[str, shape(Literal[LEVELS])]
    applied_to: Annotated[str, shape(Literal[APPLY_TO])]
    seed: NotNegative


@with_config(EXACT)
class Auxiliary(TypedDict):
    """Outlier data that training used beside the ID training set."""

    name: Text
    digest: Text | None


KEYS: dict[str, Sequence[str]] = {
    "engine": ("name", "version"),
    "digests": DIGEST_NAMES,
    "unseen_recordings": ("metrics", "n_id", "n_ood"),
    "condition": ("kind", "modalities", "severity", "level", "applied_to", "seed"),
    "auxiliary": ("name", "digest"),
    "failure": ("metrics", "val_range"),
    "calibration": ("metrics", "temperature", "scaled"),
}
