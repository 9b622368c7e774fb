"""Clips' names as the authors' lists spell them: what is refused, what is repaired, which class they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ...errors import UserError
from ...files.paths import check_text
from ...naming import did_you_mean

UCF_MISSPELT = "v_HandstandPushups_"
UCF_AS_ON_DISK = "v_HandStandPushups_"

_FORMS = {
    "hmdb51": (
        re.compile(
            r"(?P<class_name>[^/]+)/.+_(?P=class_name)_[fhlu]_(?:cm|nm)_np\d+_(?:fr|le|ri|ba)_(?:bad|med|goo)_\d+\.avi"
        ),
        "class/<source>_<class>_<body>_<camera>_np<n>_<view>_<quality>_<n>.avi",
    ),
    "ucf101": (re.compile(r"v_(?P<class_name>[A-Za-z0-9]+)_g\d\d_c\d\d\.avi"), "v_<Class>_g<nn>_c<nn>.avi"),
    "kinetics600": (
        re.compile(r"(?P<class_name>[^/]+)/[A-Za-z0-9_-]{11}_\d{6}_\d{6}\.mp4"),
        "class/<YouTube id>_<start>_<stop>.mp4",
    ),
    "hac": (
        re.compile(
            r"(?:human|animal|cartoon)/(?:(?P<action>[a-z]+(?:_[a-z]+)*)_\d+ ?"
            r"|[A-Za-z0-9_-]{11}(?:-\d{3}|_\d{6}_\d{6}))\.mp4"
        ),
        "<YouTube id>_<start>_<stop>.mp4, <YouTube id>-<nnn>.mp4 or <action>_<n>.mp4",
    ),
    "epic_kitchens": (re.compile(r"P\d\d_\d+"), "P<person>_<recording>"),
}
_HAC_ACTIONS = {"door_opening": "opening door", "watching": "watching tv"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ClipName(NamedTuple):
    """A clip's name with the class that it says ("" where it says none), and whether it was repaired."""

    clip: str
    class_name: str
    repaired: bool


def read_name(dataset: str, raw: str, domain: str = "") -> ClipName:
    """Return what the name ``raw`` of a list says.

    Args:
        dataset: whose list it is.
        raw: the name as the list has it.
        domain: of HAC, ``human``, ``animal`` or ``cartoon``.

    Raises:
        UserError: when it leaves the data folder or is no name of such a clip.  The message is a part of a
            sentence, to stand after file and line.
    """
    check_text(raw)
    if _CONTROL.search(raw) or "\\" in raw:
        raise UserError(f"{raw!r} holds a backslash or a control character.")
    repaired = dataset == "ucf101" and raw.startswith(UCF_MISSPELT)
    clip = UCF_AS_ON_DISK + raw.removeprefix(UCF_MISSPELT) if repaired else raw
    clip = f"{domain}/{clip}" if dataset == "hac" else clip
    pattern, form = _FORMS[dataset]
    found = pattern.fullmatch(clip)
    if found is None:
        raise UserError(f"'{raw}' is not the name of a clip of {dataset}: {form}. Is the line cut off?")
    parts = found.groupdict()
    class_name = parts.get("class_name") or ""
    if dataset == "ucf101" and clip.startswith(UCF_AS_ON_DISK):
        class_name = "HandstandPushups"  # the class is spelled so, its files are not
    if action := parts.get("action"):
        class_name = _HAC_ACTIONS.get(action, action)
    return ClipName(clip, class_name, repaired)


def check_class(class_name: str, label: int, classes: Mapping[str, int]) -> str:
    """Return the class of a clip with this label, given the one that its name says ("" for none).

    Args:
        class_name: as the name says.
        label: as the list says.
        classes: class → label, as the list must have them.

    Raises:
        UserError: when there is no such class or label, or they contradict each other; a part of a sentence.
    """
    by_label = {number: name for name, number in classes.items()}
    if class_name and class_name not in classes:
        raise UserError(f"there is no class '{class_name}' in this list.{did_you_mean(class_name, classes)}")
    if label not in by_label:
        raise UserError(
            f"there is no class with label {label}; labels are {min(by_label)} to {max(by_label)}."
        )
    if class_name and by_label[label] != class_name:
        raise UserError(
            f"label {label} contradicts the class '{class_name}', which has {classes[class_name]} "
            f"({label} is '{by_label[label]}')."
        )
    return by_label[label]
