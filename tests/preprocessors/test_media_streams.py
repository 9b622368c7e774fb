"""Which stream of a file is read, for pictures and for sound, by every way of reading."""

import io
import sys
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from openood_multimodal.errors import UserError
from openood_multimodal.making.writing import FlowSettings, write_flow, write_sound
from openood_multimodal.preprocessors import video
from openood_multimodal.preprocessors.audio import audio_duration, read_audio

sys.path.insert(0, str(Path(__file__).parent))
from media_files import Pictures, Track, film, noise, offset_of, unknown_sound, with_cover
from video_files import full_decode

NONE = Disposition(0)
JPEG = cv2.imencode(".jpg", np.full((120, 160, 3), 77, np.uint8))[1].tobytes()


@pytest.fixture(autouse=True)
def _no_memory():
    video._cache.clear()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("plain") / "plain.mp4", Pictures(30), Track(noise(2)))


def assert_shows(path: Path, frames: np.ndarray) -> None:
    """The pictures are these, for the reader, ``probe`` and ``prepare flow``."""
    info = video.probe(path)
    assert (info.frames, info.height, info.width) == frames.shape[:3]
    np.testing.assert_array_equal(video.read_frames(path, np.arange(len(frames))), frames)
    x = io.BytesIO()
    assert write_flow(path, x, io.BytesIO(), FlowSettings("dis_fast")) == len(frames) - 1
    with av.open(io.BytesIO(x.getvalue())) as made:
        assert (made.streams.video[0].height, made.streams.video[0].width) == frames.shape[1:3]


def decoded(path: Path, width: int) -> np.ndarray:
    """Return all frames of the stream of this width."""
    with av.open(str(path)) as container:
        (stream,) = [each for each in container.streams.video if each.codec_context.width == width]
        stream.codec_context.thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def heard(path: Path, count: int = 3) -> int:
    """Return the seed of the noise that is heard, the same for the reader and ``prepare audio``."""
    target = io.BytesIO()
    write_sound(path, target)
    with wave.open(io.BytesIO(target.getvalue())) as file:
        made = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    found = set()
    for samples in (read_audio(path, 0.5, 1.5), made[8000:24000]):
        likeness = [
            np.abs(np.corrcoef(samples[:8000], known[at : at + 8000])[0, 1])
            for seed in range(count)
            for known in (noise(2, 16000, seed=seed)[0],)
            for at in (max(offset_of(samples[:8000], known), 0),)
        ]
        assert max(likeness) > 0.9
        found.add(int(np.argmax(likeness)))
    (seed,) = found
    return seed


class TestPictures:
    @pytest.mark.parametrize("first", [True, False])
    def test_a_cover_is_not_the_film(self, plain, tmp_path, first):
        path = with_cover(plain, tmp_path / "cover.mp4", JPEG, first)
        with av.open(str(path)) as container:
            assert len(container.streams.video) == 2
            assert (container.streams.video[0].codec_context.name == "mjpeg") == first
        assert_shows(path, full_decode(plain))

    def test_a_cover_alone_is_no_video(self, tmp_path):
        sound = film(tmp_path / "sound.mp4", Track(noise(1)))
        path = with_cover(sound, tmp_path / "song.m4a", JPEG)
        with pytest.raises(
            UserError, match=r"song\.m4a: there is no video stream in it, only a cover picture"
        ):
            video.probe(path)
        assert len(read_audio(path, 0, 0.5)) == 8000

    @pytest.mark.parametrize("container", ["mp4", "mkv"])
    def test_a_thumbnail_of_one_picture_is_not_the_film(self, tmp_path, container):
        thumbnail = Pictures(1, "mjpeg", size=(96, 128), first=50, disposition=NONE)
        path = film(tmp_path / f"a.{container}", thumbnail, Pictures(30, disposition=Disposition.default))
        assert_shows(path, decoded(path, 64))

    @pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
    def test_the_largest_or_the_one_marked_default(self, tmp_path, container):
        small = Pictures(30, size=(48, 64), disposition=NONE)
        large = Pictures(30, size=(96, 128), first=50, disposition=NONE)
        if container != "mp4":  # which marks the first one, if no other
            path = film(tmp_path / f"a.{container}", small, large)
            assert_shows(path, decoded(path, 128))
        marked = Pictures(30, size=(48, 64), disposition=Disposition.default)
        if container != "ts":  # which has no such mark
            path = film(tmp_path / f"b.{container}", large, marked)
            assert_shows(path, decoded(path, 64))


class TestSound:
    @pytest.mark.parametrize("default", [0, 1, 2])
    @pytest.mark.parametrize("container", ["mp4", "mkv"])
    def test_the_track_marked_default(self, tmp_path, container, default):
        tracks = [
            Track(noise(2, seed=seed), disposition=Disposition.default if seed == default else NONE)
            for seed in range(3)
        ]
        assert heard(film(tmp_path / f"a.{container}", Pictures(30), *tracks)) == default

    @pytest.mark.parametrize("container", ["mkv", "ts"])
    def test_the_most_channels_where_none_is_marked(self, tmp_path, container):
        tracks = [
            Track(noise(2, seed=seed).repeat(channels, 0), layout, disposition=NONE)
            for seed, (layout, channels) in enumerate((("mono", 1), ("5.1", 6), ("stereo", 2)))
        ]
        assert heard(film(tmp_path / f"a.{container}", *tracks, Pictures(30))) == 1

    def test_of_equals_the_commentary_comes_last(self, tmp_path):
        commentary = Track(noise(2, seed=0), disposition=Disposition.comment)
        path = film(tmp_path / "a.mkv", commentary, Track(noise(2, seed=1), disposition=NONE), Pictures(30))
        assert heard(path) == 1

    def test_a_track_that_nobody_can_decode_is_passed_over(self, tmp_path):
        tracks = [Track(noise(2, seed=seed).repeat(2, 0), "stereo") for seed in range(2)]
        path = unknown_sound(film(tmp_path / "a.mov", Pictures(30), *tracks), tmp_path / "b.mov", 0)
        assert heard(path) == 1
        assert video.probe(path).has_audio

    def test_only_such_a_track(self, tmp_path):
        source = film(tmp_path / "a.mov", Pictures(30), Track(noise(2)))
        path = unknown_sound(source, tmp_path / "b.mov", 0)
        for call in (read_audio, audio_duration, lambda file: write_sound(file, io.BytesIO())):
            with pytest.raises(
                UserError, match=r"b\.mov: its sound is of a kind that this PyAV can't decode"
            ):
                call(path)
        assert not video.probe(path).has_audio
