"""The card beside a checkpoint: what was trained, on what, and when it was chosen.

A checkpoint is a bare state dict, as OpenOOD's recorders write it; all that a test has to know about it stands
in the JSON file of the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import bind
from ..errors import UserError
from ..files import file_sha256, read_json


@dataclass(frozen=True)
class CheckpointCard:
    """What `<name>.json` says of `<name>.ckpt`.

    Attributes:
        epoch: the epoch it was taken after, counted from 1.
        num_epochs: how many the training had in all.
        val_acc: validation accuracy after that epoch, a fraction.
        trainer: name and parameters of the trainer, defaults included.
        optimizer: the same of the optimiser.
        network: the resolved ``network`` section.
        modalities: in the order of the concatenated embedding.
        synthesis: name of the outlier synthesis, or None.
        first_synthesis_epoch: the epoch in which outliers were first used, or None.
        seed: of the training.
        data: provenance of the training set (benchmark, partition, track, ...).
        manifest_digests: split → digest of its manifest.
        config_digest: of the training config.
        settings_digest: of the training's settings, seed and data apart.
        package_version: of openood-multimodal.
        checkpoint_digest: SHA-256 of the checkpoint file.
    """

    epoch: int
    num_epochs: int
    val_acc: float
    trainer: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    network: Mapping[str, Any]
    modalities: list[str]
    synthesis: str | None
    first_synthesis_epoch: int | None
    seed: int
    data: Mapping[str, Any]
    manifest_digests: Mapping[str, str]
    config_digest: str
    settings_digest: str
    package_version: str
    checkpoint_digest: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def chosen_before_synthesis(self) -> bool:
        """Whether a synthesis was asked for and had not begun when this checkpoint was taken."""
        return self.synthesis is not None and (
            self.first_synthesis_epoch is None or self.epoch < self.first_synthesis_epoch
        )

    def to_json(self) -> str:
        """Return the card as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"


def card_path(checkpoint: str | Path) -> Path:
    """Return the path of a checkpoint's card."""
    return Path(checkpoint).with_suffix(".json")


def read_card(checkpoint: str | Path) -> CheckpointCard | None:
    """Return the card of ``checkpoint``, or None where there is none (a checkpoint of OpenOOD's recorder).

    Raises:
        UserError: when the card is malformed, or describes another file than the one that stands beside it.
    """
    path = card_path(checkpoint)
    if not path.is_file():
        return None
    content = read_json(path, "a checkpoint card", "Train again.")
    try:
        card = bind(content, CheckpointCard, "card", ignore=())
    except UserError as error:
        raise UserError(f"{path} is no checkpoint card of this version ({error}); train again.") from error
    if card.checkpoint_digest != file_sha256(checkpoint):
        raise UserError(
            f"{checkpoint} is not the file that {path} describes (its SHA-256 differs): one of the two was "
            "replaced. Copy both together from the training's folder, or train again."
        )
    return card
