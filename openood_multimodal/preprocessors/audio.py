"""Sound: a span of a file as mono samples, and the log spectrogram that the benchmark's audio network reads."""

from __future__ import annotations

import math
import os
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .media import LEAST_RATE, check_limit, decoding, file_key
from .packages import import_av
from .sound_track import PREROLL, Mixer, Samples, SoundTrack, broken_packets

Spectrogram = NDArray[np.float32]

RATE = 16000
FLOOR = 1e-7
"""Added to the density: keeps the logarithm of silence finite."""


class Sound(NamedTuple):
    """A span of sound.

    Attributes:
        samples: float32 ``[n]``.
        broken: packets in it that could not be decoded; their places are silent.
        absent: samples for which the file has no sound, such as those before it begins; they are 0.
    """

    samples: Samples
    broken: int = 0
    absent: int = 0

    def remarks(self) -> tuple[str, ...]:
        """Return what a note says of broken packets."""
        return (broken_packets(self.broken),) if self.broken else ()


def read_audio(
    path: str | os.PathLike[str], start: float = math.nan, stop: float = math.nan, rate: int = RATE
) -> Samples:
    """Return a file's sound between two instants, all channels mixed into one.

    Instants are those of the file's clock (`media`), which its pictures share.  Only what the span needs is read: WAV
    files by their header, most others from the seek point before ``start`` on, transport and program streams and raw
    streams from the beginning.  Samples at another rate are resampled, with the phase that resampling the whole file
    would give (as exactly as the container's time stamps are: Matroska's are whole milliseconds).

    Args:
        path: WAV, or any file with a sound track that PyAV can decode.
        start: seconds; NaN for the beginning of the clock.
        stop: seconds; NaN for the end.  What lies beyond the sound's end is not made up.
        rate: samples a second of the result.

    Returns:
        float32 ``[round(stop * rate) - round(start * rate)]``, full scale at ±1; fewer at the sound's end.  Zeros
        before the sound begins, and where packets are missing or broken.

    Raises:
        UserError: when the file is missing, not a regular file, damaged, without sound, or beyond the limits
            (`limits`); the message names it.
        MissingPackageError: when the file needs PyAV, and that is not installed.
    """
    return read_sound(path, start, stop, rate).samples


def read_sound(
    path: str | os.PathLike[str], start: float = math.nan, stop: float = math.nan, rate: int = RATE
) -> Sound:
    """Return what `read_audio` does, and what was tolerated."""
    file_key(path)
    first = 0 if math.isnan(start) else max(round(start * rate), 0)
    last = None if math.isnan(stop) else max(round(stop * rate), first)
    if last is not None:
        check_limit("sound_seconds", (last - first) / rate, path)
    with decoding(path, "sound"):
        wave = _open_wave(Path(path))
        if wave is not None and wave[0] == rate:
            check_limit("sound_seconds", (min(last or len(wave[1]), len(wave[1])) - first) / rate, path)
            return Sound(_mono(wave[1][first:last]))
        with SoundTrack(path) as track:
            found = _decode(track, first, last, rate)
            samples = found.samples()
            return Sound(samples, track.broken, len(samples) - found.filled)


def audio_duration(path: str | os.PathLike[str]) -> float:
    """Return the second of a file's clock at which its sound ends, by its header or its packets' times.

    Raises:
        UserError: as `read_audio`; also when neither tells.
    """
    file_key(path)
    with decoding(path, "sound"):
        wave = _open_wave(Path(path))
        if wave is not None:
            return len(wave[1]) / wave[0]
        with SoundTrack(path) as track:
            return track.duration()


def fit_length(samples: NDArray[np.floating[Any]], count: int) -> NDArray[np.float64]:
    """Return the first ``count`` samples, repeated from the start where there are fewer, clipped to ±1.

    Args:
        samples: float ``[n]``.
        count: length of the result.

    Raises:
        UserError: when there is no sample to repeat.
    """
    if not len(samples):
        raise UserError("the span holds no sound; check start and stop against the file's length.")
    return np.clip(np.resize(samples[:count].astype(np.float64), count), -1.0, 1.0)


def log_spectrogram(
    samples: NDArray[np.floating[Any]], rate: int = RATE, window: int = 512, overlap: int = 353
) -> Spectrogram:
    """Return the logarithm of a power spectral density, standardised over the clip.

    As the benchmark's code defines it: ``scipy.signal.spectrogram`` with its defaults (Tukey window of 0.25, each
    segment's mean removed, one-sided density), ``ln(density + 1e-7)``, minus the mean, divided by the standard
    deviation + 1e-9.  Silence gives zeros, up to rounding.

    Args:
        samples: float ``[n]``.
        rate: samples a second.
        window: samples a segment.
        overlap: samples that neighbouring segments share.

    Returns:
        float32 ``[window // 2 + 1, (n - overlap) // (window - overlap)]``; 257 x 1004 for 10 s at 16 kHz.

    Raises:
        UserError: when there are fewer samples than one segment needs.
    """
    from scipy.signal import spectrogram

    if len(samples) < window:
        raise UserError(f"{len(samples)} samples are fewer than the {window} of one spectrogram segment.")
    _, _, density = spectrogram(samples.astype(np.float64), rate, nperseg=window, noverlap=overlap)
    density += FLOOR
    levels = np.log(density, out=density)
    levels -= levels.mean()
    levels /= levels.std() + 1e-9
    return levels.astype(np.float32)


def spectrogram_shape(
    seconds: float, rate: int = RATE, window: int = 512, overlap: int = 353
) -> tuple[int, int]:
    """Return the shape that `log_spectrogram` gives for ``seconds`` of sound."""
    return window // 2 + 1, (round(seconds * rate) - overlap) // (window - overlap)


def augment_spectrogram(
    spectrogram: Spectrogram, random: np.random.Generator, noise: float = 0.05, band: int = 9
) -> Spectrogram:
    """Return the spectrogram with uniform noise, and ``band`` neighbouring frequencies set to 0.

    The training augmentation of the benchmark's code; the band begins below row 256 - ``band`` of 257.

    Args:
        spectrogram: float32 ``[F, T]``; not changed.
        random: what to draw from.
        noise: its greatest amplitude.
        band: rows that are masked.
    """
    drawn = random.uniform(-noise, noise, size=spectrogram.shape)
    augmented = (spectrogram + drawn).astype(np.float32)
    if band:
        first = int(random.integers(max(len(spectrogram) - 1 - band, 1)))
        augmented[first : first + band] = 0.0
    return augmented


def _open_wave(file: Path) -> tuple[int, NDArray[Any]] | None:
    """Return rate and samples ``[n]`` or ``[n, 2]``, mapped from the disk; None where only PyAV can read it."""
    if file.suffix.lower() != ".wav":
        return None
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that say nothing of the sound
            rate, samples = wavfile.read(file, mmap=True)
    except (ValueError, LookupError, ArithmeticError, NameError, EOFError, OSError, struct.error):
        return None  # compressed, 24 bits, cut off, no WAV at all: PyAV reads it, or says what is wrong
    if rate < LEAST_RATE or not len(samples):  # a header of nonsense, or of a recorder that was killed
        return None
    return (int(rate), samples) if samples.ndim == 1 or samples.shape[1] == 2 else None


def _mono(samples: NDArray[Any]) -> Samples:
    kind = samples.dtype
    values = samples.astype(np.float64)
    if kind == np.uint8:
        values = (values - 128) / 128
    elif kind.kind == "i":
        values /= 2.0 ** (8 * kind.itemsize - 1)
    if values.ndim == 2:
        values = values.mean(axis=1)
    return values.astype(np.float32)


def _decode(track: SoundTrack, first: int, last: int | None, rate: int) -> _Span:
    """Return the span of the samples ``first`` to ``last - 1`` at ``rate``, counted from the clock's zero."""
    begin = max(first / rate - PREROLL, 0.0)
    end = None if last is None else last / rate + PREROLL
    mixer, found = Mixer(), _Span(track.path, first, last, rate)
    run: _Run | None = None
    for piece in track.pieces(begin):
        own = piece.frame.sample_rate
        if end is not None and piece.at > end * own:
            found.reach_end()
            break
        if piece.at + piece.frame.samples <= begin * own:
            continue
        if run is None or piece.fresh:
            if run is not None:
                run.close(found)
            run = _Run(piece.at, own, rate)
        run.add(mixer.mono(piece.frame), found)
    if run is not None:
        run.close(found)
    return found


class _Span:
    """Takes sound at its place, and keeps what lies between the samples ``first`` and ``last``."""

    def __init__(self, path: Any, first: int, last: int | None, rate: int) -> None:
        self._path, self._first, self._last, self._rate = path, first, last, rate
        self._parts: list[tuple[int, Samples]] = []
        self._end = first
        self.filled = 0

    def put(self, at: int, samples: Samples) -> None:
        """Take samples, of which the first one's number is ``at``."""
        end = at + len(samples) if self._last is None else min(at + len(samples), self._last)
        begin = max(at, self._first)
        if len(samples) and end > self._first:
            check_limit("sound_seconds", (end - self._first) / self._rate, self._path)
            self._end = max(self._end, end)  # up to a later sound, there is silence
        if end <= begin:
            return
        self.filled += end - begin
        self._parts.append((begin, samples[begin - at : end - at]))

    def reach_end(self) -> None:
        """Take note that there is sound after the span, if there is none at its end."""
        if self._last is not None:
            self._end = self._last

    def samples(self) -> Samples:
        """Return what came, with zeros between."""
        whole = np.zeros(self._end - self._first, dtype=np.float32)
        for at, part in self._parts:
            whole[at - self._first : at - self._first + len(part)] = part
        return whole


class _Run:
    """Sound without a gap, resampled in the phase that it has on the clock."""

    def __init__(self, at: int, own: int, rate: int) -> None:
        period = own // math.gcd(own, rate)
        lead = (
            at % period if own != rate else 0
        )  # begin where a sample of the result lies on one of the sound's
        self._at = (at - lead) * rate // own
        self._own = own
        self._resampler = (
            import_av().AudioResampler(format="fltp", layout="mono", rate=rate) if own != rate else None
        )
        self._waiting, self._count = [np.zeros(lead, dtype=np.float32)], lead

    def add(self, samples: Samples, span: _Span) -> None:
        """Take sound at its own rate, and hand on what is resampled.

        Raises:
            UserError: when it is not finite (sound files may hold floating-point samples).
        """
        if not np.isfinite(samples).all():
            raise UserError("the sound holds NaN or infinite samples where it is read.")
        self._waiting.append(samples)
        self._count += len(samples)
        if self._count >= self._own:  # a second at a time: FFmpeg's frames have a limited size
            self._hand_on(span)

    def close(self, span: _Span) -> None:
        """Hand on the rest."""
        self._hand_on(span)
        if self._resampler is not None:
            self._put(self._resampler.resample(None), span)

    def _hand_on(self, span: _Span) -> None:
        if not self._waiting:
            return
        samples = np.concatenate(self._waiting)
        self._waiting, self._count = [], 0
        if self._resampler is None:
            span.put(self._at, samples)
            self._at += len(samples)
            return
        for begin in range(0, len(samples), self._own):
            frame = import_av().AudioFrame.from_ndarray(
                samples[np.newaxis, begin : begin + self._own], "fltp", "mono"
            )
            frame.sample_rate = self._own
            self._put(self._resampler.resample(frame), span)

    def _put(self, frames: list[Any], span: _Span) -> None:
        for frame in frames:
            samples = frame.to_ndarray()[0].copy()
            span.put(self._at, samples)
            self._at += len(samples)
