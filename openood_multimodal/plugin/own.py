"""Postprocessors that users wrote for OpenOOD, under names of their own; their classes need not know this package.

A class is registered by decorator (``@OPENOOD_POSTPROCESSORS.register("margin")``) or by an entry point in the group
``openood_multimodal.openood_postprocessors``.  It is then a ``postprocessor.name`` inside OpenOOD, and one of
``engine: openood``.  Importing this module imports neither OpenOOD nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import PREFIX, Registry

if TYPE_CHECKING:
    from .recipes import Recipe

OPENOOD_POSTPROCESSORS = Registry(
    "OpenOOD postprocessor", f"{PREFIX}openood_postprocessors", ("setup", "postprocess", "inference")
)
"""Constructed with OpenOOD's config.  A class may declare ``postprocessor_args`` and ``postprocessor_sweep`` (its
defaults, as in OpenOOD's YAML files) and ``reads``, the in-distribution splits that its ``setup`` iterates over."""


def own_class(name: str) -> Any:
    """Return the class registered as ``name``; OpenOOD can be imported while it is loaded.

    Raises:
        UserError: for an unknown name, a class that can't be loaded, or when OpenOOD isn't found.
    """
    from .source import importable

    with importable("openood.postprocessors"):
        return OPENOOD_POSTPROCESSORS.get(name)


def own_recipe(name: str) -> Recipe:
    """Return how the class registered as ``name`` is run."""
    from .recipes import Recipe

    kind = own_class(name)
    return Recipe(
        kind.__name__,
        args=dict(getattr(kind, "postprocessor_args", None) or {}),
        sweep=dict(getattr(kind, "postprocessor_sweep", None) or {}),
        reads=tuple(getattr(kind, "reads", ("train", "val"))),
        kind=kind,
    )
