"""Conditions of the input, each on small arrays."""

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors.conditions import NO_MOTION, DegradedFrames
from openood_multimodal.registry import CONDITIONS

RANDOM = np.random.default_rng(0)
FRAMES = np.repeat(np.repeat(RANDOM.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8), 5, axis=1), 5, axis=2)
SOUND = (0.5 * np.sin(np.arange(4000) / 20)).astype(np.float32)


def make(text):
    kind, _, severity = text.partition("=")
    return CONDITIONS.get(kind)(severity or None)


def rng():
    return np.random.default_rng(3)


def test_black():
    assert not make("black").frames(FRAMES, rng()).any()
    assert (make("black").frames(FRAMES[..., :2], rng()) == NO_MOTION).all()


def test_blur_keeps_the_mean_and_takes_detail():
    weak, strong = (make(f"blur={sigma}").frames(FRAMES, rng()) for sigma in (5, 40))
    assert weak.shape == FRAMES.shape
    assert strong.std() < weak.std() < FRAMES.std()
    assert strong.mean() == pytest.approx(FRAMES.mean(), abs=3)


def test_h264_is_coarser_with_the_quantiser_and_the_same_each_time():
    grey = np.repeat(FRAMES[..., :1], 3, axis=3)  # colours lose their resolution whatever the quantiser is
    fine, coarse = (make(f"h264={qp}").frames(grey, rng()).astype(int) for qp in (0, 45))
    assert fine.shape == FRAMES.shape  # odd sizes, too
    assert abs(fine - grey).mean() < 2 < 8 < abs(coarse - grey).mean()
    assert np.array_equal(coarse, make("h264=45").frames(grey, rng()))


@pytest.mark.parametrize("snr", [0, 20])
def test_noise_has_its_ratio(snr):
    noise = make(f"noise={snr}").sound(SOUND / 8, 16000, rng()) - SOUND / 8
    ratio = 10 * np.log10(np.mean((SOUND / 8) ** 2) / np.mean(noise**2))
    assert ratio == pytest.approx(snr, abs=0.2)
    assert not make("noise=0").sound(np.zeros(9, np.float32), 16000, rng()).any()
    grey = np.where(np.arange(4800).reshape(2, 40, 20, 3) % 2, 140, 116).astype(np.uint8)
    noisy = make(f"noise={snr}").frames(grey, rng()).astype(float) - grey
    assert 20 * np.log10(12 / noisy.std()) == pytest.approx(snr, abs=0.5)


def test_silence_clipping_and_shift_of_sound():
    assert not make("silence").sound(SOUND, 16000, rng()).any()
    clipped = make("clip=0.25").sound(SOUND, 16000, rng())
    assert clipped == pytest.approx(np.clip(SOUND * 4, -SOUND.max(), SOUND.max()), abs=1e-3)
    moved = make("shift=0.1").sound(SOUND, 10000, rng())
    assert np.array_equal(moved[:3000], SOUND[1000:])
    assert np.array_equal(moved[3000:], SOUND[:1000])


class Source:
    count, renumbered = 40, False

    def seconds(self, first, end):
        return first / 10, end / 10

    def read(self, indices):
        return np.asarray(indices, dtype=np.uint8).reshape(-1, 1, 1, 1)


def read(text, indices, modality="video"):
    source = DegradedFrames(Source(), make(text), modality, lambda stream: np.random.default_rng(len(stream)))
    assert (source.count, source.renumbered) == (40, False)
    return source.read(np.array(indices)).ravel().tolist()


def test_frames_are_dropped_by_their_place_in_the_clip():
    every = read("drop=0.5", range(40))
    kept = [place for place in range(40) if every[place] == place]
    assert 10 < len(kept) < 30
    assert every == [max(each for each in kept if each <= place) for place in range(40)]
    assert read("drop=0.5", range(40), "flow") == every  # the same are lost to every modality
    assert read("drop=0.5", [9, 30]) == [every[9], every[30]]
    assert read("drop=1", [0, 9, 39]) == [0, 0, 0]


def test_a_shift_of_frames_goes_round():
    assert read("shift=1", [0, 35]) == [10, 5]
    assert read("shift=-0.5", [0, 35]) == [35, 30]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blur", "blur: the severity must be a number from 0.1 to 64 .*; none was given"),
        ("blur=65", "from 0.1 to 64 .*; got '65'"),
        ("blur=much", "got 'much'"),
        ("blur=nan", "got 'nan'"),
        ("h264=3.5", "a whole number from 0 to 51"),
        ("drop=-0.1", "the probability that a frame is lost"),
        ("noise=inf", "signal-to-noise ratio in dB"),
        ("clip=0", "from 0.001 to 1"),
        ("silence=3", "silence has no severity"),
        ("blurr=3", "no condition called 'blurr'.*'blur'"),
    ],
)
def test_a_severity_outside_its_range(text, said):
    with pytest.raises(UserError, match=said):
        make(text)
