"""Whose parameters OpenOOD's postprocessors take: OpenOOD's own."""

from __future__ import annotations

from typing import Any

from ..files import read_yaml
from .recipes import recipe_of
from .source import postprocessor_configs


def openood_defaults(name: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return ``postprocessor_args`` and ``postprocessor_sweep`` of OpenOOD's own YAML for ``name``.

    They are read from the checkout in use; from this package's copy of the figures where there is none.
    """
    recipe = recipe_of(name)
    args, sweep = dict(recipe.args), {key: list(values) for key, values in recipe.sweep.items()}
    folder = postprocessor_configs() if recipe.kind is None else None
    path = None if folder is None else folder / (recipe.config_file or f"{name}.yml")
    if path is not None and path.is_file():
        section = read_yaml(path, "a config of OpenOOD's")["postprocessor"]
        args = dict(section.get("postprocessor_args") or {})
        sweep = dict(section.get("postprocessor_sweep") or {})
    return args, sweep
