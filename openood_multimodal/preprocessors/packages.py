"""The packages that reading clips needs, imported when they are first used: both come with the extra ``video``."""

from __future__ import annotations

import sys
from typing import Any

from ..errors import MissingPackageError

_COMMAND = 'pip install "openood-multimodal[video]"'


def import_av() -> Any:
    """Return PyAV.

    Raises:
        MissingPackageError: when it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"Reading video and its sound needs PyAV; install it: {_COMMAND}."
        ) from error
    return av


def import_opencv(purpose: str = "Reading frames") -> Any:
    """Return OpenCV's module; in a loader's worker process, without its thread pool.

    The workers share the cores already, and in a forked process the pool's threads would be missing.

    Raises:
        MissingPackageError: when it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(f"{purpose} needs OpenCV; install it: {_COMMAND}.") from error
    data = sys.modules.get("torch.utils.data")  # without it, this process is no loader's
    if data is not None and data.get_worker_info() is not None and cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)
    return cv2
