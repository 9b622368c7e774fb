"""Training logs: a CSV file, and TensorBoard's where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..files.atomic import write_text


class TrainingLog:
    """One row an epoch, in ``log.csv`` and, if asked for and installed, under ``tensorboard/``.

    Args:
        folder: the run's folder.
        rows: rows of the epochs already done, when a run is resumed.
        tensorboard: whether TensorBoard's files are written too.
    """

    def __init__(
        self, folder: Path, rows: Sequence[Mapping[str, Any]] = (), tensorboard: bool = True
    ) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = [dict(row) for row in rows]
        self._writer = _summary_writer(folder / "tensorboard", len(self.rows) + 1) if tensorboard else None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one epoch: ``epoch_idx`` and numbers."""
        self.rows.append(dict(row))
        if self._writer is not None:
            for name, value in row.items():
                if name != "epoch_idx":
                    group, _, rest = name.partition("_")
                    self._writer.add_scalar(f"{group}/{rest or 'total'}", value, row["epoch_idx"])

    def write(self) -> None:
        """Write ``log.csv``, whole, atomically."""
        write_text(self.folder / "log.csv", pd.DataFrame(self.rows).to_csv(index=False))

    def close(self) -> None:
        """Write what is left and close TensorBoard's file."""
        self.write()
        if self._writer is not None:
            self._writer.close()


def _summary_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard's log is left out: pip install tensorboard")
        return None
    return SummaryWriter(str(folder), purge_step=first_step)
