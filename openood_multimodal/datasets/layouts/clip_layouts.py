"""The layouts of data sets of clips, by name."""

from __future__ import annotations

from . import epic_kitchens, hac, hmdb51, kinetics600, ucf101
from .clips import ClipLayout

CLIP_LAYOUTS: dict[str, ClipLayout] = {
    module.LAYOUT.name: module.LAYOUT for module in (hmdb51, ucf101, epic_kitchens, hac, kinetics600)
}
