"""Whatever a user may hold embeddings in → `arrays.Embeddings` and `arrays.LinearHead`, checked once.

Every check names the file or argument, and the row, column or key.  What passes here can be scored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Slices, check_slices
from ..dense import dense
from ..errors import UserError
from ..files import file_sha256
from ..files.npz import read_arrays
from ..linalg.rows import feature_blocks, require_finite_rows

_FLOATS = ("features", "logits", "modality_logits")


@dataclass(frozen=True)
class InputSet:
    """One set of embeddings, and where it comes from.

    Attributes:
        where: how messages call it, e.g. ``"test (id_test.npz)"``.
        embeddings: the arrays; labels are -1 throughout for an OOD set.
        shaped: ``"ash"`` or ``"react"`` where the features have been shaped already (see
            `datasets.multiood_files`), else None.
        origin: ``path`` and ``sha256`` (of a file) or ``digest`` (of a store); empty for arrays.
        ignored: keys of its file that aren't read.
        unlabelled: whether its labels were left out.
        made_from: of a store: what its embeddings were made from (``checkpoint``, ``manifest``, ...) → SHA-256.
    """

    where: str
    embeddings: Embeddings
    shaped: str | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    made_from: Mapping[str, str] = field(default_factory=dict)
    unlabelled: bool = False


def read_set(source: Any, name: str, *, ood: bool = False) -> InputSet:
    """Read one set.

    Args:
        source: an `EmbeddingStore` or the path of one; the path of an ``.npz`` with ``features`` float
            ``[N, D]`` and ``labels`` int ``[N]``, and where known ``logits`` float ``[N, C]``,
            ``modality_logits`` float ``[N, M, C]``, ``modalities`` text ``[M]`` and ``slices`` int ``[M, 2]``
            (first column, and the one after the last); `Embeddings`; ``(features, labels)``; for an OOD set
            also features alone.
        name: what it is, for messages: ``"test"``.
        ood: labels aren't needed then, and are replaced by -1.

    Raises:
        UserError: for an empty set, features that aren't floats, NaN or infinite values, labels that are
            missing, aren't integers or don't fit, a damaged file, an incomplete store.
    """
    found = _found(source, name, ood)
    embeddings = found.embeddings
    require_finite_rows(embeddings.features, f"{found.where}: features")
    if embeddings.logits is not None:
        require_finite_rows(embeddings.logits, f"{found.where}: logits")
    own = embeddings.modality_logits
    if own is not None:
        require_finite_rows(own.reshape(len(own), -1), f"{found.where}: modality_logits")
    if ood:
        embeddings = replace(embeddings, labels=np.full(len(embeddings), -1, dtype=np.int64))
    return replace(found, embeddings=embeddings, unlabelled=ood)


def _found(source: Any, name: str, ood: bool) -> InputSet:
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), name, ood)
    if isinstance(source, Embeddings):
        values = {key: getattr(source, key) for key in (*_FLOATS, "labels")}
        return InputSet(name, replace(_embeddings(values, name, ood), clips=source.clips, slices=source.slices,
                                      modalities=source.modalities))  # fmt: skip
    if callable(getattr(source, "embeddings", None)) and hasattr(source, "meta"):
        return _from_store(source, name)
    if isinstance(source, tuple):
        if len(source) != 2:
            raise UserError(f"{name} must be (features, labels), got a tuple of {len(source)}.")
        features, labels = _arrays(*source, name, ood)
    else:
        features, labels = _arrays(source, None, name, ood)
    return InputSet(name, Embeddings(features, labels))


def _from_path(path: Path, name: str, ood: bool) -> InputSet:
    where = f"{name} ({path})"
    if path.is_dir():
        from ..embeddings.store import EmbeddingStore  # here: the room of datasets brings torch

        return _from_store(EmbeddingStore.open(path), where)
    values, ignored = read_arrays(path, ["features"], ["labels", *_FLOATS[1:], "modalities", "slices"])
    origin = {"path": str(path), "sha256": file_sha256(path)}
    return InputSet(where, _embeddings(values, where, ood), None, origin, ignored)


def _embeddings(values: Mapping[str, Any], where: str, ood: bool) -> Embeddings:
    features, labels = _arrays(values["features"], values.get("labels"), where, ood)
    logits, own = (values.get(key) for key in _FLOATS[1:])
    names = _names(values.get("modalities"), where)
    columns = values.get("slices")
    if columns is not None and (columns.dtype.kind not in "iu" or columns.shape != (len(names), 2)):
        raise UserError(
            f"{where}: slices must be integers [M, 2], the first column and the one after the last of each of the "
            f"M = {len(names)} names in 'modalities'; got {columns.dtype} {list(columns.shape)}."
        )
    try:
        slices = (
            {} if columns is None else as_slices(dict(zip(names, columns, strict=True)), features.shape[1])
        )
        return Embeddings(
            features,
            labels,
            None if logits is None else _floats(logits, "logits", "[N, C]", 2),
            None if own is None else _floats(own, "modality_logits", "[N, M, C]", 3),
            slices,
            modalities=names,
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _names(array: NDArray[Any] | None, where: str) -> tuple[str, ...]:
    if array is None:
        return ()
    names = tuple(array.tolist()) if array.dtype.kind == "U" and array.ndim == 1 else ()
    if not all(names) or not names or len(set(names)) != len(names):
        raise UserError(
            f"{where}: modalities must be the modalities' names, each once, e.g. numpy.array(['video', 'flow']); "
            f"got {array.dtype} {list(array.shape)}."
        )
    return names


def _from_store(store: Any, where: str) -> InputSet:
    digests = store.meta["digests"]
    origin = {"path": str(store.path), "digest": store.digest()}
    return InputSet(where, store.embeddings(), digests.get("shaped"), origin, made_from=digests)


def _arrays(features: Any, labels: Any, where: str, ood: bool) -> tuple[NDArray[Any], NDArray[np.int64]]:
    rows = _floats(features, f"{where}: features", "[N, D]", 2)
    if not rows.size:
        raise UserError(f"{where} is empty: its features have shape {list(rows.shape)}.")
    if ood:
        return rows, np.full(len(rows), -1, dtype=np.int64)
    if labels is None:
        raise UserError(f"{where} has no labels; an in-distribution set needs features and labels.")
    return rows, _labels(dense(labels, f"{where}: labels"), len(rows), where)


def _floats(value: Any, what: str, form: str, ndim: int) -> NDArray[Any]:
    array = dense(value, what)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(f"{what} must be float16, float32 or float64, got {array.dtype}.")
    if array.ndim != ndim:
        raise UserError(f"{what} must be {form}, got shape {list(array.shape)}.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _labels(array: NDArray[Any], rows: int, where: str) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise UserError(f"{where}: labels must be integers, got {array.dtype}; {_remedy_of(array, rows)}.")
    if array.shape != (rows,):
        raise UserError(
            f"{where}: labels must be [{rows}], one a row, got shape {list(array.shape)}; {_remedy_of(array, rows)}."
        )
    if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
        raise UserError(f"{where}: a label is larger than any class can be.")
    return array.astype(np.int64)


_NUMBERS = "give each row's class as a number, counted from 0 in the order of the logits"


def _remedy_of(labels: NDArray[Any], rows: int) -> str:
    """Return what makes class numbers of labels that are none."""
    values = _as_numbers(labels)
    if values is None:
        return _NUMBERS
    if not np.isfinite(values).all():
        return "they hold NaN or infinity: leave such rows out"
    if labels.shape in ((rows, 1), (1, rows)):
        flat = "numpy.ravel(labels)"
    elif labels.ndim == 2 and len(labels) == rows:
        one_hot = ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()
        return "they are one-hot: give labels.argmax(axis=1)" if one_hot else _NUMBERS
    elif labels.shape == (rows,):
        flat = "numpy.asarray(labels)"
    else:
        return _NUMBERS
    if (values != np.round(values)).any() or (np.abs(values) > 2**53).any():
        return f"they hold fractions, or numbers that are no classes: {_NUMBERS}"
    return f"use {flat}" if labels.dtype.kind in "iu" else f"use {flat}.astype('int64')"


def _as_numbers(labels: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return float64 values; None where ``astype`` makes no integers of the labels."""
    if labels.dtype.kind not in "biufOUS":
        return None
    try:
        if labels.dtype.kind in "OUS":
            labels.astype(np.int64)
        return labels.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return None


def read_head(source: Any) -> LinearHead:
    """Read the fusion head.

    Args:
        source: ``(weight [C, D], bias [C])``, a `LinearHead`, the path of an ``.npz`` with both (and
            ``weight.<modality>`` ``[C, D_k]`` and ``bias.<modality>`` ``[C]`` of each modality's own head), a
            module with ``weight`` and ``bias`` (``torch.nn.Linear``; no bias counts as 0), or one with
            ``get_fc()``.

    Raises:
        UserError: for anything else, wrong shapes, NaN or infinite weights, no class.
    """
    where, weight, bias, own = "head", None, None, dict[str, Any]()
    if isinstance(source, str | os.PathLike):
        where = f"head ({os.fspath(source)})"
        if Path(source).is_dir():
            raise UserError(f"{where} is a folder; name the .npz with weight [C, D] and bias [C].")
        values, others = read_arrays(source, ["weight", "bias"])
        weight, bias = values["weight"], values["bias"]
        names = sorted(key.removeprefix("weight.") for key in others if key.startswith("weight."))
        more = read_arrays(source, [f"{part}.{name}" for name in names for part in ("weight", "bias")]).values
        own = {name: (more[f"weight.{name}"], more[f"bias.{name}"]) for name in names}
    elif isinstance(source, tuple | list) and len(source) == 2:
        weight, bias = source
    elif hasattr(source, "get_fc"):
        weight, bias = source.get_fc()
        own = source.get_modality_fcs() if hasattr(source, "get_modality_fcs") else {}
    elif hasattr(source, "weight") and hasattr(source, "bias"):
        weight, bias = source.weight, source.bias
        heads = getattr(source, "modality_heads", {})
        own = {name: (each.weight, each.bias) for name, each in heads.items()}
    else:
        raise UserError(
            f"head must be (weight, bias), an .npz with both, or a module with weight and bias or get_fc(); "
            f"got {type(source).__name__}. A weight without a bias is given as (weight, None)."
        )
    fused = _linear(weight, bias, where)
    return replace(
        fused,
        modality_heads={name: _linear(each[0], each[1], f"{where}: {name}") for name, each in own.items()},
    )


def _linear(weight: Any, bias: Any, where: str) -> LinearHead:
    weights = _floats(weight, f"{where}: weight", "[C, D]", 2)
    biases = np.zeros(len(weights), weights.dtype) if bias is None else bias
    biases = _floats(biases, f"{where}: bias", "[C]", 1)
    if not weights.size or len(biases) != len(weights):
        raise UserError(
            f"{where}: weight must be [C, D] and bias [C], got {list(weights.shape)} and {list(biases.shape)}."
        )
    require_finite_rows(weights, f"{where}: weight")
    require_finite_rows(biases[:, None], f"{where}: bias")
    return LinearHead(weights, biases)


def logits_of(embeddings: Embeddings, head: LinearHead | None) -> NDArray[np.float64]:
    """Return float64 ``[N, C]`` logits: the stored ones, else the head's."""
    if embeddings.logits is not None:
        return np.asarray(embeddings.logits, dtype=np.float64)
    if head is None:
        raise UserError("there are neither logits nor a head; give the head.")
    return np.concatenate([head.logits(block) for _, block in feature_blocks(embeddings.features)])


def parse_slices(text: str) -> dict[str, int]:
    """Return modality → width from ``video:2304,flow:2048``.

    Raises:
        UserError: when the text has another form, or names a modality twice.
    """
    widths: dict[str, int] = {}
    for part in text.split(","):
        modality, colon, width = (each.strip() for each in part.partition(":"))
        if not modality or not colon or not width.isdecimal() or int(width) < 1:
            raise UserError(f"slices are written modality:width, e.g. video:2304,flow:2048; got '{text}'.")
        if modality in widths:
            raise UserError(f"the slices '{text}' name '{modality}' twice.")
        widths[modality] = int(width)
    return widths


def as_slices(given: Mapping[str, Any], dim: int) -> Slices:
    """Return modality → ``(start, stop)`` that cover ``dim`` columns, from widths or from such pairs.

    Raises:
        UserError: when they leave a gap, overlap, or don't end at ``dim``.
    """
    slices: dict[str, tuple[int, int]] = {}
    position = 0
    for modality, value in given.items():
        start, stop = (position, position + value) if isinstance(value, int) else (int(v) for v in value)
        slices[str(modality)] = (start, stop)
        position = stop
    check_slices(slices, dim)
    return slices
