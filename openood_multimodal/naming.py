"""Suggestions for misspelt names, worded the same way everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` when ``known`` holds a close match for ``name``, else the known names.

    The result starts with a blank, so that it can be appended to a sentence.

    >>> did_you_mean("gama", ["gamma", "protocol"])
    " Did you mean 'gamma'?"
    >>> did_you_mean("x", ["gamma", "protocol"])
    ' Known: gamma, protocol.'
    """
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    if not names:
        return " There are none."
    return f" Known: {', '.join(names)}."


def nearest_name(name: str, known: Iterable[str], noun: str = "key", separator: str = ".") -> str:
    """Return a sentence that names the known name nearest to ``name``, after a blank; "" if there is none.

    A name is near when it is spelt alike as a whole, or in its last part: ``lr`` is near ``optimizer.lr``.
    Unlike `did_you_mean`, this never lists all: a configuration has a hundred keys.
    """
    last = name.rpartition(separator)[2]

    def likeness(other: str) -> float:
        whole = difflib.SequenceMatcher(None, name, other).ratio()
        return max(
            whole,
            0.9 * difflib.SequenceMatcher(None, last, other.rpartition(separator)[2]).ratio() + 0.1 * whole,
        )

    scored = [(likeness(each), each) for each in known]
    if not scored:
        return ""
    score, best = max(scored, key=lambda pair: (pair[0], -len(pair[1])))
    return f" Did you mean '{best}'?" if score >= 0.6 else f" The nearest known {noun} is '{best}'."
