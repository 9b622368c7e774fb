"""Multimodal out-of-distribution detection: the MultiOOD benchmark for OpenOOD, and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _moved
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .decisions import decide as decide
    from .decisions import inspect_scores as inspect_scores
    from .plugin import register as register
    from .plugin import unregister as unregister
    from .scoring import evaluate as evaluate

_moved.install()


def __getattr__(name: str) -> Any:
    """Import what is asked for by name, so that importing the package costs nothing."""
    if name == "evaluate":
        from .scoring import evaluate

        return evaluate
    if name in ("decide", "inspect_scores"):
        from . import decisions

        return getattr(decisions, name)
    if name in ("register", "unregister"):
        from . import plugin

        return getattr(plugin, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
