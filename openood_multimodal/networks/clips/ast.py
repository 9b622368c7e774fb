"""The Audio Spectrogram Transformer, through Hugging Face's transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import MissingPackageError, UserError

FREQUENCIES = 257
FRAMES = 1004
"""Size of this package's spectrograms of 10 s: 16 kHz, windows of 512 that overlap by 353."""


class SpectrogramTransformer(nn.Module):
    """Spectrograms ``[B, 1, F, T]`` → the mean of the class and distillation tokens, ``[B, 768]``.

    Args:
        model: an ``ASTModel``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Map spectrograms to embeddings.

        Raises:
            UserError: when they have another size than the model was made for.
        """
        size = (self.model.config.num_mel_bins, self.model.config.max_length)
        if tuple(x.shape[1:]) != (1, *size):
            raise UserError(
                f"this ast takes spectrograms of {size[0]} frequencies x {size[1]} frames, got {tuple(x.shape[2:])}. "
                "Without published weights it is made for 10 s (preprocessor.audio.seconds)."
            )
        return self.model(input_values=x.squeeze(1).transpose(1, 2)).pooler_output


def build_ast() -> tuple[nn.Module, tuple[tuple[str, ...], ...], int]:
    """Return the backbone with random weights, its stages (a stage a layer) and the embedding's width.

    Raises:
        MissingPackageError: when transformers is not installed.
    """
    config, model = _transformers()
    settings = config(num_mel_bins=FREQUENCIES, max_length=FRAMES)
    backbone = SpectrogramTransformer(model(settings))
    count = int(settings.num_hidden_layers)
    # transformers 5 moved the layers up
    layers = "model.layers" if hasattr(backbone.model, "layers") else "model.encoder.layer"
    stages = (("model.embeddings",), *((f"{layers}.{i}",) for i in range(count - 1)))
    return backbone, (*stages, (f"{layers}.{count - 1}", "model.layernorm")), int(settings.hidden_size)


def read_folder(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model in a folder that transformers wrote, and what its reader says of the keys.

    The folder's own configuration decides the size of spectrograms.  Only ``model.safetensors`` is read, which can't
    hold code.

    Raises:
        UserError: when it is no such folder.
        MissingPackageError: when transformers is not installed.
    """
    folder = Path(path)
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} must be a folder with config.json and model.safetensors, as its page has them "
            f"(openood-mm weights); missing: {', '.join(missing)}."
        )
    _, model = _transformers()
    try:
        loaded, said = model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} can't be read as an Audio Spectrogram Transformer: {error}") from error
    return SpectrogramTransformer(loaded), said


def _transformers() -> tuple[Any, Any]:
    try:
        from transformers import ASTConfig, ASTModel
    except ImportError as error:
        raise MissingPackageError(
            f"the encoder 'ast' needs transformers, which can't be imported ({error}). Run: pip install transformers"
        ) from error
    return ASTConfig, ASTModel
