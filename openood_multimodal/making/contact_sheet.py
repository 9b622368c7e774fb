"""A contact sheet of one clip: what the network gets to see and hear, on one page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPackageError
from ..files.atomic import write_bytes

INK, GREY, PALE, FAULT = "#1c2430", "#6b7480", "#e8eaee", "#b3261e"
LANES = {"video": "#2f6fb3", "flow": "#c2571a", "audio": "#3b8a5a"}
WIDTH = 12.0  # inches
COLUMNS = 8  # pictures in a row
SIDE = 0.1  # margin, in parts of the page's width


@dataclass(frozen=True, eq=False)
class Strip:
    """The frames of one modality.

    Attributes:
        frames: video: uint8 ``[T, H, W, 3]``, RGB; flow: float32 ``[T, H, W, 2]``, pixels a frame, x and y.
        captions: T short texts.
        spans: T pairs, when each frame appears and goes, on the sheet's clock.
        heading: what is seen.
    """

    frames: NDArray[Any]
    captions: Sequence[str]
    spans: Sequence[tuple[float, float]]
    heading: str


@dataclass(frozen=True, eq=False)
class Sound:
    """What is heard.

    Attributes:
        samples: float32 ``[n]``, -1 to 1.
        rate: samples a second.
        spectrogram: float32 ``[F, T]`` as the network gets it.
        span: seconds of the file that the samples are.
        heading: what is heard.
    """

    samples: NDArray[np.float32]
    rate: int
    spectrogram: NDArray[np.float32]
    span: tuple[float, float]
    heading: str


@dataclass(frozen=True, eq=False)
class Sheet:
    """All that stands on a contact sheet.

    Attributes:
        title: the clip's name.
        subtitle: its class and label.
        facts: name → text, printed in this order.
        video: its pictures.
        flow: its optical flow.
        sound: its sound.
        clock: when the clip begins and ends.
        unit: of the clock, ``seconds`` or, where nothing tells them, ``frames``.
        faults: what could not be shown, and why.
    """

    title: str
    subtitle: str
    facts: Mapping[str, str]
    video: Strip | None = None
    flow: Strip | None = None
    sound: Sound | None = None
    clock: tuple[float, float] = (0.0, 0.0)
    unit: str = "seconds"
    faults: Sequence[str] = ()


def flow_colours(flow: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    """Return flow ``[..., 2]`` as RGB ``[..., 3]`` in 0 to 1: hue is direction, white is rest.

    Red is to the right, and with the hue's usual order yellow-green down, cyan left, violet up.

    Args:
        flow: pixels a frame, x to the right and y down.
        scale: the speed drawn in full colour; faster is drawn the same.
    """
    x, y = np.asarray(flow[..., 0], np.float32), np.asarray(flow[..., 1], np.float32)
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1.0
    colour = np.clip(np.hypot(x, y) / max(scale, 1e-6), 0.0, 1.0)
    # hue to RGB at full value: one minus what the hue takes away, by the colour's share
    sixths = (hue[..., None] * 6 + np.array([5.0, 3.0, 1.0], np.float32)) % 6
    takes = np.clip(np.minimum(sixths, 4 - sixths), 0, 1)
    return (1.0 - colour[..., None] * takes).astype(np.float32)


def flow_scale(flow: NDArray[np.floating]) -> float:
    """Return the speed to draw in full colour: nearly the fastest in the clip, at least one pixel a frame."""
    return float(max(1.0, np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99.5)))


def draw(sheet: Sheet, path: Path) -> Path:
    """Write the sheet as a PNG, replacing what is at ``path``.

    Raises:
        MissingPackageError: where matplotlib is missing.
        OSError: when the file can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            'contact sheets need matplotlib: pip install "openood-multimodal[report]".'
        ) from error
    page = _Page(sheet)
    figure = Figure(figsize=(WIDTH, page.height), facecolor="white")
    canvas = FigureCanvasAgg(figure)
    page.draw(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks: boxes
        canvas.print_figure(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
    return path


class _Page:
    """Puts blocks under one another; lengths are inches from the page's top."""

    left, right = WIDTH * SIDE, 0.45

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.inner = WIDTH - self.left - self.right
        self.blocks: list[tuple[float, Any]] = [(self._header_height(), self._header)]
        lanes = sum(part is not None for part in (sheet.video, sheet.flow, sheet.sound))
        if lanes:
            self.blocks.append((0.62 + 0.24 * lanes, self._time_line))
        for strip, draw_strip in ((sheet.video, self._video), (sheet.flow, self._flow)):
            if strip is not None:
                self.blocks.append((self._strip_height(strip), draw_strip))
        if sheet.sound is not None:
            self.blocks.append((3.0, self._sound))
        self.height = sum(height for height, _ in self.blocks) + 0.25

    def draw(self, figure: Any) -> None:
        self.figure = figure
        top = 0.0
        for height, block in self.blocks:
            block(top)
            top += height

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        box = (left / WIDTH, 1 - (top + height) / self.height, width / WIDTH, height / self.height)
        axes = self.figure.add_axes(box)
        axes.tick_params(labelsize=7, colors=GREY, length=2)
        for spine in axes.spines.values():
            spine.set_color(PALE)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        style = {"fontsize": 8.5, "color": INK, "va": "top", **style}
        # file names may hold dollar signs, which are no formulas
        self.figure.text(left / WIDTH, 1 - top / self.height, text, parse_math=False, **style)

    def _header_height(self) -> float:
        return 0.95 + 0.19 * (len(self.sheet.facts) + len(self.sheet.faults)) + 0.15

    def _header(self, top: float) -> None:
        self.text(0.45, top + 0.25, _cut(self.sheet.title, 90), fontsize=16, fontweight="bold")
        self.text(0.45, top + 0.58, _cut(self.sheet.subtitle, 150), fontsize=10.5, color=GREY)
        row = top + 0.92
        for name, value in self.sheet.facts.items():
            self.text(0.45, row, name, color=GREY)
            self.text(self.left, row, _cut(value, 165))
            row += 0.19
        for fault in self.sheet.faults:
            self.text(0.45, row, _cut(fault, 175), color=FAULT)
            row += 0.19

    def _heading(self, top: float, text: str, modality: str) -> None:
        self.text(0.45, top, modality, fontsize=10.5, fontweight="bold", color=LANES[modality])
        self.text(self.left, top + 0.015, text, color=GREY)

    def _time_line(self, top: float) -> None:
        self.text(0.45, top, "window", fontsize=10.5, fontweight="bold")
        self.text(self.left, top + 0.015, f"what is taken of the clip, in {self.sheet.unit}", color=GREY)
        lanes: list[tuple[str, Sequence[tuple[float, float]]]] = []
        if self.sheet.video is not None:
            lanes.append(("video", self.sheet.video.spans))
        if self.sheet.flow is not None:
            lanes.append(("flow", self.sheet.flow.spans))
        if self.sheet.sound is not None:
            lanes.append(("audio", [self.sheet.sound.span]))
        begin, end = self.sheet.clock
        axes = self.axes(self.left, top + 0.24, self.inner, 0.24 * len(lanes))
        for row, (modality, spans) in enumerate(lanes):
            axes.broken_barh([(begin, end - begin)], (row - 0.3, 0.6), color=PALE, linewidth=0)
            bars = [(start, stop - start) for start, stop in spans]
            axes.broken_barh(bars, (row - 0.3, 0.6), color=LANES[modality], linewidth=0)
        axes.set_xlim(begin, max(end, begin + 1e-3))
        axes.set_ylim(len(lanes) - 0.5, -0.5)
        axes.set_yticks(range(len(lanes)), [modality for modality, _ in lanes])
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _strip_height(self, strip: Strip) -> float:
        rows = -(-len(strip.frames) // COLUMNS)
        return 0.3 + rows * (self._picture(strip)[1] + 0.2) + 0.12

    def _picture(self, strip: Strip) -> tuple[float, float]:
        """Return a picture's width and height."""
        width = (self.inner - 0.06 * (COLUMNS - 1)) / COLUMNS
        return width, width * strip.frames.shape[1] / strip.frames.shape[2]

    def _video(self, top: float) -> None:
        assert self.sheet.video is not None
        self._strip(top, self.sheet.video, self.sheet.video.frames, "video")

    def _flow(self, top: float) -> None:
        strip = self.sheet.flow
        assert strip is not None
        scale = flow_scale(strip.frames)
        self._strip(top, strip, flow_colours(strip.frames, scale), "flow")
        axes = self.axes(0.45, top + 0.3, 0.55, 0.55)
        at = np.linspace(-1.05, 1.05, 121)
        wheel = np.stack(np.meshgrid(at, at), axis=-1)
        outside = np.hypot(wheel[..., 0], wheel[..., 1]) > 1
        colours = flow_colours(wheel, 1.0)
        colours[outside] = 1.0
        axes.imshow(colours, extent=(-1.05, 1.05, 1.05, -1.05))
        axes.set_axis_off()
        self.text(0.725, top + 0.87, f"{scale:.1f} px/frame", fontsize=6.5, color=GREY, ha="center")

    def _strip(self, top: float, strip: Strip, pictures: NDArray[Any], modality: str) -> None:
        self._heading(top, strip.heading, modality)
        width, height = self._picture(strip)
        for i, picture in enumerate(pictures):
            row, column = divmod(i, COLUMNS)
            left, above = self.left + column * (width + 0.06), top + 0.3 + row * (height + 0.2)
            axes = self.axes(left, above, width, height)
            axes.imshow(picture, interpolation="antialiased", aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
            self.text(left, above + height + 0.02, strip.captions[i], fontsize=6.5, color=GREY)

    def _sound(self, top: float) -> None:
        sound = self.sheet.sound
        assert sound is not None
        self._heading(top, sound.heading, "audio")
        start, stop = sound.span
        wave = self.axes(self.left, top + 0.3, self.inner, 0.65)
        low, high, at = _envelope(sound.samples, start, sound.rate)
        wave.fill_between(at, low, high, color=LANES["audio"], linewidth=0.4)
        wave.set_xlim(start, max(stop, start + 1e-3))
        peak = max(float(np.abs(sound.samples).max(initial=0.0)), 0.02)
        wave.set_ylim(-1.05 * peak, 1.05 * peak)
        wave.set_yticks([-peak, 0, peak], [f"{-peak:.2f}", "0", f"{peak:.2f}"])
        wave.set_ylabel("waveform", fontsize=7, color=GREY)
        wave.set_xlabel("seconds in the file", fontsize=7, color=GREY, labelpad=1)
        image = self.axes(self.left, top + 1.32, self.inner, 1.3)
        low_db, high_db = np.percentile(sound.spectrogram, [1, 99.7])
        image.imshow(
            sound.spectrogram,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=low_db,
            vmax=max(high_db, low_db + 1e-6),
            extent=(0, sound.spectrogram.shape[1], 0, sound.rate / 2000),
        )
        image.set_ylabel("kHz", fontsize=7, color=GREY)
        bins, segments = sound.spectrogram.shape
        image.set_xlabel(
            f"segment of the spectrogram as the network gets it: {bins} frequencies x {segments} segments",
            fontsize=7,
            color=GREY,
            labelpad=1,
        )


def _envelope(
    samples: NDArray[np.float32], start: float, rate: int, points: int = 1200
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return the lowest and the highest sample of each short stretch, and when it is."""
    if not len(samples):
        nothing = np.zeros(1, np.float32)
        return nothing, nothing, np.array([start])
    edges = np.unique(np.linspace(0, len(samples), min(points, len(samples)) + 1).astype(np.int64))[:-1]
    low = np.minimum.reduceat(samples, edges)
    return low, np.maximum.reduceat(samples, edges), start + edges / rate


def _cut(text: str, length: int) -> str:
    """Return the text, its middle left out where it is longer than ``length``."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    if len(text) <= length:
        return text
    return text[: length // 2 - 1] + "…" + text[len(text) - (length - length // 2) :]
