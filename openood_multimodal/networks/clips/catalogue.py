"""The encoders that MultiOOD's tables name, and smaller ones of the same kind.

Each is mmaction2's backbone, configured as the weights that OpenMMLab publishes for it; widths and depths can be
reduced, for tests and for machines without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...registry import ENCODERS
from .ast import build_ast
from .encoder import ClipEncoder
from .mmaction import build_backbone

RESNET_STAGES = (("conv1",), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
EXPANSION = {18: 1, 34: 1, 50: 4, 101: 4}


@dataclass(frozen=True)
class EncoderOptions:
    """What a config may say of an encoder.

    Attributes:
        depth: layers of a ResNet (18, 34, 50, 101); None for the encoder's own.
        base_channels: channels of a ResNet's first stage, 64 in published ones.
        dropout: on the embedding; None for the encoder's own.
        train_stages: how many of the last stages train, -1 for all.
        batch_norm: ``drifting``, ``trained_stages`` or ``frozen``, see `ClipEncoder`; None for the encoder's own.
    """

    depth: int | None = None
    base_channels: int = 64
    dropout: float | None = None
    train_stages: int = 1
    batch_norm: str | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth not in EXPANSION:
            raise UserError(f"depth is {self.depth}; a ResNet has {', '.join(map(str, EXPANSION))} layers.")
        if self.base_channels < 8 or self.base_channels % 8:
            raise UserError(f"base_channels is {self.base_channels}; it must be a multiple of 8.")


@dataclass(frozen=True)
class EncoderInfo:
    """One entry of the catalogue.

    Attributes:
        modality: what it was made for.
        embedding_dim: width of the embedding at full size.
        paper: where the architecture comes from.
        short: its name in result tables; that of the published ones.
        build: options → encoder, with random weights.
    """

    modality: str
    embedding_dim: int
    paper: str
    short: str
    build: Callable[[EncoderOptions], ClipEncoder]

    Params: ClassVar[type[EncoderOptions]] = EncoderOptions

    def __call__(self, params: EncoderOptions) -> ClipEncoder:
        """Build the encoder with random weights."""
        return self.build(params)

    @property
    def summary(self) -> str:
        """One line for listings."""
        return f"{self.modality}, {self.embedding_dim} wide ({self.paper})"


def _mean_over_positions(features: object) -> Tensor:
    assert isinstance(features, Tensor)
    return features.flatten(2).mean(dim=2)


def _pool_slowfast(features: object) -> Tensor:
    assert isinstance(features, tuple)
    slow, fast = features
    # mmaction2's head puts the fast pathway first
    return torch.cat([_mean_over_positions(fast), _mean_over_positions(slow)], dim=1)


def _finish(
    backbone: nn.Module,
    options: EncoderOptions,
    embedding_dim: int,
    in_channels: int,
    *,
    stages: tuple[tuple[str, ...], ...] = RESNET_STAGES,
    pool: Callable[[object], Tensor] = _mean_over_positions,
    dropout: float = 0.5,
    batch_norm: str = "drifting",
) -> ClipEncoder:
    return ClipEncoder(
        backbone,
        stages,
        pool,
        embedding_dim,
        in_channels,
        dropout=dropout if options.dropout is None else options.dropout,
        train_stages=options.train_stages,
        batch_norm=options.batch_norm or batch_norm,
    )


def _slowfast(depth: int) -> Callable[[EncoderOptions], ClipEncoder]:
    def build(options: EncoderOptions) -> ClipEncoder:
        layers = options.depth or depth
        shared = {
            "type": "resnet3d",
            "depth": layers,
            "pretrained": None,
            "conv1_stride_t": 1,
            "pool1_stride_t": 1,
            "norm_eval": False,
        }
        backbone = build_backbone(
            {
                "type": "ResNet3dSlowFast",
                "resample_rate": 4,
                "speed_ratio": 4,
                "channel_ratio": 8,
                "slow_pathway": {
                    **shared,
                    "lateral": True,
                    "fusion_kernel": 7,
                    "base_channels": options.base_channels,
                    "conv1_kernel": (1, 7, 7),
                    "dilations": (1, 1, 1, 1),
                    "inflate": (0, 0, 1, 1),
                },
                "fast_pathway": {
                    **shared,
                    "lateral": False,
                    "base_channels": options.base_channels // 8,
                    "conv1_kernel": (5, 7, 7),
                },
            }
        )
        paths = ("slow_path", "fast_path")
        stages = (
            (*(f"{path}.conv1" for path in paths), "slow_path.conv1_lateral"),
            *((*(f"{path}.layer{i}" for path in paths), f"slow_path.layer{i}_lateral") for i in (1, 2, 3)),
            tuple(f"{path}.layer4" for path in paths),
        )
        width = options.base_channels * 8 * EXPANSION[layers]
        return _finish(backbone, options, width + width // 8, 3, stages=stages, pool=_pool_slowfast)

    return build


def _slowonly_flow(options: EncoderOptions) -> ClipEncoder:
    layers = options.depth or 50
    backbone = build_backbone(
        {
            "type": "ResNet3dSlowOnly",
            "depth": layers,
            "in_channels": 2,
            "with_pool2": False,
            "lateral": False,
            "base_channels": options.base_channels,
            "conv1_kernel": (1, 7, 7),
            "conv1_stride_t": 1,
            "pool1_stride_t": 1,
            "inflate": (0, 0, 1, 1),
            "norm_eval": False,
        }
    )
    return _finish(backbone, options, options.base_channels * 8 * EXPANSION[layers], 2)


def _i3d(options: EncoderOptions) -> ClipEncoder:
    layers = options.depth or 50
    if EXPANSION[layers] != 4:
        raise UserError(
            f"i3d_r50 inflates 1 x 1 convolutions, which a ResNet of {layers} layers lacks; depth 50 or 101."
        )
    inflate = {50: ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), 101: 1}[layers]
    backbone = build_backbone(
        {
            "type": "ResNet3d",
            "pretrained2d": False,
            "depth": layers,
            "base_channels": options.base_channels,
            "conv1_kernel": (5, 7, 7),
            "conv1_stride_t": 2,
            "pool1_stride_t": 2,
            "inflate": inflate,
            "norm_eval": False,
            "zero_init_residual": False,
        }
    )
    return _finish(backbone, options, options.base_channels * 8 * EXPANSION[layers], 3)


class _Segments(nn.Module):
    """Flow ``[B, 2, T, H, W]`` → a 2-D backbone on stacks of five frames (x and y in turn) → ``[B, D, T / 5]``."""

    STACK = 5

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.net = backbone

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, height, width = x.shape
        if frames % self.STACK:
            raise UserError(
                f"tsn_r50_flow takes stacks of {self.STACK} flow frames, got {frames} frames; set "
                "preprocessor.flow.frames to a multiple, for instance 40."
            )
        stacks = x.transpose(1, 2).reshape(-1, self.STACK * channels, height, width)
        features = self.net(stacks).flatten(2).mean(dim=2)
        return features.view(batch, frames // self.STACK, -1).transpose(1, 2)


def _tsn_flow(options: EncoderOptions) -> ClipEncoder:
    layers = options.depth or 50
    if options.base_channels != 64:
        raise UserError("tsn_r50_flow has 64 base_channels; reduce its depth instead.")
    backbone = build_backbone({"type": "ResNet", "depth": layers, "in_channels": 10, "norm_eval": False})
    stages = tuple(tuple(f"net.{name}" for name in stage) for stage in RESNET_STAGES)
    return _finish(_Segments(backbone), options, 512 * EXPANSION[layers], 2, stages=stages, dropout=0.4)


def _swin(options: EncoderOptions) -> ClipEncoder:
    if options.depth is not None or options.base_channels != 64:
        raise UserError("swin_tiny has neither depth nor base_channels.")
    backbone = build_backbone(
        {
            "type": "SwinTransformer3D",
            "arch": "tiny",
            "pretrained2d": False,
            "patch_size": (2, 4, 4),
            "window_size": (8, 7, 7),
            "mlp_ratio": 4.0,
            "qkv_bias": True,
            "drop_path_rate": 0.1,
            "patch_norm": True,
        }
    )
    stages = (("patch_embed",), ("layers.0",), ("layers.1",), ("layers.2",), ("layers.3", "norm3"))
    return _finish(backbone, options, 768, 3, stages=stages)


class _Spectrogram(nn.Module):
    """Spectrograms ``[B, 1, F, T]`` → a 2-D backbone with one input channel."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.net = backbone

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.size(1) != 1:
            raise UserError(f"this encoder takes spectrograms [B, 1, F, T], got {tuple(x.shape)}.")
        return self.net(x)


def _audio_resnet(options: EncoderOptions) -> ClipEncoder:
    layers = options.depth or 18
    if options.base_channels != 64:
        raise UserError("audio_resnet18 has 64 base_channels; leave them out.")
    backbone = build_backbone({"type": "ResNet", "depth": layers, "in_channels": 1, "norm_eval": False})
    stages = tuple(tuple(f"net.{name}" for name in stage) for stage in RESNET_STAGES)
    # MultiOOD's code keeps the audio trunk in evaluation mode, and has no dropout on its embedding
    return _finish(
        _Spectrogram(backbone),
        options,
        512 * EXPANSION[layers],
        0,
        stages=stages,
        dropout=0.0,
        batch_norm="trained_stages",
    )


def _ast(options: EncoderOptions) -> ClipEncoder:
    if options.depth is not None or options.base_channels != 64:
        raise UserError("ast has neither depth nor base_channels.")
    backbone, stages, width = build_ast()
    return _finish(backbone, options, width, 0, stages=stages, pool=_identity, dropout=0.0)


def _identity(features: object) -> Tensor:
    assert isinstance(features, Tensor)
    return features


SLOWFAST = "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019"
RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"

SLOWFAST_R101 = EncoderInfo("video", 2304, SLOWFAST, "slowfast_r101", _slowfast(101))
SLOWFAST_R50 = EncoderInfo("video", 2304, SLOWFAST, "slowfast_r50", _slowfast(50))
SLOWONLY_R50_FLOW = EncoderInfo("flow", 2048, SLOWFAST, "slowonly_r50", _slowonly_flow)
I3D_R50 = EncoderInfo(
    "video", 2048, "Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017", "i3d", _i3d
)
TSN_R50_FLOW = EncoderInfo(
    "flow", 2048, "Wang et al., Temporal Segment Networks, ECCV 2016", "tsn", _tsn_flow
)
SWIN_TINY = EncoderInfo("video", 768, "Liu et al., Video Swin Transformer, CVPR 2022", "swin_t", _swin)
AUDIO_RESNET18 = EncoderInfo("audio", 512, RESNET, "resnet18", _audio_resnet)
AST = EncoderInfo(
    "audio", 768, "Gong et al., AST: Audio Spectrogram Transformer, Interspeech 2021", "ast", _ast
)


def build_encoder(name: str, options: EncoderOptions | None = None) -> ClipEncoder:
    """Build an encoder with random weights.

    Raises:
        UserError: for an unknown name or an option that the encoder doesn't have.
        MissingPackageError: when mmaction2 (for ``ast``: transformers) is not installed.
    """
    encoder: ClipEncoder = ENCODERS.get(name)(options or EncoderOptions())
    return encoder
