"""From a config section to a call: a constructor's own signature declares its parameters."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

from .binding import bind

T = TypeVar("T")


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
