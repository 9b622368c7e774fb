"""The fusion head of MultiOOD's networks: from the authors' checkpoint, or from what was saved.

Their outputs are ``features @ weight.T + bias``.  Where the features of all sets together span every direction,
this has one solution, and least squares finds it; where they don't, infinitely many heads give the same
outputs, and a score that looks at the weights themselves (ViM) would rest on an arbitrary one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from ...arrays import LinearHead
from ...errors import UserError
from ...files.edge import reading
from ...files.tensors import read_tensors
from .groups import SavedSet

CHECKPOINT_KEY = "mlp_cls_state_dict"
_LAYER = "enc_net"

_MATCH = 0.02
"""Relative difference up to which a checkpoint's outputs are taken for the saved ones (TF32 stays below)."""

_LINEAR = 0.01
"""Relative residual up to which outputs count as a linear function of the features."""

_SURE = 0.01
"""Relative standard error of the weights up to which they count as determined."""

_ROUNDING = 1e-6
"""Relative error assumed of float32 outputs at least, where the residual shows less."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class HeadFit:
    """A head and where it comes from, or why there is none.

    Attributes:
        head: or None.
        source: ``"checkpoint"``, ``"least squares"`` or None.
        missing: why there is no head, or None.
        residual: relative residual of the outputs, or None.
    """

    head: LinearHead | None
    source: str | None = None
    missing: str | None = None
    residual: float | None = None


def load_checkpoint_head(path: Path) -> LinearHead:
    """Return the fusion head in one of the authors' checkpoints.

    Raises:
        UserError: when the file is no checkpoint, would have to be unpickled as code, or lacks the head.
    """
    content = read_tensors(
        path,
        "a checkpoint",
        f"Save its '{CHECKPOINT_KEY}' alone: torch.save({{'{CHECKPOINT_KEY}': ...}}, file).",
    )
    state = content.get(CHECKPOINT_KEY) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise UserError(f"{path} has no '{CHECKPOINT_KEY}', which holds the fusion head in MultiOOD's files.")
    plain = {str(key).removeprefix("module."): value for key, value in state.items()}
    parts = []
    for part, ndim in (("weight", 2), ("bias", 1)):
        value = plain.get(f"{_LAYER}.{part}")
        if value is None:
            held = ", ".join(map(str, state)) or "nothing"
            raise UserError(f"{path}: '{CHECKPOINT_KEY}' has no '{_LAYER}.{part}'; it holds {held}.")
        with reading(path, f"a checkpoint whose {_LAYER}.{part} is a dense tensor"):
            array = value.detach().float().numpy().copy()
        if array.ndim != ndim:
            raise UserError(
                f"{path}: {_LAYER}.{part} has the shape {list(array.shape)}; it needs {ndim} dimensions."
            )
        parts.append(array)
    return LinearHead(parts[0], parts[1], _modality_heads(content, path))


def _modality_heads(content: Any, path: Path) -> dict[str, LinearHead]:
    """Return the heads of the single modalities, where the checkpoint holds the whole network."""
    from ...networks.clips.authors import convert, is_authors

    if not is_authors(content):
        return {}
    state = convert(content)
    names = [key.split(".")[1] for key in state if key.startswith("heads.") and key.endswith(".weight")]
    with reading(path, "a checkpoint whose modality heads are linear layers"):
        arrays = {
            key: value.float().numpy().copy() for key, value in state.items() if key.startswith("heads.")
        }
        return {
            name: LinearHead(arrays[f"heads.{name}.weight"], arrays[f"heads.{name}.bias"]) for name in names
        }


def head_from_checkpoint(path: Path, sets: Iterable[SavedSet]) -> HeadFit:
    """Return the head in a checkpoint, once it has been seen to give the saved outputs.

    Raises:
        UserError: as `load_checkpoint_head`; when it belongs to another network.
    """
    head = load_checkpoint_head(path)
    difference = size = 0.0
    for each in sets:
        dim, classes = each.features.shape[1], each.outputs.shape[1]
        if (head.num_classes, head.dim) != (classes, dim):
            raise UserError(
                f"{path}: its head is [{head.num_classes}, {head.dim}], but the saved files need [{classes}, "
                f"{dim}]; import the groups of different networks one by one, with only=."
            )
        for where in _blocks(len(each.features), 1024):
            outputs = np.asarray(each.outputs[where], dtype=np.float64)
            difference += float(
                np.sum((head.logits(np.asarray(each.features[where], np.float64)) - outputs) ** 2)
            )
            size += float(np.sum(outputs**2))
    residual = math.sqrt(difference / size) if size else math.sqrt(difference)
    if residual > _MATCH:
        raise UserError(
            f"{path} did not make these files: its outputs differ from the saved ones by {100 * residual:.3g} %. "
            "Name the checkpoint that was given to the test script as --resumef."
        )
    return HeadFit(head, "checkpoint", residual=residual)


def head_from_outputs(sets: Sequence[SavedSet]) -> HeadFit:
    """Return the head that features and outputs determine, by least squares over all sets.

    Solved by QR, a block of rows at a time, in float64: the normal equations would square the condition
    number, and MultiOOD's features are far from orthogonal.
    """
    dim, classes = sets[0].features.shape[1], sets[0].outputs.shape[1]
    count = sum(len(each.features) for each in sets)
    if count < dim + 1:
        return HeadFit(
            None,
            missing=f"least squares needs at least {dim + 1} rows for {dim} features and the bias, "
            f"and these files have {count}",
        )
    triangle = _triangle(sets, dim, classes)
    system, right, rest = triangle[: dim + 1, : dim + 1], triangle[: dim + 1, dim + 1 :], triangle[dim + 1 :]
    inverse_norm = _inverse_norm(system)
    if inverse_norm is None or inverse_norm * float(linalg.norm(system)) > 1.0 / (_EPS * count):
        dead = int((np.abs(system[:, :dim]).max(axis=0) == 0).sum())
        zeros = f" ({dead} of the {dim} columns are 0 in every row)" if dead else ""
        return HeadFit(
            None,
            missing=f"the {count} rows don't span all {dim} dimensions{zeros}, so many heads give these outputs",
        )
    solution = linalg.solve_triangular(system, right, check_finite=False)
    size = float(linalg.norm(triangle[:, dim + 1 :])) / math.sqrt(count * classes)
    freedom = max(1, count - dim - 1)
    residual = float(linalg.norm(rest[:, dim + 1 :])) / math.sqrt(freedom * classes) if len(rest) else 0.0
    if residual > _LINEAR * size:
        return HeadFit(
            None,
            missing=f"the outputs are no linear function of the features (residual {100 * residual / size:.3g} %)",
            residual=residual / size,
        )
    error = max(residual, _ROUNDING * size) * math.sqrt(classes) * inverse_norm / float(linalg.norm(solution))
    if error > _SURE:
        return HeadFit(
            None,
            missing=f"the {count} rows determine the weights only to {100 * error:.2g} %, as some dimensions "
            "hardly vary",
            residual=residual / size,
        )
    head = LinearHead(np.ascontiguousarray(solution[:dim].T), np.ascontiguousarray(solution[dim]))
    return HeadFit(head, "least squares", residual=residual / size)


def _triangle(sets: Sequence[SavedSet], dim: int, classes: int) -> NDArray[np.float64]:
    """Return R of the QR decomposition of ``[features, 1, outputs]``, at most D + 1 + C rows."""
    width = dim + 1 + classes
    triangle = np.empty((0, width))
    for each in sets:
        for where in _blocks(len(each.features), width):
            features = np.asarray(each.features[where], dtype=np.float64)
            ones = np.ones((len(features), 1))
            rows = np.hstack([features, ones, np.asarray(each.outputs[where], dtype=np.float64)])
            stacked = np.vstack([triangle, rows])
            (factor,) = linalg.qr(stacked, mode="r", overwrite_a=True, check_finite=False)
            triangle = np.triu(factor[:width])
    return triangle


def _inverse_norm(system: NDArray[np.float64]) -> float | None:
    """Return the Frobenius norm of the inverse of a triangular matrix, or None where it has none."""
    inverse, info = linalg.lapack.dtrtri(system)
    return None if info else float(linalg.norm(inverse))


def _blocks(count: int, rows: int) -> Iterable[slice]:
    return (slice(start, start + rows) for start in range(0, count, rows))
