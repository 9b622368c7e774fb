"""A training's ``state.pt``: written with a checksum, and compared with the training before any of it is used.

A tensor of another shape or dtype in the optimiser's state makes its kernels write past the end of memory.  So all of
the state is compared with what this training's own state looks like, names, shapes and dtypes, and nothing is loaded
where something differs.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files.atomic import write_bytes
from ..files.seal import check_seal, sealed
from ..files.tensors import read_tensors
from ..trainers.epoch import EpochProgress
from ..trainers.rng import MT19937_WORDS, random_state

FILE = "state.pt"
REMEDY = "Delete it to train again."
_PARTS: dict[str, type | tuple[type, ...]] = {
    "epoch_idx": int,
    "config_digest": str,
    "config": Mapping,
    "network": Mapping,
    "trainer": Mapping,
    "best": Mapping,
    "log": list,
}
_BEST: dict[str, type | tuple[type, ...]] = {
    "acc": float,
    "epoch_idx": int,
    "network": (Mapping, type(None)),
}


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as ``torch.save`` does, with a checksum, in one step."""
    # through memory: torch's own writer turns a full disk into a RuntimeError without its reason
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, sealed(buffer.getvalue()))


def read_state(path: Path) -> Mapping[str, Any]:
    """Return a training's state, its outermost parts checked; see `check_state` for the rest.

    Raises:
        UserError: when the file has changed since it was written, is damaged, or is no state of a training.
    """
    if not check_seal(path, REMEDY):
        warnings.warn(
            f"{path} has no checksum (an older version wrote it), so it is not known whether it is intact.",
            stacklevel=2,
        )
    state = read_tensors(path, "a state of a training", REMEDY)
    _check_parts(state, _PARTS, path, "")
    _check_parts(state["best"], _BEST, path, "best.")
    if not all(isinstance(row, Mapping) for row in state["log"]):
        _refuse(path, "log", "is no list of rows")
    return state


def check_state(state: Mapping[str, Any], path: Path, net: nn.Module, trainer: Any) -> dict[str, Any]:
    """Compare a state with the network and the trainer that it is for.

    Args:
        state: as `read_state` returns it.
        path: its file, for messages.
        net: the network.
        trainer: the trainer, newly made.

    Returns:
        The state, its tensors in memory of their own.

    Raises:
        UserError: naming the part that is missing, has another shape or dtype, or is of another kind.
    """
    own = net.state_dict()
    _check_like(state["network"], own, path, "network")
    if state["best"]["network"] is not None:
        _check_like(state["best"]["network"], own, path, "best.network")
    found, expected = dict(state["trainer"]), trainer.state_dict()
    _check_like(
        _without(found, "optimizer", "progress"),
        _without(expected, "optimizer", "progress"),
        path,
        "trainer",
    )
    for key in ("optimizer", "progress"):
        if key not in found:
            _refuse(path, f"trainer.{key}", "is missing")
    _check_optimizer(found["optimizer"], trainer.optimizer, path)
    _check_random(found["random"], path, "trainer.random")
    if found["progress"] is not None:
        _check_progress(found["progress"], state["epoch_idx"], path)
    return _owned(state)


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _check_parts(found: Any, parts: Mapping[str, type | tuple[type, ...]], path: Path, prefix: str) -> None:
    if not isinstance(found, Mapping):
        raise UserError(f"{path} is no state of a training. {REMEDY}")
    for name, kind in parts.items():
        if name not in found:
            _refuse(path, prefix + name, "is missing")
        if not isinstance(found[name], kind) or isinstance(found[name], bool):
            _refuse(path, prefix + name, f"is a {type(found[name]).__name__}")


def _check_like(found: Any, like: Any, path: Path, name: str) -> None:
    """Refuse ``found`` unless it has the names, shapes, dtypes and kinds of ``like``."""
    if isinstance(like, Tensor):
        _check_tensor(found, like.shape, like.dtype, path, name)
    elif isinstance(like, Mapping):
        if not isinstance(found, Mapping):
            _refuse(path, name, f"is a {type(found).__name__}")
        for key in like:
            if key not in found:
                _refuse(path, f"{name}.{key}", "is missing")
        for key, value in found.items():
            if key not in like:
                _refuse(path, f"{name}.{key}", "does not belong to this training")
            _check_like(value, like[key], path, f"{name}.{key}")
    elif isinstance(like, list | tuple):
        if not isinstance(found, list | tuple) or (len(like) != len(found) and not name.endswith("cuda")):
            _refuse(path, name, f"is not a list of {len(like)}")
        for number, value in enumerate(found):
            if like:
                _check_like(value, like[min(number, len(like) - 1)], path, f"{name}[{number}]")
            elif not isinstance(value, Tensor):
                _refuse(path, f"{name}[{number}]", f"is a {type(value).__name__}")
    elif isinstance(found, Tensor | Mapping | list | tuple) or (
        isinstance(found, str) != isinstance(like, str) and None not in (found, like)
    ):
        _refuse(path, name, f"is a {type(found).__name__}")


def _check_tensor(found: Any, shape: torch.Size, dtype: torch.dtype, path: Path, name: str) -> None:
    if not isinstance(found, Tensor):
        _refuse(path, name, f"is a {type(found).__name__}, not a tensor")
    if found.layout is not torch.strided or found.is_quantized or found.device.type != "cpu":
        _refuse(path, name, "is no plain tensor")
    if found.shape != shape or found.dtype != dtype:
        _refuse(
            path, name, f"is {list(found.shape)} {found.dtype}, and this training's is {list(shape)} {dtype}"
        )


def _check_optimizer(found: Any, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Check an optimiser's state: of each parameter all that its kind keeps, or nothing where it had no gradient."""
    own = optimizer.state_dict()
    _check_parts(found, {"state": Mapping, "param_groups": list}, path, "trainer.optimizer.")
    _check_like(found["param_groups"], own["param_groups"], path, "trainer.optimizer.param_groups")
    for group, expected in zip(found["param_groups"], own["param_groups"], strict=True):
        if list(group["params"]) != list(expected["params"]):
            _refuse(path, "trainer.optimizer.param_groups", "names other parameters")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    kept = _kept_by(optimizer)
    for index, entries in found["state"].items():
        name = f"trainer.optimizer.state[{index}]"
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(entries, Mapping):
            _refuse(path, name, "belongs to no parameter")
        if kept is not None and entries.keys() != kept.keys():
            odd = sorted(map(str, entries.keys() ^ kept.keys()))
            _refuse(path, f"{name}.{odd[0]}", "is missing" if odd[0] in kept else "does not belong there")
        for key, value in entries.items():
            if not isinstance(value, Tensor):
                if value is not None and not isinstance(value, int | float):
                    _refuse(path, f"{name}.{key}", f"is a {type(value).__name__}")
            elif value.numel() == 1 and (kept is None or kept[key] != _LIKE_PARAMETER):
                _check_tensor(value, torch.Size(()), torch.float32, path, f"{name}.{key}")
            else:
                parameter = parameters[index]
                _check_tensor(value, parameter.shape, parameter.dtype, path, f"{name}.{key}")


_LIKE_PARAMETER = torch.Size((2, 3))


def _kept_by(optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Return what this kind of optimiser keeps of a parameter: name → shape for one of `_LIKE_PARAMETER`, or None.

    Found out with a parameter of no consequence; None where such an optimiser can't be made from its defaults.
    """
    names = inspect.signature(type(optimizer)).parameters
    chosen = {key: value for key, value in optimizer.defaults.items() if key in names}
    parameter = nn.Parameter(torch.zeros(_LIKE_PARAMETER))
    parameter.grad = torch.zeros_like(parameter)
    try:
        toy = type(optimizer)([parameter], **chosen)
        toy.step()
    except (TypeError, ValueError, RuntimeError):  # somebody's own optimiser
        return None
    return {key: getattr(value, "shape", None) for key, value in toy.state[parameter].items()}


def _check_random(found: Mapping[str, Any], path: Path, name: str) -> None:
    """Check what the random sources take without a look: NumPy reads beyond its words from a position past them."""
    _check_like(found, random_state(), path, name)
    if not 0 <= found["numpy"]["position"] <= MT19937_WORDS:
        _refuse(path, f"{name}.numpy.position", f"is {found['numpy']['position']}")
    if found["numpy"]["name"] != "MT19937":
        _refuse(path, f"{name}.numpy.name", f"is {found['numpy']['name']!r}")


def _check_progress(found: Any, epoch_idx: int, path: Path) -> None:
    name = "trainer.progress"
    known = {each.name for each in fields(EpochProgress)}
    if not isinstance(found, Mapping) or found.keys() != known:
        _refuse(path, name, "is not the progress of an epoch")
    for key in ("epoch_idx", "batches", "steps"):
        if type(found[key]) is not int or found[key] < 0:
            _refuse(path, f"{name}.{key}", f"is {found[key]!r}")
    if found["epoch_idx"] not in (epoch_idx, epoch_idx + 1):
        _refuse(path, f"{name}.epoch_idx", f"is {found['epoch_idx']} after epoch {epoch_idx}")
    _check_random(found["random_at_start"], path, f"{name}.random_at_start")
    sums = found["sums"]
    if not isinstance(sums, Mapping) or not all(
        isinstance(each, Tensor) and each.shape == () and each.dtype.is_floating_point
        for each in sums.values()
    ):
        _refuse(path, f"{name}.sums", "is not the losses so far")


def _owned(value: Any) -> Any:
    """Return ``value`` with copies of its tensors: those read are mapped from the file."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {key: _owned(each) for key, each in value.items()}
    return type(value)(map(_owned, value)) if isinstance(value, list | tuple) else value


def _refuse(path: Path, name: str, problem: str) -> NoReturn:
    raise UserError(f"{path} is no state of a training like this one: {name} {problem}. {REMEDY}")
