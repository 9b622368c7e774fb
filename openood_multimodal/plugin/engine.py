"""The engine ``openood``: OpenOOD's postprocessors, unchanged, on embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..registry import ENGINES
from .adapters import OpenOODPostprocessor
from .recipes import RECIPES, UNSUITABLE


@ENGINES.register("openood")
class OpenOODEngine:
    """OpenOOD's classes, with OpenOOD's parameters; needs a checkout of OpenOOD."""

    has_presets = False

    @staticmethod
    def build(name: str, preset: str, parameters: Mapping[str, Any], seed: int) -> Any:
        """Return an `OpenOODPostprocessor`; its defaults are OpenOOD's, whatever the preset."""
        return OpenOODPostprocessor(name, parameters, seed=seed)

    @staticmethod
    def hint(name: str) -> str:
        """Return how OpenOOD's ``name`` is asked for in a run of the native engine; "" where OpenOOD has none."""
        if name in UNSUITABLE:
            return f"'{name}' is one of OpenOOD's postprocessors, and can't run on embeddings: {UNSUITABLE[name]}."
        if name in RECIPES:
            return (
                f"'{name}' is one of OpenOOD's postprocessors: name it openood/{name}, or set engine: openood. Inside "
                "OpenOOD, its own pipeline takes it as it is: --pipeline.name test_ood."
            )
        return ""
