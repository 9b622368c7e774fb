"""The multimodal network: an encoder a modality, concatenated embeddings, one fusion head, a head a modality.

Notation of MultiOOD (NeurIPS 2024), Section 2: encoders g_k, embeddings Z^k, fusion head h, modality heads h_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from ..registry import NETWORKS
from .encoders import MLPEncoder


class MultimodalOutput(NamedTuple):
    """All that one forward pass yields.

    Attributes:
        logits: ``[B, C]``, of the fusion head on the concatenated embedding.
        features: ``[B, D]``, the concatenated embedding, D = ΣD_k.
        embeddings: modality → ``[B, D_k]``, views of ``features``.
        modality_logits: modality → ``[B, C]``, of that modality's own head.
    """

    logits: Tensor
    features: Tensor
    embeddings: dict[str, Tensor]
    modality_logits: dict[str, Tensor]


class MultimodalNetwork(nn.Module):
    """Encoders, a fusion head and modality heads, speaking the protocol of OpenOOD's postprocessors.

    Args:
        encoders: modality → module with ``embedding_dim``; their order is the order of the concatenation.
        num_classes: C, the number of in-distribution classes, at least 2.

    Raises:
        UserError: without encoders, with one that has no ``embedding_dim``, or with fewer than two classes.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], num_classes: int) -> None:
        super().__init__()
        if not encoders:
            raise UserError("a multimodal network needs at least one modality; network.modalities is empty.")
        if num_classes < 2:
            raise UserError(f"network.num_classes is {num_classes}; a classifier needs at least 2 classes.")
        dims: dict[str, int] = {}
        for name, encoder in encoders.items():
            dim = getattr(encoder, "embedding_dim", None)
            if not isinstance(dim, int):
                raise UserError(
                    f"the encoder of modality '{name}', {type(encoder).__name__}, has no integer `embedding_dim`."
                )
            dims[name] = dim
        self.num_classes = num_classes
        self.embedding_dims = dims
        self.encoders = nn.ModuleDict(dict(encoders))
        self.fc = nn.Linear(sum(dims.values()), num_classes)
        self.heads = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name, dim in dims.items()})

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modality names, in the order of the concatenated embedding."""
        return tuple(self.embedding_dims)

    @property
    def feature_size(self) -> int:
        """D, the width of the concatenated embedding."""
        return self.fc.in_features

    @property
    def slices(self) -> dict[str, tuple[int, int]]:
        """Modality → ``(start, stop)`` columns of the concatenated embedding."""
        stops = np.cumsum(list(self.embedding_dims.values())).tolist()
        starts = [0, *stops[:-1]]
        return {name: (a, b) for name, a, b in zip(self.embedding_dims, starts, stops, strict=True)}

    @property
    def backbone(self) -> MultimodalNetwork:
        """The network itself: OpenOOD's code reaches through ``.backbone`` for what answers this protocol."""
        return self

    def embed(self, data: Mapping[str, Tensor]) -> Tensor:
        """Return the concatenated embedding ``[B, D]``.

        Raises:
            UserError: when a modality of this network is not in ``data``.
        """
        missing = [name for name in self.embedding_dims if name not in data]
        if missing:
            raise UserError(
                f"the network needs the modalities {', '.join(self.embedding_dims)}; this batch lacks "
                f"{', '.join(missing)}. dataset.modalities and network.modalities must agree."
            )
        return torch.cat([self.encoders[name](data[name]) for name in self.embedding_dims], dim=1)

    def split(self, features: Tensor) -> dict[str, Tensor]:
        """Split concatenated embeddings ``[B, D]`` into modality → ``[B, D_k]`` views."""
        parts = features.split(list(self.embedding_dims.values()), dim=1)
        return dict(zip(self.embedding_dims, parts, strict=True))

    def classify_modalities(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return modality → ``[B, C]`` logits of the modality heads."""
        return {name: self.heads[name](embeddings[name]) for name in self.embedding_dims}

    def forward_modalities(self, data: Mapping[str, Tensor]) -> MultimodalOutput:
        """Run everything once; see `MultimodalOutput`."""
        return self.classify(self.embed(data))

    def classify(self, features: Tensor) -> MultimodalOutput:
        """Return what the heads make of concatenated embeddings ``[B, D]``."""
        embeddings = self.split(features)
        return MultimodalOutput(self.fc(features), features, embeddings, self.classify_modalities(embeddings))

    def forward(
        self, data: Mapping[str, Tensor], return_feature: bool = False, return_feature_list: bool = False
    ) -> Any:
        """Return ``logits [B, C]``, or ``(logits, features [B, D])``, or ``(logits, [Z^1, ..., Z^M])``.

        The flags are OpenOOD's.
        """
        features = self.embed(data)
        logits = self.fc(features)
        if return_feature:
            return logits, features
        if return_feature_list:
            return logits, list(self.split(features).values())
        return logits

    def forward_threshold(self, data: Mapping[str, Tensor], threshold: float) -> Tensor:
        """Return logits ``[B, C]`` of embeddings clipped at ``threshold`` (ReAct, NeurIPS 2021)."""
        return self.fc(self.embed(data).clamp(max=threshold))

    def get_fc(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the fusion head as NumPy arrays: weight ``[C, D]``, bias ``[C]``."""
        return arrays_of(self.fc)

    def get_modality_fcs(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """Return modality → its own head as NumPy arrays: weight ``[C, D_k]``, bias ``[C]``."""
        return {name: arrays_of(head) for name, head in self.heads.items()}

    def get_fc_layer(self) -> nn.Linear:
        """Return the fusion head."""
        return self.fc


def arrays_of(layer: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a linear layer's weight and bias as NumPy arrays; on a CPU they share its memory."""
    return layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()


def check_modalities(modalities: Sequence[str], known: Mapping[str, Any], where: str) -> None:
    """Check that every modality has its entry in ``known``, and is named once.

    Raises:
        UserError: naming the modality, and ``where`` the entries stand in the config.
    """
    unknown = [name for name in modalities if name not in known]
    if unknown:
        raise UserError(
            f"network.modalities names {', '.join(unknown)}, which {where} does not have; it has {', '.join(known)}."
        )
    if len(set(modalities)) != len(modalities):
        raise UserError(f"network.modalities names a modality twice: {', '.join(modalities)}.")


@NETWORKS.register("mlp_fusion")
class MLPFusionNet(MultimodalNetwork):
    """`MultimodalNetwork` with an `MLPEncoder` for every modality.

    Args:
        num_classes: number of in-distribution classes.
        modalities: names, in the order of the concatenated embedding.
        input_dims: modality → number of input features; may name more modalities than are used.
        hidden_dim: hidden width of every encoder.
        embedding_dim: embedding width of every encoder.

    Raises:
        UserError: when a modality has no entry in ``input_dims``, or is named twice.
    """

    def __init__(
        self,
        num_classes: int,
        modalities: Sequence[str],
        input_dims: Mapping[str, int],
        hidden_dim: int = 256,
        embedding_dim: int = 512,
    ) -> None:
        check_modalities(modalities, input_dims, "network.input_dims")
        super().__init__(
            {name: MLPEncoder(input_dims[name], hidden_dim, embedding_dim) for name in modalities},
            num_classes,
        )
