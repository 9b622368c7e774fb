"""The nearest known key or file, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher


def nearest_name(name: str, known: Iterable[str], noun: str = "key", separator: str = ".") -> str:
    """Return a sentence that names the known name nearest to ``name``, after a blank; "" if there is none.

    A name is near when it is spelt alike as a whole, or in its last part: ``lr`` is near ``optimizer.lr``.
    Unlike `openood_multimodal.naming.did_you_mean`, this never lists all: a configuration has a hundred keys.
    """
    last = name.rpartition(separator)[2]

    def likeness(other: str) -> float:
        whole = SequenceMatcher(None, name, other).ratio()
        return max(
            whole, 0.9 * SequenceMatcher(None, last, other.rpartition(separator)[2]).ratio() + 0.1 * whole
        )

    scored = [(likeness(each), each) for each in known]
    if not scored:
        return ""
    score, best = max(scored, key=lambda pair: (pair[0], -len(pair[1])))
    return f" Did you mean '{best}'?" if score >= 0.6 else f" The nearest known {noun} is '{best}'."
