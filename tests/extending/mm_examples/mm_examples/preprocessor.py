"""A preprocessor: modality dropout."""

from dataclasses import dataclass

import numpy as np
import torch

from openood_multimodal.datasets import ModalityBatch
from openood_multimodal.preprocessors import MultimodalPreprocessor


class ModalityDropout(MultimodalPreprocessor):
    """In training, sets one modality of a sample to zero with a given probability."""

    @dataclass(frozen=True)
    class Params:
        probability: float = 0.2

    def __call__(self, data, seed, epoch, indices):
        if self.split != "train":
            return data
        dropped = []
        for index in indices:  # what is drawn depends on seed, epoch and sample alone
            random = np.random.default_rng([seed, epoch, int(index)])
            drop = random.random() < self.params.probability
            dropped.append(int(random.integers(len(data.keys()))) if drop else -1)
        gone = torch.tensor(dropped)
        return ModalityBatch(
            (name, values.masked_fill((gone == place).view(-1, *[1] * (values.ndim - 1)), 0.0))
            for place, (name, values) in enumerate(data.items())
        )
