"""Embeddings-only scoring: arrays in, table out.

`evaluate` and ``openood-mm score`` are the two doors to it.  `npz` and `inputs` read and check what is given,
`choice` settles which scores run, `run` scores, `table` and `files` hand the results over.
"""

from .choice import DEFAULT_SCORES
from .table import evaluate

__all__ = ["DEFAULT_SCORES", "evaluate"]
