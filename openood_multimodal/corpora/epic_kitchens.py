"""EPIC-Kitchens, kitchen P22 (domain D3): JPEG frames of RGB and of optical flow, one WAV a recording.

A clip is a span of a recording's frames.  As in the authors' code, an annotation from frame a to frame b gives RGB
frames a to b − 1, and of the flow, which has every second frame, int((b − a) / 2) frames from ⌈a / 2⌉ on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .layout import Archive, ClipLayout, make_cells
from .places import Place
from .recordings import epic_recording, epic_span

NAME = "epic_kitchens"
TEST_RECORDINGS = (
    "P22_01",
    "P22_02",
    "P22_03",
    "P22_04",
)  # in the folders of the test set; it isn't a test set here
RECORDINGS = tuple(f"P22_{number:02d}" for number in range(1, 18))
PLACES = {
    "video": (Place("rgb/{side}/D3/{recording}/#frames={first},{last}"),),
    "audio": (Place("rgb/{side}/D3/{recording}.wav"),),
    "flow": (Place("flow/{side}/D3/{recording}/#frames={flow_first},{flow_last}"),),
}

# ".2" and so on: another annotation of the same frames
_CLIP = re.compile(r"(?P<recording>P\d+_\d+)/(?P<first>\d+)-(?P<stop>\d+)(?:\.\d+)?")
_URL = "https://data.bris.ac.uk/data/dataset/3h91syskeag572hl6tvuovwv4d"


def _words(clip: str) -> Mapping[str, str] | None:
    found = _CLIP.fullmatch(clip)
    if found is None:
        return None
    first, stop = int(found["first"]), int(found["stop"])
    if stop <= first:
        return None
    flow_first = -(-first // 2)
    return {
        "recording": found["recording"],
        "side": "test" if found["recording"] in TEST_RECORDINGS else "train",
        "first": str(first),
        "last": str(stop - 1),
        "flow_first": str(flow_first),
        "flow_last": str(flow_first + max(1, (stop - first) // 2) - 1),
    }


LAYOUT = ClipLayout(
    name=NAME,
    summary="EPIC-Kitchens, kitchen P22: JPEG frames of video and optical flow, one WAV for each recording",
    modalities=("video", "audio", "flow"),
    cells=make_cells(NAME, PLACES, _words),
    recording_of=epic_recording,
    span_of=epic_span,
    archives=(
        Archive(
            "RGB frames",
            _URL,
            (
                "frames_rgb_flow/rgb/test/P22/P22_01.tar ... P22_04.tar",
                "frames_rgb_flow/rgb/train/P22/P22_05.tar ... P22_17.tar",
            ),
            "rgb/test/D3/<recording>/ and rgb/train/D3/<recording>/",
            ("video",),
        ),
        Archive(
            "optical flow frames",
            _URL,
            (
                "frames_rgb_flow/flow/test/P22/P22_01.tar ... P22_04.tar",
                "frames_rgb_flow/flow/train/P22/P22_05.tar ... P22_17.tar",
            ),
            "flow/test/D3/<recording>/ and flow/train/D3/<recording>/, with the folders u and v in each",
            ("flow",),
        ),
        Archive(
            "sound",
            "https://huggingface.co/datasets/hdong51/Human-Animal-Cartoon",
            ("EPIC-KITCHENS-audio.zip",),
            "rgb/test/D3/ and rgb/train/D3/, beside the recordings' folders",
            ("audio",),
        ),
    ),
    tree="""EPIC-KITCHENS/
├── rgb/
│   ├── train/D3/
│   │   ├── P22_05.wav
│   │   ├── P22_05/frame_0000000001.jpg ...
│   │   └── ... to P22_17
│   └── test/D3/
│       ├── P22_01.wav
│       ├── P22_01/frame_0000000001.jpg ...
│       └── ... to P22_04
└── flow/
    ├── train/D3/P22_05/u/frame_0000000001.jpg ... and v/, to P22_17
    └── test/D3/P22_01/u/frame_0000000001.jpg ... and v/, to P22_04
""",
    places=PLACES,
    words=_words,
    recordings=RECORDINGS,
)
