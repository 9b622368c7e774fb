"""The network of clips: an encoder a modality, in the frame of `MultimodalNetwork`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...config import bind
from ...errors import UserError
from ...registry import NETWORKS
from ..fusion import MultimodalNetwork, check_modalities
from .catalogue import EncoderOptions, build_encoder
from .weights import WeightsReport, load_encoder


@dataclass(frozen=True)
class EncoderSection(EncoderOptions):
    """A modality's section under ``network.encoders``: an encoder's name, its options, its weights.

    Attributes:
        name: one of the catalogue.
        checkpoint: file with weights to start from, or empty for random ones.
        random_stages: how many of the last stages don't take their weights from there.  MultiOOD's code starts the
            audio's last stage so: it loads VGGSound's weights under names that don't match.
    """

    name: str = ""
    checkpoint: str = ""
    random_stages: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.random_stages < 0:
            raise UserError(f"random_stages is {self.random_stages}; it must be at least 0.")


@NETWORKS.register("clip_fusion")
class ClipFusionNet(MultimodalNetwork):
    """`MultimodalNetwork` with encoders of clips, by default those of MultiOOD's tables.

    Args:
        num_classes: number of in-distribution classes.
        modalities: names, in the order of the concatenated embedding.
        encoders: modality → section with ``name``, ``checkpoint`` and the fields of `EncoderOptions`; may name more
            modalities than are used.

    Attributes:
        weights_reports: modality → what its ``checkpoint`` filled.

    Raises:
        UserError: when a modality has no encoder, or is named twice; for an unknown encoder or option.
        MissingPackageError: when mmaction2 is not installed.
    """

    def __init__(
        self, num_classes: int, modalities: Sequence[str], encoders: Mapping[str, Mapping[str, Any]]
    ) -> None:
        check_modalities(modalities, encoders, "network.encoders")
        sections = {
            name: bind(encoders[name], EncoderSection, where=f"network.encoders.{name}", ignore=())
            for name in modalities
        }
        built = {}
        reports: dict[str, WeightsReport] = {}
        for modality, section in sections.items():
            options = EncoderOptions(
                **{each.name: getattr(section, each.name) for each in fields(EncoderOptions)}
            )
            built[modality] = build_encoder(section.name, options)
            if section.checkpoint:
                reports[modality] = load_encoder(
                    built[modality], section.name, section.checkpoint, section.random_stages
                )
        super().__init__(built, num_classes)
        self.weights_reports = reports
        for modality, report in reports.items():
            if not report.complete:
                warnings.warn(f"{sections[modality].checkpoint} ({modality}): {report.text()}.", stacklevel=2)
