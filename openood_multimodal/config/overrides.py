"""``--a.b value`` on the command line, typed by the value that it replaces.

Which text makes which value is settled in `values`; here are the words, the keys, and who may be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import UserError
from ..naming import nearest_name
from .config import DELETE, Config
from .references import is_reference, referenced_value
from .values import UnreadableError, read_list, read_mapping, read_scalar

COMMAND_LINE = "command line"


def apply_overrides(config: Config, words: Sequence[str], searched: Sequence[str] = ()) -> None:
    """Apply command-line overrides to a merged config whose references are not resolved yet, in place.

    Each is ``--key value``, ``--key=value`` or, for lists, ``--key first second ...``; the value ends where
    the next word starts with ``--``, so negative numbers are values.  Later ones win.

    Args:
        config: changed in place; `Config.source_of` says ``"command line"`` for what was set here.
        words: e.g. ``["--seed", "3"]``.
        searched: names of the files that were merged, for messages.

    Raises:
        UserError: a key that no file sets, a value that can't be read as the type of what it replaces, a
            section replaced by a scalar, a word that belongs to no key.
    """
    for key, values in _split(words):
        _require_known(config, key, searched)
        if values == [DELETE]:
            del config[key]
            continue
        value = _read(config, key, values)
        config[key] = {}  # so that a mapping takes the old one's place, and is not merged into it
        config.merge({key: value}, COMMAND_LINE)


def _split(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each override's key and the words of its value."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word.startswith("---") or word in ("--", "--="):
            raise UserError(f"'{word}' belongs to no override: write --key value, e.g. --seed 3.")
        key, equals, first = word[2:].partition("=")
        values = [first] if equals else []
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if not values:
            raise UserError(
                f"--{key} has no value: write --{key} value "
                f"(or --{key}=value, if the value itself starts with two dashes)."
            )
        yield key, values


def _require_known(config: Config, key: str, searched: Sequence[str]) -> None:
    if key in config:
        return
    parent = key.rpartition(".")[0]
    while parent and parent not in config:
        parent = parent.rpartition(".")[0]
    holder: Any = config[parent] if parent else config
    if is_reference(holder):
        target = holder[2:-1] + key.removeprefix(parent)
        raise UserError(f"--{key}: {parent} is the reference {holder} here; override --{target}.")
    # keys of the section that was meant come first: the nearest of all may be a namesake elsewhere
    inside = (
        [f"{parent}.{name}" for name, _ in holder.leaves()] if parent and isinstance(holder, Config) else []
    )
    known = inside or [name for name, _ in config.leaves()]
    files = f" (searched: {', '.join(searched)})" if searched else ""
    raise UserError(f"--{key}: no config sets '{key}'{files}.{nearest_name(key, known)}")


def _read(config: Config, key: str, words: list[str]) -> Any:
    present = config[key]
    if len(words) == 1 and is_reference(words[0]):
        return words[0]
    if is_reference(present):
        try:
            present = referenced_value(config, present)
        except (UserError, KeyError):  # it refers to nothing: this override may be what repairs it
            present = None
    try:
        if isinstance(present, Mapping):
            return read_mapping(words)
        if isinstance(present, list | tuple):
            return read_list(words, present)
        return read_scalar(_one(words, present), present)
    except UnreadableError as error:
        raise UserError(f"--{key} {' '.join(words)}: {_expectation(config, key, present)}{error}") from None


def _one(words: list[str], present: Any) -> str:
    if len(words) == 1:
        return words[0]
    if present is None and words[0].startswith(("[", "{")):  # a shell has split [a, b] at its blanks
        return " ".join(words)
    raise UnreadableError(f"got {len(words)} words; put a value that has blanks in quotes.")


def _expectation(config: Config, key: str, present: Any) -> str:
    if isinstance(present, Mapping):
        names = [f"--{key}.{name}" for name in present]
        inside = (
            f" with the keys {', '.join(present)}; override one of them, e.g. {names[0]}" if names else ""
        )
        return f"{key} is a section{inside}, or give a whole mapping, '{{key: value}}'. "
    source = config.source_of(key)
    return f"this replaces {present!r}{f', set by {source}' if source else ''}. "
