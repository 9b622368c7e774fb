"""A small convolutional encoder of spectrograms, for CPUs and small datasets; no published weights."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ...errors import UserError
from .catalogue import EncoderInfo, EncoderOptions
from .encoder import ClipEncoder

STAGES = 4


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _pool(features: object) -> Tensor:
    assert isinstance(features, Tensor)
    return features.flatten(2).mean(dim=2)


def _build(options: EncoderOptions) -> ClipEncoder:
    """Return four convolutions of stride 2, ``base_channels`` wide at first, twice that at each next one."""
    if options.depth is not None:
        raise UserError("audio_cnn has a fixed depth; leave depth out and set base_channels.")
    widths = [1, *(options.base_channels * 2**stage for stage in range(STAGES))]
    backbone = nn.Sequential(*(_block(*pair) for pair in pairwise(widths)))
    return ClipEncoder(
        backbone,
        tuple((str(stage),) for stage in range(STAGES)),
        _pool,
        widths[-1],
        0,
        dropout=0.0 if options.dropout is None else options.dropout,
        train_stages=options.train_stages,
        batch_norm=options.batch_norm or "drifting",
    )


AUDIO_CNN = EncoderInfo(
    "audio", 512, "four strided convolutions with batch norm; small, for CPUs", "cnn", _build
)
