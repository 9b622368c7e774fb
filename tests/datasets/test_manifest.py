"""The manifest: round trips, its digest, and what it refuses."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError

TEXT = """clip,label,class_name,group,video,audio,start,stop
a,0,run,r1,v/a.mp4,a.wav,,
b,1,"jump, high",r1,v/b.mp4,,1.5,3
c,-1,fly,,v/c.mp4,c.wav,0,0.25
"""


def test_reads_every_column() -> None:
    manifest = Manifest.from_csv(TEXT)
    assert manifest.clips == ("a", "b", "c")
    assert manifest.labels.tolist() == [0, 1, -1]
    assert manifest.labels.dtype == np.int64
    assert manifest.class_names[1] == "jump, high"
    assert manifest.groups == ("r1", "r1", "")
    assert manifest.modalities == ("video", "audio")
    assert manifest.files["audio"] == ("a.wav", "", "c.wav")
    assert np.isnan(manifest.starts[0])
    assert manifest.starts[1:].tolist() == [1.5, 0.0]
    assert len(manifest) == 3
    assert manifest.class_counts() == {"run": 1, "jump, high": 1, "fly": 1}


def test_canonical_text_and_digest() -> None:
    manifest = Manifest.from_csv(TEXT)
    assert manifest.to_csv() == TEXT
    assert manifest.digest() == hashlib.sha256(TEXT.encode()).hexdigest()
    shuffled = "stop,start,video,audio,clip,group,class_name,label\r\n,,v/a.mp4,a.wav,a,r1,run,0\r\n"
    assert Manifest.from_csv(shuffled).to_csv() == TEXT.split("b,1")[0]


def test_write_and_read(tmp_path: Path) -> None:
    manifest = Manifest.from_csv(TEXT)
    path = manifest.write(tmp_path / "new" / "m.csv")
    again = Manifest.read(path)
    assert again == manifest
    assert again.digest() == manifest.digest()
    assert [p.name for p in path.parent.iterdir()] == ["m.csv"]


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert Manifest.read(tmp_path / "m.csv").clips == ("a", "b", "c")


def test_select_and_take() -> None:
    manifest = Manifest.from_csv(TEXT)
    assert manifest.select(["audio", "video"]).modalities == ("audio", "video")
    assert manifest.take([2, 0]).clips == ("c", "a")
    assert manifest.take([2, 0]).files["video"] == ("v/c.mp4", "v/a.mp4")
    with pytest.raises(UserError, match=r"Did you mean 'audio'"):
        manifest.select(["audo"])


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1, max_size=8)


@given(st.lists(names, unique=True, max_size=8), names, st.floats(0, 1e9), st.floats(1e-3, 1e9))
def test_any_text_survives(clips: list[str], class_name: str, start: float, length: float) -> None:
    count = len(clips)
    stop = np.nextafter(start + length, np.inf)
    manifest = Manifest.create(
        clips, [0] * count, [class_name] * count, {"a": ["x.csv#0"] * count}, [class_name] * count,
        [start] * count, [stop] * count,
    )  # fmt: skip
    again = Manifest.from_csv(manifest.to_csv())
    assert again.clips == manifest.clips
    assert again.groups == manifest.groups
    assert again.starts.tolist() == manifest.starts.tolist()
    assert again.stops.tolist() == manifest.stops.tolist()


HEAD = "clip,label,class_name,group,video,start,stop\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("clip,label,class_name,video,start,stop\na,0,x,v,,\n", "no column 'group'"),
        ("clip,label,class_name,group,start,stop\na,0,x,,,\n", "no modality column"),
        ("clip,label,class_name,group,video,video,start,stop\n", "'video' twice"),
        ("clip,label,class_name,group,my video,start,stop\na,0,x,,v,,\n", "can't name a modality"),
        (HEAD + "a,0,x,,v,,\nb,0,x,,v,\n", "line 3: 6 cells, but the header has 7"),
        (HEAD + "a,0,x,,v,,\n\nb,0,x,,v,,\n", "line 3: 0 cells"),
        (HEAD + "a,0,x,,v,,\nb,0,x,,v,,\na,0,x,,v,,\n", "line 4: clip 'a' is also on line 2"),
        (HEAD + "a,0,x,,v,,\n,0,x,,v,,\n", "line 3: clip is empty"),
        (HEAD + "a,0,x,,v,,\nb,0,,,v,,\n", "line 3: class_name is empty"),
        (HEAD + "a,0,x,,v,,\nb,one,x,,v,,\n", "line 3: label 'one' is not an integer"),
        (HEAD + "a,0,x,,v,,\nb,1.0,x,,v,,\n", "line 3: label '1.0'"),
        (HEAD + "a,-2,x,,v,,\n", "line 2: label -2"),
        (HEAD + "a,0,x,,v,,\nb,0,y,,v,,\n", "line 3: label 0 with class 'y' contradicts .* class 'x'"),
        (HEAD + "a,0,x,,v,,\nb,1,x,,v,,\n", "line 3: label 1 with class 'x' contradicts .* label 0"),
        (HEAD + "a,-1,x,,v,,\nb,1,x,,v,,\n", "contradicts .* label -1"),
        (HEAD + "a,0,x,,/etc/passwd,,\n", "line 2, column video: '/etc/passwd' leaves"),
        (HEAD + "a,0,x,,v,,\nb,0,x,,d/../../v,,\n", "line 3, column video"),
        (HEAD + "a,0,x,,..\\v,,\n", "leaves the data folder"),
        (HEAD + "a,0,x,,C:\\v.mp4,,\n", "leaves the data folder"),
        (HEAD + "a,0,x,,~/v.mp4,,\n", "leaves the data folder"),
        (HEAD + "a,0,x,,v,soon,\n", "line 2: start 'soon' is not a number"),
        (HEAD + "a,0,x,,v,,inf\n", "line 2: stop 'inf'"),
        (HEAD + "a,0,x,,v,3,2\n", "line 2: start 3 and stop 2"),
        (HEAD + "a,0,x,,v,-1,2\n", "line 2: start -1"),
        (HEAD + 'a,0,x,,"v\nw",,\n', "line break"),
        (HEAD + 'a,0,x,,"v,,\n', "not CSV"),
    ],
)
def test_refuses(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Manifest.from_csv(text)


def test_several_ood_classes_share_their_label() -> None:
    Manifest.from_csv(HEAD + "a,-1,x,,v,,\nb,-1,y,,v,,\n")


def test_dots_within_a_name_are_no_way_out() -> None:
    Manifest.from_csv(HEAD + "a,0,x,,d/..hidden/a...mp4,,\nb,0,x,,./b..mp4#3,,\n")


def test_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.csv: there is no such file"):
        Manifest.read(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes(HEAD.encode() + "a,0,é,,v,,\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin.csv is not UTF-8"):
        Manifest.read(tmp_path / "latin.csv")


def test_scales_to_a_large_video_set() -> None:
    count = 60_000
    clips = [f"class{i % 300}/video_{i:06d}" for i in range(count)]
    labels = np.arange(count) % 300
    class_names = [f"class{i % 300}" for i in range(count)]
    files = {name: [f"{name}/{clip}.mp4" for clip in clips] for name in ("video", "flow", "audio")}
    elapsed = []
    for _ in range(3):
        start = time.process_time()
        manifest = Manifest.create(clips, labels, class_names, files)
        elapsed.append(time.process_time() - start)
    assert min(elapsed) < 0.6  # about 0.1 s on a quiet core
    assert Manifest.from_csv(manifest.to_csv()).digest() == manifest.digest()


@pytest.mark.parametrize("text", ["1_0", " 1", "\u0661", "inf", "nan", "0x1", "1e999"])
def test_times_that_python_would_read_and_nobody_means(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(f"{HEAD}a,0,x,,v,{text},\n")
    with pytest.raises(UserError, match=r"line 2: start '.*' is not a number"):
        Manifest.read(tmp_path / "m.csv")


def test_a_line_that_names_the_separator_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"sep=;\n{HEAD.replace(',', ';')}a;0;x;;v;1;2\n")
    assert Manifest.read(tmp_path / "m.csv").stops.tolist() == [2.0]
