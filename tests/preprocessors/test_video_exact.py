"""Frames are those of a full decode, bit for bit, whatever the file is like."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.preprocessors import media, video, video_container, video_index

sys.path.insert(0, str(Path(__file__).parent))
from video_files import copy_video, full_decode, shifted, write_packed_avi, write_video

UNEVEN = np.cumsum(np.random.default_rng(0).integers(1, 9, 40)).tolist()


def all_keys(number, packet):
    packet.is_keyframe = True


def no_keys(number, packet):
    packet.is_keyframe = False


def h264(folder, **settings):
    return write_video(folder / "source.mp4", b_frames=3, **settings)


# name → (how to make it, how frames are found: by their times, by counting; None where it may differ)
FILES = {
    "avi": (lambda d: write_video(d / "a.avi", "mpeg4", size=(96, 128)), "times"),
    "avi_b_frames": (lambda d: write_video(d / "a.avi", "mpeg4", b_frames=2, size=(96, 128)), "times"),
    "avi_tiny_pictures": (lambda d: write_video(d / "a.avi", "mpeg4", b_frames=2), "counting"),
    "avi_packed": (lambda d: write_packed_avi(d / "a.avi"), "counting"),
    "avi_mjpeg": (lambda d: write_video(d / "a.avi", "mjpeg", pixels="yuvj420p"), "times"),
    "mp4_gop_12": (lambda d: write_video(d / "a.mp4"), "times"),
    "mp4_gop_250": (lambda d: write_video(d / "a.mp4", gop=250, b_frames=3), "times"),
    "mp4_keyframes_only": (lambda d: write_video(d / "a.mp4", gop=1), "times"),
    "mp4_with_sound": (lambda d: write_video(d / "a.mp4", b_frames=2, sound=True), "times"),
    "mp4_uneven_times": (lambda d: write_video(d / "a.mp4", b_frames=2, times=UNEVEN), "times"),
    "mkv_uneven_times": (lambda d: write_video(d / "a.mkv", b_frames=2, times=UNEVEN), "times"),
    "one_frame": (lambda d: write_video(d / "a.mp4", frames=1), "times"),
    "two_frames": (lambda d: write_video(d / "a.avi", "mpeg4", frames=2, size=(96, 128)), "times"),
    "late_start": (lambda d: copy_video(h264(d), d / "a.mkv", shifted(Fraction(7, 3))), "times"),
    "edit_list": (lambda d: copy_video(h264(d), d / "a.mp4", shifted(Fraction(-17, 30))), "times"),
    "fragments": (
        lambda d: copy_video(h264(d), d / "a.mp4", muxer={"movflags": "frag_keyframe+empty_moov"}),
        "times",
    ),
    "rotated": (
        lambda d: copy_video(h264(d), d / "a.mp4", setup=lambda s: s.set_display_rotation(90)),
        "times",
    ),
    "open_gops": (
        lambda d: h264(d, options={"x264-params": "open-gop=1:keyint=12:min-keyint=12"}),
        "times",
    ),
    "open_gop_cut_off": (
        lambda d: copy_video(
            h264(d, options={"x264-params": "open-gop=1:keyint=12:min-keyint=12"}),
            d / "a.mkv",
            lambda number, packet: number >= 12,
        ),
        None,
    ),
    "no_keyframe_at_first": (
        lambda d: copy_video(h264(d), d / "a.mkv", lambda number, packet: number >= 5),
        "counting",
    ),
    "intra_refresh": (
        lambda d: write_video(d / "a.mp4", options={"x264-params": "intra-refresh=1:keyint=12"}),
        None,
    ),
    "interlaced": (
        lambda d: h264(d, options={"x264-params": "interlaced=1:keyint=12"}),
        "times",
    ),
    "a_picture_lost": (lambda d: copy_video(h264(d), d / "a.mp4", lambda n, p: n != 20), None),
    "all_flagged_key": (lambda d: copy_video(h264(d), d / "a.mkv", all_keys), None),
    "none_flagged_key": (lambda d: copy_video(h264(d), d / "a.mkv", no_keys), None),
    "transport_stream": (lambda d: copy_video(h264(d), d / "a.ts"), None),
    "elementary_stream": (lambda d: copy_video(h264(d), d / "a.h264"), "counting"),
    "mpeg2": (lambda d: write_video(d / "a.mpg", "mpeg2video", b_frames=2), "counting"),
    "vp8_hidden_frames": (
        lambda d: write_video(
            d / "a.webm", "libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8"}
        ),
        "counting",
    ),
    "vp9": (lambda d: write_video(d / "a.webm", "libvpx-vp9", options={"cpu-used": "8"}), "times"),
    "full_chroma": (lambda d: write_video(d / "a.mp4", b_frames=2, pixels="yuv444p"), "times"),
    "odd_size": (lambda d: write_video(d / "a.avi", "mpeg4", size=(98, 130)), "times"),
}


@pytest.fixture(autouse=True)
def _no_memory():
    video._cache.clear()


def assert_exact(path, rounds=12):
    whole = full_decode(path)
    total = len(whole)
    assert video.count_frames(path) == total
    random = np.random.default_rng(1)
    windows = [np.arange(total), np.arange(total)[::-1], np.array([total - 1, 0, total - 1])]
    windows += [np.array([number]) for number in range(total)]
    windows += [
        (random.integers(total) + np.arange(8) * random.integers(1, 6)) % total for _ in range(rounds)
    ]
    windows += [random.integers(0, total, random.integers(1, 12)) for _ in range(rounds)]
    for window in windows:
        np.testing.assert_array_equal(video.read_frames(path, window), whole[window], err_msg=str(window))


@pytest.mark.parametrize("name", FILES)
def test_equals_a_full_decode(name, tmp_path):
    make, found = FILES[name]
    path = make(tmp_path)
    video.count_frames(path)
    index = video._cache.get(media.file_key(path))
    if found is not None:
        assert ("counting" if index.stamps is None else "times") == found
    assert_exact(path)
    if found == "times":
        assert video._cache.get(media.file_key(path)) is index, "the index was right, yet it was made again"


def test_a_packed_bitstream_is_decoded_once_for_its_index(tmp_path, monkeypatch):
    path = write_packed_avi(tmp_path / "a.avi", size=(240, 320))
    assert video.count_frames(path)
    monkeypatch.setattr(video, "by_decoding", lambda *_: pytest.fail("decoded again"))
    video._cache._indices.clear()  # as another process begins
    assert_exact(path, rounds=3)


def test_an_avi_with_more_than_its_own_index_says(tmp_path):
    path = write_video(tmp_path / "a.avi", "mpeg4", size=(96, 128))
    data = bytearray(path.read_bytes())
    for place in (data.rindex(b"idx1") + 4, data.index(b"strh") + 8 + 32):  # bytes of the index; frames
        lacking = 16 if data[place - 4 : place] == b"idx1" else 1
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") - lacking).to_bytes(
            4, "little"
        )
    path.write_bytes(data)
    assert video.count_frames(path) == len(full_decode(path)) == 40
    assert_exact(path, rounds=3)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_only_what_is_needed_is_decoded(codec, tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", codec, frames=60, size=(96, 128))
    video.count_frames(path)
    taken = []
    chain = video_container._chain

    def counted(packet, packets):
        for each in chain(packet, packets):
            taken.append(each)
            yield each

    monkeypatch.setattr(video_container, "_chain", counted)
    video.read_frames(path, [26, 28])
    assert len(taken) == 5, "from the keyframe 24 to frame 28"


def wrong_times(index):
    return index.__class__(**{**vars(index), "stamps": index.stamps + 512})


def frame_missing(index):
    return index.__class__(
        **{**vars(index), "frames": index.frames - 1, "stamps": np.delete(index.stamps, 9)}
    )


def frame_invented(index):
    stamps = np.sort(np.append(index.stamps, index.stamps[9] + 1))
    return index.__class__(**{**vars(index), "frames": index.frames + 1, "stamps": stamps})


def keys_elsewhere(index):
    return index.__class__(**{**vars(index), "key_frames": index.key_frames + 1})


def keys_not_there(index):
    marks = tuple((99 if pts is None else pts + 1, dts, size) for pts, dts, size in index.key_marks)
    return index.__class__(**{**vars(index), "key_marks": marks})


@pytest.mark.parametrize("lie", [wrong_times, frame_missing, frame_invented, keys_elsewhere, keys_not_there])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_an_index_that_lies_is_found_out(lie, b_frames, tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", b_frames=b_frames)
    whole = full_decode(path)
    honest = video_index.by_packets
    monkeypatch.setattr(video, "by_packets", lambda *args: lie(honest(*args)))
    for window in (np.arange(8, 12), np.arange(24, 36), np.array([5, 7, 9, 10, 11, 12])):
        video._cache.clear()
        np.testing.assert_array_equal(video.read_frames(path, window), whole[window])


def test_keys_that_lie_in_a_counted_index_are_found_out(tmp_path, monkeypatch):
    path = copy_video(h264(tmp_path), tmp_path / "a.h264")
    whole = full_decode(path)
    honest = video_index.by_decoding
    monkeypatch.setattr(video, "by_decoding", lambda *args: keys_not_there(honest(*args)))
    np.testing.assert_array_equal(video.read_frames(path, [30, 31]), whole[30:32])
