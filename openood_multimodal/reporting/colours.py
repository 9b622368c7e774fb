"""The colour of a name, the same in every figure and on the page.

The colours are those of Okabe and Ito, which readers with any of the common colour deficiencies can tell apart.
"""

from __future__ import annotations

from zlib import crc32

from .methods import TITLES, TRAININGS

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

DARK = {"#000000": "#FFFFFF"}
"""Colour → the one in its place on a dark background."""

KINDS = 4
"""Marks (on the page) or dashes and markers (in figures) that tell names of one colour apart."""


def style_of(name: str) -> tuple[int, int]:
    """Return the place of a name's colour in `PALETTE`, and its kind, below `KINDS`.

    Args:
        name: a postprocessor, a training method, or anything else, e.g. a set of modalities.
    """
    known = list(TRAININGS) if name in TRAININGS else [*TITLES, "discrepancy"]
    number = known.index(name) if name in known else crc32(name.encode())
    return number % len(PALETTE), number // len(PALETTE) % KINDS
