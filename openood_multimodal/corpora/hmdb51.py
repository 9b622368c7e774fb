"""HMDB51: AVI files in a folder a class, optical flow as pairs of MP4 files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .layout import Archive, ClipLayout, make_cells, words_in
from .places import Place
from .recordings import hmdb51_recording

NAME = "hmdb51"
PLACES = {
    "video": (Place("video/{class_name}/{stem}.avi"), Place("{class_name}/{stem}.avi")),
    "audio": (Place("audio/{class_name}/{stem}.wav"), Place("video/{class_name}/{stem}.wav")),
    "flow": (Place("flow/{stem}_flow_x.mp4"), Place("flow/{class_name}/{stem}_flow_x.mp4")),
}

_CLIP = re.compile(r"(?P<class_name>[^/]+)/(?P<stem>[^/]+)\.avi")
_words = words_in(_CLIP)


def _clip_at(words: Mapping[str, str]) -> str | None:
    return f"{words['class_name']}/{words['stem']}.avi" if "class_name" in words else ""


def _class_of(clip: str) -> str:
    return clip.partition("/")[0]


LAYOUT = ClipLayout(
    name=NAME,
    summary="HMDB51: a folder of AVI files for each class, optical flow as pairs of MP4 files",
    modalities=("video", "flow"),
    cells=make_cells(NAME, PLACES, _words),
    recording_of=hmdb51_recording,
    archives=(
        Archive(
            "videos",
            "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/#Downloads",
            ("hmdb51_org.rar (a .rar in it for each of 51 classes)",),
            "video/, a folder a class",
            ("video",),
        ),
        Archive(
            "optical flow (TV-L1)",
            "https://huggingface.co/datasets/hdong51/MultiOOD",
            ("hmdb51_flow_mp4.tar.gz",),
            "flow/",
            ("flow",),
        ),
    ),
    tree="""HMDB51/
├── video/
│   ├── brush_hair/*.avi
│   ├── ...
│   └── wave/*.avi
└── flow/
    ├── *_flow_x.mp4
    └── *_flow_y.mp4
""",
    places=PLACES,
    words=_words,
    clip_at=_clip_at,
    class_of=_class_of,
)
"""The published data has no sound; ``audio`` is what ``prepare audio`` makes, of the clips that have some."""
