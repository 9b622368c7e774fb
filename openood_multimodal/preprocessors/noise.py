"""Gaussian jitter of features: the tabular stand-in for augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..datasets.batch import ModalityBatch
from ..errors import UserError
from ..registry import PREPROCESSORS
from .base import MultimodalPreprocessor

LARGEST_STD = 1e6
"""Noise of a larger standard deviation leaves nothing of features whose own is 1, and float32 in the end."""


@PREPROCESSORS.register("multimodal_noise")
class GaussianNoise(MultimodalPreprocessor):
    """Adds Gaussian noise to standardised features, on the train split only.

    A sample's noise comes from a counter-based generator (Philox, Salmon et al., SC 2011) whose key is the
    seed and whose counter starts at (epoch, index).  One stream serves all of a sample's modalities in turn.
    """

    @dataclass(frozen=True)
    class Params:
        """Parameters.

        Attributes:
            noise_std: standard deviation of the noise; the features have 1.
        """

        noise_std: float = 0.1

    def __init__(self, config: Mapping[str, Any], split: str) -> None:
        super().__init__(config, split)
        if not 0 <= self.params.noise_std <= LARGEST_STD:
            raise UserError(
                f"preprocessor.noise_std is {self.params.noise_std}; it must be a number from 0 to {LARGEST_STD:g}."
            )

    def __call__(self, data: ModalityBatch, seed: int, epoch: int, indices: Sequence[int]) -> ModalityBatch:
        """Return ``data`` plus noise, or ``data`` itself outside training; see the base class."""
        if self.split != "train" or self.params.noise_std == 0:
            return data
        widths = [math.prod(tensor.shape[1:]) for tensor in data.values()]
        draws = np.stack([standard_normal(seed, epoch, int(index), sum(widths)) for index in indices])
        noise = torch.from_numpy(draws * np.float32(self.params.noise_std))
        parts = noise.split(widths, dim=1)
        return ModalityBatch(
            (name, tensor + part.reshape(tensor.shape).to(tensor))
            for (name, tensor), part in zip(data.items(), parts, strict=True)
        )


def standard_normal(seed: int, epoch: int, index: int, count: int) -> NDArray[np.float32]:
    """Return ``count`` standard normal float32 draws that belong to (seed, epoch, index)."""
    # Draws advance the counter's lowest word, so streams of different (epoch, index) never meet.
    bits = np.random.Philox(
        key=np.uint64(seed % 2**64), counter=np.array([0, 0, epoch, index], dtype=np.uint64)
    )
    return np.random.Generator(bits).standard_normal(count, dtype=np.float32)
