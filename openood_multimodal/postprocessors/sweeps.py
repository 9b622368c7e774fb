"""Sweeps of parameters: their settings, and which values go with what a score was fitted to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def settings(values: Iterable[Iterable[Any]]) -> Iterator[list[Any]]:
    """Yield all combinations of the parameters' values in OpenOOD's order: the first parameter changes fastest."""
    for combination in itertools.product(*reversed([list(each) for each in values])):
        yield list(reversed(combination))


def within_limits(
    name: str, sweep: Mapping[str, Sequence[Any]], limits: Mapping[str, int]
) -> tuple[dict[str, list[Any]], list[str]]:
    """Leave out of a sweep the values above a limit.

    Args:
        name: the score, for the notes.
        sweep: ``<parameter>_list`` → values.
        limits: parameter → the largest value that works.

    Returns:
        The sweep, and notes that name what was left out.  A parameter none of whose values is within its limit keeps
        them all: setting one is an error that says what is.
    """
    kept = {key: list(values) for key, values in sweep.items()}
    notes = []
    for parameter, most in limits.items():
        key = f"{parameter}_list"
        fitting = [value for value in kept.get(key, ()) if value <= most]
        over = [str(value) for value in kept.get(key, ()) if value > most]
        if fitting and over:
            kept[key] = fitting
            notes.append(
                f"{name}: {parameter} = {', '.join(over)} of the sweep not tried; at most {most} is possible here"
            )
    return kept, notes
