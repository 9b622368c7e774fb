"""Which frames of a clip are used: a window of evenly spaced ones.

The rule is that of mmaction2's ``SampleFrames`` (version 0.x), which MultiOOD's recipes use, for one window: at
random in training, in the middle otherwise; frames past the end come from the beginning again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_window(
    total: int, length: int, stride: int, random: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Choose ``length`` frames, ``stride`` apart, out of ``total``.

    Args:
        total: frames there are; at least 1.
        length: frames to choose.
        stride: from one to the next.
        random: draws the first frame, uniformly from the ``total - length * stride + 1`` that leave room; without
            it the window stands in the middle.

    Returns:
        Frame numbers, int64 ``[length]``.  A clip with too few frames starts at 0 and is looped.

    Raises:
        ValueError: when a number is below 1.

    >>> sample_window(100, 4, 2, None).tolist(), sample_window(3, 4, 2, None).tolist()
    ([46, 48, 50, 52], [0, 2, 1, 0])
    """
    if min(total, length, stride) < 1:
        raise ValueError(
            f"a window needs numbers of at least 1: {total} frames, {length} chosen, {stride} apart"
        )
    first = 0
    room = total - length * stride + 1
    if room > 0:
        first = room // 2 if random is None else int(random.integers(room))
    return (first + np.arange(length, dtype=np.int64) * stride) % total
