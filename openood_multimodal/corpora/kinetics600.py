"""Kinetics-600: MP4 files in a folder a class, WAV files beside them, optical flow as pairs of MP4 files.

Class folders have blanks, brackets and apostrophes in their names: ``passing American football (in game)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .layout import Archive, ClipLayout, make_cells, words_in
from .places import Place
from .recordings import kinetics600_recording, youtube_span

NAME = "kinetics600"
PLACES = {  # as in the authors' README, then as in their code
    "video": (Place("video/{class_name}/{stem}.mp4"), Place("Kinetics-600-train/{class_name}/{stem}.mp4")),
    "audio": (Place("video/{class_name}/{stem}.wav"), Place("Kinetics-600-train/{class_name}/{stem}.wav")),
    "flow": (
        Place("flow/{class_name}/{stem}_flow_x.mp4"),
        Place("Kinetics-600-train-flow/{class_name}/{stem}_flow_x.mp4"),
    ),
}

_CLIP = re.compile(r"(?P<class_name>[^/]+)/(?P<stem>[^/]+)\.mp4")
_words = words_in(_CLIP)


def _clip_at(words: Mapping[str, str]) -> str | None:
    return f"{words['class_name']}/{words['stem']}.mp4"


def _class_of(clip: str) -> str:
    return clip.partition("/")[0]


LAYOUT = ClipLayout(
    name=NAME,
    summary="Kinetics-600: a folder of MP4 and WAV files for each class, optical flow as pairs of MP4 files",
    modalities=("video", "audio", "flow"),
    cells=make_cells(NAME, PLACES, _words),
    recording_of=kinetics600_recording,
    span_of=youtube_span,
    archives=(
        Archive(
            "videos of 229 classes",
            "https://s3.amazonaws.com/kinetics/600/train/<class>.tar.gz, listed in utils/filtered_k600_train_path.txt "
            "of https://github.com/donghao51/MultiOOD",
            ("acting in play.tar.gz", "...", "zumba.tar.gz"),
            "video/, a folder a class",
            ("video",),
        ),
        Archive(
            "sound",
            "not published; it is made from the videos",
            ("openood-mm prepare audio --help",),
            "video/, beside the videos",
            ("audio",),
        ),
        Archive(
            "optical flow (TV-L1)",
            "https://huggingface.co/datasets/hdong51/MultiOOD",
            ("kinetics600_flow_mp4_part_* (cat them into kinetics600_flow_mp4.tar.gz)",),
            "flow/, a folder a class",
            ("flow",),
        ),
    ),
    tree="""Kinetics-600/
├── video/
│   ├── acting in play/*.mp4, *.wav
│   └── ...
└── flow/
    ├── acting in play/*_flow_x.mp4, *_flow_y.mp4
    └── ...
""",
    places=PLACES,
    words=_words,
    clip_at=_clip_at,
    class_of=_class_of,
)
