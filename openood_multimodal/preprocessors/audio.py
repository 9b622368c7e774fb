"""Sound: a span of a file as mono samples, and the log spectrogram that the benchmark's audio network reads."""

from __future__ import annotations

import math
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .packages import import_av

Samples = NDArray[np.float32]
Spectrogram = NDArray[np.float32]

RATE = 16000
FLOOR = 1e-7
"""Added to the density: keeps the logarithm of silence finite."""
FORMATS = (
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,dts,amr,mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,flv,asf,"
    "ogg,nut,mxf,rm,wtv"
)
"""Containers that are opened.  Others would take text for sound, or follow a play list out of the data set."""
PREROLL = 0.5
"""Seconds decoded before a span, for codecs whose frames lean on earlier ones."""


def read_audio(
    path: str | os.PathLike[str], start: float = math.nan, stop: float = math.nan, rate: int = RATE
) -> Samples:
    """Return a file's sound between two instants, all channels mixed into one.

    Only what the span needs is read: WAV files by their header, others from the seek point before ``start`` on.
    Samples at another rate are resampled, with the phase that resampling the whole file would give (as exactly as the
    container's time stamps are: Matroska's are whole milliseconds).

    Args:
        path: WAV, or any file with a sound track that PyAV can decode.
        start: seconds from the file's beginning; NaN for the beginning.
        stop: seconds; NaN for the end.  What lies beyond the file's end is not made up.
        rate: samples a second of the result.

    Returns:
        float32 ``[round(stop * rate) - round(start * rate)]``, full scale at ±1; fewer at the file's end.

    Raises:
        UserError: when the file is missing, not a regular file, damaged or without sound; the message names it.
        MissingPackageError: when the file needs PyAV, and that is not installed.
    """
    file = _regular_file(path)
    first = 0 if math.isnan(start) else max(round(start * rate), 0)
    last = None if math.isnan(stop) else max(round(stop * rate), first)
    wave = _open_wave(file)
    if wave is not None and wave[0] == rate:
        return _mono(wave[1][first:last])
    return _decode(file, first, last, rate)


def audio_duration(path: str | os.PathLike[str]) -> float:
    """Return how many seconds of sound a file has, by its header.

    Raises:
        UserError: as `read_audio`; also when the header doesn't tell.
    """
    file = _regular_file(path)
    wave = _open_wave(file)
    if wave is not None:
        return len(wave[1]) / wave[0]
    with _open_container(file) as container:
        stream = _sound_of(container, file)
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if container.duration is not None:
            return float(container.duration) / 1e6
    raise UserError(f"{file}: its header doesn't say how long it is; convert it to WAV.")


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


def _regular_file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():  # opening a FIFO would wait for ever
        fault = "is not a regular file" if file.exists() else "does not exist"
        raise UserError(f"the sound file {file} {fault}.")
    return file


def _open_wave(file: Path) -> tuple[int, NDArray[Any]] | None:
    """Return rate and samples ``[n]`` or ``[n, 2]``, mapped from the disk; None where only PyAV can read it."""
    if file.suffix.lower() != ".wav":
        return None
    import warnings

    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that say nothing of the sound
            rate, samples = wavfile.read(file, mmap=True)
    except (ValueError, LookupError, ArithmeticError, NameError, EOFError, OSError, struct.error):
        return None  # compressed, 24 bits, cut off, no WAV at all: PyAV reads it, or says what is wrong
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


def _open_container(file: Path) -> Any:
    av = import_av()
    try:
        return av.open(
            f"file:{file.absolute()}",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{file} can't be opened as a sound or video file: {_reason(error)}.") from error


def _sound_of(container: Any, file: Path) -> Any:
    if not container.streams.audio:
        raise UserError(f"{file} has no sound.")
    return container.streams.audio[0]


def _decode(file: Path, first: int, last: int | None, rate: int) -> Samples:
    """Return samples ``first`` to ``last - 1`` at ``rate``, counted from the file's beginning."""
    av = import_av()
    with _open_container(file) as container:
        stream = _sound_of(container, file)
        try:
            return _resampled(container, stream, first, last, rate)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UserError(f"{file}: its sound can't be decoded: {_reason(error)}.") from error


def _resampled(container: Any, stream: Any, first: int, last: int | None, rate: int) -> Samples:
    av = import_av()
    own = int(stream.rate)
    begin = max(first / rate - PREROLL, 0.0)
    if begin > 0:
        origin = (stream.start_time or 0) * stream.time_base
        container.seek(int((begin + float(origin)) / float(stream.time_base)), stream=stream)
    mixer = av.AudioResampler(format="fltp", layout="mono", rate=own)
    parts: list[Samples] = []
    offset: int | None = None  # of the first decoded sample, at the file's own rate
    wanted = None if last is None else math.ceil((last / rate + PREROLL) * own)
    count = 0
    for frame in container.decode(stream):
        if offset is None:
            offset = _sample_of(frame, stream, own)
        frame.pts = None
        gain = _mono_gain(frame.layout.name)
        for mixed in mixer.resample(frame):
            parts.append(mixed.to_ndarray()[0] / gain)
            count += len(parts[-1])
        if wanted is not None and offset + count >= wanted:
            break
    if not parts or offset is None:
        return np.zeros(0, dtype=np.float32)
    samples = np.concatenate(parts)
    if own != rate:
        # begin where a sample of the result lies on a sample of the file, as it does at the file's beginning
        skip = -offset % (own // math.gcd(own, rate))
        offset, samples = offset + skip, _at_rate(samples[skip:], own, rate)
        offset = offset * rate // own
    stop = len(samples) if last is None else max(last - offset, 0)
    return np.ascontiguousarray(samples[max(first - offset, 0) : stop])


@lru_cache(maxsize=16)
def _mono_gain(layout: str) -> np.float32:
    """Return what FFmpeg's mix of full-scale channels gives: above 1 in floating point, 1 when it writes 16 bits."""
    av = import_av()
    mixer = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
    ones = np.ones((1, 64 * av.AudioLayout(layout).nb_channels), dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(ones, "flt", layout)
    frame.sample_rate = RATE
    return np.float32(mixer.resample(frame)[0].to_ndarray()[0, 0])


def _sample_of(frame: Any, stream: Any, rate: int) -> int:
    """Return the number of a frame's first sample, counted from the stream's beginning."""
    if frame.pts is None:
        return 0
    ticks = frame.pts - (stream.start_time or 0)
    return max(round(ticks * frame.time_base * rate), 0)


def _at_rate(samples: Samples, own: int, rate: int) -> Samples:
    av = import_av()
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    parts = []
    for begin in range(0, len(samples), own):  # a second at a time: FFmpeg's frames have a limited size
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, begin : begin + own], "fltp", "mono")
        frame.sample_rate = own
        parts += [each.to_ndarray()[0].copy() for each in resampler.resample(frame)]
    parts += [each.to_ndarray()[0].copy() for each in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
