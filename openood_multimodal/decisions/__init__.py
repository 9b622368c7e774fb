"""Decisions: accept a sample as in-distribution or reject it, at an error rate chosen beforehand.

`rules` holds the maths, `saved` the file that a decision is applied again from, `decide` the way from embeddings to
decisions, `report` the table and the summary; `inspection` tells where scores go wrong, by a threshold.
"""

from .decide import Decisions, decide
from .inspection import Inspection, inspect_scores
from .saved import SavedDecision

__all__ = ["Decisions", "Inspection", "SavedDecision", "decide", "inspect_scores"]
