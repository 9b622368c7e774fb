"""Which of OpenOOD's training configs train a network of several inputs: each is run, for one epoch, on tables."""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pages import COMMAND, run_main, table

from openood_multimodal.config import Config, read_config
from openood_multimodal.plugin import training
from openood_multimodal.plugin.host import describe_openood

OURS = ("configs/datasets/htad/htad_4_3.yml", "configs/networks/mlp_fusion.yml")
"""Config files of the dataset and the network; after OpenOOD's, some of which set ``preprocessor.name: base``."""
_FOLDER = Path("configs", "pipelines", "train")
_ACCURACY = re.compile(r"Last accuracy ([\d.]+)")
_REFUSAL = re.compile(r"OpenOOD's .* can't .* the network '\w+'.*?: ")


class Row(NamedTuple):
    """One training config; ``outcome`` is the test accuracy in percent, or the message instead of a training."""

    config: str
    trainer: str
    outcome: float | str

    @property
    def refused(self) -> bool:
        """Whether the run was refused for its trainer, pipeline or evaluator, before anything was loaded."""
        return isinstance(self.outcome, str) and bool(_REFUSAL.match(self.outcome))


def training_configs(root: Path) -> list[str]:
    """Return the names of OpenOOD's training configs, sorted."""
    return sorted(path.name for path in (root / _FOLDER).glob("*.yml"))


def run_all(root: Path, names: Iterable[str]) -> list[Row]:
    """Run main.py with each of OpenOOD's training configs ``names``, in this process."""
    return [_run(root, name) for name in names]


def _run(root: Path, name: str) -> Row:
    config = Config(read_config(root / _FOLDER / name))
    words = ["--config", str(_FOLDER / name), *OURS]
    if config.get("optimizer") is not None:
        words += ["--optimizer.num_epochs", "1"]
    with tempfile.TemporaryDirectory(prefix="openood-trainers-") as scratch, contextlib.chdir(scratch):
        message, said = run_main(words)
    accuracy = _ACCURACY.search(said)
    outcome = message or (float(accuracy[1]) if accuracy else "it ended without a test accuracy")
    return Row(name, str(config.get("trainer.name") or ""), outcome)


def page(rows: Sequence[Row], version: str) -> str:
    """Return the Markdown page."""
    runs = [row for row in rows if not isinstance(row.outcome, str)]
    refused = [row for row in rows if row.refused]
    failed = [row for row in rows if isinstance(row.outcome, str) and not row.refused]
    lines = [
        "# OpenOOD's training configs on networks of several inputs",
        "",
        f"Made by `{COMMAND} trainers --openood-root path/to/OpenOOD --out <this file>`,",
        f"with OpenOOD {version}. Do not edit.",
        "",
        f"{len(runs)} of the {len(rows)} files in OpenOOD's `{_FOLDER.as_posix()}` train a network of this package;",
        f"{len(refused)} are refused before anything is loaded. Each was run by OpenOOD's `main.py`, for one epoch, on",
        "tables with two modalities:",
        "",
        "```",
        "python -m openood_multimodal.plugin main.py \\",
        f"    --config {_FOLDER.as_posix()}/<file> {OURS[0]} \\",
        f"    {OURS[1]} --optimizer.num_epochs 1",
        "```",
        "",
        "The order matters: some of OpenOOD's files set `preprocessor.name: base`, which is for images. Files without",
        "a `seed` take 0. How to train, also with this package's own trainers: [openood.md](openood.md).",
        "",
        "## What runs",
        "",
        "The accuracy after one epoch shows that something is learned, not which trainer is better.",
        "",
        *table(
            ("config", "trainer", "accuracy", "note"),
            (
                (row.config, row.trainer, f"{row.outcome:.2f}", training.RUNS.get(row.trainer, ""))
                for row in runs
            ),
        ),
        "",
        "## What is refused, and why",
        "",
        *_reasons(refused),
    ]
    if failed:
        lines += ["", "## What fails", "", *_reasons(failed)]
    return "\n".join(lines) + "\n"


def _reasons(rows: Sequence[Row]) -> list[str]:
    return table(
        ("config", "trainer", "why"), ((row.config, row.trainer, _why(str(row.outcome))) for row in rows)
    )


def _why(message: str) -> str:
    return _REFUSAL.sub("", message).partition(". Those that can: ")[0]


def add_options(_: argparse.ArgumentParser) -> None:
    """This page takes no options of its own."""


def make(roots: Sequence[str], _: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the page and what is wrong with it: configs that neither ran nor were refused."""
    root = Path(roots[-1])
    rows = run_all(root, training_configs(root))
    failed = [row.config for row in rows if isinstance(row.outcome, str) and not row.refused]
    faults = [f"neither ran nor were refused: {', '.join(failed)}"] if failed else []
    return page(rows, describe_openood()), faults
