"""The Audio Spectrogram Transformer, through Hugging Face's transformers."""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import MissingPackageError, UserError

FREQUENCIES = 257
FRAMES = 1004
"""Size of this package's spectrograms of 10 s: 16 kHz, windows of 512 that overlap by 353."""


class _SpectrogramTransformer(nn.Module):
    """Spectrograms ``[B, 1, F, T]`` → the mean of the class and distillation tokens, ``[B, 768]``."""

    def __init__(self, model: nn.Module, frequencies: int, frames: int) -> None:
        super().__init__()
        self.model = model
        self.size = (frequencies, frames)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != (1, *self.size):
            raise UserError(
                f"ast takes spectrograms of {self.size[0]} frequencies x {self.size[1]} frames, got "
                f"{tuple(x.shape[2:])}; set preprocessor.audio.seconds to 10."
            )
        return self.model(input_values=x.squeeze(1).transpose(1, 2)).pooler_output


def build_ast() -> tuple[nn.Module, tuple[tuple[str, ...], ...], int]:
    """Return the backbone with random weights, its stages (a stage a layer) and the embedding's width.

    Raises:
        MissingPackageError: when transformers is not installed.
    """
    try:
        from transformers import ASTConfig, ASTModel
    except ImportError as error:
        raise MissingPackageError(
            f"the encoder 'ast' needs transformers, which can't be imported ({error}). Run: pip install transformers"
        ) from error
    config = ASTConfig(num_mel_bins=FREQUENCIES, max_length=FRAMES)
    model = ASTModel(config)
    layers = tuple((f"model.encoder.layer.{i}",) for i in range(config.num_hidden_layers - 1))
    last = (f"model.encoder.layer.{config.num_hidden_layers - 1}", "model.layernorm")
    return _SpectrogramTransformer(model, FREQUENCIES, FRAMES), (*layers, last), int(config.hidden_size)
