"""Frames' times for every codec; files that were joined; H.264 with a field a packet; one answer from the first on."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import audio, h264_fields, sound_track, video, video_container
from openood_multimodal.preprocessors.clip import ClipPreprocessor

sys.path.insert(0, str(Path(__file__).parent))
from video_files import full_decode, picture, write_packed_avi, write_video


@pytest.fixture(autouse=True)
def _no_memory():
    video._cache.clear()


def times_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        times = np.array([frame.time for frame in container.decode(video=0)])
    return times - times[0]


def test_a_screen_that_stands_still(tmp_path):
    ticks = [0, 1, 2, 3] + [150 + n for n in range(20)] + [270, 271, 272]
    path = write_video(tmp_path / "a.webm", "libvpx", frames=len(ticks), times=ticks)
    with video.Video(path) as opened:
        np.testing.assert_allclose(opened.times(), np.array(ticks) / 30, atol=2e-3)
        assert video.frames_between(opened.times(), 5.0, 5.5) == (4, 19)


def test_film_with_pulldown(tmp_path):
    """MPEG-2 whose header says 29.97 frames a second, of which 23.976 come."""
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=Fraction(30000, 1001), options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.thread_count = 1
        packets = []
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1001, 30000)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            frames = [time * packet.time_base * Fraction(30000, 1001) for time in (packet.pts, packet.dts)]
            packet.pts, packet.dts = (round(each * Fraction(1001 * 90000, 24000)) for each in frames)
            packet.time_base = Fraction(1, 90000)
            out.mux(packet)
    info = video.probe(path)
    assert info.fps == pytest.approx(23.976, abs=0.01)
    assert info.duration == pytest.approx(60 / 23.976, abs=0.01)
    with video.Video(path) as opened:
        np.testing.assert_allclose(opened.times(), times_of(path), atol=1e-4)


def test_times_of_a_packed_bitstream_ascend(tmp_path):
    with video.Video(write_packed_avi(tmp_path / "a.avi")) as opened:
        np.testing.assert_allclose(opened.times(), np.arange(40) / 30, atol=1e-4)


@pytest.mark.parametrize("ending", ["avi", "ts", "mkv", "mpg"])
def test_joined_files(tmp_path, ending):
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(ending, "libx264")
    part = write_video(tmp_path / f"part.{ending}", codec, size=(96, 128))
    path = tmp_path / f"a.{ending}"
    path.write_bytes(part.read_bytes() * 2)
    whole = full_decode(path)
    assert len(whole) == 80
    assert video.count_frames(path) == 80
    with video.Video(path) as opened:
        np.testing.assert_allclose(opened.times(), np.arange(80) / 30, atol=0.05)
        for window in ([79, 0, 41], np.arange(36, 46)):
            np.testing.assert_array_equal(opened.read(window), whole[window])
        assert not opened.renumbered


class Bits:
    """Writes the bits of a NAL unit."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, value: int, count: int) -> "Bits":
        self.text += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, value: int) -> "Bits":
        digits = f"{value + 1:b}"
        self.text += "0" * (len(digits) - 1) + digits
        return self

    def align(self) -> "Bits":
        self.text += "0" * (-len(self.text) % 8)
        return self

    def unit(self, kind: int) -> bytes:
        self.text += "1"
        data = int(self.align().text, 2).to_bytes(len(self.text) // 8, "big")
        for low in range(4):  # no start code inside
            data = data.replace(b"\x00\x00" + bytes([low]), b"\x00\x00\x03" + bytes([low]))
        return b"\x00\x00\x00\x01" + bytes([32 | kind]) + data


def field_units(frames: int, pattern: str = "field") -> tuple[bytes, list[bytes]]:
    """Return parameter sets, and access units of 16 x 32 pictures of raw macroblocks.

    ``field``: two a frame; ``mixed``: frames first, fields from the middle on.
    """
    sps = Bits().u(77, 8).u(0, 8).u(30, 8).ue(0).ue(0).ue(2).ue(1).u(0, 1).ue(0).ue(0).u(0, 1).u(0, 1)
    sps = sps.u(1, 1).u(0, 1).u(0, 1)
    pps = (
        Bits().ue(0).ue(0).u(0, 1).u(0, 1).ue(0).ue(0).ue(0).u(0, 1).u(0, 2).ue(0).ue(0).ue(0).u(1, 1).u(0, 2)
    )
    units = []
    for number in range(frames):
        in_fields = pattern == "field" or number >= frames // 2
        for bottom in (0, 1) if in_fields else (None,):
            idr = not bottom
            bits = Bits().ue(0).ue(7).ue(0).u(0, 4).u(in_fields, 1)
            if in_fields:
                bits.u(bottom or 0, 1)
            if idr:
                bits.ue(number % 2).u(0, 2)
            else:
                bits.u(0, 1)
            bits.ue(0).ue(1)
            for _ in range(1 if in_fields else 2):
                bits.ue(25).align()
                bits.u(int.from_bytes(bytes([16 + number * 3] * 256 + [128] * 128), "big"), 384 * 8)
            units.append(bits.unit(5 if idr else 1))
    return sps.unit(7) + pps.unit(8), units


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("pattern", ["field", "mixed"])
def test_a_field_a_packet(tmp_path, ending, pattern):
    header, units = field_units(40, pattern)
    raw = tmp_path / "a.h264"
    raw.write_bytes(b"".join(header + unit for unit in units))
    path = tmp_path / f"a.{ending}"
    with av.open(str(raw)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for place, unit in enumerate(units):
            packet = av.Packet(header + unit)
            packet.stream, packet.time_base = stream, Fraction(1, 90000)
            packet.pts = packet.dts = place * 1800
            packet.is_keyframe = place == 0
            out.mux(packet)
    whole = full_decode(path)
    assert len(whole) < len(units)
    finder = h264_fields.field_finder(None, header + units[-1])
    assert finder is not None
    assert finder(header + units[-1])
    assert finder(header + units[0]) == (pattern == "field")
    with video.Video(path) as opened:
        assert opened.frames == len(whole)
        np.testing.assert_array_equal(opened.read([len(whole) - 1, 3]), whole[[len(whole) - 1, 3]])
        assert not opened.renumbered


def test_a_clip_that_was_counted_wrong_is_chosen_again(tmp_path, monkeypatch):
    """An index that lies about what no packet shows: first and second reading give the same."""
    from openood_multimodal.preprocessors import video_index

    path = write_video(tmp_path / "a.mp4", frames=40)
    honest = video_index.by_packets

    def lying(*args):
        index = honest(*args)
        stamps = np.append(index.stamps, index.stamps[-1] + 512 * np.arange(1, 61))
        return index.__class__(**{**vars(index), "frames": 100, "stamps": stamps})

    monkeypatch.setattr(video, "by_packets", lying)
    small = {"frames": 4, "stride": 5, "short_side": 36, "size": 32}
    reader = ClipPreprocessor({"preprocessor": {"name": "multimodal_clip", "video": small}}, "val")
    files = ClipFiles("a", {"video": ModalityFiles(path)})
    looks = [reader.look(files, 0, 0, 0, ("video",)) for _ in range(2)]
    for look in looks:
        np.testing.assert_array_equal(look.windows.frames["video"], 10 + np.arange(4) * 5)
    np.testing.assert_array_equal(looks[0].frames["video"], looks[1].frames["video"])


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("modulo"), AttributeError("rate"), MemoryError(), KeyError(3)]
)
def test_whatever_a_codec_library_raises_is_one_error(tmp_path, monkeypatch, error):
    def failing(*args, **kwargs):
        raise error

    path = write_video(tmp_path / "a.mp4", frames=8, sound=True)
    monkeypatch.setattr(video, "by_packets", failing)
    monkeypatch.setattr(sound_track, "_time_of", failing)
    for call in (
        video.count_frames,
        video.probe,
        lambda file: video.read_frames(file, [0]),
        audio.read_audio,
    ):
        with pytest.raises(UserError, match=r"a\.mp4: .*(can't be read|not enough memory)"):
            call(path)
    monkeypatch.setattr(video_container, "choose_video", failing)
    with pytest.raises(UserError, match=r"a\.mp4: "):
        video.Video(path)
