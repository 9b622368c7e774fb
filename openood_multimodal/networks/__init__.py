"""Networks of several modalities that OpenOOD's postprocessors can read."""

from .build import build_network, load_checkpoint
from .clips.fusion import ClipFusionNet
from .encoders import MLPEncoder
from .fusion import MLPFusionNet, MultimodalNetwork, MultimodalOutput
from .head import EmbeddingHead

__all__ = [
    "ClipFusionNet",
    "EmbeddingHead",
    "MLPEncoder",
    "MLPFusionNet",
    "MultimodalNetwork",
    "MultimodalOutput",
    "build_network",
    "load_checkpoint",
]
