"""Digests that tell whether two runs, or a run and a file, belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import text_sha256
from ..reporting.claims import manifests_digest
from ..trainers.mixed import training_options

WITHOUT_EFFECT = frozenset(
    {
        "output_dir",
        "exp_name",
        "mark",
        "save_output",
        "merge_option",
        "clip_cache",
        "overwrite",
        "num_workers",
        "num_gpus",
        "deterministic",
        "num_machines",
        "machine_rank",
        "recorder",
        "scoring",
    }
)
"""Keys, at the top or in ``dataset``, ``ood_dataset`` and ``network``, that don't change a run's result."""


SAME_AS_ABSENT = frozenset({"search", "condition", "metrics"})
"""Keys that were added later: null, empty, or a condition without a name, leaves the digests of configs without them as
they were."""


def effective_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that decides the result, as plain dicts and lists."""
    nested = ("dataset", "ood_dataset", "network")
    return {
        key: (
            {k: _plain(v) for k, v in value.items() if k not in WITHOUT_EFFECT}
            if key in nested and isinstance(value, Mapping)
            else _plain(value)
        )
        for key, value in config.items()
        if key not in WITHOUT_EFFECT and not (key in SAME_AS_ABSENT and _is_absent(value))
    }


def _is_absent(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, Mapping) and value.get("name", value) is None)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `effective_config`, independent of the order of keys."""
    text = json.dumps(effective_config(config), sort_keys=True, default=str)
    return text_sha256(text)


def training_digest(
    config: Mapping[str, Any], trainer: Mapping[str, Any], optimizer: Mapping[str, Any]
) -> str:
    """Return the SHA-256 of a training's settings: what a method is, apart from seed, partition and data.

    Results may be averaged only where this agrees.

    Args:
        config: the training config.
        trainer: name and parameters in force, defaults included.
        optimizer: the same of the optimiser.
    """
    effective = effective_config(config)
    network = {k: v for k, v in effective["network"].items() if k not in ("checkpoint", "pretrained")}
    if isinstance(
        network.get("encoders"), Mapping
    ):  # which weights they start from counts, not where those lie
        network["encoders"] = {
            name: {**each, "checkpoint": Path(str(each.get("checkpoint") or "")).name}
            for name, each in network["encoders"].items()
        }
    computing = asdict(training_options(config))
    settings = [_plain(trainer), _plain(optimizer), network, effective.get("preprocessor"), computing]
    batch_size = effective["dataset"]["train"]["batch_size"]
    text = json.dumps([*settings, batch_size], sort_keys=True, default=str)
    return text_sha256(text)


def split_digest(datasets: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the manifests of several sets: which clips train, validate and test, and which are OOD.

    Args:
        datasets: name of the set (``train``, ``val``, ``test``, ``ood``) → dataset with a ``manifest``.
    """
    return manifests_digest({name: each.manifest.digest() for name, each in datasets.items()})


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> str | None:
    """Return ``"key: 1 there, 2 here"`` for the first key in which two plain configs differ, or None."""
    for key in [*a, *(k for k in b if k not in a)]:
        there, here = a.get(key), b.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            found = first_difference(there, here, f"{prefix}{key}.")
            if found:
                return found
        elif there != here:
            return f"{prefix}{key}: {there!r} there, {here!r} here"
    return None
