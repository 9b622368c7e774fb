"""How much MovingShapes to make: the named sizes, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import UserError
from ..naming import did_you_mean
from .actions import ID_ACTIONS, NEAR_ACTIONS, VAL_ACTIONS
from .worlds import FAR_WORLDS

MOST_PIXELS = 150_000_000
_LIMITS = {  # least, most, and what it must be a multiple of
    "height": (32, 1080, 2),
    "width": (32, 1920, 2),
    "fps": (8, 60, 1),
    "frames": (4, 2000, 2),
    "classes": (2, len(ID_ACTIONS), 1),
    "near": (1, len(NEAR_ACTIONS), 1),
    "far": (1, len(FAR_WORLDS), 1),
    "val": (1, len(VAL_ACTIONS), 1),
}


@dataclass(frozen=True)
class Size:
    """Numbers of MovingShapes; the defaults are those of ``demo``.  A clip's content depends on the seed and on them.

    Attributes:
        height: pixels, even.
        width: pixels, even.
        fps: frames a second.
        frames: frames a clip, even.
        classes: known actions.
        near: unseen actions of the near-OOD set.
        far: worlds of the far-OOD set.
        val: unseen actions of the validation OOD set.
        train_recordings: recordings of every known action in ``train``.
        val_recordings: the same in ``val``.
        test_recordings: the same in ``test``.
        ood_recordings: recordings of every action, or world, of an OOD set.
        clips: clips a recording.

    Raises:
        UserError: when a number is out of its range.
    """

    height: int = 96
    width: int = 128
    fps: int = 24
    frames: int = 40
    classes: int = 6
    near: int = 3
    far: int = 3
    val: int = 2
    train_recordings: int = 8
    val_recordings: int = 2
    test_recordings: int = 3
    ood_recordings: int = 4
    clips: int = 3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low, high, step = _LIMITS.get(name, (1, 1000, 1))
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high or value % step:
                kind = "an even number" if step == 2 else "a whole number"
                raise UserError(f"MovingShapes: {name} is {value!r}; it must be {kind} from {low} to {high}.")
        pixels = self.frames * self.height * self.width
        if pixels > MOST_PIXELS:  # a clip is held in memory while its files are written, 11 bytes a pixel
            raise UserError(
                f"MovingShapes: a clip of {self.frames} frames of {self.width}x{self.height} has {pixels} pixels; "
                f"at most {MOST_PIXELS} are possible. Take fewer or smaller frames."
            )


SIZES = {
    "tiny": Size(48, 64, 12, 24, 4, 2, 2, 1, 2, 1, test_recordings=1, ood_recordings=1, clips=2),
    "small": Size(
        64, 80, frames=32, classes=5, far=2, train_recordings=4, val_recordings=1, ood_recordings=2
    ),
    "demo": Size(),
}


def size_of(size: str | Size, numbers: dict[str, Any]) -> Size:
    """Return a named size, or ``size`` itself, with some of its ``numbers`` replaced.

    Raises:
        UserError: when there is no such size or number, or a number is out of its range.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise UserError(f"MovingShapes has no size '{size}'.{did_you_mean(size, SIZES)}")
        size = SIZES[size]
    names = [field.name for field in fields(Size)]
    for name in numbers:
        if name not in names:
            raise UserError(f"MovingShapes has no number '{name}'.{did_you_mean(name, names)}")
    return replace(size, **numbers)
