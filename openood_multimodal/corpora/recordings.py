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

from ..registry import CLIP_LAYOUTS

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
        dataset: a name in `registry.CLIP_LAYOUTS`.
        clip: the clip's name, as in `layouts.clips.ClipKey`.

    Raises:
        UserError: when there is no such data set.
    """
    recording: str = CLIP_LAYOUTS.get(dataset).recording_of(original_name(clip))
    return recording


def time_span(dataset: str, clip: str) -> tuple[float, float]:
    """Return where in its recording ``clip`` begins and ends, in seconds; NaN twice where it can't be told.

    EPIC-Kitchens: its frames at 60 a second, which is the published time stamps but for one frame.
    Kinetics-600 and HAC (human): the whole seconds in the name.  Names of HMDB51 and UCF101 tell nothing.

    Raises:
        UserError: when there is no such data set.
    """
    span: tuple[float, float] = CLIP_LAYOUTS.get(dataset).span_of(original_name(clip))
    return span


def hmdb51_recording(clip: str) -> str:
    """Return what stands before the action in a clip's name, ``wave/<recording>_wave_u_nm_np1_fr_med_0.avi``."""
    found = _HMDB_WITH_CLASS.fullmatch(clip)
    return found["source"] if found else ""


def ucf101_recording(clip: str) -> str:
    """Return a clip's class and group, ``v_<class>_<group>_c02.avi``."""
    found = _UCF.fullmatch(clip)
    # the lists spell one class otherwise than the files do; see docs/splits.md
    return f"{found['class_name']}_{found['group']}".replace("HandStand", "Handstand") if found else ""


def epic_recording(clip: str) -> str:
    """Return the recording that a clip of EPIC-Kitchens names, ``<recording>/120-310``."""
    found = _EPIC.fullmatch(clip)
    return found["recording"] if found else ""


def kinetics600_recording(clip: str) -> str:
    """Return the YouTube id in a clip's name, ``zumba/<id>_000038_000048.mp4``."""
    found = _YOUTUBE.fullmatch(clip)
    return found["id"] if found else ""


def hac_recording(clip: str) -> str:
    """Return the YouTube id in a clip's name, "" for names such as ``cartoon/door_opening_13.mp4``."""
    found = _YOUTUBE.fullmatch(clip) or _YOUTUBE_PART.fullmatch(clip)
    return found["id"] if found else ""


def unknown_span(clip: str) -> tuple[float, float]:
    """Return NaN twice: the name doesn't tell."""
    return math.nan, math.nan


def epic_span(clip: str) -> tuple[float, float]:
    """Return the seconds of a clip's frames, ``P22_17/<first>-<last>``, at 60 a second."""
    found = _EPIC.fullmatch(clip)
    if found is None or found["first"] is None:
        return math.nan, math.nan
    return int(found["first"]) / EPIC_FRAMES_PER_SECOND, int(found["last"]) / EPIC_FRAMES_PER_SECOND


def youtube_span(clip: str) -> tuple[float, float]:
    """Return the whole seconds in a clip's name, ``zumba/<id>_<start>_<stop>.mp4``."""
    found = _YOUTUBE.fullmatch(clip)
    return (float(found["start"]), float(found["stop"])) if found else (math.nan, math.nan)
