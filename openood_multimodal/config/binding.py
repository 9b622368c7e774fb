"""From a config section to a component's declared parameters: the fields of a dataclass, or a call's signature."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UserError
from ..naming import did_you_mean
from .config import plain
from .ranges import Range

T = TypeVar("T")


class _WrongTypeError(Exception):
    """Args: what was expected; a hint or ""."""


def bind(
    section: Mapping[str, Any] | None, params: type[T], where: str, ignore: Collection[str] = ("name",)
) -> T:
    """Return an instance of the dataclass ``params``, filled from a config section.

    Checked by annotation: bool, int, float (takes an int, gives a float), str, None, unions, ``Literal``,
    lists, tuples and sequences (either is taken, the annotated one is given; a str is none of them), mappings
    (given as plain dicts), ``Path`` (takes text), nested dataclasses, ``Any``, and ``Annotated`` with a
    `ranges.Range`.  A bool is no int.

    Args:
        section: a `Config`, OpenOOD's own Config, a plain mapping, or None for an empty one.
        params: a dataclass; its fields are the parameters, their defaults the defaults.
        where: dotted name of the section, for messages, e.g. ``"trainer"``.
        ignore: keys that may stand in the section without being parameters.

    Raises:
        UserError: an unknown key (the message names the nearest parameter), a value of the wrong type or out of range,
            a missing parameter without default, or a ValueError that the dataclass raises itself.  None counts
            as missing for a parameter that does not admit None.
    """
    if not dataclasses.is_dataclass(params):
        raise TypeError(f"bind needs a dataclass, got {params!r}")
    if section is None:
        section = {}
    if not isinstance(section, Mapping):
        raise UserError(f"{where} must be a section of 'key: value' lines, got {_shown(section)}.")
    fields = {field.name: field for field in dataclasses.fields(params) if field.init}
    owner = section["name"] if "name" in section and isinstance(section["name"], str) else params.__name__
    for key in section:
        if key not in fields and key not in ignore:
            nearest = did_you_mean(key, fields) if fields else " It has none."
            raise UserError(f"{where}.{key} is not a parameter of {owner}.{nearest}")
    hints = get_type_hints(params, include_extras=True)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        value = section.get(name)
        present = name in section and (value is not None or _admits_none(hints[name]))
        if present:
            values[name] = _checked(value, hints[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}.{name} is not set, and {owner} has no default for it.")
    try:
        return params(**values)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def bind_call(
    section: Mapping[str, Any] | None,
    component: Callable[..., T],
    where: str,
    ignore: Collection[str] = ("name",),
) -> T:
    """Call ``component`` with the parameters that a config section gives, checked as `bind` checks them.

    Args:
        section: key → value; None for an empty one.
        component: a class or function with annotated parameters; what has no default must be in the section.
        where: dotted name of the section, for messages.
        ignore: keys that may stand in the section without being parameters.

    Raises:
        UserError: an unknown key, a value of the wrong type, a missing parameter.
    """
    params = bind(section, _declared(component), where=where, ignore=ignore)
    return component(**{field.name: getattr(params, field.name) for field in dataclasses.fields(params)})


@cache
def _declared(component: Callable[..., Any]) -> type[Any]:
    """Return a dataclass with the fields of ``component``'s signature."""
    function = component.__init__ if inspect.isclass(component) else component
    hints = get_type_hints(function)
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    fields: list[tuple[str, Any, Any]] = [
        (name, hints.get(name, Any), _default(parameter))
        for name, parameter in inspect.signature(component).parameters.items()
        if parameter.kind in by_name
    ]
    return dataclasses.make_dataclass(
        getattr(component, "__name__", "call"), fields, frozen=True, kw_only=True
    )


def _default(parameter: inspect.Parameter) -> Any:
    if parameter.default is inspect.Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=lambda: parameter.default)


def _checked(value: Any, hint: Any, key: str) -> Any:
    try:
        converted = _convert(value, hint, key)
    except _WrongTypeError as error:
        expected, remedy = error.args
        raise UserError(
            f"{key} must be {expected}, got {_shown(value)} ({type(value).__name__}).{remedy}"
        ) from None
    for limit in getattr(hint, "__metadata__", ()):
        if isinstance(limit, Range):
            limit.check(converted, key)
    return converted


def _convert(value: Any, hint: Any, key: str) -> Any:
    hint = _bare(hint)
    origin = get_origin(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint), key)
    if origin is Literal:
        for allowed in get_args(hint):
            if type(allowed) is type(value) and allowed == value:
                return value
        remedy = did_you_mean(value, map(str, get_args(hint))) if isinstance(value, str) else ""
        raise _WrongTypeError(_describe(hint), "" if remedy.startswith(" Known") else remedy)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else bind(value, hint, key, ignore=())
    kind = origin or hint
    if not isinstance(kind, type):
        return value
    if issubclass(kind, Sequence | AbstractSet) and not issubclass(kind, str | bytes):
        return _convert_sequence(value, kind, get_args(hint), key)
    if issubclass(kind, Mapping):
        return _convert_mapping(value, kind, get_args(hint), key)
    return _convert_scalar(value, kind)


def _convert_scalar(value: Any, kind: type) -> Any:
    if kind in (int, float) and isinstance(value, bool):
        raise _WrongTypeError(_describe(kind), "")
    if kind is float and isinstance(value, int):
        if abs(value) > sys.float_info.max:
            raise _WrongTypeError(_describe(kind), "")
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, kind):
        return value
    raise _WrongTypeError(_describe(kind), _number_hint(value) if kind in (int, float) else "")


def _convert_union(value: Any, members: tuple[Any, ...], key: str) -> Any:
    # an exact member first, so that an int stays an int where both int and float are admitted
    for member in members:
        if _bare(member) is type(value):
            return value
    remedies = []
    for member in members:
        try:
            return _convert(value, member, key)
        except _WrongTypeError as error:
            remedies.append(error.args[1])
    raise _WrongTypeError(" or ".join(map(_describe, members)), next(filter(None, remedies), ""))


def _convert_sequence(value: Any, kind: type, arguments: tuple[Any, ...], key: str) -> Any:
    if not isinstance(value, list | tuple | AbstractSet):
        raise _WrongTypeError("a list", " Write [a, b].")
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(arguments) != len(value):
            raise _WrongTypeError(f"a list of {len(arguments)} values", "")
        hints: Sequence[Any] = arguments
    else:
        hints = [arguments[0] if arguments else Any] * len(value)
    items = [
        _checked(item, hint, f"{key}[{i}]") for i, (item, hint) in enumerate(zip(value, hints, strict=True))
    ]
    return kind(items) if kind in (tuple, set, frozenset) else items


def _convert_mapping(value: Any, kind: type, arguments: tuple[Any, ...], key: str) -> Any:
    if not isinstance(value, Mapping):
        raise _WrongTypeError("a section of 'key: value' lines", "")
    if len(arguments) == 2:
        return {
            _checked(name, arguments[0], f"a key of {key}"): _checked(
                plain(inner), arguments[1], f"{key}.{name}"
            )
            for name, inner in value.items()
        }
    return plain(value)


def _bare(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return type(None) if hint is None else hint


def _admits_none(hint: Any) -> bool:
    hint = _bare(hint)
    if hint is Any or hint is type(None):
        return True
    if get_origin(hint) is Literal:
        return None in get_args(hint)
    return get_origin(hint) in (Union, types.UnionType) and any(map(_admits_none, get_args(hint)))


def _describe(hint: Any) -> str:
    hint = _bare(hint)
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    if hint in names:
        return names[hint]
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_describe, get_args(hint)))
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a section of 'key: value' lines"
    if isinstance(kind, type) and issubclass(kind, Sequence | AbstractSet):
        return "a list"
    return getattr(kind, "__name__", str(kind))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _number_hint(value: Any) -> str:
    """The trap of YAML 1.1: ``1e-4``, without a point, is text."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    if "e" not in value.lower() or "." in value:
        return " Write it without quotes."
    mantissa, _, exponent = value.lower().partition("e")
    sign = "" if exponent.startswith(("-", "+")) else "+"
    return f" YAML takes {value} for text: write {mantissa}.0e{sign}{exponent}."
