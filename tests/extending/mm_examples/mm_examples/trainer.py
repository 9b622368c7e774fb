"""A trainer: multi-head cross-entropy with a confidence penalty."""

from dataclasses import dataclass

from openood_multimodal.trainers import MultiHeadTrainer


class EntropyRegularisedTrainer(MultiHeadTrainer):
    """Multi-head cross-entropy, minus the weighted entropy of the fused prediction."""

    @dataclass(frozen=True)
    class Params:
        weight: float = 0.1  # the keys of the section trainer

    def compute_losses(self, output, labels, epoch_idx):
        terms = super().compute_losses(output, labels, epoch_idx)
        p = output.logits.softmax(-1)
        terms["entropy"] = self.params.weight * (p * p.clamp_min(1e-12).log()).sum(-1).mean()
        return terms
