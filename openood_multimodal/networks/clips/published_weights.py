"""Weights that others publish for the encoders and networks: names, places, digests where the name carries one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...files import file_sha256

OPENMMLAB = "https://download.openmmlab.com/mmaction"
AUTHORS = "https://huggingface.co/datasets/hdong51/MultiOOD/tree/main/checkpoints"
DEFAULT_DIR = "weights"


@dataclass(frozen=True)
class PublishedWeights:
    """One file.

    Attributes:
        file: its name; put it into the folder of weights under this name.
        url: the file, or the page that has it.
        trained_on: what it was trained on, with which kind of recognition.
        encoder: the encoder that it fits, or empty for a whole network.
        published_as: its name there, where it differs.
    """

    file: str
    url: str
    trained_on: str
    encoder: str = ""
    published_as: str = ""

    @property
    def digest_start(self) -> str:
        """The first digits of its SHA-256, as OpenMMLab puts them at the end of a file's name; or empty."""
        found = re.search(r"-([0-9a-f]{8})\.pth$", self.file)
        return found[1] if found and self.url.startswith(OPENMMLAB) else ""

    def fault(self, path: Path) -> str:
        """Return what is wrong with the bytes of ``path``; empty where nothing is known to be."""
        if not self.digest_start:
            return ""
        actual = file_sha256(path)
        if actual.startswith(self.digest_start):
            return ""
        return f"SHA-256 begins with {actual[:8]}, expected {self.digest_start}: download it again"


def _openmmlab(encoder: str, folder: str, name: str, version: str = "") -> PublishedWeights:
    stem = re.sub(r"_\d{8}-[0-9a-f]{8}$", "", name)
    url = f"{OPENMMLAB}{version}/recognition/{folder}/{stem}/{name}.pth"
    flow = " (optical flow)" if encoder.endswith("_flow") else ""
    return PublishedWeights(f"{name}.pth", url, f"Kinetics-400{flow}", encoder)


ENCODER_WEIGHTS = (
    _openmmlab("slowfast_r101", "slowfast", "slowfast_r101_8x8x1_256e_kinetics400_rgb_20210218-0dd54025"),
    _openmmlab("slowfast_r50", "slowfast", "slowfast_r50_8x8x1_256e_kinetics400_rgb_20200716-73547d2b"),
    _openmmlab("slowonly_r50_flow", "slowonly", "slowonly_r50_8x8x1_256e_kinetics400_flow_20200704-6b384243"),
    _openmmlab("i3d_r50", "i3d", "i3d_r50_32x2x1_100e_kinetics400_rgb_20200614-c25ef9a4"),
    _openmmlab("tsn_r50_flow", "tsn", "tsn_r50_320p_1x1x8_110e_kinetics400_flow_20200705-1f39486b"),
    _openmmlab(
        "swin_tiny",
        "swin",
        "swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb_20220930-241016b2",
        "/v1.0",
    ),
    PublishedWeights(
        "vggsound_avgpool.pth.tar",
        "http://www.robots.ox.ac.uk/~vgg/data/vggsound/models/H.pth.tar",
        "VGGSound",
        "audio_resnet18",
        "H.pth.tar",
    ),
    PublishedWeights(
        "ast-finetuned-audioset-10-10-0.4593",
        "https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593",
        "AudioSet (a folder, config.json and model.safetensors; for 128 mel bands x 1024 frames, not this package's "
        "spectrograms)",
        "ast",
    ),
)
"""What `network.encoders.<modality>.checkpoint` takes.  The first four and VGGSound's are MultiOOD's own choice."""


_ALL = ("baseline", "a2d", "a2d_npmix")
_TWO = ("baseline", "a2d_npmix")
_AUTHORS = {  # (benchmark, modalities) → the beginning of the files' names, and which trainings there are
    ("hmdb51_25_26", "video + flow"): ("HMDB_near_ood", _ALL),
    ("ucf101_50_51", "video + flow"): ("UCF_near_ood", _ALL),
    ("epic_kitchens_4_4", "video + flow"): ("EPIC_near_ood", _ALL),
    ("kinetics600_129_100", "video + flow"): ("Kinetics_near_ood", _ALL),
    ("far_hmdb51", "video + flow"): ("HMDB_far_ood", _TWO),
    ("far_kinetics600", "video + flow"): ("Kinetics_far_ood", _TWO),
    ("epic_kitchens_4_4", "video + audio + flow"): ("EPIC_near_ood_vfa", _TWO),
    ("kinetics600_129_100", "video + audio + flow"): ("Kinetics_near_ood_vfa", _TWO),
}


def authors_checkpoint(benchmark: str, modalities: Sequence[str], training: str) -> str:
    """Return the name of the authors' checkpoint of a training; "" where they publish none.

    Args:
        benchmark: as ``hmdb51_25_26``.
        modalities: in the order of the concatenated embedding.
        training: as this package calls it, for instance ``multimodal_baseline``.
    """
    prefix, trainings = _AUTHORS.get((benchmark, " + ".join(modalities)), ("", ()))
    name = training.removeprefix("multimodal_")
    return f"{prefix}_{name}.pt" if name in trainings else ""


NETWORK_WEIGHTS = tuple(
    PublishedWeights(f"{prefix}_{training}.pt", AUTHORS, f"{benchmark}, {modalities}: {training}")
    for (benchmark, modalities), (prefix, trainings) in _AUTHORS.items()
    for training in trainings
)
"""Checkpoints of MultiOOD's authors: what `network.checkpoint` takes beside this package's own."""
