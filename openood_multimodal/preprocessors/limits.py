"""What a media file may ask for, so that a small one can't fill the memory or keep a run busy for hours.

Limits are checked before anything is allocated.  They are far above any dataset's clips; where yours need more, set the
environment variable named in the message, such as ``OPENOOD_MM_MAX_PIXELS=100000000``.
"""

from __future__ import annotations

import os

from ..errors import UserError

LIMITS: dict[str, tuple[int, str]] = {
    "pixels": (36_000_000, "pixels of one frame"),  # 8192 x 4352: 8K in both of its shapes
    "frames": (2_000_000, "frames of one video"),  # 18 hours at 30 a second
    "bytes": (1_500_000_000, "bytes of the frames that are read at once"),  # 60 frames of 3840 x 2160
    "seconds": (10_800, "seconds of sound that are read or written at once"),
    "rate": (1_000_000, "samples of sound a second"),
}
"""Name → the most that is allowed, and what it is."""
LEAST_RATE = 100
"""The fewest samples of sound a second: each of fewer would become hundreds when resampled."""


def media_limit(name: str) -> int:
    """Return a limit: the environment's ``OPENOOD_MM_MAX_<NAME>``, or the default.

    Raises:
        UserError: when the environment's is not a whole number above 0.
    """
    variable = variable_of(name)
    given = os.environ.get(variable)
    if given is None:
        return LIMITS[name][0]
    if not (given.isascii() and given.isdigit() and len(given) < 19 and int(given) > 0):
        raise UserError(f"{variable} is '{given[:40]}'; it must be a whole number above 0.")
    return int(given)


def variable_of(name: str) -> str:
    """Return the environment variable that sets a limit."""
    return f"OPENOOD_MM_MAX_{name.upper()}"


def check_limit(name: str, asked: float, path: str | os.PathLike[str]) -> None:
    """Refuse what is above a limit.

    Raises:
        UserError: with the file, the limit, and the variable that raises it.
    """
    most = media_limit(name)
    if not asked <= most:
        raise UserError(
            f"{path}: {asked:.10g} is more than the {most} {LIMITS[name][1]} that are allowed; if the file is right, "
            f"set {variable_of(name)}."
        )
