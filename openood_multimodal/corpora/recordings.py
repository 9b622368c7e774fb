"""The source recording of a clip, and its place in it, read from the clip's name alone.

Clips cut from one recording share people, room, light and camera.  A split that puts them on two sides
measures memory as well as recognition, so manifests carry the recording in ``group``.  What a name tells:

=============  ============================================  ==================================================
dataset       a clip's name                                 its recording
=============  ============================================  ==================================================
hmdb51         ``wave/TrumanShow_wave_u_nm_np1_fr_med_0.avi``  the source video, ``TrumanShow``: what stands before
                                                             the action, also of other actions
ucf101         ``v_Archery_g01_c02.avi``                     the group with its class, ``Archery_g01``: groups are
                                                             numbered from 1 in every class
epic_kitchens  ``P22_17/120-310``                            ``P22_17``
kinetics600    ``zumba/PrZEuFU9bks_000038_000048.mp4``       the YouTube id, ``PrZEuFU9bks``
hac            ``human/DWiz5LG9Tnc_000020_000030.mp4``,      the YouTube id; unknown for names such as
               ``animal/6idNeaLb_lo-002.mp4``                ``cartoon/door_opening_13.mp4``
=============  ============================================  ==================================================

YouTube ids stand bare, so that recordings that two datasets share are found.  A few clips stand twice in the
authors' lists; a manifest names the second one ``<clip>.2``.
"""

from __future__ import annotations

import math
import re

from ..registry import CLIP_LAYOUTS

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
        UserError: when there is no such dataset.

    >>> recording_of("hmdb51", "wave/TrumanShow_wave_u_nm_np1_fr_med_0.avi")
    'TrumanShow'
    >>> recording_of("ucf101", "v_Archery_g01_c02.avi")
    'Archery_g01'
    """
    recording: str = CLIP_LAYOUTS.get(dataset).recording_of(original_name(clip))
    return recording


def time_span(dataset: str, clip: str) -> tuple[float, float]:
    """Return where in its recording ``clip`` begins and ends, in seconds; NaN twice where it can't be told.

    EPIC-Kitchens: its frames at 60 a second, which is the published time stamps but for one frame.
    Kinetics-600 and HAC (human): the whole seconds in the name.  Names of HMDB51 and UCF101 tell nothing.

    Raises:
        UserError: when there is no such dataset.
    """
    span: tuple[float, float] = CLIP_LAYOUTS.get(dataset).span_of(original_name(clip))
    return span


def unknown_span(clip: str) -> tuple[float, float]:
    """Return NaN twice: the name doesn't tell."""
    return math.nan, math.nan
