"""Where the five datasets' files lie, as in the authors' README and loaders."""

import math
from pathlib import Path

import pytest

from openood_multimodal.corpora.layout import ClipKey, Place
from openood_multimodal.corpora.layout_files import read_layout
from openood_multimodal.corpora.recordings import name_of_repeat, original_name
from openood_multimodal.datasets.cells import flow_y, split_frames
from openood_multimodal.errors import UserError
from openood_multimodal.registry import CLIP_LAYOUTS

EXPECTED = {  # (dataset, clip) → cells; written out from the authors' loaders
    ("hmdb51", "brush_hair/Chanta!____THAT_IS!_brush_hair_u_nm_np1_ri_goo_3.avi"): {
        "video": "video/brush_hair/Chanta!____THAT_IS!_brush_hair_u_nm_np1_ri_goo_3.avi",
        "audio": "audio/brush_hair/Chanta!____THAT_IS!_brush_hair_u_nm_np1_ri_goo_3.wav",
        "flow": "flow/Chanta!____THAT_IS!_brush_hair_u_nm_np1_ri_goo_3_flow_x.mp4",
    },
    ("ucf101", "v_ApplyEyeMakeup_g07_c05.avi"): {
        "video": "video/v_ApplyEyeMakeup_g07_c05.avi",
        "audio": "audio/v_ApplyEyeMakeup_g07_c05.wav",
        "flow": "flow/v_ApplyEyeMakeup_g07_c05_flow_x.mp4",
    },
    ("ucf101", "v_HandStandPushups_g01_c01.avi"): {
        "video": "video/v_HandStandPushups_g01_c01.avi",
        "audio": "audio/v_HandStandPushups_g01_c01.wav",
        "flow": "flow/v_HandstandPushups_g01_c01_flow_x.mp4",
    },
    ("kinetics600", "passing American football (in game)/-abcdefghij_000001_000011.mp4"): {
        "video": "video/passing American football (in game)/-abcdefghij_000001_000011.mp4",
        "audio": "video/passing American football (in game)/-abcdefghij_000001_000011.wav",
        "flow": "flow/passing American football (in game)/-abcdefghij_000001_000011_flow_x.mp4",
    },
    ("hac", "cartoon/door_opening_13.mp4"): {
        "video": "cartoon/videos/door_opening_13.mp4",
        "audio": "cartoon/audio/door_opening_13.wav",
        "flow": "cartoon/flow/door_opening_13_flow_x.mp4",
    },
    # start = a, count = b − a; flow: start = ⌈a / 2⌉, count = int((b − a) / 2)
    ("epic_kitchens", "P22_04/45417-45498"): {
        "video": "rgb/test/D3/P22_04/#frames=45417,45497",
        "audio": "rgb/test/D3/P22_04.wav",
        "flow": "flow/test/D3/P22_04/#frames=22709,22748",
    },
    ("epic_kitchens", "P22_05/18940-19043.2"): {
        "video": "rgb/train/D3/P22_05/#frames=18940,19042",
        "audio": "rgb/train/D3/P22_05.wav",
        "flow": "flow/train/D3/P22_05/#frames=9470,9520",
    },
}


@pytest.mark.parametrize(("name", "clip"), EXPECTED)
def test_cells(name: str, clip: str) -> None:
    assert CLIP_LAYOUTS[name].cells(ClipKey(clip, "any")) == EXPECTED[name, clip]


@pytest.mark.parametrize(("name", "clip"), EXPECTED)
def test_the_second_of_two_clips_of_one_name_has_the_same_files(name: str, clip: str) -> None:
    layout = CLIP_LAYOUTS[name]
    once = original_name(clip)
    assert layout.cells(ClipKey(name_of_repeat(once, 2), "any")) == layout.cells(ClipKey(once, "any"))
    assert layout.words(name_of_repeat(once, 2)) == layout.words(once) is not None


@pytest.mark.parametrize("first", range(0, 40))
@pytest.mark.parametrize("length", [30, 31, 77])
def test_epic_spans_are_the_authors(first: int, length: int) -> None:
    cells = CLIP_LAYOUTS["epic_kitchens"].cells(ClipKey(f"P22_09/{first}-{first + length}", ""))
    _, video = split_frames(cells["video"])
    _, flow = split_frames(cells["flow"])
    assert video == (first, first + length - 1)
    begin = math.ceil(first / 2)
    assert flow == (begin, begin + int(length / 2) - 1)


def test_both_spellings_are_one_clip() -> None:
    layout = CLIP_LAYOUTS["ucf101"]
    one, other = (
        layout.cells(ClipKey(f"v_Hand{s}tandPushups_g01_c01.avi", "HandstandPushups")) for s in "Ss"
    )
    assert one == other
    assert layout.class_of("v_HandStandPushups_g01_c01.avi") == "HandstandPushups"
    assert layout.class_of("v_HandstandWalking_g01_c01.avi") == "HandstandWalking"


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("hmdb51", "x.avi"),
        ("hmdb51", "a/b/x.avi"),
        ("hmdb51", "a/x.mp4"),
        ("ucf101", "Archery.avi"),
        ("kinetics600", "x.mp4"),
        ("hac", "alien/x.mp4"),
        ("epic_kitchens", "P22_01"),
        ("epic_kitchens", "P22_01/12-12"),
        ("epic_kitchens", "../12-13"),
    ],
)
def test_other_names_are_refused(name: str, clip: str) -> None:
    assert CLIP_LAYOUTS[name].words(clip) is None
    with pytest.raises(UserError, match="is not the name of a clip"):
        CLIP_LAYOUTS[name].cells(ClipKey(clip, ""))


@pytest.mark.parametrize("name", CLIP_LAYOUTS)
def test_every_layout_says_what_to_get(name: str) -> None:
    layout = CLIP_LAYOUTS[name]
    assert layout.name == name
    assert {m for archive in layout.archives for m in archive.modalities} == set(layout.modalities)
    assert set(layout.modalities) <= set(layout.places)
    assert layout.tree.count("\n") > 4


def test_recordings() -> None:
    recording = CLIP_LAYOUTS["kinetics600"].recording(ClipKey("zumba/PrZEuFU9bks_000038_000048.mp4", "zumba"))
    assert recording == "PrZEuFU9bks"
    assert CLIP_LAYOUTS["epic_kitchens"].recording(ClipKey("P22_17/120-310", "")) == "P22_17"


def test_place_reads_what_it_writes() -> None:
    place = Place("a.b/{name}/v_{name}_{number}+.mp4")
    words = {"name": "x [1]*?", "number": "07"}
    path = place.path(words)
    assert path == "a.b/x [1]*?/v_x [1]*?_07+.mp4"
    assert place.words(path) == words
    assert place.words("a.b/x/v_y_07+.mp4") is None
    assert place.words("aXb/x/v_x_07+.mp4") is None
    assert place.words("a.b/x/y/v_x_07+.mp4") is None
    assert place.shown == "a.b/<name>/v_<name>_<number>+.mp4"


def test_flow_y_changes_the_file_alone() -> None:
    assert flow_y("flow/a_flow_x b/c_flow_x.mp4") == "flow/a_flow_x b/c_flow_y.mp4"


OWN = r"""
name: mine
summary: videos with a sensor's readings
modalities: [video, imu]
clip: '(?P<class_name>[^/]+)/(?P<stem>[^/]+)\.mp4'
clip_names: ['{class_name}/{stem}.mp4']
recording_patterns: ['[^/]+/(?P<recording>[a-z]+)_.*']
span: '.*_(?P<start>[0-9]+)-(?P<stop>[0-9]+)\.mp4'
span_units: 10
words:
  folder: {of: class_name, values: {walk: train}, otherwise: test}
places:
  video: ['{folder}/{class_name}/{stem}.mp4']
  imu: ['imu/{stem}.csv']
archives: []
tree: mine/
"""


def test_a_layout_of_ones_own_is_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(OWN, encoding="utf-8")
    layout = read_layout(path)
    assert layout.cells(ClipKey("walk/ann_20-35.mp4", "walk")) == {
        "video": "train/walk/ann_20-35.mp4",
        "imu": "imu/ann_20-35.csv",
    }
    assert layout.words("run/ann_20-35.mp4")["folder"] == "test"
    assert layout.recording(ClipKey("walk/ann_20-35.mp4", "walk")) == "ann"
    assert layout.span_of("walk/ann_20-35.mp4") == (2.0, 3.5)
    assert layout.clip_at({"class_name": "walk", "stem": "a"}) == "walk/a.mp4"
    assert layout.clip_at({"stem": "a"}) == ""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("{stem}.csv", "{stm}.csv", r"places\.imu: .* uses 'stm'.*'stem'"),
        ("of: class_name", "of: klass", r"words\.folder uses 'klass'"),
        ("(?P<stem>", "(?P<stem", "is not a regular expression"),
        ("summary:", "sumary:", "sumary is not a parameter"),
        ("tree: mine/", "tree: mine/\ntree: x", "line 17, .*'tree' is set twice"),
    ],
)
def test_mistakes_in_a_layout_are_named(tmp_path: Path, before: str, after: str, said: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(OWN.replace(before, after), encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read_layout(path)
    assert str(path) in str(caught.value)
