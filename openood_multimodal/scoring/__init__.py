"""Embeddings-only scoring: arrays in, table out.

`evaluate` and ``openood-mm score`` are the two doors to it.  `inputs` reads what is given, `task` and `needs` check
it, `run` scores, `table`, `files` and `recording` hand the results over.
"""

from ..postprocessors.run import DEFAULT_SCORES
from .table import evaluate

__all__ = ["DEFAULT_SCORES", "evaluate"]
