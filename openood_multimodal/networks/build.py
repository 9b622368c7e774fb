"""From a config section to a network, and from a checkpoint file into it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import bind_call
from ..errors import UserError
from ..files.seal import check_seal
from ..files.tensors import read_tensors
from ..registry import ENCODERS, NETWORKS
from .clips.authors import convert, is_authors

HOST_KEYS = ("name", "pretrained", "checkpoint", "num_gpus")
"""Keys of the network section that the host reads, not the network."""


def build_network(section: Mapping[str, Any]) -> nn.Module:
    """Build the network that ``section`` names, and load ``checkpoint`` where ``pretrained`` is true.

    Args:
        section: the ``network`` section: ``name``, the network's own parameters, and optionally OpenOOD's
            ``pretrained``, ``checkpoint`` and ``num_gpus``.

    Raises:
        UserError: an unknown name or parameter, a missing checkpoint, a checkpoint of another network.
    """
    if not section.get("pretrained"):
        return _build(section)
    net = bare_network(section)  # the checkpoint replaces all weights
    checkpoint = section.get("checkpoint")
    if not checkpoint:
        raise UserError(
            "network.pretrained is true but network.checkpoint is empty; "
            "set network.checkpoint to the file that training wrote, <run>/best.ckpt"
        )
    load_checkpoint(net, checkpoint)
    return net


def bare_network(section: Mapping[str, Any]) -> nn.Module:
    """Build the network that ``section`` names with random weights; files of weights to start from need not be there.

    Raises:
        UserError: an unknown name or parameter.
    """
    if isinstance(section.get("encoders"), Mapping):
        encoders = {name: {**each, "checkpoint": ""} for name, each in section["encoders"].items()}
        section = {**section, "encoders": encoders}
    return _build(section)


def _build(section: Mapping[str, Any]) -> nn.Module:
    net: nn.Module = bind_call(section, NETWORKS.get(section["name"]), where="network", ignore=HOST_KEYS)
    return net


def load_checkpoint(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a state dict, as training and OpenOOD's recorders write it, into ``net``.

    Only tensors are unpickled (``weights_only=True``).

    Raises:
        UserError: when the file is missing, is no checkpoint, belongs to another network (the message says which
            entries differ), or has its modalities in another order.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no checkpoint {path}; network.checkpoint must name a file that training wrote."
        )
    check_seal(path, "Copy it again, or train again.")
    state = read_tensors(path, remedy="Copy it again, or train again.")
    if isinstance(state, Mapping) and "mlp_cls_state_dict" in state:  # MultiOOD's authors'
        state = convert(state) if is_authors(state) else state
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(
            f"{path} holds no state dict (parameter name → tensor). Training writes one as best.ckpt; "
            "state.pt beside it is for resuming only."
        )
    state = {name.removeprefix("module."): value for name, value in state.items()}  # DataParallel's prefix
    own = net.state_dict()
    differing = [
        f"{name} is {tuple(state[name].shape)} there and {tuple(value.shape)} here"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    problems = [
        *differing[:3],
        *([f"it lacks {_some(missing)}"] if missing else []),
        *([f"it has {_some(unexpected)} besides"] if unexpected else []),
    ]
    if problems:
        raise UserError(
            f"{path} is a checkpoint of another network: {'; '.join(problems)}. "
            "network.* and dataset.modalities must be those of its training."
        )
    _check_order(own, state, path)
    net.load_state_dict(state)


def _check_order(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse encoders in another order: with the columns of the fusion head exchanged, the shapes still agree."""
    here, there = (
        list(dict.fromkeys(name.split(".")[1] for name in names if name.startswith("encoders.")))
        for names in (own, state)
    )
    if here != there:
        raise UserError(
            f"the embedding of {path} is {', '.join(there)} in this order, and the network's is {', '.join(here)}. "
            f"Set dataset.modalities to {','.join(there)}."
        )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def network_names(section: Mapping[str, Any]) -> dict[str, str] | str:
    """Return modality → encoder of a ``network`` section as tables name it, reduced sizes said; its own name without
    encoders.
    """
    encoders = section.get("encoders")
    if not isinstance(encoders, Mapping):
        return str(section["name"])
    names = {}
    for modality in section.get("modalities", encoders):
        encoder = encoders[modality]
        sizes = {
            key: encoder.get(key) for key in ("depth", "base_channels") if encoder.get(key) not in (None, 64)
        }
        said = ", ".join(f"{key} {value}" for key, value in sizes.items())
        name = str(encoder["name"])
        name = getattr(ENCODERS.get(name), "short", name) if name in ENCODERS else name
        names[str(modality)] = f"{name} ({said})" if said else name
    return names
