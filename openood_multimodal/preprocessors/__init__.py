"""What is done to features between the file and the network."""

from .base import MultimodalPreprocessor
from .noise import GaussianNoise

__all__ = ["GaussianNoise", "MultimodalPreprocessor"]
