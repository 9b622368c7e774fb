"""The ``config.yml`` that OpenOOD leaves beside a checkpoint: YAML with its own class's tag, read without the class."""

from __future__ import annotations

import os
from typing import Any

import yaml

from ..errors import UserError
from ..files.text import StrictLoader, parse_yaml, read_text

FILE = "config.yml"
_TAG = "tag:yaml.org,2002:python/object/new:openood.utils.config.Config"
_WHAT = "a training's config"


class _SavedConfigLoader(StrictLoader):
    """Takes OpenOOD's tag for a plain mapping, and no other: nothing is executed or imported."""


def _construct(loader: _SavedConfigLoader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "a Config must be a mapping", node.start_mark)
    parts = loader.construct_mapping(node, deep=True)
    return {**(parts.get("state") or {}), **(parts.get("dictitems") or {})}


_SavedConfigLoader.add_constructor(_TAG, _construct)


def read_saved_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config in the file ``path``, of OpenOOD's ``train`` or of this package's, as plain dicts and lists.

    Raises:
        UserError: when it is missing, too large, no such YAML, or holds no mapping.
    """
    text = read_text(path, "yaml_bytes", _WHAT)
    content = parse_yaml(text, str(path), _WHAT, "Train again.", _SavedConfigLoader)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no config: it holds a {type(content).__name__}.")
    return content
