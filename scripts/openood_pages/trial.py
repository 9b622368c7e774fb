"""The small seeded problem that the support table is made on: two inputs, four classes, one trained network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.networks import MLPFusionNet, MultimodalNetwork

CLASSES = 4
WIDTHS = {"video": 16, "audio": 2}
ROWS = {"train": 400, "val": 200, "test": 200, "ood": 200}
BATCH = 50


class BatchList:
    """A loader over tensors in memory: ``{"data": ModalityBatch, "label": [B]}``, in order."""

    def __init__(self, data: dict[str, Tensor], labels: Tensor, batch_size: int = BATCH) -> None:
        self.data = data
        self.labels = labels
        self.batch_size = batch_size
        self.dataset = range(len(labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Any:
        for start in range(0, len(self.labels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield {
                "data": ModalityBatch((name, tensor[rows].clone()) for name, tensor in self.data.items()),
                "label": self.labels[rows].clone(),
            }


class Trial(NamedTuple):
    """A trained network, its inputs and its embeddings.

    Attributes:
        net: the network, in evaluation mode.
        loaders: ``train``, ``val``, ``test`` and ``ood`` → batches of inputs.
        sets: the same names → embeddings.
        head: the fusion head.
    """

    net: MultimodalNetwork
    loaders: dict[str, BatchList]
    sets: dict[str, Embeddings]
    head: LinearHead


def make_trial(seed: int = 0) -> Trial:
    """Draw the inputs, train the network for a moment, extract the embeddings."""
    generator = torch.Generator().manual_seed(seed)
    centres = {name: 1.2 * torch.randn(CLASSES, width, generator=generator) for name, width in WIDTHS.items()}
    order = torch.randperm(CLASSES, generator=generator)
    loaders = {}
    for name, rows in ROWS.items():
        labels = torch.arange(rows) % CLASSES
        data = {}
        for modality, centre in centres.items():
            noise = torch.randn(rows, centre.shape[1], generator=generator)
            # OOD: halfway between two classes, and wider
            mean = centre[labels] if name != "ood" else 0.5 * (centre[labels] + centre[order][labels])
            data[modality] = mean + (1.5 if name == "ood" else 1.0) * noise
        loaders[name] = BatchList(data, labels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = MLPFusionNet(CLASSES, list(WIDTHS), WIDTHS, hidden_dim=32, embedding_dim=24)
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(8):
            for batch in loaders["train"]:
                optimizer.zero_grad()
                cross_entropy(net(batch["data"]), batch["label"]).backward()
                optimizer.step()
    optimizer.zero_grad()
    net.eval()
    sets = {name: _extract(net, loader, ood=name == "ood") for name, loader in loaders.items()}
    return Trial(net, loaders, sets, LinearHead(*net.get_fc()))


def _extract(net: MultimodalNetwork, loader: BatchList, ood: bool) -> Embeddings:
    with torch.no_grad():
        features = torch.cat([net(batch["data"], return_feature=True)[1] for batch in loader]).numpy()
    features.setflags(write=False)
    labels = np.full(len(features), -1) if ood else loader.labels.numpy()
    return Embeddings(features, labels.astype(np.int64), slices=net.slices)
