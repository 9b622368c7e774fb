"""What a score declares about itself: its paper, its parameters, and how these are checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import UserError
from ..naming import did_you_mean


@dataclasses.dataclass(frozen=True)
class ScoreInfo:
    """Where a score comes from."""

    title: str
    authors: str
    venue: str
    year: int
    url: str


@dataclasses.dataclass(frozen=True)
class NoParams:
    """Base of every score's ``Params``: a frozen dataclass, checked when it is made."""


P = TypeVar("P", bound=NoParams)


def known_parameters(params: type[NoParams]) -> list[str]:
    """Return the names of the declared parameters, in order."""
    return [field.name for field in dataclasses.fields(params)]


def replace_params(name: str, params: P, overrides: Mapping[str, Any]) -> P:
    """Return ``params`` with ``overrides`` put in.

    Raises:
        UserError: when the score called ``name`` declares no such parameter, or refuses its value.
    """
    known = known_parameters(type(params))
    for key in overrides:
        if key not in known:
            raise UserError(f"the postprocessor '{name}' has no parameter '{key}'.{did_you_mean(key, known)}")
    return dataclasses.replace(params, **overrides)


def require_whole(name: str, value: object, low: int) -> None:
    """Raise `UserError` unless ``value`` is a whole number of at least ``low``."""
    # NumPy's integers answer __index__ too; True is an int, and never meant as one
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise UserError(f"{name} must be a whole number, got {value!r}.")
    if value.__index__() < low:
        raise UserError(f"{name} must be at least {low}, got {value}.")


def require_number(
    name: str, value: object, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Raise `UserError` unless ``value`` is a finite number in [low, high] (``above``: not low itself)."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise UserError(f"{name} must be a number, got {value!r}.")
    number = float(value.__float__())
    if not math.isfinite(number) or number < low or number > high or (above and number == low):
        start = f"above {low:g}" if above else f"at least {low:g}"
        end = "" if math.isinf(high) else f" and at most {high:g}"
        raise UserError(f"{name} must be {start}{end}, got {value}.")
