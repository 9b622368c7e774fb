"""Outlier synthesis from embeddings: a bank of recent ones a class, and what makes outliers of them."""

from .bank import EmbeddingBank
from .blocks import mix_blocks
from .diverse import diverse_outliers
from .feature_mixing import FeatureMixing
from .mixup import Mixup
from .none import NoOutliers
from .npmix import NPMix
from .npos import NPOS
from .outliers import Outliers
from .vos import VOS

__all__ = [
    "NPOS",
    "VOS",
    "EmbeddingBank",
    "FeatureMixing",
    "Mixup",
    "NPMix",
    "NoOutliers",
    "Outliers",
    "diverse_outliers",
    "mix_blocks",
]
