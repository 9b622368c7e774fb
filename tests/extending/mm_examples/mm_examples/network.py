"""A network: one linear layer for each modality."""

from torch import nn

from openood_multimodal.networks import MultimodalNetwork


class LinearEncoder(nn.Linear):
    """Features [B, in_features] to embeddings [B, embedding_dim]."""

    def __init__(self, in_features, embedding_dim):
        super().__init__(in_features, embedding_dim)
        self.embedding_dim = embedding_dim


class LinearFusionNet(MultimodalNetwork):
    """A linear encoder for each modality; the heads are the base class's."""

    def __init__(self, num_classes: int, modalities: list[str], input_dims: dict[str, int], width: int = 32):
        super().__init__({name: LinearEncoder(input_dims[name], width) for name in modalities}, num_classes)
