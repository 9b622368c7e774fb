"""A postprocessor of OpenOOD's outside its ``test_ood``: settled as there, and still to be pickled.

``scripts/eval_ood.py`` pickles postprocessors after their setup; functions that `accept_several_inputs` puts on an
object can't be, so they are left out and put on again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from . import cpu
from .native import NativePostprocessor
from .recipes import RECIPES
from .several_inputs import accept_several_inputs


def host(postprocessor: Any, name: str | None = None, seed: int = 0) -> Any:
    """Make one of OpenOOD's postprocessors ready for networks of several inputs; the same object is returned.

    Args:
        postprocessor: an object of OpenOOD's class, or of a class written for OpenOOD; one of ours stays as it is.
        name: OpenOOD's name for it; None: by its class.
        seed: of what it draws.
    """
    if isinstance(postprocessor, NativePostprocessor) or hasattr(postprocessor, "hosted_as"):
        return postprocessor
    name = name or name_of(postprocessor)
    kind: Any = type(postprocessor)
    postprocessor.__class__ = _picklable(kind)
    postprocessor.hosted_as = (name, seed)
    cpu.spare_cuda(postprocessor, ("setup", "inference", "postprocess"))
    accept_several_inputs(postprocessor, name, seed, bool(getattr(postprocessor, "APS_mode", False)))
    return postprocessor


def name_of(postprocessor: Any) -> str:
    """Return OpenOOD's name for a postprocessor, else its class's name."""
    if isinstance(postprocessor, NativePostprocessor):
        return postprocessor.name
    kind = type(postprocessor).__name__
    return next((name for name, recipe in RECIPES.items() if recipe.class_name == kind), kind)


@cache
def _picklable(kind: Any) -> Any:
    """Return a subclass that looks like ``kind``, and whose objects are pickled as ``kind`` and hosted again."""
    looks = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**looks, "__reduce__": _reduce})


def _reduce(self: Any) -> tuple[Any, ...]:
    kind = type(self).__mro__[1]
    state = {
        key: value
        for key, value in vars(self).items()
        if key != "hosted_as" and not (callable(value) and callable(getattr(kind, key, None)))
    }
    return _restore, (kind, state, *self.hosted_as)


def _restore(kind: Any, state: dict[str, Any], name: str, seed: int) -> Any:
    postprocessor = kind.__new__(kind)
    vars(postprocessor).update(state)
    return host(postprocessor, name, seed)
