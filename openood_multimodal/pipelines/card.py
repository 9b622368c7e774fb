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
from ..datasets.auxiliary import check_apart
from ..datasets.loaders import build_split
from ..errors import UserError
from ..files import file_sha256, read_json
from ..files.atomic import write_text
from ..files.seal import check_sealed_json, sealed_json
from ..trainers.optim import optimizer_params
from ..version import __version__
from ..vocabulary import AUXILIARY
from .digest import config_digest, effective_config, training_digest


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
        auxiliary: the outliers that it was trained with, as `AuxiliaryOutliers.describe` says, or None.
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
    auxiliary: Mapping[str, Any] | None = None

    @property
    def chosen_before_synthesis(self) -> bool:
        """Whether a synthesis was asked for and had not begun when this checkpoint was taken."""
        return self.synthesis is not None and (
            self.first_synthesis_epoch is None or self.epoch < self.first_synthesis_epoch
        )

    def to_json(self) -> str:
        """Return the card as indented JSON, with a checksum."""
        return json.dumps(sealed_json(asdict(self)), indent=2) + "\n"


def card_path(checkpoint: str | Path) -> Path:
    """Return the path of a checkpoint's card."""
    return Path(checkpoint).with_suffix(".json")


def read_card(checkpoint: str | Path) -> CheckpointCard | None:
    """Return the card of ``checkpoint``, or None where there is none (a checkpoint of OpenOOD's recorder).

    Raises:
        UserError: when the card is malformed, has changed since it was written, or describes another file than the one
            that stands beside it.
    """
    path = card_path(checkpoint)
    if not path.is_file():
        return None
    content = read_json(path, "a checkpoint card", "Train again.")
    if isinstance(content, dict):
        content = check_sealed_json(content, str(path), "Copy it again, or train again.")
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


def synthesis_of(trainer: Any) -> str | None:
    """Return the name of the outlier synthesis that a trainer uses, or None."""
    name = getattr(getattr(trainer, "params", None), "synthesis", None)
    return None if name in ("", "none") else name


def describe_checkpoint(
    path: Path,
    config: Mapping[str, Any],
    sets: Mapping[str, Any],
    trainer: Any,
    epoch: int,
    val_acc: float,
) -> CheckpointCard:
    """Write the card of the checkpoint ``path``, and return it.

    Args:
        path: the file, as it is.
        config: the training's.
        sets: split → dataset with ``manifest`` and ``provenance``.
        trainer: ours, or one of OpenOOD's, of which the config's sections say all that is known.
        epoch: after which it was taken, from 1.
        val_acc: its validation accuracy, a fraction.
    """
    ours = hasattr(trainer, "params")
    params = {"name": config["trainer"]["name"], **asdict(trainer.params)} if ours else config["trainer"]
    optimizer = asdict(optimizer_params(config["optimizer"])) if ours else config["optimizer"]
    dataset = sets["train"]
    outliers = getattr(trainer, "outliers", None)
    settings = {**params, "auxiliary_batch_size": outliers.batch_size} if outliers is not None else params
    card = CheckpointCard(
        epoch=epoch,
        num_epochs=int(config["optimizer"]["num_epochs"]),
        val_acc=val_acc,
        trainer=dict(params),
        optimizer=dict(optimizer),
        network=effective_config(config)["network"],
        modalities=list(getattr(trainer.net, "modalities", dataset.modalities)),
        synthesis=synthesis_of(trainer),
        first_synthesis_epoch=getattr(trainer, "first_synthesis_epoch", None),
        seed=int(config.get("seed") or 0),
        data=dataset.provenance,
        manifest_digests={name: each.manifest.digest() for name, each in sets.items()},
        config_digest=config_digest(config),
        settings_digest=training_digest(config, settings, optimizer),
        package_version=__version__,
        checkpoint_digest=file_sha256(path),
        auxiliary=outliers.describe() if outliers is not None else None,
    )
    write_text(card_path(path), card.to_json())
    return card


@dataclass(frozen=True)
class TrainedOn:
    """What is known of a checkpoint's data where there is no card; the fields are `CheckpointCard`'s."""

    data: Mapping[str, Any]
    manifest_digests: Mapping[str, str]
    seed: int
    modalities: list[str]


def check_same_data(
    card: CheckpointCard | TrainedOn | None, loaders: Mapping[str, Any], checkpoint: str
) -> None:
    """Refuse a test on data that the training may have seen: another partition, seed or modalities.

    Args:
        card: of the checkpoint; None passes.
        loaders: split → loader of the in-distribution data.
        checkpoint: its path, for the message.

    Raises:
        UserError: naming what differs.
    """
    if card is None:
        return
    shared = [name for name in loaders if name in card.manifest_digests]
    if not shared:
        raise UserError(
            f"none of this config's splits ({', '.join(loaders)}) is one that {checkpoint} was trained with "
            f"({', '.join(card.manifest_digests)}), so its test clips may have been trained on."
        )
    dataset = loaders[shared[0]].dataset
    trained_on, scaling = card.data.get("standardize"), dataset.provenance.get("standardize")
    if trained_on != scaling:
        raise UserError(
            f"{checkpoint} was trained with standardize: {trained_on}, and this config's data has "
            f"standardize: {scaling}; the network would get features on another scale."
        )
    if any(loaders[name].dataset.manifest.digest() != card.manifest_digests[name] for name in shared):
        there = {**card.data, "seed": card.seed, "modalities": card.modalities}
        here = {**dataset.provenance, "modalities": list(dataset.modalities)}
        differing = [
            f"{key} {there[key]} there, {here[key]} here"
            for key in there
            if key in here and there[key] != here[key]
        ]
        raise UserError(
            f"{checkpoint} was trained on other clips than this config's splits "
            f"({'; '.join(differing) or 'the manifests differ'}), so its test clips may have been trained on. "
            "Use the training's dataset files, --dataset.partition, --dataset.modalities and --seed."
        )


def check_auxiliary(
    card: CheckpointCard | TrainedOn | None, config: Mapping[str, Any], checkpoint: str
) -> None:
    """Refuse a test on classes or rows that a network was trained with as outliers.

    Args:
        card: of the checkpoint; None, and one without auxiliary outliers, pass.
        config: the test's.
        checkpoint: its path, for the message.

    Raises:
        UserError: naming what is shared; or when the config doesn't name the training's outliers, to compare with.
    """
    known = getattr(card, "auxiliary", None)
    if not known:
        return
    section = config["dataset"].get(AUXILIARY)
    dataset: Any = build_split(config, AUXILIARY, "test")[0] if isinstance(section, Mapping) else None
    if dataset is None or dataset.manifest.digest() != known["digest"]:
        problem = (
            "has no section dataset.auxiliary" if dataset is None else "has other rows in dataset.auxiliary"
        )
        raise UserError(
            f"{checkpoint} was trained with auxiliary outliers ({known['rows']} rows of {known['name']}), which test "
            f"sets are compared with, and this config {problem}. Use the training's dataset files, "
            "--dataset.partition, --dataset.modalities and --seed."
        )
    check_apart(dataset, config)
