"""Trainers: one training step each, made of losses and syntheses; OpenOOD's trainer interface."""

from .a2d import A2DNPMixTrainer, A2DSynthesisTrainer, A2DTrainer
from .acr import ACRTrainer
from .auxiliary import (
    AuxiliaryTrainer,
    DOSTrainer,
    EnergyMarginTrainer,
    MixOETrainer,
    OutlierExposureTrainer,
)
from .base import MultimodalTrainer
from .baseline import MultiHeadTrainer, MultimodalBaselineTrainer
from .dpu import DPUTrainer
from .logitnorm import A2DLogitNormTrainer, A2DNPMixLogitNormTrainer, MultimodalLogitNormTrainer
from .smod import SMODTrainer
from .tasks import (
    ContrastiveTrainer,
    DistillationTrainer,
    MultimodalTaskTrainer,
    RelativeNormAlignmentTrainer,
    TranslationTrainer,
)

__all__ = [
    "A2DLogitNormTrainer",
    "A2DNPMixLogitNormTrainer",
    "A2DNPMixTrainer",
    "A2DSynthesisTrainer",
    "A2DTrainer",
    "ACRTrainer",
    "AuxiliaryTrainer",
    "ContrastiveTrainer",
    "DOSTrainer",
    "DPUTrainer",
    "DistillationTrainer",
    "EnergyMarginTrainer",
    "MixOETrainer",
    "MultiHeadTrainer",
    "MultimodalBaselineTrainer",
    "MultimodalLogitNormTrainer",
    "MultimodalTaskTrainer",
    "MultimodalTrainer",
    "OutlierExposureTrainer",
    "RelativeNormAlignmentTrainer",
    "SMODTrainer",
    "TranslationTrainer",
]
