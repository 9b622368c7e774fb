"""The source recording of a clip, and its place in it, read from the clip's name alone.

Clips cut from one recording share people, room, light and camera.  A split that puts them on two sides
measures memory as well as recognition, so manifests carry the recording in ``group``.  What a name tells:

=============  ============================================  ==================================================
data set       a clip's name                                 its recording
=============  ============================================  ==================================================
hmdb51         ``wave/TrumanShow_wave_u_nm_np1_fr_med_0.avi``  the source video, ``TrumanShow``: what stands before
                                                             the action, also of other actions
ucf101         ``v_Archery_g01_c02.avi``                     the group with its class, ``Archery_g01``: groups are
                                                             numbered anew in every class
epic_kitchens  ``P22_17/120-310``                            ``P22_17``
kinetics600    ``zumba/PrZEuFU9bks_000038_000048.mp4``       the YouTube id, ``PrZEuFU9bks``
hac            ``human/DWiz5LG9Tnc_000020_000030.mp4``,      the YouTube id; unknown for names such as
               ``animal/6idNeaLb_lo-002.mp4``                ``cartoon/door_opening_13.mp4``
=============  ============================================  ==================================================

YouTube ids stand bare, so that recordings that two data sets share are found.  A few clips stand twice in the
authors' lists; a manifest names the second one ``<clip>.2``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from ..errors import UserError
from ..naming import did_you_mean

EPIC_FRAMES_PER_SECOND = 60.0  # all recordings of kitchen P22, which MultiOOD uses

# HMDB51: source, action, visible body parts, camera motion, people, viewpoint, quality, number (its README).
_HMDB = r"_[fhlu]_(?:cm|nm)_np[0-9]+_(?:fr|le|ri|ba)_(?:bad|med|goo)_[0-9]+\.avi"
_HMDB_WITH_CLASS = re.compile(rf"(?P<class_name>[^/]+)/(?P<source>.+)_(?P=class_name){_HMDB}")
_UCF = re.compile(r"(?:[^/]+/)?v_(?P<class_name>[A-Za-z0-9]+)_(?P<group>g[0-9]+)_c[0-9]+\.avi")
_EPIC = re.compile(r"(?P<recording>P[0-9]+_[0-9]+)(?:/(?P<first>[0-9]+)-(?P<last>[0-9]+))?")
_YOUTUBE = re.compile(
    r"(?:.*/)?(?P<id>[A-Za-z0-9_-]{11})_(?P<start>[0-9]{6})_(?P<stop>[0-9]{6})(?:\.[a-z0-9]+)?"
)
_YOUTUBE_PART = re.compile(r"(?:.*/)?(?P<id>[A-Za-z0-9_-]{11})-[0-9]{3}(?:\.[a-z0-9]+)?")
# The other clips of HAC, ``door_opening_13.mp4``: no recording, even where a name is as long as a YouTube id.


_REPEAT = re.compile(r"\.[0-9]$")


def name_of_repeat(clip: str, number: int) -> str:
    """Return what a manifest calls the ``number``-th clip of the name ``clip``, counted from 1."""
    return clip if number == 1 else f"{clip}.{number}"


def original_name(clip: str) -> str:
    """Return a clip's name without the ``.2`` that tells it from one of the same name."""
    return _REPEAT.sub("", clip)


def recording_of(dataset: str, clip: str) -> str:
    """Return the recording that ``clip`` was cut from, or "" where its name doesn't tell.

    Args:
        dataset: ``hmdb51``, ``ucf101``, ``epic_kitchens``, ``kinetics600`` or ``hac``.
        clip: the clip's name, as in `layouts.clips.ClipKey`.

    Raises:
        UserError: when there is no such data set.
    """
    return _known(dataset)[0](original_name(clip))


def time_span(dataset: str, clip: str) -> tuple[float, float]:
    """Return where in its recording ``clip`` begins and ends, in seconds; NaN twice where it can't be told.

    EPIC-Kitchens: its frames at 60 a second, which is the published time stamps but for one frame.
    Kinetics-600 and HAC (human): the whole seconds in the name.  Names of HMDB51 and UCF101 tell nothing.

    Raises:
        UserError: when there is no such data set.
    """
    return _known(dataset)[1](original_name(clip))


def _hmdb51(clip: str) -> str:
    found = _HMDB_WITH_CLASS.fullmatch(clip)
    return found["source"] if found else ""


def _ucf101(clip: str) -> str:
    found = _UCF.fullmatch(clip)
    # the lists spell one class otherwise than the files do; see docs/splits.md
    return f"{found['class_name']}_{found['group']}".replace("HandStand", "Handstand") if found else ""


def _epic(clip: str) -> str:
    found = _EPIC.fullmatch(clip)
    return found["recording"] if found else ""


def _kinetics600(clip: str) -> str:
    found = _YOUTUBE.fullmatch(clip)
    return found["id"] if found else ""


def _hac(clip: str) -> str:
    found = _YOUTUBE.fullmatch(clip) or _YOUTUBE_PART.fullmatch(clip)
    return found["id"] if found else ""


def _unknown_span(clip: str) -> tuple[float, float]:
    return math.nan, math.nan


def _epic_span(clip: str) -> tuple[float, float]:
    found = _EPIC.fullmatch(clip)
    if found is None or found["first"] is None:
        return math.nan, math.nan
    return int(found["first"]) / EPIC_FRAMES_PER_SECOND, int(found["last"]) / EPIC_FRAMES_PER_SECOND


def _youtube_span(clip: str) -> tuple[float, float]:
    found = _YOUTUBE.fullmatch(clip)
    return (float(found["start"]), float(found["stop"])) if found else (math.nan, math.nan)


_Readers = tuple[Callable[[str], str], Callable[[str], tuple[float, float]]]
_READERS: dict[str, _Readers] = {
    "hmdb51": (_hmdb51, _unknown_span),
    "ucf101": (_ucf101, _unknown_span),
    "epic_kitchens": (_epic, _epic_span),
    "kinetics600": (_kinetics600, _youtube_span),
    "hac": (_hac, _youtube_span),
}


def _known(dataset: str) -> _Readers:
    if dataset not in _READERS:
        raise UserError(f"there is no data set of clips '{dataset}'.{did_you_mean(dataset, _READERS)}")
    return _READERS[dataset]
