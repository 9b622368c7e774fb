"""Giving a function of another package a new behaviour without replacing the function object.

OpenOOD's packages copy functions (``from .utils import get_network``), so a new function under the old name
is seen by some of its callers only.  Here the function object stays, and its ``__code__`` is exchanged for a
few instructions that call `dispatch`: every copy, whenever it was made, sees the change; pickling by name goes
on working; and the old code object can be put back.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

Handler = Callable[..., Any]
"""Called as ``handler(original, *args, **kwargs)``."""

_ORIGINAL = "__openood_multimodal_original__"
_KEY = "openood_multimodal:seam"  # stands in the template's constants for the seam's own key
_handlers: dict[str, tuple[FunctionType, Handler]] = {}
_rebound: list[FunctionType] = []


def _template(*args: Any, **kwargs: Any) -> Any:
    from openood_multimodal.plugin.rebind import dispatch  # absolute: this runs in another module's globals

    return dispatch("openood_multimodal:seam", args, kwargs)


def dispatch(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the handler of the seam ``key``; what a rebound function does."""
    original, handler = _handlers[key]
    return handler(original, *args, **kwargs)


def original_of(function: FunctionType) -> FunctionType:
    """Return what ``function`` was before it was rebound, or ``function`` itself."""
    return function.__dict__.get(_ORIGINAL, function)


def rebind(key: str, function: FunctionType, handler: Handler) -> None:
    """Make ``function`` call ``handler(original, *args, **kwargs)``.

    Doing it again only changes the handler.

    Args:
        key: unique name of the seam.
        function: a plain function without a closure.
        handler: ``original`` is a function with the old code over the same globals.
    """
    original = original_of(function)
    if original is function:
        original = _copy(function)
        signature = inspect.signature(function)
        function.__dict__[_ORIGINAL] = original
        function.__dict__["__signature__"] = signature  # so that help() and inspect go on telling the truth
        function.__code__ = _code(key, function.__code__)
    _handlers[key] = original, handler
    if not any(each is function for each in _rebound):
        _rebound.append(function)


def restore_all() -> None:
    """Put every function's own code object back."""
    for function in _rebound:
        original = function.__dict__.pop(_ORIGINAL, None)
        if original is not None:
            function.__dict__.pop("__signature__", None)
            function.__code__ = original.__code__
    _rebound.clear()
    _handlers.clear()


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    copy.__annotations__ = dict(function.__annotations__)
    copy.__dict__.update(function.__dict__)
    return copy


def _code(key: str, old: CodeType) -> CodeType:
    template = _template.__code__
    constants = tuple(key if value == _KEY else value for value in template.co_consts)
    return template.replace(co_consts=constants, co_name=old.co_name, co_qualname=old.co_qualname)
