"""File names of MultiOOD's saved arrays.

Near: ``id_<ID>_near_ood_<kind>_<tag><split>.npy``, split ``eval`` being the OOD set.
Far: ``id_<ID>_<kind>_<tag><split>.npy`` and ``id_<ID>_ood_<OOD>_<kind>_<tag>eval.npy``.

``<tag>`` is what the authors' ``--appen`` says, usually with ``_`` at its end; it may be empty.  Their scripts
put ``vfa_`` before it for three modalities, and ``ash_`` or ``react_`` after it for shaped features.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

KINDS = ("feature", "output", "label", "pred", "conf")
"""What is saved of each set; `NEEDED` of these are read."""

NEEDED = ("feature", "output", "label")

_END = rf"_(?P<kind>{'|'.join(KINDS)})_(?P<tag>.*?)"
_PATTERNS = (
    ("near", re.compile(rf"id_(?P<id>.+?)_near_ood{_END}(?P<split>train|val|test|eval)\.npy")),
    ("far", re.compile(rf"id_(?P<id>.+?)_ood_(?P<ood>.+?){_END}(?P<split>eval)\.npy")),
    ("far", re.compile(rf"id_(?P<id>.+?){_END}(?P<split>train|(?<!e)val|test)\.npy")),
)

_OUR_NAMES = {
    "HMDB": "hmdb51",
    "UCF": "ucf101",
    "Kinetics": "kinetics600",
    "EPIC": "epic_kitchens",
    "HAC": "hac",
}


class GroupKey(NamedTuple):
    """The files of one training, as far as names tell: ``setting`` (near, far), ``id``, ``tag``."""

    setting: str
    id: str
    tag: str

    @property
    def name(self) -> str:
        """A folder's name, e.g. ``HMDB_near_a2d_npmix_best``."""
        return "_".join([self.id, self.setting, *([self.tag.strip("_")] if self.tag.strip("_") else [])])

    @property
    def shaped(self) -> str | None:
        """``"ash"``, ``"react"`` or ``"react_ash"`` where the features were shaped before they were saved."""
        found = re.search(r"(react_)?(ash_)?$", self.tag)
        return found.group().strip("_") or None if found else None


class SavedFile(NamedTuple):
    """One file: its group, which set (``train``, ``val``, ``test`` or ``ood/<name>``), what of it, where."""

    group: GroupKey
    set: str
    kind: str
    path: Path


def parse_name(path: Path) -> SavedFile | None:
    """Return what a file's name says, or None where it is not one of the authors' names."""
    for setting, pattern in _PATTERNS:
        found = pattern.fullmatch(path.name)
        if found:
            parts = found.groupdict()
            key = GroupKey(setting, parts["id"], parts["tag"])
            # the near-OOD set is the rest of the ID dataset's own classes
            which = parts["split"] if parts["split"] != "eval" else ood_set(parts.get("ood") or parts["id"])
            return SavedFile(key, which, parts["kind"], path)
    return None


def ood_set(name: str) -> str:
    """Return ``ood/<name>``, the dataset's name being the one that this project's tables use."""
    return f"ood/{_OUR_NAMES.get(name, name)}"


def file_name(key: GroupKey, which: str, kind: str) -> str:
    """Return the name that the authors' scripts give to a file (for messages)."""
    if key.setting == "near":
        split = "eval" if which.startswith("ood/") else which
        return f"id_{key.id}_near_ood_{kind}_{key.tag}{split}.npy"
    if not which.startswith("ood/"):
        return f"id_{key.id}_{kind}_{key.tag}{which}.npy"
    ours = which.removeprefix("ood/")
    theirs = next((their for their, our in _OUR_NAMES.items() if our == ours), ours)
    return f"id_{key.id}_ood_{theirs}_{kind}_{key.tag}eval.npy"
