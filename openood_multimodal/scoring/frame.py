"""The table that `evaluate` returns; apart, so that the command line needs no pandas."""

from __future__ import annotations

import pandas as pd

WIDTH = 80


class ResultTable(pd.DataFrame):
    """A `pandas.DataFrame` that prints every column, in percent with two decimals, in lines of 80 characters.

    Its values are not rounded, and whatever is selected or computed from it is a plain `pandas.DataFrame`.
    """

    def __repr__(self) -> str:
        """Return all of it as text; where columns take several blocks, each begins with the names of its rows."""
        names = [name for name in ("condition", "applied_to", "postprocessor", "dataset") if name in self]
        shown = self.set_index(names) if names else self
        return str(shown.to_string(float_format="{:.2f}".format, line_width=WIDTH, sparsify=False))
