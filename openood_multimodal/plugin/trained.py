"""What OpenOOD's ``train`` trained on, kept beside its checkpoints: the cards that our own training writes."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from ..pipelines.card import describe_checkpoint

_NAME = re.compile(r"(best|last|model)_epoch(\d+)(?:_acc(\d+\.\d+))?\.ckpt")
"""File names of OpenOOD's recorders; ``best.ckpt`` holds what the last ``best_epoch...`` does."""


class TrainingRun:
    """One run of OpenOOD's ``train``: remembers what is trained on what, and writes the cards in the end.

    Args:
        config: OpenOOD's, as plain dicts.

    Attributes:
        loaders: split → loader, once they are made.
        trainer: the trainer, once it is made.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.loaders: dict[str, Any] = {}
        self.trainer: Any = None
        self._began = time.time() - 1.0  # clocks of file systems are coarse

    def finish(self, folder: Path) -> None:
        """Write a card beside each checkpoint that this run left in ``folder``."""
        if self.trainer is None or any(
            not hasattr(each.dataset, "manifest") for each in self.loaders.values()
        ):
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
        describe_checkpoint(path, self.config, self.loaders, self.trainer, epoch, accuracy)
