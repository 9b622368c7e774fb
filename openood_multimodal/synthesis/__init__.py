"""Outlier synthesis from embeddings: a bank of recent ones a class, and what mixes them."""

from .bank import EmbeddingBank
from .npmix import NPMix
from .outliers import Outliers

__all__ = ["EmbeddingBank", "NPMix", "Outliers"]
