"""An encoder of clips: a backbone, pooling, dropout; which stages train, and what batch norm does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import UserError

BATCH_NORM = ("drifting", "trained_stages", "frozen")

Pool = Callable[[object], Tensor]


class ClipEncoder(nn.Module):
    """Map one modality's clips to embeddings.

    The stages that don't train need no gradient, so that autograd keeps nothing of them.

    Args:
        backbone: the network.
        stages: names of the backbone's modules, a tuple a stage, from the input on.
        pool: the backbone's output → ``[B, embedding_dim]``.
        embedding_dim: width of the embedding.
        in_channels: channels of the input, which is ``[B, C, T, H, W]`` (0 for spectrograms, ``[B, 1, F, T]``).
        dropout: share of the embedding that training sets to 0, as the recogniser heads of mmaction2 do.  MultiOOD's
            code takes the embedding after it, for the modality's head, the fusion head and the bank alike.
        train_stages: how many of the last stages train; -1 for the whole backbone.
        batch_norm: during training, statistics of ``drifting``: all layers follow the data (MultiOOD's code: also in
            stages that don't train); ``trained_stages``: those of the stages that train; ``frozen``: none.

    Raises:
        UserError: for more stages than there are, another ``batch_norm``, a dropout outside [0, 1).
    """

    def __init__(
        self,
        backbone: nn.Module,
        stages: Sequence[tuple[str, ...]],
        pool: Pool,
        embedding_dim: int,
        in_channels: int,
        *,
        dropout: float = 0.5,
        train_stages: int = 1,
        batch_norm: str = "drifting",
    ) -> None:
        super().__init__()
        if not -1 <= train_stages <= len(stages):
            raise UserError(
                f"train_stages is {train_stages}; this backbone has {len(stages)} stages: give 0 to "
                f"{len(stages)}, or -1 for all of it."
            )
        if batch_norm not in BATCH_NORM:
            raise UserError(f"batch_norm is '{batch_norm}'; it must be one of {', '.join(BATCH_NORM)}.")
        if not 0.0 <= dropout < 1.0:
            raise UserError(f"dropout is {dropout}; it must be at least 0 and below 1.")
        self.backbone = backbone
        self.embedding_dim = embedding_dim
        self.in_channels = in_channels
        self.batch_norm = batch_norm
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.stages = tuple(tuple(stage) for stage in stages)
        self.trained = self.last_stages(train_stages)
        self.backbone.requires_grad_(train_stages == -1)
        for name in self.trained:
            self.backbone.get_submodule(name).requires_grad_(True)

    def last_stages(self, count: int) -> tuple[str, ...]:
        """Return the names of the backbone's modules in its last ``count`` stages; of all of it for -1."""
        if count == -1:
            return ("",)
        return tuple(name for stage in self.stages[len(self.stages) - count :] for name in stage)

    def forward(self, x: Tensor) -> Tensor:
        """Map clips to ``[B, embedding_dim]``.

        Raises:
            UserError: when the input has another number of channels.
        """
        if self.in_channels and (x.dim() != 5 or x.size(1) != self.in_channels):
            raise UserError(
                f"this encoder takes clips [B, {self.in_channels}, T, H, W], got {tuple(x.shape)}. Look at the "
                "modality's section under preprocessor."
            )
        return self.dropout(self.pool(self.backbone(x)))

    def train(self, mode: bool = True) -> ClipEncoder:
        """As `torch.nn.Module.train`; batch norm whose statistics are to stay keeps evaluating."""
        super().train(mode)
        if mode and self.batch_norm != "drifting":
            moving = set(self._layers(self.trained)) if self.batch_norm == "trained_stages" else set()
            for layer in self._layers(("",)):
                layer.train(layer in moving)
        return self

    def _layers(self, names: Sequence[str]) -> Iterator[nn.Module]:
        for name in names:
            for module in self.backbone.get_submodule(name).modules():
                if isinstance(module, _BatchNorm):
                    yield module
