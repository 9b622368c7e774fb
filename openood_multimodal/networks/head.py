"""The fusion head alone, answering the network protocol on stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import LinearHead
from ..errors import UserError
from .fusion import MultimodalOutput, arrays_of


class EmbeddingHead(nn.Module):
    """``Z → logits``, with the protocol of `MultimodalNetwork`, so that a postprocessor can't tell the two apart.

    Args:
        weight: ``[C, D]``, array or tensor.
        bias: ``[C]``.
        modality_heads: modality → its own head, in the order of the concatenation; empty if unknown.

    The input is never changed: OpenOOD's ASH and SCALE write into the features that they are given, so those
    handed out are copies.
    """

    def __init__(
        self,
        weight: NDArray[Any] | Tensor,
        bias: NDArray[Any] | Tensor,
        modality_heads: Mapping[str, LinearHead] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        head = LinearHead(np.asarray(weight), np.asarray(bias), modality_heads)
        self.fc = _linear(head)
        self.heads = nn.ModuleDict({name: _linear(each) for name, each in modality_heads.items()})
        dims = [each.dim for each in modality_heads.values()]
        if dims and sum(dims) != head.dim:
            raise UserError(
                f"the modality heads read {sum(dims)} columns together, the fusion head {head.dim}."
            )

    @property
    def feature_size(self) -> int:
        """D."""
        return self.fc.in_features

    @property
    def num_classes(self) -> int:
        """C."""
        return self.fc.out_features

    @property
    def backbone(self) -> EmbeddingHead:
        """The module itself; see `MultimodalNetwork.backbone`."""
        return self

    def forward_modalities(self, data: Tensor) -> MultimodalOutput:
        """As `MultimodalNetwork.forward_modalities`, on embeddings ``[B, D]``.

        Raises:
            UserError: where the modality heads aren't known.
        """
        if not len(self.heads):
            raise UserError(
                "the heads of the single modalities aren't known; give EmbeddingHead(modality_heads=)."
            )
        features = data.clone()
        parts = features.split([head.in_features for head in self.heads.values()], dim=1)
        embeddings = dict(zip(self.heads, parts, strict=True))
        own = {name: head(embeddings[name]) for name, head in self.heads.items()}
        return MultimodalOutput(self.fc(features), features, embeddings, own)

    def forward(self, data: Tensor, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        """As `MultimodalNetwork.forward`, on embeddings ``[B, D]``."""
        logits = self.fc(data)
        if return_feature:
            return logits, data.clone()
        if return_feature_list:
            return logits, [data.clone()]
        return logits

    def forward_threshold(self, data: Tensor, threshold: float) -> Tensor:
        """As `MultimodalNetwork.forward_threshold`."""
        return self.fc(data.clamp(max=threshold))

    def get_fc(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight ``[C, D]`` and bias ``[C]`` as NumPy arrays."""
        return arrays_of(self.fc)

    def get_modality_fcs(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """As `MultimodalNetwork.get_modality_fcs`; empty where the heads aren't known."""
        return {name: arrays_of(head) for name, head in self.heads.items()}

    def get_fc_layer(self) -> nn.Linear:
        """Return the head."""
        return self.fc


def _linear(head: LinearHead) -> nn.Linear:
    layer = nn.Linear(head.dim, head.num_classes)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(head.weight))
        layer.bias.copy_(torch.as_tensor(head.bias))
    return layer
