"""What a word on the command line means, given the value that it replaces.

Plain functions of text.  Whatever is not typed by an older value is read as YAML (``true``, ``3``,
``[a, b]``), with two differences from a file: ``1e-4`` is a number (YAML 1.1 wants ``1.0e-4``), and ``12:30``
and ``2024-01-01`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from ..files.text import StrictLoader
from .config import plain
from .files import unfold

_YAML = "tag:yaml.org,2002:"
_LONGEST_INTEGER = 18  # digits; 1e999999999 must not be expanded


class UnreadableError(ValueError):
    """The text is not such a value; the message says what it should be."""


class _ValueLoader(StrictLoader):
    """YAML as on the command line."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own protocol
        first: [
            (tag, regexp)
            for tag, regexp in known
            # the last three have no value of their own: '<<', '=' and '!' are text here
            if tag not in {_YAML + kind for kind in ("int", "float", "timestamp", "merge", "value", "yaml")}
        ]
        for first, known in StrictLoader.yaml_implicit_resolvers.items()
    }


_ValueLoader.add_implicit_resolver(
    _YAML + "int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_ValueLoader.add_implicit_resolver(
    _YAML + "float",
    re.compile(
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
        r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def read_scalar(text: str, present: Any) -> Any:
    """Return the value of ``text`` where it replaces ``present``: a str, bool, int, float or None.

    Text keeps its characters (``null`` and ``None`` alone mean None).  For all others ``null`` and ``none``,
    in any case, mean None, and a suffix ``:int``, ``:float``, ``:str`` or ``:bool`` changes the type.

    Raises:
        UnreadableError: when the text is not of that type.
    """
    if isinstance(present, str):
        return None if text in ("null", "None") else text
    bare, colon, suffix = text.rpartition(":")
    if colon and suffix in _SUFFIXES:
        return _SUFFIXES[suffix](bare)
    if text.lower() in ("null", "none"):
        return None
    return _READERS.get(type(present), _as_yaml)(text)


def read_list(words: Sequence[str], present: Sequence[Any]) -> list[Any] | None:
    """Return a list from ``[a, b]``, ``a,b`` or several words; elements are typed as ``present``'s are.

    They follow the present elements where these are all of one type (None aside; int and float together make
    numbers), and are read as YAML otherwise.

    Raises:
        UnreadableError: bad YAML, or an element of another type.
    """
    text = " ".join(words).strip()
    example = _example(present)
    if text.startswith("["):
        return _flow_list(text, example)
    if len(words) == 1 and text.lower() in ("null", "none"):
        return None
    if len(words) == 1 or any(word.endswith(",") for word in words):
        words = text.removesuffix(",").split(",") if text else []
    return [read_scalar(word.strip(), example) for word in words]


def read_mapping(words: Sequence[str]) -> dict[str, Any] | None:
    """Return a mapping from ``{a: 1, b.c: 2}``, or None from ``null``.

    Raises:
        UnreadableError: for anything else.
    """
    text = " ".join(words).strip()
    if text.lower() in ("null", "none"):
        return None
    if not text.startswith("{"):
        raise UnreadableError("A scalar can't replace it.")
    value = _load(text)
    if not isinstance(value, dict):
        raise UnreadableError(f"Got a {type(value).__name__}.")
    return value


def _as_bool(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise UnreadableError("It must be true or false.")


def _as_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise UnreadableError("It must be a whole number.") from None
    if number.is_finite() and number.adjusted() < _LONGEST_INTEGER and number == number.to_integral_value():
        return int(number)
    raise UnreadableError(f"It must be a whole number; write {text}:float if a fraction is meant.")


def _as_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnreadableError("It must be a number.") from None


def _as_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return _as_float(text)


def _as_yaml(text: str) -> Any:
    quoted = len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]
    if quoted or text.startswith(("[", "{")):
        return _load(text)
    if "\n" in text:  # the resolvers' "$" would look past a last line feed
        return text
    # a plain scalar, never a block: 'a: b', '# x' and '@x' are text
    loader = _ValueLoader("")
    return loader.construct_object(
        yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text)
    )


class _Number:
    """Stands for the type of elements that are ints and floats together."""

    def __repr__(self) -> str:
        return "a number"


_SUFFIXES: dict[str, Callable[[str], Any]] = {
    "int": _as_int,
    "float": _as_float,
    "str": str,
    "bool": _as_bool,
}
_READERS: dict[type, Callable[[str], Any]] = {
    bool: _as_bool,
    int: _as_int,
    float: _as_float,
    _Number: _as_number,
}


def _example(present: Sequence[Any]) -> Any:
    """Return an element that stands for the type of all, or None when there is no such type."""
    elements = [each for each in present if each is not None]
    types = {type(each) for each in elements}
    if types == {int, float}:
        return _Number()
    return elements[0] if len(types) == 1 and types <= {bool, int, float, str} else None


def _flow_list(text: str, example: Any) -> list[Any]:
    try:
        loader = _ValueLoader(text)  # refuses control characters already
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise UnreadableError("It must be a list, [a, b].")
        return [plain(_element(loader, child, example)) for child in node.value]
    except UnreadableError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableError(f"It must be a list, [a, b]: {_problem(error)}.") from None


def _element(loader: _ValueLoader, node: yaml.Node, example: Any) -> Any:
    if example is None:
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if is_plain and node.tag == loader.resolve(yaml.ScalarNode, node.value, (True, False)):
            return read_scalar(node.value, None)
        return loader.construct_object(node, deep=True)
    if not isinstance(node, yaml.ScalarNode):
        raise UnreadableError(f"Its elements must be like {example!r}.")
    if isinstance(example, str) and node.style is not None:
        return str(node.value)
    return read_scalar(node.value, example)


def _load(text: str) -> Any:
    try:
        value = plain(yaml.load(text, Loader=_ValueLoader))  # noqa: S506 - a subclass of SafeLoader
        return unfold(value) if isinstance(value, dict) else value
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableError(f"It can't be read: {_problem(error)}.") from None


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return str(error.problem or error.context)
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character U+{error.character:04X} can't stand in a value"
    return "it contains itself" if isinstance(error, RecursionError) else str(error).removesuffix(".")
