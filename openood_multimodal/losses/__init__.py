"""Training losses: classification, discrepancy between modalities, entropy.  Pure functions of tensors."""

from ..registry import PROTOCOLS
from .agreement import a2d_loss, outlier_discrepancy_loss, outlier_entropy_loss, sample_discrepancies
from .classification import logit_norm_cross_entropy, multihead_cross_entropy
from .confidence import adaptive_confidence_loss, mixed_cross_entropy
from .distillation import decoupled_distillation_loss, weighted_teacher
from .exposure import (
    absent_class_loss,
    energy_margin_loss,
    mixed_outlier_loss,
    outlier_exposure_loss,
)
from .protocols import Protocol, get_discrepancy, get_protocol
from .prototypes import invariant_contrastive_losses, prototype_loss, updated_prototypes
from .tasks import (
    cross_modal_distillation_loss,
    cross_modal_translation_loss,
    relative_norm_alignment_loss,
    supervised_contrastive_loss,
)

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "a2d_loss",
    "absent_class_loss",
    "adaptive_confidence_loss",
    "cross_modal_distillation_loss",
    "cross_modal_translation_loss",
    "decoupled_distillation_loss",
    "energy_margin_loss",
    "get_discrepancy",
    "get_protocol",
    "invariant_contrastive_losses",
    "logit_norm_cross_entropy",
    "mixed_cross_entropy",
    "mixed_outlier_loss",
    "multihead_cross_entropy",
    "outlier_discrepancy_loss",
    "outlier_entropy_loss",
    "outlier_exposure_loss",
    "prototype_loss",
    "relative_norm_alignment_loss",
    "sample_discrepancies",
    "supervised_contrastive_loss",
    "updated_prototypes",
    "weighted_teacher",
]
