"""What OpenOOD's ``train`` trained on: cards beside its checkpoints, as our own training writes them.

A run that was stopped leaves none, nor did earlier versions of this package; its ``config.yml`` says what it read.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from ..datasets.loaders import build_loaders
from ..pipelines.card import CheckpointCard, TrainedOn, describe_checkpoint, read_card
from ..registry import DATASETS
from .frames import described, frames_of
from .saved_config import FILE, read_saved_config

_NAME = re.compile(r"(best|last|model)_epoch(\d+)(?:_acc(\d+\.\d+))?\.ckpt")
"""File names of OpenOOD's recorders; ``best.ckpt`` holds what the last ``best_epoch...`` does."""


class TrainingRun:
    """One run of OpenOOD's ``train``: remembers what is trained on what, and writes the cards in the end.

    Args:
        config: OpenOOD's, as plain dicts.

    Attributes:
        loaders: split → loader, once they are made.
        trainer: the trainer, once it is made.
        sets: split → what is known of its clips, in the end.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.loaders: dict[str, Any] = {}
        self.trainer: Any = None
        self.sets: dict[str, Any] = {}
        self._began = time.time() - 1.0  # clocks of file systems are coarse

    def finish(self, folder: Path) -> None:
        """Write a card beside each checkpoint that this run left in ``folder``."""
        if self.trainer is None:
            return
        frames, sections = frames_of(self.config), self.config["dataset"]
        self.sets = {
            name: described(each.dataset, sections[name], frames) for name, each in self.loaders.items()
        }
        if any(not hasattr(each, "manifest") for each in self.sets.values()):
            return  # datasets of OpenOOD's, of whose clips nothing is known
        chosen: dict[str, tuple[float, int, float]] = {}
        for path in sorted(folder.glob("*.ckpt")):
            found, written = _NAME.fullmatch(path.name), path.stat().st_mtime
            if found is None or written < self._began:
                continue
            epoch, accuracy = int(found[2]), float(found[3] or "nan")
            self._describe(path, epoch, accuracy)
            chosen[found[1]] = max(chosen.get(found[1], (0.0, 0, 0.0)), (written, epoch, accuracy))
        best = folder / "best.ckpt"
        if "best" in chosen and best.is_file():
            self._describe(best, *chosen["best"][1:])

    def _describe(self, path: Path, epoch: int, accuracy: float) -> None:
        describe_checkpoint(path, self.config, self.sets, self.trainer, epoch, accuracy)


def trained_on(checkpoint: str) -> CheckpointCard | TrainedOn | None:
    """Return what ``checkpoint`` was trained on: its card, or what the ``config.yml`` beside it names, or None.

    Raises:
        UserError: for a card or config that is damaged, or data that is not where it was.
    """
    card = read_card(checkpoint)
    path = Path(checkpoint).parent / FILE
    if card is not None or not path.is_file():
        return card
    config = read_saved_config(path)
    section = config.get("dataset")
    pipeline = config.get("pipeline")
    trains = isinstance(pipeline, dict) and str(pipeline.get("name")).startswith("train")
    if not trains or not isinstance(section, dict):
        return None
    parts = [section.get(split) for split in section.get("split_names") or ()]
    if not parts or any(
        not isinstance(part, dict) or part.get("dataset_class") not in DATASETS for part in parts
    ):
        return None
    loaders = build_loaders({"dataset": {**section, "num_workers": 0}}, training=False)
    dataset: Any = loaders["train" if "train" in loaders else next(iter(loaders))].dataset
    digests = {name: each.dataset.manifest.digest() for name, each in loaders.items()}  # type: ignore[attr-defined]
    return TrainedOn(dataset.provenance, digests, int(config.get("seed") or 0), list(dataset.modalities))
