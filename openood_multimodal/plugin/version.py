"""Which OpenOOD this is, and what it means by FPR@95."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import write_text
from ..version import __version__
from .checkout import read_checkout

FILE = "openood_host.json"
FPR_MEANINGS = {
    "ood": "OOD is the positive class, as in this package's evaluators",
    "id": (
        "ID is the positive class (so at OpenOOD v1.5), unlike OpenOOD's main and this package's evaluators: "
        "don't compare the two"
    ),
    "unknown": "its definition is not one of those known",
}


@dataclass(frozen=True)
class OpenOODVersion:
    """Which OpenOOD a result comes from.

    Attributes:
        root: folder that holds the package.
        name: ``git describe`` of the checkout, else the installed version, else ``unknown version``.
        commit: full hash, or None where it is no git checkout.
        modified: whether tracked files differ from the commit; None where that can't be told.
        fpr95: positive class of its FPR@95: ``ood``, ``id`` or ``unknown``.
    """

    root: str
    name: str
    commit: str | None = None
    modified: bool | None = None
    fpr95: str = "unknown"

    def __str__(self) -> str:
        return f"{self.name}{', modified' if self.modified else ''}"


def openood_version(root: Path, metrics: Callable[..., Any] | None = None) -> OpenOODVersion:
    """Find out which OpenOOD lies in ``root``; ``metrics`` is its ``compute_all_metrics``, if imported."""
    meaning = fpr95_meaning(metrics) if metrics is not None else "unknown"
    # only the checkout's own repository: a copy inside somebody's project would answer with that project's
    found = read_checkout(root)
    if found is not None:
        return OpenOODVersion(str(root), found.name, found.commit, found.modified, meaning)
    try:
        return OpenOODVersion(str(root), version("openood"), fpr95=meaning)
    except PackageNotFoundError:
        return OpenOODVersion(str(root), "unknown version", fpr95=meaning)


def fpr95_meaning(compute_all_metrics: Callable[..., Any]) -> str:
    """Return which class ``compute_all_metrics(conf, label, pred)`` takes as positive in its first value.

    It is asked: of these scores FPR@95 is 1/4 with OOD positive, and 3/4 with ID positive.
    """
    known, unknown = [0.1, 0.8, 0.9, 1.0], [0.2, 0.3, 0.4, 0.0]
    label = np.array([0] * 4 + [-1] * 4)
    try:
        value = float(compute_all_metrics(np.array(known + unknown), label, np.zeros(8, dtype=int))[0])
    except (
        Exception
    ):  # somebody else's function on somebody else's terms: whatever it raises, it is not known
        return "unknown"
    return {0.25: "ood", 0.75: "id"}.get(value, "unknown")


def write_host(folder: Path, host: OpenOODVersion) -> None:
    """Write ``openood_host.json`` beside the results in ``folder``."""
    import torch

    content = {
        "host": "OpenOOD",
        "openood": asdict(host),
        "openood_multimodal": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    write_text(folder / FILE, json.dumps(content, indent=2) + "\n")
