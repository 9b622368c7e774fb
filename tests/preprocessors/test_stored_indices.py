"""Frame indices on disk: made once, and never trusted where anything differs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from video_files import full_decode, write_packed_avi, write_video

from openood_multimodal.preprocessors import frame_index, media, stored_indices, video


@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OPENOOD_MM_CACHE", str(folder))
    video._cache.clear()
    yield folder
    video._cache.clear()


@pytest.fixture(params=["times", "counting"])
def clip(request, tmp_path):
    if request.param == "times":
        return write_video(tmp_path / "a.mp4", b_frames=2)
    return write_packed_avi(tmp_path / "a.avi")


@pytest.fixture
def built(monkeypatch):
    """The files that are indexed, in turn."""
    paths = []
    build = video.Video._build_index
    monkeypatch.setattr(video.Video, "_build_index", lambda self: paths.append(self.path) or build(self))
    return paths


def as_a_new_process():
    video._cache._indices.clear()


def test_made_once(clip, built):
    whole = full_decode(clip)
    for _ in range(3):
        as_a_new_process()
        np.testing.assert_array_equal(video.read_frames(clip, [11, 3]), whole[[11, 3]])
    assert len(built) == 1


def test_another_process_finds_it(clip, built):
    count = video.count_frames(clip)
    code = (
        "import sys; from openood_multimodal.preprocessors import video\n"
        "video.Video._build_index = lambda self: sys.exit('built again')\n"
        "print(video.count_frames(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(clip)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{count}\n", "")


def test_the_text_holds_all_of_an_index(clip):
    video.count_frames(clip)
    index = video._cache.get(media.file_key(clip))
    again = frame_index.FrameIndex.from_text(index.to_text())
    for name, value in vars(index).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)
        assert type(getattr(again, name)) is type(value)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("frames"),
        lambda said: said.update(frames=said["frames"] + 1),
        lambda said: said.update(key_marks=said["key_marks"][1:]),
        lambda said: said.update(time_base=[1, 0]),
        lambda said: said.update(more=1),
        lambda said: said.update(key_frames=["x"]),
    ],
)
def test_a_text_that_is_no_index(change, clip):
    video.count_frames(clip)
    said = json.loads(video._cache.get(media.file_key(clip)).to_text())
    change(said)
    assert frame_index.FrameIndex.from_text(json.dumps(said)) is None
    assert frame_index.FrameIndex.from_text("[") is None


def in_the_file(statement, *values):
    with sqlite3.connect(stored_indices.file()) as database:
        database.execute(statement, values)
    database.close()


@pytest.mark.parametrize("damage", ["text", "digest", "state", "bytes", "empty", "columns", "folder"])
def test_what_is_damaged_is_made_again(damage, clip, built):
    whole = full_decode(clip)
    video.count_frames(clip)
    path = stored_indices.file()
    if damage == "text":
        in_the_file("UPDATE indices SET text = replace(text, '1', '2')")
    elif damage in ("digest", "state"):
        in_the_file(f"UPDATE indices SET {damage} = ?", "x")
    elif damage == "columns":
        in_the_file("ALTER TABLE indices DROP COLUMN text")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else b"nonsense" * 2000)
    for _ in range(2):
        as_a_new_process()
        np.testing.assert_array_equal(video.read_frames(clip, [9, 30]), whole[[9, 30]])
    assert len(built) == (3 if damage == "folder" else 2), "kept again where it can be"
    if damage == "folder":
        path.rmdir()


def test_a_file_of_the_same_size_and_time_is_indexed_again(tmp_path, built):
    one = write_video(tmp_path / "a.avi", "mpeg4")
    two = write_video(tmp_path / "b.avi", "mpeg4", frames=36, gop=10)
    size = max(path.stat().st_size for path in (one, two))
    for path in (one, two):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    video.count_frames(one)
    before = os.stat(one)
    whole = full_decode(two)
    shutil.copyfile(two, one)
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    as_a_new_process()
    np.testing.assert_array_equal(video.read_frames(one, [20, 21]), whole[[20, 21]])
    assert len(built) == 2


@pytest.mark.parametrize("lacking", ["folder", "sqlite"])
def test_without_a_place_for_it(lacking, clip, built, tmp_path, monkeypatch):
    if lacking == "folder":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("OPENOOD_MM_CACHE", str(tmp_path / "file" / "below"))
    else:
        monkeypatch.setattr(stored_indices, "sqlite3", None)
    for _ in range(2):
        as_a_new_process()
        assert len(video.read_frames(clip, [9])) == 1
    assert len(built) == 2


def test_a_broken_video_is_looked_at_again(clip, built):
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        as_a_new_process()
        with pytest.raises(media.UserError):
            video.count_frames(clip)
    assert not stored_indices.file().exists() or stored_indices.get(media.file_key(clip)) is None


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(stored_indices, "MOST_BYTES", 100_000)
    keys = [(f"/{number}", 0, 0, 0) for number in range(40)]
    for key in keys:
        stored_indices.put(key, "x" * 9000)
    there = [stored_indices.get(key) is not None for key in keys]
    assert there == sorted(there), "the first go first"
    assert 5 <= sum(there) <= 12
    assert stored_indices.file().stat().st_size < 200_000


def test_names_that_are_no_text():
    for name in ("/a\udcff", "/ä'\"; DROP", "/line\nbreak"):
        stored_indices.put((name, 1, 2, 3), f"of {name!a}")
        assert stored_indices.get((name, 1, 2, 3)) == f"of {name!a}"
        assert stored_indices.get((name, 1, 2, 4)) is None


def test_many_writers(folder):
    code = (
        "import sys; from openood_multimodal.preprocessors import stored_indices\n"
        "for i in range(60): stored_indices.put((f'/{sys.argv[1]}/{i}', 0, 0, 0), 'x' * 500)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(3)]
    assert [each.wait(60) for each in writers] == [0, 0, 0]
    found = [stored_indices.get((f"/{number}/{i}", 0, 0, 0)) for number in range(3) for i in range(60)]
    assert found == ["x" * 500] * 180
