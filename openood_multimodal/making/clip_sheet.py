"""From a clip, read as the dataset reads it, to what stands on its contact sheet."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip_files import ClipFiles, ModalityFiles
from ..preprocessors.audio import audio_duration
from ..preprocessors.clip import ClipLook, ClipPreprocessor
from ..preprocessors.optical_flow import BOUND, dequantise
from ..preprocessors.video import probe
from .contact_sheet import Sheet, Sound, Strip
from .writing import read_comment

_BOUND = re.compile(r"^openood-multimodal optical flow .*bound ([0-9.]+)")


def make_sheet(
    preprocessor: ClipPreprocessor, files: ClipFiles, epoch: int, index: int, root: Path | None = None
) -> Sheet:
    """Return the sheet of a clip: what `ClipPreprocessor.look` gives for it, and where that lies in its files.

    Args:
        preprocessor: with the settings and the split to be shown.
        files: the clip's files; all modalities in it are shown.
        epoch: as in training.
        index: the clip's place in its dataset.
        root: folder that file names are shown relative to; None for their names alone.

    Raises:
        UserError: when a file can't be read.
    """
    modalities = tuple(files.modalities)
    look = preprocessor.look(files, preprocessor.seed, epoch, index, modalities)
    strips: dict[str, Strip] = {}
    sound, clock, unit = None, (math.inf, -math.inf), "seconds"
    with preprocessor.open(files, modalities) as clip:
        for modality, source in clip.frames.items():
            numbers = look.windows.frames[modality].tolist()
            spans, whole, unit = _spans(source, numbers, files)
            clock = (min(clock[0], whole[0]), max(clock[1], whole[1]))
            strips[modality] = _strip(preprocessor, modality, look, files, numbers, spans, unit)
        if "audio" in clip.timed:
            span = clip.timed["audio"].span()
            sound = _sound(preprocessor, clip.timed["audio"], look)
            if not strips:
                clock = span
            elif unit == "seconds":
                clock = (min(clock[0], span[0]), max(clock[1], span[1]))
    return Sheet(
        title=files.clip,
        subtitle="",
        facts={name: _file_fact(name, place, root) for name, place in files.modalities.items()},
        video=strips.get("video"),
        flow=strips.get("flow"),
        sound=sound,
        clock=clock,
        unit=unit,
    )


def _spans(
    source: Any, numbers: Sequence[int], files: ClipFiles
) -> tuple[list[tuple[float, float]], tuple[float, float], str]:
    """Return when each frame is shown, when all are, and the unit of that."""
    if source.seconds(0, 1) is not None:
        whole = source.seconds(0, source.count)
        return [source.seconds(n, n + 1) for n in numbers], whole, "seconds"
    if math.isnan(files.start) or math.isnan(files.stop):
        return [(float(n), float(n + 1)) for n in numbers], (0.0, float(source.count)), "frames"
    step = (files.stop - files.start) / source.count
    return (
        [(files.start + n * step, files.start + (n + 1) * step) for n in numbers],
        (files.start, files.stop),
        "seconds",
    )


def _strip(
    preprocessor: ClipPreprocessor,
    modality: str,
    look: ClipLook,
    files: ClipFiles,
    numbers: Sequence[int],
    spans: Sequence[tuple[float, float]],
    unit: str,
) -> Strip:
    pictures = look.frames[modality]
    stride = preprocessor.reader(modality).params.stride
    crop = "random crop" if preprocessor.training else "central crop"
    mirrored = ", mirrored" if look.mirrored.get(modality) else ""
    again = ", starting over where the clip ends" if len(set(numbers)) < len(numbers) else ""
    heading = (
        f"{len(numbers)} frames, {stride} apart, #{min(numbers)} to #{max(numbers)}{again}; {crop} to "
        f"{pictures.shape[2]} x {pictures.shape[1]}{mirrored}"
    )
    frames: NDArray[Any] = pictures
    if modality == "flow":
        bound = _bound(files.modalities["flow"])
        frames = dequantise(pictures, bound)
        speed = np.hypot(frames[..., 0], frames[..., 1])
        heading += (
            f"; mean speed {speed.mean():.2f}, fastest {speed.max():.1f} px/frame (files hold ±{bound:g})"
        )
    times = [f"  {start:.2f} s" if unit == "seconds" else "" for start, _ in spans]
    return Strip(frames, [f"#{n}{time}" for n, time in zip(numbers, times, strict=True)], spans, heading)


def _sound(preprocessor: ClipPreprocessor, source: Any, look: ClipLook) -> Sound:
    params = preprocessor.reader("audio").params
    assert look.windows.sound is not None
    start, stop = look.windows.sound
    stop = min(stop, start + params.seconds)
    samples = source.read(start, stop, params.rate)
    heading = f"{stop - start:.2f} s from {start:.2f} s on"
    if len(samples) < round(params.seconds * params.rate):
        heading += f", repeated to {params.seconds:g} s"
    if preprocessor.training:
        heading += "; the spectrogram with training's noise and mask"
    return Sound(samples, params.rate, look.values["audio"][0], (start, stop), heading)


def _bound(place: ModalityFiles) -> float:
    """Return the motion that 8-bit levels stand for: as a file made here says, else the benchmark's."""
    found = _BOUND.match(read_comment(place.path)) if place.frames is None else None
    return float(found[1]) if found else BOUND


def _file_fact(modality: str, place: ModalityFiles, root: Path | None) -> str:
    name = os.path.relpath(place.path, root) if root is not None else place.path.name
    if place.frames is not None:
        first, last = place.frames
        return f"{name}/  frames {first} to {last}"
    if modality == "flow" and place.y is None:
        return f"computed from {name} (dis)"
    if modality == "audio":
        return f"{name}  {audio_duration(place.path):.2f} s"
    info = probe(place.path)
    turned = f", to be turned by {info.rotation}°" if info.rotation else ""
    made = read_comment(place.path) if modality == "flow" else ""
    return (
        f"{name}  {info.width} x {info.height}, {info.fps:.4g} frames/s, {info.frames} frames, "
        f"{info.duration:.2f} s{turned}{'; ' + made if made else ''}"
    )
