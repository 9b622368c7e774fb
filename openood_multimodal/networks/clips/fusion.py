"""The network of clips: a registered encoder for each modality, in the frame of `MultimodalNetwork`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...config import bind
from ...errors import UserError
from ...naming import did_you_mean
from ...registry import ENCODERS, NETWORKS
from ..fusion import MultimodalNetwork, check_modalities
from .weights import WeightsReport, load_encoder


@dataclass(frozen=True)
class EncoderSection:
    """What a modality's section under ``network.encoders`` says beside the encoder's own parameters.

    Attributes:
        name: of the encoder, in ``registry.ENCODERS``.
        checkpoint: file with weights to start from, or empty for random ones.
        random_stages: how many of the last stages don't take their weights from there.  MultiOOD's code starts the
            audio's last stage so: it loads VGGSound's weights under names that don't match.
    """

    name: str
    checkpoint: str = ""
    random_stages: int = 0

    def __post_init__(self) -> None:
        if self.random_stages < 0:
            raise UserError(f"random_stages is {self.random_stages}; it must be at least 0.")


def bind_encoder(section: Mapping[str, Any], where: str) -> tuple[EncoderSection, Any, Any]:
    """Return a modality's section, bound; its component in ``registry.ENCODERS``; and the parameters for that.

    Raises:
        UserError: for an unknown encoder, and as `bind`.
    """
    own = [each.name for each in fields(EncoderSection)]
    if not isinstance(section, Mapping):
        raise UserError(f"{where} must be a section of 'key: value' lines, got {section!r}.")
    start = bind(
        {key: value for key, value in section.items() if key in own}, EncoderSection, where, ignore=()
    )
    component = ENCODERS.get(start.name, f"{where}.name")
    known = [*own, *(each.name for each in fields(component.Params))]
    for key in section:
        if key not in known:
            raise UserError(f"{where}.{key} is not a parameter of {start.name}.{did_you_mean(key, known)}")
    return start, component, bind(section, component.Params, where, ignore=own)


@NETWORKS.register("clip_fusion")
class ClipFusionNet(MultimodalNetwork):
    """`MultimodalNetwork` with an encoder of ``registry.ENCODERS`` for every modality.

    Args:
        num_classes: number of in-distribution classes.
        modalities: names, in the order of the concatenated embedding.
        encoders: modality → section with the fields of `EncoderSection` and the encoder's own parameters; may name
            more modalities than are used.

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
        sections: dict[str, EncoderSection] = {}
        built = {}
        reports: dict[str, WeightsReport] = {}
        for modality in modalities:
            section, component, params = bind_encoder(encoders[modality], f"network.encoders.{modality}")
            sections[modality] = section
            built[modality] = component(params)
            if section.checkpoint:
                reports[modality] = load_encoder(
                    built[modality], section.name, section.checkpoint, section.random_stages
                )
        super().__init__(built, num_classes)
        self.weights_reports = reports
        for modality, report in reports.items():
            if not report.complete:
                warnings.warn(f"{sections[modality].checkpoint} ({modality}): {report.text()}.", stacklevel=2)
