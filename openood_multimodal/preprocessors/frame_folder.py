"""Reading frames that are kept as numbered JPEG files (EPIC-Kitchens)."""

from __future__ import annotations

import os
import stat
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..datasets.cells import FRAME_NAME
from ..errors import UserError
from ..files.atomic import PathLike
from .media import check_limit
from .packages import import_opencv

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def frame_path(folder: PathLike, number: int, name: str = FRAME_NAME) -> str:
    """Return the path of a folder's frame."""
    return os.path.join(os.fspath(folder), name.format(number))


def read_frames(
    folder: PathLike,
    numbers: ArrayLike,
    pixel_format: Literal["rgb24", "gray"] = "rgb24",
    name: str = FRAME_NAME,
) -> NDArray[np.uint8]:
    """Return frames of a folder by their numbers.

    Args:
        folder: where they are.
        numbers: whole numbers ``[T]`` as in the files' names, in any order, repeats allowed.
        pixel_format: ``rgb24`` for colour, C = 3; ``gray`` for optical flow, C = 1.  Both as OpenCV decodes JPEG.
        name: the names' pattern.

    Returns:
        uint8 ``[T, H, W, C]``.

    Raises:
        UserError: when a frame is missing, can't be decoded, has another size than the others, or is beyond the limits
            of `files.limits`.
        MissingPackageError: when OpenCV is not installed.
    """
    wanted = np.asarray(numbers)
    if wanted.ndim != 1 or not len(wanted) or wanted.dtype.kind not in "iu":
        raise ValueError("numbers must be a non-empty list of whole numbers")
    cv2 = import_opencv()
    different, places = np.unique(wanted, return_inverse=True)
    frames: NDArray[np.uint8] | None = None
    for row, number in enumerate(different.tolist()):
        path = frame_path(folder, number, name)
        image = _read(cv2, path, folder, pixel_format)
        if frames is None:
            check_limit("window_bytes", (len(different) + len(wanted)) * image.size, folder)
            frames = np.empty((len(different), *image.shape), dtype=np.uint8)
        if image.shape != frames.shape[1:]:
            expected, found = (f"{shape[1]}x{shape[0]}" for shape in (frames.shape[1:], image.shape))
            raise UserError(f"{path}: the frame's size is {found}; the frames before it have {expected}.")
        frames[row] = image
    assert frames is not None
    return frames if np.array_equal(places, np.arange(len(different))) else frames[places]


def _read(cv2: Any, path: str, folder: PathLike, pixel_format: str) -> NDArray[np.uint8]:
    """Return one image, uint8 ``[H, W, C]``."""
    data = _bytes(path, folder)
    if data.startswith(_JPEG) and _JPEG_END not in data[-4096:]:
        raise UserError(f"{path}: the JPEG file is truncated ({len(data)} bytes). Unpack or make it again.")
    size = _size_of(data)
    if size is None:
        raise UserError(
            f"{path}: it is not an image that can be read (JPEG or PNG). Unpack or make it again."
        )
    check_limit("frame_pixels", size[0] * size[1], path)
    gray = pixel_format == "gray"
    flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: it is not an image that can be read. Unpack or make it again.")
    return image[:, :, None] if gray else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size_of(data: bytes) -> tuple[int, int] | None:
    """Return the width and height that a JPEG (ITU-T T.81, B.2.2) or PNG file says it has; None for neither."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    at = 2
    while data.startswith(_JPEG) and at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        alone = kind in (0x01, 0xFF) or 0xD0 <= kind <= 0xD7  # a marker without a length, or a fill byte
        at += (1 if kind == 0xFF else 2) if alone else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _bytes(path: str, folder: PathLike) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: it is not a regular file, so not a frame.")
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if not os.path.isdir(folder):
            raise UserError(f"{os.fspath(folder)}: there is no such folder of frames.") from None
        raise UserError(
            f"{path}: the frame is missing; check that the archive was unpacked completely."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r}: the frame can't be read ({error}).") from None
    if not data:
        raise UserError(f"{path}: the file is empty (0 bytes).")
    return data
