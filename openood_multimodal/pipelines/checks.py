"""What the pipelines check of a config before they spend time on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError

LEAST = {"batch_size": 1, "num_workers": 0, "seed": 0, "state_interval": 0}
"""Key → the least value that it may have, wherever it stands in the sections that a pipeline reads."""


def check_config(config: Mapping[str, Any], sections: Sequence[str]) -> None:
    """Check that ``sections`` are there, and that sizes, the seed and intervals are whole numbers in range.

    Raises:
        UserError: naming the key.
    """
    for name in sections:
        if not isinstance(config.get(name), Mapping):
            raise UserError(
                f"{name} must be a section of 'key: value' lines, got {config.get(name)!r}; "
                "look for a file that is missing after --config, or that sets it to a single value."
            )
    recorder = config.get("recorder")
    if recorder is not None and not isinstance(recorder, Mapping):
        raise UserError(f"recorder must be a section of 'key: value' lines, got {recorder!r}.")
    seconds = (recorder or {}).get("state_seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise UserError(f"recorder.state_seconds is {seconds!r}; it must be a number of seconds, at least 0.")
    _check_numbers({"seed": config.get("seed")}, "")
    for name in (*sections, "ood_dataset", "recorder"):
        _check_numbers(config.get(name) or {}, f"{name}.")


def _check_numbers(section: Mapping[str, Any], prefix: str) -> None:
    for key, value in section.items():
        if isinstance(value, Mapping):
            _check_numbers(value, f"{prefix}{key}.")
        elif key in LEAST and value is not None and not _at_least(value, LEAST[key]):
            raise UserError(f"{prefix}{key} is {value!r}; it must be a whole number, at least {LEAST[key]}.")


def _at_least(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_trained(network: Mapping[str, Any]) -> None:
    """Check that a test's ``network`` section asks for trained weights.

    Raises:
        UserError: when ``pretrained`` is off: figures of a random network would be filed under its checkpoint.
    """
    if not network.get("pretrained"):
        raise UserError(
            "network.pretrained is off, so a network of random weights would be tested; "
            "set network.pretrained: True and --network.checkpoint <run>/best.ckpt."
        )
