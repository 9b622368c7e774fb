"""An outlier synthesis: noise around the mean of each class."""

from dataclasses import dataclass

import torch

from openood_multimodal.synthesis import Outliers


@dataclass(frozen=True)
class NoisyPrototypes:
    """Each class's mean embedding, moved by Gaussian noise."""

    std: float = 1.0  # the keys of trainer.synthesis_args

    @torch.no_grad()
    def __call__(self, bank, generator=None):
        bank.require_full()
        prototypes = bank.prototypes().to(bank.dtype)  # [C, D]
        noise = torch.randn(prototypes.shape, generator=generator, dtype=bank.dtype).to(bank.device)
        return Outliers(prototypes + self.std * noise)
