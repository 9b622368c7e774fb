"""Files of clips: MPEG-4 in AVI, H.264 in MP4, WAV, folders of JPEG frames.

The encoders run in one thread with fixed options, without time stamps or version tags of the container, so
that the same frames give the same bytes with the same libraries on the same kind of processor.  Other
versions of them may write other bytes for the same frames.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPackageError
from ..files.atomic import replacing, temporary_beside
from ..files.paths import remove_tree
from .settings import SAMPLE_RATE

INSTALL = 'pip install "openood-multimodal[video]"'

# Two B-frames between others, fixed: x264's looking ahead (macroblock tree, adaptive B-frames, scene cuts, weights)
# chooses differently from run to run on frames this small.
_PLAIN = "mbtree=0:rc-lookahead=0:b-adapt=0:bframes=2:scenecut=0:weightp=0"
_X264 = {"preset": "veryfast", "threads": "1", "flags": "+bitexact", "x264-params": _PLAIN}
_MPEG4 = {
    "threads": "1",
    "flags": "+bitexact+qscale",
    "global_quality": str(3 * 118),
}  # 118 a step of quality
_AAC_FRAME = 1024
KEYFRAME_EVERY = 12


def write_video(
    path: Path,
    frames: NDArray[np.uint8],
    fps: int,
    sound: NDArray[np.float32] | None = None,
    quality: int = 20,
) -> None:
    """Write frames as a video: ``.avi`` in MPEG-4 with PCM sound, ``.mp4`` in H.264 with AAC sound.

    Args:
        path: its suffix chooses the kind.
        frames: uint8 ``[T, H, W, 3]`` RGB, or ``[T, H, W]`` grey.
        fps: frames a second.
        sound: float32 ``[n]`` in [-1, 1] at 16 kHz; None for no sound.
        quality: H.264's constant rate factor; lower is better.

    Raises:
        MissingPackageError: when PyAV is not installed.
        OSError: when the file can't be written.
    """
    with replacing(path) as file:
        _encode(file, path.suffix == ".avi", frames, fps, sound, quality)


def write_sound(path: Path, sound: NDArray[np.float32]) -> None:
    """Write float32 ``[n]`` in [-1, 1] as a 16-bit WAV at 16 kHz."""
    with replacing(path) as file, wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(_pcm(sound).astype("<i2").tobytes())


def write_frames(folder: Path, frames: Iterable[NDArray[np.uint8]], quality: int) -> None:
    """Write images ``frame_0000000000.jpg``, ... into a new folder, which appears when all are written.

    Args:
        folder: must not exist.
        frames: each uint8 ``[H, W, 3]`` RGB or ``[H, W]`` grey.
        quality: of JPEG.

    Raises:
        MissingPackageError: when OpenCV is not installed.
        OSError: when the folder can't be written.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(f"JPEG frames need OpenCV: {INSTALL}.") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        for number, frame in enumerate(frames):
            image = frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            (temporary / f"frame_{number:010d}.jpg").write_bytes(data.tobytes())
        os.replace(temporary, folder)
    except BaseException:
        remove_tree(temporary.parent, temporary.name)
        raise


def _pcm(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def _encode(
    file: IO[bytes],
    avi: bool,
    frames: NDArray[np.uint8],
    fps: int,
    sound: NDArray[np.float32] | None,
    quality: int,
) -> None:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(f"writing videos needs PyAV: {INSTALL}.") from error
    kind = "avi" if avi else "mp4"
    with av.open(file, "w", format=kind, options={"fflags": "+bitexact"}) as container:
        options = dict(_MPEG4) if avi else {**_X264, "crf": str(quality)}
        video: Any = container.add_stream("mpeg4" if avi else "libx264", rate=fps, options=options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.gop_size = KEYFRAME_EVERY
        video.thread_count = 1
        heard: Any = None
        chunks: list[Any] = []
        if sound is not None:
            heard = container.add_stream("pcm_s16le" if avi else "aac", rate=SAMPLE_RATE, layout="mono")
            chunks = list(_audio_frames(av, sound, avi))
        pixel_format = "rgb24" if frames.ndim == 4 else "gray"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=pixel_format)
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
            while chunks and chunks[0].pts * fps <= number * SAMPLE_RATE:
                container.mux(heard.encode(chunks.pop(0)))
        container.mux(video.encode(None))
        for chunk in chunks:
            container.mux(heard.encode(chunk))
        if heard is not None:
            container.mux(heard.encode(None))


def _audio_frames(av: Any, sound: NDArray[np.float32], avi: bool) -> Iterable[Any]:
    samples = _pcm(sound)[None] if avi else sound.astype(np.float32)[None]
    for start in range(0, samples.shape[1], _AAC_FRAME):
        part = np.ascontiguousarray(samples[:, start : start + _AAC_FRAME])
        chunk = av.AudioFrame.from_ndarray(part, format="s16" if avi else "fltp", layout="mono")
        chunk.sample_rate, chunk.pts, chunk.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield chunk
