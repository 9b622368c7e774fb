"""Encoders: one modality's input → its embedding.

An encoder is a module with an integer attribute ``embedding_dim`` whose ``forward`` maps ``[B, ...]`` to
``[B, embedding_dim]``.  Nothing else is asked of it, so a video backbone fits the same seam as an MLP.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import UserError


class MLPEncoder(nn.Module):
    """Two linear layers, each followed by a ReLU.

    The last ReLU keeps embeddings non-negative, as a convolutional backbone's pooled features are; ReAct and
    ASH are defined on such features.

    Args:
        input_dim: number of input features.
        hidden_dim: width of the hidden layer.
        embedding_dim: width of the embedding.

    Raises:
        UserError: when a width isn't positive.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 256, embedding_dim: int = 512) -> None:
        super().__init__()
        widths = {"input_dim": input_dim, "hidden_dim": hidden_dim, "embedding_dim": embedding_dim}
        for name, width in widths.items():
            if width < 1:
                raise UserError(f"an MLP encoder needs {name} >= 1, got {width}.")
        self.input_dim = input_dim
        self.embedding_dim = embedding_dim
        self.layers = nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, embedding_dim), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, input_dim]`` to ``[B, embedding_dim]``, non-negative.

        Raises:
            UserError: when the input has another width.
        """
        if x.size(-1) != self.input_dim:
            raise UserError(
                f"this encoder takes {self.input_dim} input features, got {x.size(-1)}; "
                "network.input_dims must state the widths of the dataset's modalities."
            )
        return self.layers(x)
