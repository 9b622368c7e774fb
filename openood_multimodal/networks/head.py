"""The fusion head alone, answering the network protocol on stored embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import LinearHead


class EmbeddingHead(nn.Module):
    """``Z → logits``, with the protocol of `MultimodalNetwork`, so that a postprocessor can't tell the two apart.

    Args:
        weight: ``[C, D]``, array or tensor.
        bias: ``[C]``.

    The input is never changed: OpenOOD's ASH and SCALE write into the features that they are given, so those
    handed out are copies.
    """

    def __init__(self, weight: NDArray[Any] | Tensor, bias: NDArray[Any] | Tensor) -> None:
        super().__init__()
        head = LinearHead(np.asarray(weight), np.asarray(bias))
        self.fc = nn.Linear(head.dim, head.num_classes)
        with torch.no_grad():
            self.fc.weight.copy_(torch.as_tensor(head.weight))
            self.fc.bias.copy_(torch.as_tensor(head.bias))

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
        return self.fc.weight.detach().cpu().numpy(), self.fc.bias.detach().cpu().numpy()

    def get_fc_layer(self) -> nn.Linear:
        """Return the head."""
        return self.fc
