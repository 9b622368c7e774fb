"""From a config to a trainer, in either host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..datasets.auxiliary import build_auxiliary
from ..registry import TRAINERS


def build_trainer(net: Any, train_loader: Any, config: Mapping[str, Any]) -> Any:
    """Return the trainer that ``config["trainer"]`` names; the loader gets the outliers that it needs, if any.

    Raises:
        UserError: as the trainer, and as `build_auxiliary`.
    """
    kind = TRAINERS.get(config["trainer"]["name"])
    if getattr(kind, "needs_auxiliary", False):
        train_loader.auxiliary = build_auxiliary(config)
    return kind(net, train_loader, config)
