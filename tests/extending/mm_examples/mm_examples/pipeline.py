"""A pipeline: the accuracy of each modality's own head."""

import torch

from openood_multimodal.datasets.loaders import build_loaders
from openood_multimodal.networks import build_network


class ModalityAccuracy:
    """Prints the accuracy of the fusion head and of each modality's head on the test set."""

    def __init__(self, config):
        self.config = config

    @torch.no_grad()
    def run(self):
        net = build_network(self.config["network"]).eval()
        hits, count = {}, 0
        for batch in build_loaders(self.config, training=False)["test"]:
            output = net.forward_modalities(batch["data"])
            for name, logits in {"fused": output.logits, **output.modality_logits}.items():
                hits[name] = hits.get(name, 0) + int((logits.argmax(1) == batch["label"]).sum())
            count += len(batch["label"])
        for name, right in hits.items():
            print(f"{name}: {right / count:.4f}")
        return hits
