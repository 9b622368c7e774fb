"""Sound that changes within a file, or is damaged: what players tolerate is read, counted and said."""

import io
import struct
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.making.writing import write_sound
from openood_multimodal.preprocessors.audio import audio_duration, read_audio, read_sound

sys.path.insert(0, str(Path(__file__).parent))
from media_files import Pictures, Track, film, noise, offset_of


def made_wav(path: Path) -> np.ndarray:
    target = io.BytesIO()
    write_sound(path, target)
    with wave.open(io.BytesIO(target.getvalue())) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("container", ["ts", "aac"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("mono", 1, 48000), ("stereo", 2, 48000)),
        (("stereo", 2, 44100), ("stereo", 2, 22050)),
        (("stereo", 2, 48000), ("5.1", 6, 48000)),
        (("mono", 1, 22050), ("5.1", 6, 44100)),
    ],
)
def test_sound_may_change_within_a_file(tmp_path, container, before, after):
    """The first part's sound is noise 0; of the second part, only the last channels but the low one have noise 1."""
    parts = []
    for number, (layout, channels, rate) in enumerate((before, after)):
        samples = noise(2.5, rate, seed=number).repeat(channels, 0)
        if number and channels == 2:
            samples[0] = 0  # so that a lost second channel would be heard
        parts.append(film(tmp_path / f"{number}.{container}", Track(samples, layout, rate=rate)))
    path = joined(tmp_path / f"a.{container}", *parts)
    for samples in (read_audio(path), made_wav(path)):
        for number, (_, channels, _) in enumerate((before, after)):
            known = noise(2.5, 16000, seed=number)[0][8000:24000]
            at = offset_of(known, samples)
            assert at / 16000 == pytest.approx(0.5 + number * 2.5, abs=0.1)
            level = np.dot(samples[at : at + 16000], known) / np.dot(known, known)
            assert level == pytest.approx(0.5 if number and channels == 2 else 1, abs=0.12)
    begin = offset_of(noise(2.5, 16000, seed=1)[0][8000:24000], read_audio(path)) / 16000
    part = read_audio(path, begin, begin + 1)
    assert abs(offset_of(part, read_audio(path)) - begin * 16000) < 16


class TestBrokenPackets:
    @pytest.fixture
    def film(self, tmp_path):
        path = film(tmp_path / "a.mp4", Pictures(100), Track(noise(4)))
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size]
        return path, packets

    @staticmethod
    def break_packets(path, packets):
        data = bytearray(path.read_bytes())
        for place, size in packets:
            data[place : place + size] = b"\xff" * size
        path.write_bytes(data)

    def test_one_is_silent_and_counted(self, film):
        path, packets = film
        whole = read_audio(path)
        self.break_packets(path, packets[90:91])
        sound = read_sound(path)
        assert len(sound.samples) == len(whole)
        assert sound.broken == 1
        for span in (slice(0, 29000), slice(33000, len(whole))):  # the packet's sound is at 1.9 s
            assert np.corrcoef(sound.samples[span], whole[span])[0, 1] > 0.999
        assert read_sound(path, 0.2, 0.8).broken == 0
        assert read_sound(path, 1.8, 2.2).broken == 1
        remarks: list[str] = []
        assert write_sound(path, io.BytesIO(), remarks) == pytest.approx(len(whole) / 16000, abs=1e-3)
        assert remarks == [f"{path}: a packet of its sound can't be decoded; there is silence in its place"]

    @pytest.mark.parametrize("share", [0.7, 1.0])
    def test_too_many_are_an_error_with_words(self, film, share):
        path, packets = film
        self.break_packets(path, packets[: round(len(packets) * share)])
        for call in (read_audio, lambda file: write_sound(file, io.BytesIO())):
            with pytest.raises(UserError, match=r"a\.mp4: its sound can't be decoded: .*[a-z]") as caught:
                call(path)
            assert "Error number" not in str(caught.value)


class TestWaves:
    @pytest.mark.parametrize("rate", [16000, 44100])
    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
    def test_a_recorder_that_was_killed(self, tmp_path, rate, size):
        raw = (noise(3, rate)[0] * 32767).astype("<i2").tobytes()
        head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
        head += b"data" + struct.pack("<I", size)
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF" + struct.pack("<I", size) + head + raw)
        assert audio_duration(path) == pytest.approx(3.0, abs=1e-3)
        np.testing.assert_allclose(read_audio(path), noise(3, 16000)[0], atol=2e-2)

    @pytest.mark.parametrize("rate", [0, 1, 99])
    def test_rates_of_nonsense(self, tmp_path, rate):
        raw = bytes(200_000)
        head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16) + b"data"
        head += struct.pack("<I", len(raw))
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF" + struct.pack("<I", len(head) + len(raw)) + head + raw)
        with pytest.raises(UserError, match=r"a\.wav: .*"):
            read_audio(path)

    @pytest.mark.parametrize("codec", ["adpcm_ms", "adpcm_ima_wav"])
    @pytest.mark.parametrize("byte_rate", [True, False])
    def test_adpcm(self, tmp_path, codec, byte_rate):
        path = film(tmp_path / "a.wav", Track(noise(8, 44100), codec=codec, rate=44100))
        if not byte_rate:
            data = bytearray(path.read_bytes())
            place = data.index(b"fmt ") + 16
            data[place : place + 4] = bytes(4)
            path.write_bytes(data)
        assert offset_of(read_audio(path, 5.123, 7), noise(8, 16000)[0]) == pytest.approx(
            5.123 * 16000, abs=8
        )


@pytest.mark.parametrize("container", ["avi", "mkv", "ts", "mp4"])
def test_an_empty_sound_track(tmp_path, container):
    path = film(tmp_path / f"a.{container}", Pictures(30), Track(noise(0.001)))
    for span in ((np.nan, np.nan), (1.0, 2.0)):
        with pytest.raises(UserError, match=r"(its sound track is empty|it has no sound|can't decode)"):
            read_audio(path, *span)


def test_spans_of_wma(tmp_path):
    path = film(tmp_path / "a.wma", Track(noise(9, 44100), codec="wmav2", rate=44100))
    whole = read_audio(path)
    assert offset_of(read_audio(path, 6.123, 8), whole) == pytest.approx(6.123 * 16000, abs=8)


def test_sound_that_begins_after_the_window(tmp_path):
    path = film(tmp_path / "a.ts", Pictures(400), Track(noise(3), late=12.0))
    np.testing.assert_array_equal(read_audio(path, 1.0, 2.0), np.zeros(16000))
    assert offset_of(read_audio(path, 13.0, 14.0), noise(3, 16000)[0]) == pytest.approx(16000, abs=400)
    assert len(read_audio(path)) == pytest.approx(15 * 16000, abs=2000)


def test_a_rate_without_a_common_divisor(tmp_path):
    """44 101 and 16 000 samples a second meet once a second."""
    path = film(tmp_path / "a.mov", Track(noise(4, 44101), codec="pcm_s16le", rate=44101))
    whole = read_audio(path)
    np.testing.assert_allclose(read_audio(path, 2.3, 3.1), whole[36800:49600], atol=1e-4)
