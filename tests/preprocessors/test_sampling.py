"""The window of frames against a literal restatement of SampleFrames."""

import numpy as np
import pytest

from openood_multimodal.preprocessors.sampling import sample_window


class Draws:
    """Stands for a generator: returns one number, and remembers from how many it was drawn."""

    def __init__(self, number):
        self.number = number
        self.choices = None

    def integers(self, choices):
        self.choices = choices
        return min(self.number, choices - 1)


def looped(first, total, length, stride):
    return [(first + step * stride) % total for step in range(length)]


@pytest.mark.parametrize(("length", "stride"), [(32, 2), (8, 4), (1, 1), (5, 3)])
@pytest.mark.parametrize("total", [1, 2, 7, 14, 15, 16, 31, 32, 33, 63, 64, 65, 66, 200])
def test_middle(total, length, stride):
    span = length * stride
    first = int((total - span + 1) / 2) if total >= span else 0
    window = sample_window(total, length, stride)
    assert window.tolist() == looped(first, total, length, stride)
    assert window.dtype == np.int64


@pytest.mark.parametrize(("length", "stride"), [(32, 2), (8, 4), (1, 1), (5, 3)])
@pytest.mark.parametrize("total", [1, 2, 15, 16, 31, 32, 33, 63, 64, 65, 200])
@pytest.mark.parametrize("number", [0, 1, 60, 10_000])
def test_random(total, length, stride, number):
    draws = Draws(number)
    room = total - length * stride + 1
    window = sample_window(total, length, stride, draws)
    if room > 0:
        assert draws.choices == room
        assert window.tolist() == list(range(min(number, room - 1), total, stride))[:length]
    else:
        assert window.tolist() == looped(0, total, length, stride)


def test_every_first_frame_is_as_likely():
    random = np.random.default_rng(0)
    firsts = [int(sample_window(70, 32, 2, random)[0]) for _ in range(7000)]
    counts = np.bincount(firsts)
    assert len(counts) == 7
    assert np.abs(counts - 1000).max() < 150


def test_known_windows():
    assert sample_window(100, 4, 5).tolist() == [40, 45, 50, 55]
    assert sample_window(5, 4, 2).tolist() == [0, 2, 4, 1]


@pytest.mark.parametrize("wrong", [(0, 8, 4), (10, 0, 4), (10, 8, 0)])
def test_numbers_below_one(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        sample_window(*wrong)
