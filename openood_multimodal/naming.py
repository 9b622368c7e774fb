"""Suggestions for misspelt names, worded the same way everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` when ``known`` holds a close match for ``name``, else the known names.

    The result starts with a blank, so that it can be appended to a sentence.
    """
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    if not names:
        return " There are none."
    return f" Known: {', '.join(names)}."
