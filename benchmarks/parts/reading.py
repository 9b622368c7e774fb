"""Three ways to get a window of a video's frames as an array; all give the same frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openood_multimodal.preprocessors.sampling import sample_window

from .clips import FPS

Frames = NDArray[np.uint8]
Window = Callable[[int], NDArray[np.int64]]

LENGTH, STRIDE = 32, 2  # of RGB, as MultiOOD's recipes take them
SHORT_SIDE, SIZE = 256, 224
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def window_of(seed: int) -> Window:
    """Return what draws a training window from a number of frames; the same one for the same seed."""

    def window(total: int) -> NDArray[np.int64]:
        return sample_window(total, LENGTH, STRIDE, np.random.default_rng(seed))

    return window


def by_reader(path: str, window: Window, frames: int) -> Frames:
    """This package's reader: counts the frames, then reads those of the window."""
    from openood_multimodal.preprocessors.video import Video

    with Video(path) as video:
        return video.read(window(video.frames))


def by_whole_file(path: str, window: Window, frames: int) -> Frames:
    """The reference implementation's way: the whole file into an array, then the window's frames from it."""
    import av

    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        whole = np.stack([each.to_ndarray(format="rgb24") for each in container.decode(video=0)])
    return np.asarray(whole[window(len(whole))])


def by_bare_loop(path: str, window: Window, frames: int) -> Frames:
    """The limit: told how many frames there are and that they come at a constant rate, it seeks to the keyframe
    before the window and decodes up to its end, converting the wanted frames with one converter.
    """
    import av
    from av.video.reformatter import VideoReformatter

    wanted = window(frames)
    numbers = set(wanted.tolist())
    found: dict[int, Frames] = {}
    converter = VideoReformatter()
    container: Any
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        ticks = 1 / (FPS * stream.time_base)
        start = stream.start_time or 0
        first, last = int(wanted.min()), int(wanted.max())
        if first:
            container.seek(start + int(first * ticks), stream=stream, backward=True)
        for frame in container.decode(stream):
            number = round((frame.pts - start) / ticks)
            if number in numbers:
                picture = converter.reformat(frame, format="rgb24", threads=1)
                found[number] = np.asarray(picture.to_ndarray(), dtype=np.uint8)
            if number >= last:
                break
    return np.stack([found[number] for number in wanted.tolist()])


WAYS: dict[str, Callable[[str, Window, int], Frames]] = {
    "reader": by_reader,
    "reader, first time": by_reader,
    "whole file": by_whole_file,
    "bare loop": by_bare_loop,
}
"""A file is met for the first time when its time of change is new: the reader then has to number its frames."""


def transformed(frames: Frames, seed: int) -> NDArray[np.float32]:
    """Return float32 ``[C, T, 224, 224]``: scaled, cropped and flipped at random, normalised."""
    from openood_multimodal.preprocessors import transforms

    height, width = transforms.short_side_size(frames.shape[1], frames.shape[2], SHORT_SIDE)
    view = transforms.random_view(height, width, SIZE, np.random.default_rng(seed))
    return transforms.normalize(transforms.apply_view(frames, SHORT_SIDE, view), MEAN, DEVIATION)


def read_clip(way: str, path: str, seed: int, frames: int, transforms: bool) -> NDArray[Any]:
    """Return one clip as a loader's worker makes it."""
    taken = WAYS[way](path, window_of(seed), frames)
    return transformed(taken, seed) if transforms else taken
