"""What is done to features between the file and the network."""

from .base import MultimodalPreprocessor
from .clip import ClipPreprocessor
from .noise import GaussianNoise

__all__ = ["ClipPreprocessor", "GaussianNoise", "MultimodalPreprocessor"]
