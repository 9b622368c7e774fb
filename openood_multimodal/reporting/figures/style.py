"""How every figure looks: width of a paper's column, type, colours, and how it is written.

A name has the same colour (`reporting.colours`), dash and marker in every figure.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import MissingPackageError
from ...escapes import one_line
from ...files.atomic import write_bytes
from .. import colours
from ..methods import TITLES, TRAININGS

WIDTH = 3.3
"""Inches: one column of a two-column page."""

FORMATS = ("png", "pdf", "svg")

ID_COLOUR, OOD_COLOUR = "#0072B2", "#D55E00"
INK, FAINT = "#222222", "#888888"

_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D")

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "pdf.fonttype": 42,
    "svg.hashsalt": "openood-multimodal",
    "svg.fonttype": "none",
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Date": None},
}
"""Without dates and versions, so that the same figure has the same bytes."""


class Style(NamedTuple):
    """How a name is drawn: colour, dash of lines, marker of points."""

    colour: str
    dash: Any
    marker: str


def style_of(name: str) -> Style:
    """Return the style of a postprocessor, a training method or a set of modalities, the same wherever it is drawn.

    >>> style_of("knn") == style_of("knn"), style_of("knn") == style_of("vim")
    (True, False)
    """
    colour, kind = colours.style_of(name)
    return Style(colours.PALETTE[colour], _DASHES[kind], _MARKERS[kind])


def title_of(name: str) -> str:
    """Return the title of a postprocessor or training method, the name where it has none."""
    return TITLES.get(name) or TRAININGS.get(name, name)


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in this style within the block.

    Raises:
        MissingPackageError: where matplotlib is missing.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingPackageError(
            'figures need matplotlib: pip install "openood-multimodal[report]".'
        ) from error
    with rc_context(_RC):
        yield


def panels(rows: int, columns: int, height: float, width: float = WIDTH, **options: Any) -> tuple[Any, Any]:
    """Return a figure and its axes ``[rows, columns]``; sizes in inches, ``options`` are of ``Figure.subplots``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def legend_below(figure: Any, axes: Any, columns: int = 2, **options: Any) -> None:
    """Put the legend of ``axes`` below the panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), **options)


def save(figure: Any, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write the figure in every format and return the paths; the same figure has the same bytes."""
    plain_text(figure)
    stem = re.sub(r"[^\w.+=-]+", "_", name).lstrip(".")
    paths = []
    for each in formats:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=each, dpi=300, metadata=_METADATA[each])
        paths.append(folder / f"{stem}.{each}")
        write_bytes(paths[-1], buffer.getvalue())
    return paths


def plain_text(figure: Any) -> None:
    """Draw a figure's texts as they are: names out of files may hold dollars and controls."""
    from matplotlib.text import Text

    for each in figure.findobj(Text):
        each.set_parse_math(False)
        each.set_text("\n".join(map(one_line, each.get_text().split("\n"))))
