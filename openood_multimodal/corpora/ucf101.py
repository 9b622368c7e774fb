"""UCF101: AVI files in one folder, optical flow as pairs of MP4 files.

One class is spelled in two ways: its videos are ``v_HandStandPushups_...`` as published, while the authors' lists have
``v_HandstandPushups_...``; so has their flow, since their code takes its names from the lists.  Both spellings name the
same clips here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .layout import Archive, ClipLayout, make_cells
from .places import Place
from .recordings import original_name, ucf101_recording

NAME = "ucf101"
AS_PUBLISHED, AS_LISTED = "HandStandPushups", "HandstandPushups"
PLACES = {
    "video": (
        Place("video/v_{as_published}_{number}.avi"),
        Place("video/v_{as_listed}_{number}.avi"),
        Place("video/{class_name}/v_{as_published}_{number}.avi"),
        Place("video/{class_name}/v_{as_listed}_{number}.avi"),
        Place("UCF-101/{class_name}/v_{as_published}_{number}.avi"),
    ),
    "audio": (
        Place("audio/v_{as_published}_{number}.wav"),
        Place("audio/v_{as_listed}_{number}.wav"),
        Place("video/v_{as_published}_{number}.wav"),
    ),
    "flow": (
        Place("flow/v_{as_listed}_{number}_flow_x.mp4"),
        Place("flow/v_{as_published}_{number}_flow_x.mp4"),
        Place("flow/{class_name}/v_{as_listed}_{number}_flow_x.mp4"),
        Place("flow/{class_name}/v_{as_published}_{number}_flow_x.mp4"),
    ),
}

_CLIP = re.compile(r"v_(?P<class_name>[A-Za-z0-9]+)_(?P<number>[^/]+)\.avi")


def _words(clip: str) -> Mapping[str, str] | None:
    found = _CLIP.fullmatch(original_name(clip))
    if found is None:
        return None
    name = found["class_name"]
    return {
        "class_name": AS_LISTED
        if name == AS_PUBLISHED
        else name,  # the published folder is spelled as the lists are
        "as_published": AS_PUBLISHED if name == AS_LISTED else name,
        "as_listed": AS_LISTED if name == AS_PUBLISHED else name,
        "number": found["number"],
    }


def _clip_at(words: Mapping[str, str]) -> str | None:
    name = words.get("as_published") or words["as_listed"]
    clip = f"v_{name}_{words['number']}.avi"
    return clip.replace(f"v_{AS_LISTED}_", f"v_{AS_PUBLISHED}_")


def _class_of(clip: str) -> str:
    words = _words(clip)
    return words["class_name"] if words else ""


LAYOUT = ClipLayout(
    name=NAME,
    summary="UCF101: AVI files in one folder, optical flow as pairs of MP4 files",
    modalities=("video", "flow"),
    cells=make_cells(NAME, PLACES, _words),
    recording_of=ucf101_recording,
    archives=(
        Archive(
            "videos",
            "https://www.crcv.ucf.edu/data/UCF101.php",
            ("UCF101.rar",),
            "video/, all files in this one folder (UCF-101/<class>/ as unpacked is understood, too)",
            ("video",),
        ),
        Archive(
            "optical flow (TV-L1)",
            "https://huggingface.co/datasets/hdong51/MultiOOD",
            ("ucf101_flow_mp4.tar.gz",),
            "flow/",
            ("flow",),
        ),
    ),
    tree="""UCF101/
├── video/
│   ├── v_ApplyEyeMakeup_g01_c01.avi
│   └── ...
└── flow/
    ├── *_flow_x.mp4
    └── *_flow_y.mp4
""",
    places=PLACES,
    words=_words,
    clip_at=_clip_at,
    class_of=_class_of,
)
"""About half of the classes have sound; ``audio`` is what ``prepare audio`` makes of it."""
