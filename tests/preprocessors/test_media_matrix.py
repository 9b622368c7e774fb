"""Containers x codecs x sound layouts x stream orders x start times, against full decodes and known sound."""

import io
import sys
import wave
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from openood_multimodal.cli import show
from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.making.writing import FlowSettings, write_flow, write_sound
from openood_multimodal.preprocessors import video
from openood_multimodal.preprocessors.audio import audio_duration, read_audio
from openood_multimodal.preprocessors.clip import ClipPreprocessor

sys.path.insert(0, str(Path(__file__).parent))
from media_files import FPS, Pictures, Track, film, noise, offset_of

SECONDS = 4.0
LAYOUTS = {"mono": 1, "stereo": 2, "2.1": 3, "5.1": 6, "FL+LFE": 2}


class Case(NamedTuple):
    """A film: its container, codecs, layout, which of its streams comes first, and which begins late, by how much."""

    container: str
    pictures: str
    sound: str
    layout: str = "mono"
    rate: int = 48000
    first: str = "pictures"
    late: str = ""
    by: float = 0.0
    b_frames: int = 0

    def __str__(self) -> str:
        late = f"-late_{self.late}" if self.late else ""
        return f"{self.container}-{self.pictures}-{self.sound}-{self.layout}-{self.rate}-{self.first}{late}"


CASES = [
    Case("mp4", "libx264", "aac"),
    Case("mp4", "libx264", "aac", "stereo", 44100, "sound", "pictures", 1.6, 2),
    Case("mp4", "libx264", "aac", "5.1", 48000, "sound", "sound", 1.52),
    Case("mp4", "mpeg4", "mp3", "stereo", 44100, "pictures", "sound", 0.8),
    Case("mov", "libx264", "pcm_s16le", "stereo", 44100, "pictures", "pictures", 1.2),
    Case("mov", "mjpeg", "pcm_s16le", "FL+LFE", 44100, "sound", "sound", 0.4),
    Case("mkv", "libx264", "libopus", "stereo", 48000, "sound", "pictures", 2.0, 2),
    Case("mkv", "libx264", "aac", "2.1", 44100, "pictures", "sound", 2.0),
    Case("mkv", "mpeg2video", "ac3", "5.1", 48000, "sound", "sound", 0.6, 2),
    Case("mkv", "ffv1", "flac", "stereo", 22050, "pictures", "pictures", 1.0),
    Case("webm", "libvpx", "libopus", "mono", 48000, "pictures", "sound", 1.0),
    Case("webm", "libvpx-vp9", "libopus", "stereo", 48000, "sound", "pictures", 1.0),
    Case("ts", "libx264", "aac", "stereo", 44100, "pictures", "sound", 1.4, 2),
    Case("ts", "mpeg2video", "mp2", "mono", 48000, "sound", "pictures", 1.4, 2),
    Case("ts", "libx264", "ac3", "5.1", 48000, "sound"),
    Case("mpg", "mpeg2video", "mp2", "stereo", 44100, "pictures", "sound", 1.0, 2),
    Case("mpg", "mpeg2video", "ac3", "mono", 48000, "sound", "pictures", 1.0),
    Case("avi", "mpeg4", "mp3", "stereo", 44100, "pictures"),
    Case("avi", "mpeg4", "pcm_s16le", "mono", 22050, "sound"),
    Case("avi", "libx264", "mp3", "mono", 44100, "pictures"),
    Case("avi", "mjpeg", "adpcm_ms", "stereo", 44100, "pictures"),
    Case("flv", "libx264", "aac", "stereo", 44100, "sound", "pictures", 0.4, 2),
    Case("flv", "libx264", "mp3", "mono", 44100, "pictures", "sound", 1.0),
    Case("nut", "mpeg4", "ac3", "stereo", 48000, "sound", "sound", 1.0),
    Case("asf", "msmpeg4", "wmav2", "stereo", 44100, "pictures", "sound", 0.6),
]


def make(folder: Path, case: Case) -> Path:
    late = {case.late: case.by}
    channels = LAYOUTS[case.layout]
    one = noise(SECONDS, case.rate)
    sound = Track(one.repeat(channels, 0), case.layout, case.sound, case.rate, late.get("sound", 0.0))
    pictures = Pictures(100, case.pictures, late.get("pictures", 0.0), b_frames=case.b_frames)
    order = (sound, pictures) if case.first == "sound" else (pictures, sound)
    return film(folder / f"a.{case.container}", *order)


class Truth(NamedTuple):
    """A full decode, on the container's timeline from its start on."""

    frames: np.ndarray
    times: np.ndarray
    sound: np.ndarray  # at 16 kHz, of the known noise, which begins at ``begins``
    begins: float


def truth_of(path: Path) -> Truth:
    """Decode all with PyAV alone; the sound's beginning is found from each decoded frame's time."""
    with av.open(str(path)) as container:
        zero = Fraction(container.start_time, 1_000_000)
        (stream,) = container.streams.video
        stream.codec_context.thread_count = 1
        shots = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)]
    with av.open(str(path)) as container:
        pieces = [frame for frame in container.decode(audio=0) if frame.pts is not None]
        first = pieces[0]
        # the middle of the sound, as decoded, against the known noise: where the noise's zero lies on the timeline
        middle = next(p for p in pieces if p.time - first.time > 1.5)
    with av.open(str(path)) as container:
        mixer = av.AudioResampler(format="fltp", layout=middle.layout, rate=16000)
        parts = [
            part.to_ndarray()[0]
            for frame in container.decode(audio=0)
            if frame.pts is None or frame.pts >= middle.pts
            for part in mixer.resample(_timeless(frame))
        ]
    known = noise(SECONDS, 16000)[0]
    heard = np.concatenate(parts)[1600:17600]
    begins = float(middle.time - zero) + 0.1 - offset_of(heard, known) / 16000
    times = np.sort(np.array([time for _, time in shots]))
    return Truth(np.stack([shot for shot, _ in shots]), times - float(zero), known, begins)


def _timeless(frame):
    frame.pts = None
    return frame


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(request, tmp_path_factory):
    path = make(tmp_path_factory.mktemp("film"), request.param)
    return request.param, path, truth_of(path)


def test_frames_and_times(made):
    case, path, truth = made
    video._cache.clear()
    info = video.probe(path)
    assert (info.frames, info.height, info.width, info.has_audio) == (len(truth.frames), 48, 64, True)
    assert info.duration == pytest.approx(truth.times[-1] - truth.times[0] + 1 / FPS, abs=0.02)
    with video.Video(path) as opened:
        np.testing.assert_allclose(opened.times(), truth.times, atol=2e-3)
        for window in (np.arange(30, 62, 4), [len(truth.frames) - 1, 0], [7]):
            np.testing.assert_array_equal(opened.read(window), truth.frames[window])
        np.testing.assert_allclose(opened.times(), truth.times, atol=2e-3)
        assert not opened.renumbered, "the first answer was right"
    if case.late == "pictures":
        assert truth.times[0] > case.by - 0.1


@pytest.mark.parametrize("span", [(0.0, 8.0), (0.5, 1.75), (2.123, 3.0), (3.3, 4.4)])
def test_sound_is_at_its_time(made, span):
    _, path, truth = made
    start, stop = span
    samples = read_audio(path, start, stop)
    end = truth.begins + SECONDS
    assert len(samples) == pytest.approx((min(stop, end) - start) * 16000, abs=0.14 * 16000)
    assert audio_duration(path) == pytest.approx(end, abs=0.16)
    before = max(round((truth.begins - start) * 16000), 0)  # samples before the sound begins
    heard = samples[before:]
    assert not samples[: max(before - 3200, 0)].any()
    if len(heard) > 4000:
        at = offset_of(heard, truth.sound)
        assert at / 16000 == pytest.approx(start + before / 16000 - truth.begins, abs=1.5e-3)
        level = np.dot(heard[800:-2400], truth.sound[at + 800 : at + len(heard) - 2400])
        assert level / np.dot(heard[800:-2400], heard[800:-2400]) == pytest.approx(1, abs=0.1)


def test_sound_file_that_is_made_keeps_the_clock(made):
    _, path, truth = made
    target = io.BytesIO()
    seconds = write_sound(path, target)
    with wave.open(io.BytesIO(target.getvalue())) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    assert len(samples) == round(seconds * 16000)
    at = offset_of(truth.sound, samples)
    assert at / 16000 == pytest.approx(truth.begins, abs=1.5e-3)


def test_flow_that_is_made_keeps_the_clock(made, tmp_path):
    _, path, truth = made
    x, y = tmp_path / "a_flow_x.mp4", tmp_path / "a_flow_y.mp4"
    with x.open("wb") as x_file, y.open("wb") as y_file:
        assert write_flow(path, x_file, y_file, FlowSettings("dis_fast")) == len(truth.frames) - 1
    with video.Video(x) as flow:
        np.testing.assert_allclose(flow.times(), truth.times[:-1], atol=2e-3)


def test_a_window_has_the_sound_of_its_frames(made, tmp_path):
    """The sound of the video itself, and of the WAV file made of it."""
    _, path, truth = made
    with (tmp_path / "a.wav").open("wb") as file:
        write_sound(path, file)
    small = {"frames": 4, "stride": 10, "short_side": 36, "size": 32}
    section = {"name": "multimodal_clip", "video": small, "audio": {"seconds": 1.6}}
    for sound in (path, tmp_path / "a.wav"):
        for start, stop in ((np.nan, np.nan), (truth.times[0] + 0.5, truth.times[0] + 3.0)):
            modalities = {"video": ModalityFiles(path), "audio": ModalityFiles(sound)}
            files = ClipFiles("a", modalities, float(start), float(stop))
            look = ClipPreprocessor({"preprocessor": section}, "val").look(files, 0, 0, 0, ("video", "audio"))
            skipped = int(np.searchsorted(truth.times, start - 1e-6)) if start == start else 0
            first = skipped + int(look.windows.frames["video"][0])
            expected = (truth.times[first], truth.times[min(first + 40, len(truth.times) - 1)])
            np.testing.assert_allclose(look.windows.sound, expected, atol=0.045)
            heard = read_audio(sound, *look.windows.sound)
            if expected[0] > truth.begins + 0.2 and len(heard) > 12000:
                at = offset_of(heard, truth.sound) / 16000
                assert at == pytest.approx(expected[0] - truth.begins, abs=3e-3)


@pytest.mark.parametrize("case", CASES[1::12], ids=str)
def test_show(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path, case)
    assert show.main([str(path), "--out", "sheet.png"]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert capsys.readouterr().out == "sheet.png\n"
