"""What OpenOOD's ``train`` trained on: cards beside its checkpoints, as our own training writes them.

A run that was stopped leaves none, nor did earlier versions of this package; its ``config.yml`` says what it read.
That file is YAML with a tag of OpenOOD's own class, and is read without the class.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import yaml

from ..datasets.loaders import build_loaders
from ..errors import UserError
from ..files.text import StrictLoader, parse_yaml, read_text
from ..making.frame_card import described, frames_of
from ..pipelines.card import CheckpointCard, TrainedOn, describe_checkpoint, read_card
from ..registry import DATASETS

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


FILE = "config.yml"
_TAG = "tag:yaml.org,2002:python/object/new:openood.utils.config.Config"
_WHAT = "a training's config"


class _SavedConfigLoader(StrictLoader):
    """Takes OpenOOD's tag for a plain mapping, and no other: nothing is executed or imported."""


def _construct(loader: _SavedConfigLoader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "a Config must be a mapping", node.start_mark)
    parts = loader.construct_mapping(node, deep=True)
    return {**(parts.get("state") or {}), **(parts.get("dictitems") or {})}


_SavedConfigLoader.add_constructor(_TAG, _construct)


def read_saved_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config in the file ``path``, of OpenOOD's ``train`` or of this package's, as plain dicts and lists.

    Raises:
        UserError: when it is missing, too large, no such YAML, or holds no mapping.
    """
    text = read_text(path, "yaml_bytes", _WHAT)
    content = parse_yaml(text, str(path), _WHAT, "Train again.", _SavedConfigLoader)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no config: it holds a {type(content).__name__}.")
    return content
