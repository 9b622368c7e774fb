"""HAC (human, animal, cartoon): a folder a domain, with videos, sound and optical flow."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .layout import Archive, ClipLayout, make_cells, words_in
from .places import Place
from .recordings import hac_recording, youtube_span

NAME = "hac"
DOMAINS = ("human", "animal", "cartoon")
PLACES = {
    "video": (Place("{domain}/videos/{stem}.mp4"), Place("{domain}/video/{stem}.mp4")),
    "audio": (Place("{domain}/audio/{stem}.wav"),),
    "flow": (Place("{domain}/flow/{stem}_flow_x.mp4"),),
}

_CLIP = re.compile(rf"(?P<domain>{'|'.join(DOMAINS)})/(?P<stem>[^/]+)\.mp4")
_words = words_in(_CLIP)


def _clip_at(words: Mapping[str, str]) -> str | None:
    clip = f"{words['domain']}/{words['stem']}.mp4"
    return clip if _CLIP.fullmatch(clip) else None


LAYOUT = ClipLayout(
    name=NAME,
    summary="HAC: a folder for each domain, with videos, sound and optical flow",
    modalities=("video", "audio", "flow"),
    cells=make_cells(NAME, PLACES, _words),
    recording_of=hac_recording,
    span_of=youtube_span,
    archives=(
        Archive(
            "videos, sound and optical flow",
            "https://huggingface.co/datasets/hdong51/Human-Animal-Cartoon",
            ("all of HAC (its page names the files)",),
            "human/, animal/ and cartoon/, each with videos/, flow/ and audio/",
            ("video", "audio", "flow"),
        ),
    ),
    tree="""HAC/
├── human/
│   ├── videos/*.mp4
│   ├── audio/*.wav
│   └── flow/*_flow_x.mp4, *_flow_y.mp4
├── animal/
│   └── ...
└── cartoon/
    └── ...
""",
    places=PLACES,
    words=_words,
    clip_at=_clip_at,
)
"""The files' names don't tell the class."""
