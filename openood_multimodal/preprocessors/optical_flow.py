"""Dense optical flow between the frames of a clip, and its 8-bit form.

Flow is float32 ``[H, W, 2]``, in pixels a frame: ``[..., 0]`` is x, positive to the right, ``[..., 1]`` is y,
positive downwards.  A clip of N frames has N - 1 flow frames; flow frame i leads from frame i to frame i + 1.

As 8 bit, flow is clipped at ``±bound`` and spread evenly over 0 to 255 with halves rounded to even, as denseflow
does (https://github.com/open-mmlab/denseflow, ``convertFlowToImage`` in ``src/common.cpp``), the tool by which
MMAction2 prepares its datasets.  (MMAction2's own ``flow_extraction.py`` cuts the fraction off instead, up to one
level lower.)  No motion is level 128.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPackageError, UserError
from ..registry import FLOW_METHODS
from .packages import import_opencv

Gray = NDArray[np.uint8]
Flow = NDArray[np.float32]
Estimator = Callable[[Gray, Gray], Flow]

BOUND = 20.0
_DIS_SIDE = 96


def tvl1() -> Estimator:
    """TV-L1 with OpenCV's defaults, the benchmark's method (paper, appendix B).  Slow, and keeps edges.

    C. Zach, T. Pock, H. Bischof, *A duality based approach for realtime TV-L1 optical flow*, DAGM 2007.  The
    authors' files were probably made by denseflow on a GPU; OpenCV's code for the CPU, used here, has the same
    model, but other iterations and a median filter, so it comes near their files without repeating them.
    """
    cv2 = import_opencv("Optical flow")
    if not hasattr(cv2, "optflow"):
        raise MissingPackageError(
            "TV-L1 needs OpenCV's contributed modules, which the installed OpenCV lacks: "
            "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-contrib-python. "
            "Or choose another method: dis."
        )
    return _calling(cv2.optflow.DualTVL1OpticalFlow_create())


def dis() -> Estimator:
    """Dense inverse search, OpenCV's preset ``medium``: about a hundred times as fast as TV-L1.

    T. Kroeger et al., *Fast Optical Flow using Dense Inverse Search*, ECCV 2016.
    """
    cv2 = import_opencv("Optical flow")
    return _padding(_calling(cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)))


def dis_fast() -> Estimator:
    """Dense inverse search, OpenCV's preset ``fast``: coarser, three times as fast as `dis`."""
    cv2 = import_opencv("Optical flow")
    return _padding(_calling(cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)))


def farneback() -> Estimator:
    """Polynomial expansion, with OpenCV's defaults: smooth, ten times as fast as TV-L1.

    G. Farnebäck, *Two-Frame Motion Estimation Based on Polynomial Expansion*, SCIA 2003.
    """
    return _calling(import_opencv("Optical flow").FarnebackOpticalFlow_create())


def make_estimator(method: str) -> Estimator:
    """Return the function ``(gray, next gray) -> flow`` of a method of `FLOW_METHODS`; frames are uint8 ``[H, W]``.

    The function keeps buffers, but nothing of a pair for the next one.  It is for one thread.

    Raises:
        UserError: for an unknown method, and from the function for frames that the method can't take.
        MissingPackageError: where OpenCV is missing, or lacks TV-L1.
    """
    estimator: Estimator = FLOW_METHODS.get(method)()
    return estimator


def flow_frames(frames: Iterable[Gray], estimate: Estimator) -> Iterator[Flow]:
    """Yield the flow from each frame (uint8 ``[H, W]``) to the next, with two frames in memory at a time."""
    before: Gray | None = None
    for frame in frames:
        if before is not None:
            yield estimate(before, frame)
        before = frame


def quantise(flow: NDArray[np.floating], bound: float = BOUND) -> NDArray[np.uint8]:
    """Return levels 0 to 255, same shape: ``round((clip(v, ±bound) + bound) * 255 / (2 bound))``.

    Raises:
        UserError: when the flow holds NaN or infinity, which no level stands for.
    """
    if not np.isfinite(flow).all():
        raise UserError("the optical flow computed holds NaN or infinity; try another method.")
    values = np.clip(np.asarray(flow, dtype=np.float64), -bound, bound)
    return np.rint((values + bound) * 255.0 / (2.0 * bound)).astype(np.uint8)


def dequantise(levels: NDArray[np.integer], bound: float = BOUND) -> Flow:
    """Return pixels a frame (float32, same shape): what `quantise` had, to within ``bound / 255``."""
    return (np.asarray(levels, dtype=np.float64) * (2.0 * bound / 255.0) - bound).astype(np.float32)


def shrunk_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return ``(width, height)`` with the short side at most ``short_side``, the shape kept; None changes nothing."""
    shortest = min(width, height)
    if short_side is None or shortest <= short_side:
        return width, height
    return max(1, round(width * short_side / shortest)), max(1, round(height * short_side / shortest))


def _padding(estimate: Estimator) -> Estimator:
    """Return ``estimate`` on frames continued to 96 pixels a side where they are smaller.

    On smaller ones OpenCV's DIS reads memory that it never wrote (OpenCV 5.0): the flow of a pair then depends on
    the pairs before it, and below some 30 pixels the process crashes.
    """
    cv2 = import_opencv("Optical flow")

    def padded(before: Gray, after: Gray) -> Flow:
        height, width = before.shape
        below, right = max(0, _DIS_SIDE - height), max(0, _DIS_SIDE - width)
        if not (below or right):
            return estimate(before, after)
        pair = (cv2.copyMakeBorder(f, 0, below, 0, right, cv2.BORDER_REPLICATE) for f in (before, after))
        return estimate(*pair)[:height, :width]

    return padded


def _calling(algorithm: Any) -> Estimator:
    cv2 = import_opencv("Optical flow")

    def estimate(before: Gray, after: Gray) -> Flow:
        try:
            return algorithm.calc(before, after, None)
        except cv2.error as error:
            height, width = before.shape
            raise UserError(
                f"optical flow can't be computed on frames of {width} x {height} pixels: {error.err or error}."
            ) from error

    return estimate
