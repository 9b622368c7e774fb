"""The packaged layouts, a YAML file each; ``registry.CLIP_LAYOUTS`` has them by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..layout import ClipLayout
from ..layout_files import read_layout


@cache
def __getattr__(name: str) -> ClipLayout:
    path = Path(__file__).with_name(f"{name}.yml")
    if not path.is_file():
        raise AttributeError(f"there is no packaged layout '{name}'.")
    return read_layout(path)
