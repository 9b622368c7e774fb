"""The sounds of actions and of the far worlds.  float64 ``[n]`` in about [-1, 1].

Each takes the times of its samples in seconds, a generator, and the beats a second of the motion that it
belongs to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from .shapes import TAU, Floats

Sound = Callable[[Floats, np.random.Generator, float], Floats]


def _sing(t: Floats, frequency: Floats | float) -> Floats:
    """Return a sine whose frequency changes over time."""
    step = t[1] - t[0] if len(t) > 1 else 0.0
    return np.sin(TAU * step * np.cumsum(np.broadcast_to(frequency, t.shape)))


def _strokes(t: Floats, rate: float, start: float, decay: float) -> Floats:
    """Return an envelope that jumps to 1 ``rate`` times a second and dies away in ``decay`` seconds."""
    since = np.mod(t * rate + start, 1.0) / rate
    return np.minimum(since / 0.003, 1.0) * np.exp(-since / decay)


def _noise(random: np.random.Generator, n: int, pole: float) -> Floats:
    """Return noise, darker the nearer ``pole`` is to 1, of standard deviation about 0.3."""
    white = random.standard_normal(n)
    return np.asarray(lfilter([0.3 * np.sqrt(1 - pole * pole)], [1.0, -pole], white))


def _hum(t: Floats, frequency: Floats | float, harmonics: int) -> Floats:
    """Return a tone with harmonics."""
    return sum((_sing(t, k * frequency) / k for k in range(1, harmonics + 1)), np.zeros_like(t))


def _wavering(t: Floats, random: np.random.Generator, rate: float, low: float, high: float) -> Floats:
    base = random.uniform(420, 700)
    sway = np.sin(TAU * (random.uniform(low, high) * rate * t + random.random()))
    return 0.4 * _hum(t, base * (1 + 0.2 * sway), 5)


def vibrato(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A tone with harmonics that wavers six or more times a beat."""
    return _wavering(t, random, rate, 6, 8)


def slow_vibrato(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """The same, wavering two or three times a beat."""
    return _wavering(t, random, rate, 2, 3.5)


def thumps(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A knock at every half beat: low, with a burst of noise."""
    start = random.random()
    low = np.sin(TAU * random.uniform(90, 150) * t) * _strokes(t, 2 * rate, start, 0.08)
    return 0.7 * low + 1.2 * _noise(random, len(t), 0.2) * _strokes(t, 2 * rate, start, 0.02)


def fast_rattle(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Clicks of a mid tone, ten or more a second."""
    clicks = _strokes(t, random.uniform(10, 16), random.random(), 0.012)
    return 0.7 * clicks * _sing(t, random.uniform(1100, 1600))


def slow_rattle(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Clicks of a mid tone, seven to twelve a second."""
    clicks = _strokes(t, random.uniform(7, 12), random.random(), 0.016)
    return 0.7 * clicks * _sing(t, random.uniform(900, 1400))


def glide(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Tones, three to the octave and more, that rise together over an octave, four times a beat."""
    base = random.uniform(500, 800)
    return 0.4 * _hum(t, base * 2 ** np.mod(4 * rate * t + random.random(), 1.0), 4)


def chirps(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A tone that swings over two octaves with the beat."""
    base = random.uniform(900, 1300)
    return 0.6 * _sing(t, base * 2 ** np.sin(TAU * (rate * t + random.random())))


def two_tones(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Two tones in turn, changing at every half beat."""
    low = random.uniform(500, 700)
    high = np.mod(rate * t + random.random(), 1.0) < 0.5
    return 0.6 * _sing(t, np.where(high, 1.5 * low, low))


def swish(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Noise that comes and goes twice a beat."""
    return 1.6 * _noise(random, len(t), 0.6) * np.sin(TAU * (rate * t + random.random())) ** 2


def arpeggio(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Four rising tones, over and over."""
    steps = np.floor(4 * np.mod(rate * t + random.random(), 1.0))
    return 0.6 * _sing(t, random.uniform(380, 520) * 1.26**steps)


def drips(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A short rising blip at every beat."""
    start = random.random()
    since = np.mod(t * rate + start, 1.0) / rate
    return 0.8 * _strokes(t, rate, start, 0.05) * np.sin(TAU * (700 + 3000 * since) * since)


def bells(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Struck partials, dying away slowly, at every beat."""
    base = random.uniform(600, 900)
    first, second, third = (np.sin(TAU * ratio * base * t) for ratio in (1, 2.76, 5.4))
    partials = first + 0.6 * second + 0.4 * third
    return 0.4 * _strokes(t, rate, random.random(), 0.25) * partials


def beats(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Two close low tones that beat against each other."""
    base = random.uniform(200, 280)
    return 0.4 * (np.sin(TAU * base * t) + np.sin(TAU * (base + random.uniform(5, 8)) * t))


def whistle(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A high tone that falls."""
    return 0.5 * _sing(t, random.uniform(2600, 3200) * 2 ** (-np.mod(rate * t + random.random(), 1.0)))


def hiss(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Steady bright noise."""
    return 1.2 * _noise(random, len(t), random.uniform(-0.5, 0.0))


def drone(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A steady chord with harmonics."""
    base = random.uniform(70, 120)
    return sum((0.25 / k * np.sin(TAU * k * base * t) for k in range(1, 9)), np.zeros_like(t))


def crackle(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """Clicks at random times, and rumble."""
    clicks = (random.random(len(t)) < 0.004) * random.uniform(-1, 1, len(t))
    return np.asarray(lfilter([1.0], [1.0, -0.7], clicks)) + 0.8 * _noise(random, len(t), 0.98)


def siren(t: Floats, random: np.random.Generator, rate: float) -> Floats:
    """A rough tone that sweeps up and down quickly."""
    tone = _sing(t, random.uniform(1500, 2200) * 2 ** (0.5 * np.sin(TAU * 4 * t)))
    return 0.5 * np.sign(tone) * np.abs(tone) ** 0.3


def ambience(t: Floats, random: np.random.Generator, level: float, pole: float) -> Floats:
    """The room of a recording: noise of one colour at one level."""
    return level * _noise(random, len(t), pole)
