"""Reading sound, and its spectrogram."""

import os
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy import signal
from scipy.io import wavfile

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors.audio import (
    audio_duration,
    augment_spectrogram,
    fit_length,
    log_spectrogram,
    read_audio,
    spectrogram_shape,
)


def _chirp(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Rising tones, float ``[channels, n]``: what is at which instant can be told, whatever the rate."""
    t = np.arange(round(seconds * rate)) / rate
    tones = [0.4 * np.sin(2 * np.pi * (200 + 60 * (c + 1) * t) * t) for c in range(channels)]
    return np.stack(tones)


def _write(
    path: Path, sound: np.ndarray, rate: int, codec: str, layout: str = "mono", **options: object
) -> Path:
    """Encode with PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, **options)
        stream.layout = layout
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=1024)
        packed = np.ascontiguousarray(sound.T.reshape(1, -1).astype(np.float32))
        frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for each in (frame, None):
            for part in resampler.resample(each):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def _wav(path: Path, sound: np.ndarray, rate: int) -> Path:
    wavfile.write(path, rate, np.round(sound.T * 32767).astype(np.int16).squeeze())
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return _wav(tmp_path / "recording.wav", _chirp(6, 16000), 16000)


class TestReading:
    def test_a_span_of_a_wav_file_is_its_samples(self, recording):
        samples = wavfile.read(recording)[1].astype(np.float64) / 32768
        whole = read_audio(recording)
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole, samples.astype(np.float32))
        np.testing.assert_array_equal(read_audio(recording, 1.25, 2.5), whole[20000:40000])
        np.testing.assert_array_equal(read_audio(recording, start=5.5), whole[88000:])
        np.testing.assert_array_equal(read_audio(recording, 5.5, 99.0), whole[88000:])
        assert len(read_audio(recording, 7.0, 8.0)) == 0
        assert audio_duration(recording) == 6.0

    def test_only_the_span_is_read(self, tmp_path):
        """An hour of sound, most of it a hole in a sparse file."""
        path = tmp_path / "long.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.setnframes(16000 * 3600)
            file.writeframes(b"")
        header = path.stat().st_size
        data = bytearray(path.read_bytes())
        data[4:8] = (header - 8 + 2 * 16000 * 3600).to_bytes(4, "little")
        data[40:44] = (2 * 16000 * 3600).to_bytes(4, "little")
        path.write_bytes(data)
        os.truncate(path, header + 2 * 16000 * 3600)
        with path.open("r+b") as file:
            file.seek(header + 2 * 16000 * 3000)
            file.write(np.full(16000, 16384, dtype="<i2").tobytes())
        assert audio_duration(path) == 3600
        np.testing.assert_array_equal(read_audio(path, 3000, 3001), np.full(16000, 0.5, np.float32))

    @pytest.mark.parametrize("kind", ["uint8", "int32", "float32", "float64", "24 bits"])
    def test_sample_formats(self, tmp_path, kind):
        sound = _chirp(1, 16000)
        path = tmp_path / "x.wav"
        if kind == "24 bits":
            _write(path, sound, 16000, "pcm_s24le")
        elif kind == "uint8":
            wavfile.write(path, 16000, np.round(sound[0] * 127 + 128).astype(np.uint8))
        elif kind == "int32":
            wavfile.write(path, 16000, np.round(sound[0] * (2**31 - 1)).astype(np.int32))
        else:
            wavfile.write(path, 16000, sound[0].astype(kind))
        np.testing.assert_allclose(read_audio(path), sound[0], atol=0.01 if kind == "uint8" else 1e-6)

    def test_channels_are_mixed_into_their_mean(self, tmp_path):
        sound = _chirp(1, 16000, channels=2)
        stereo = _wav(tmp_path / "stereo.wav", sound, 16000)
        np.testing.assert_allclose(read_audio(stereo), sound.mean(axis=0), atol=5e-5)
        other = _write(tmp_path / "stereo.mka", sound, 16000, "pcm_s16le", "stereo")
        np.testing.assert_allclose(read_audio(other), read_audio(stereo), atol=5e-5)

    @pytest.mark.parametrize("layout", ["5.1", "7.1"])
    def test_surround_sound_is_mixed_without_clipping(self, tmp_path, layout):
        count = av.AudioLayout(layout).nb_channels
        loud = np.full((count, 16000), 0.9)
        path = _write(tmp_path / "x.mka", loud, 16000, "pcm_s16le", layout)
        np.testing.assert_allclose(read_audio(path)[100:-100], 0.9, atol=1e-3)

    @pytest.mark.parametrize("rate", [44100, 48000, 22050, 8000])
    def test_other_rates_are_resampled(self, tmp_path, rate):
        path = _wav(tmp_path / "x.wav", _chirp(3, rate, 2), rate)
        expected = _chirp(3, 16000, 2).mean(axis=0)
        samples = read_audio(path)
        assert abs(len(samples) - len(expected)) <= 1
        np.testing.assert_allclose(samples[200:-200], expected[200 : len(samples) - 200], atol=2e-3)

    @pytest.mark.parametrize(
        ("name", "codec", "rate", "close"),
        [("x.mp4", "aac", 44100, 5e-3), ("x.mp4", "aac", 48000, 5e-3), ("x.avi", "mp3", 44100, 1e-4),
         ("x.flac", "flac", 22050, 1e-4), ("x.avi", "pcm_s16le", 44100, 1e-4)],
    )  # fmt: skip
    def test_a_span_is_that_part_of_the_whole(self, tmp_path, name, codec, rate, close):
        path = _write(tmp_path / name, _chirp(9, rate, 2), rate, codec, "stereo")
        whole = read_audio(path)
        for start, stop in ((0.0, 1.0), (4.0, 5.5), (6.3, 8.0), (7.77, 30.0)):
            part = read_audio(path, start, stop)
            expected = whole[round(start * 16000) : round(stop * 16000)]
            assert len(part) == len(expected)
            np.testing.assert_allclose(part, expected, atol=close)  # AAC's decoder makes up some noise
        assert audio_duration(path) == pytest.approx(9.0, abs=0.08)

    def test_sound_that_an_encoder_delays_is_where_it_belongs(self, tmp_path):
        path = _write(tmp_path / "x.mp4", _chirp(4, 48000), 48000, "aac")
        samples, expected = read_audio(path), _chirp(4, 16000)[0]
        at = slice(16000, 20000)
        lags = range(-400, 401)
        errors = [np.abs(samples[at.start + lag : at.stop + lag] - expected[at]).mean() for lag in lags]
        assert abs(lags[int(np.argmin(errors))]) <= 1


class TestBadFiles:
    def test_what_the_user_reads(self, tmp_path):
        (tmp_path / "folder.wav").mkdir()
        (tmp_path / "empty.wav").write_bytes(b"")
        (tmp_path / "text.wav").write_text("hello, hello\n" * 50)
        (tmp_path / "playlist.wav").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
        (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
        (tmp_path / "riff.wav").write_bytes(b"RIFF")
        (tmp_path / "header.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
        os.mkfifo(tmp_path / "fifo.wav")
        for name, fault in (
            ("absent.wav", "no such file"),
            ("folder.wav", "is a folder"),
            ("fifo.wav", "not a regular file"),
            ("empty.wav", "the file is empty"),
            ("text.wav", "not a sound or video file"),
            ("riff.wav", "not a sound or video file"),
            ("header.wav", "not a sound or video file"),
            ("playlist.wav", "not a sound or video file"),
            ("list.mp4", "not a sound or video file"),
        ):
            for function in (read_audio, audio_duration):
                with pytest.raises(UserError, match=fault) as caught:
                    function(tmp_path / name)
                assert name in str(caught.value)

    def test_a_video_without_sound(self, tmp_path):
        path = tmp_path / "silent.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
            container.mux(stream.encode(None))
        with pytest.raises(UserError, match=r"silent\.mp4: it has no sound"):
            read_audio(path)

    def test_a_truncated_file_gives_what_is_there_or_says_so(self, recording, tmp_path):
        cut = tmp_path / "cut.wav"
        cut.write_bytes(recording.read_bytes()[:60044])
        samples = read_audio(cut, 0.5, 1.0)
        np.testing.assert_array_equal(samples, read_audio(recording, 0.5, 1.0))
        coded = _write(tmp_path / "x.mp4", _chirp(6, 16000), 16000, "aac")
        (tmp_path / "cut.mp4").write_bytes(coded.read_bytes()[:9000])
        with pytest.raises(UserError, match=r"cut\.mp4: it is not a sound or video file"):
            read_audio(tmp_path / "cut.mp4")


def _reference(samples: np.ndarray) -> np.ndarray:
    """The definition, spelt out without scipy's function: segment by segment, in float64."""
    window = signal.windows.tukey(512, 0.25, sym=False)
    columns = []
    for begin in range(0, len(samples) - 512 + 1, 512 - 353):
        segment = samples[begin : begin + 512]
        spectrum = np.fft.rfft((segment - segment.mean()) * window)
        density = np.abs(spectrum) ** 2 / (16000 * (window**2).sum())
        density[1:-1] *= 2
        columns.append(np.log(density + 1e-7))
    levels = np.stack(columns, axis=1)
    return (levels - levels.mean()) / (levels.std() + 1e-9)


class TestSpectrogram:
    @pytest.mark.parametrize("kind", ["noise", "chirp", "silence", "click", "loud"])
    def test_it_is_the_definition(self, kind):
        random = np.random.default_rng(0)
        samples = {
            "noise": random.normal(0, 0.1, 160000),
            "chirp": _chirp(10, 16000)[0],
            "silence": np.zeros(160000),
            "click": np.eye(1, 160000, 70000)[0],
            "loud": np.sign(random.normal(size=160000)),
        }[kind]
        ours = log_spectrogram(samples.astype(np.float32))
        samples = samples.astype(np.float32).astype(np.float64)
        assert ours.shape == (257, 1004) == spectrogram_shape(10.0)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, _reference(samples), atol=1e-5)
        density = np.log(signal.spectrogram(samples, 16000, nperseg=512, noverlap=353)[2] + 1e-7)
        np.testing.assert_allclose(ours, (density - density.mean()) / (density.std() + 1e-9), atol=1e-5)
        assert (kind == "silence") == (np.abs(ours).max() < 1e-5)

    def test_other_lengths(self):
        for seconds, rate, window, overlap in (
            (1.0, 8000, 256, 100),
            (0.05, 16000, 512, 0),
            (2.5, 16000, 64, 63),
        ):
            samples = np.random.default_rng(0).normal(size=round(seconds * rate))
            shape = log_spectrogram(samples, rate, window, overlap).shape
            assert shape == spectrogram_shape(seconds, rate, window, overlap)
        with pytest.raises(UserError, match="100 samples are fewer than the 512"):
            log_spectrogram(np.zeros(100))

    def test_short_sound_is_repeated_and_long_sound_cut(self):
        samples = np.arange(1, 8) / 10
        np.testing.assert_array_equal(fit_length(samples, 17), [*samples, *samples, 0.1, 0.2, 0.3])
        np.testing.assert_array_equal(fit_length(samples, 3), samples[:3])
        np.testing.assert_array_equal(fit_length(np.array([-3.0, 0.5, 2.0]), 4), [-1, 0.5, 1, -1])
        tiled = np.array([0.3, -0.2], dtype=np.float32)
        while len(tiled) < 160000:
            tiled = np.tile(tiled, 10)[:160000]
        np.testing.assert_array_equal(fit_length(tiled[:2], 160000), tiled)
        with pytest.raises(UserError, match="no sound"):
            fit_length(np.zeros(0), 10)

    def test_training_noise_and_band(self):
        spectrogram = log_spectrogram(np.random.default_rng(0).normal(0, 0.1, 160000))
        before = spectrogram.copy()
        starts = set()
        for seed in range(300):
            augmented = augment_spectrogram(spectrogram, np.random.default_rng(seed))
            (masked,) = np.nonzero(~augmented.any(axis=1))
            assert len(masked) == 9
            np.testing.assert_array_equal(masked, np.arange(masked[0], masked[0] + 9))
            starts.add(int(masked[0]))
            if seed < 5:
                difference = np.delete(augmented - spectrogram, masked, axis=0)
                assert np.abs(difference).max() <= 0.05 + 1e-6
                assert difference.std() == pytest.approx(0.1 / np.sqrt(12), rel=0.01)
                assert abs(difference.mean()) < 1e-3
        assert min(starts) >= 0
        assert max(starts) <= 246
        assert len(starts) > 150
        np.testing.assert_array_equal(spectrogram, before)
        again = [augment_spectrogram(spectrogram, np.random.default_rng(7)) for _ in range(2)]
        np.testing.assert_array_equal(*again)
