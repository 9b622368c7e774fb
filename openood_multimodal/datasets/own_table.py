"""A user's tables: a manifest whose cells are ``file.csv#row``, and the files that it refers to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..naming import did_you_mean
from .layouts.source import Stamped, read_csv, read_header
from .manifest import Manifest
from .standardize import Standardizer

Features = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ManifestRequest:
    """What ``imglist_pth`` says of a user's tables.

    Attributes:
        manifest: path of the manifest CSV.
        modalities: which of its modality columns, in which order; None for all.
        columns: modality → patterns (``mfcc_*``) of the feature columns in its files; every column of the
            file where a modality is not named.
        standardize_from: path of the training set's manifest, by whose rows features are z-scored; empty
            leaves the values as they are.
    """

    manifest: str
    modalities: list[str] | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)
    standardize_from: str = ""


def load_manifest_table(request: ManifestRequest, data_dir: str = "") -> tuple[Manifest, Features]:
    """Return a manifest (of the chosen modalities) and the float64 ``[N, d]`` features of each modality.

    Args:
        request: which manifest, modalities, columns.
        data_dir: folder that cells are relative to; empty for the manifest's own.

    Raises:
        UserError: when a cell is empty or no ``file.csv#row``, its file or row does not exist, a column
            pattern matches nothing, files of a modality differ in their columns, or a value is no finite
            number.
    """
    manifest = _selected(request.manifest, request.modalities)
    for modality in request.columns:
        if modality not in manifest.files:
            raise UserError(
                f"imglist_pth.columns: {request.manifest} has no modality '{modality}'."
                f"{did_you_mean(modality, manifest.files)}"
            )
    features = _features(manifest, request, data_dir)
    if request.standardize_from:
        train = _selected(request.standardize_from, list(manifest.modalities))
        for modality, values in _features(train, request, data_dir).items():
            if values.shape[1] != features[modality].shape[1]:
                raise UserError(
                    f"modality {modality} has {values.shape[1]} columns in {train.source}, "
                    f"{features[modality].shape[1]} in {manifest.source}."
                )
            features[modality] = Standardizer.fit(values).apply(features[modality])
    return manifest, features


def _selected(path: str, modalities: list[str] | None) -> Manifest:
    manifest = Manifest.read(path)
    if not len(manifest):
        raise UserError(f"{path} has a header but no clip.")
    return manifest if modalities is None else manifest.select(modalities)


def _features(manifest: Manifest, request: ManifestRequest, data_dir: str) -> Features:
    root = Path(data_dir) if data_dir else Path(manifest.source).parent
    return {
        modality: _modality(manifest, modality, root, request.columns.get(modality, ["*"]))
        for modality in manifest.modalities
    }


def _modality(manifest: Manifest, modality: str, root: Path, patterns: Sequence[str]) -> NDArray[np.float64]:
    references = [cell.rpartition("#") for cell in manifest.files[modality]]
    for line, (file, _, row) in enumerate(references, start=2):
        if not file or not row.isascii() or not row.isdigit() or len(row) > 18:
            cell = manifest.files[modality][line - 2]
            raise UserError(
                f"{manifest.source}, line {line}, column {modality}: '{cell}' is no reference to a row; "
                "write file.csv#12 (the row counted from 0, without the header)."
            )
    names, which = np.unique([file for file, _, _ in references], return_inverse=True)
    rows = np.asarray([int(row) for _, _, row in references], dtype=np.int64)
    values: NDArray[np.float64] | None = None
    for number, name in enumerate(names.tolist()):
        here = np.flatnonzero(which == number)
        place = f"{manifest.source}, line {here[0] + 2}, column {modality}"
        table = _numbers(root / name, patterns, modality, place)
        if rows[here].max() >= len(table):
            late = int(here[np.argmax(rows[here])])
            raise UserError(
                f"{manifest.source}, line {late + 2}, column {modality}: {name} has {len(table)} rows, "
                f"so there is no row {rows[late]}."
            )
        if values is None:
            values = np.empty((len(rows), table.shape[1]))
        if table.shape[1] != values.shape[1]:
            raise UserError(
                f"{place}: {name} has {table.shape[1]} feature columns, {names[0]} has {values.shape[1]}; "
                "all files of a modality need the same."
            )
        values[here] = table[rows[here]]
    if values is None:
        raise UserError(f"{manifest.source} has no clip.")
    return values


def _numbers(path: Path, patterns: Sequence[str], modality: str, place: str) -> NDArray[np.float64]:
    try:
        file = Stamped.of(path)
    except OSError as error:
        raise UserError(
            f"{place}: the file {path} can't be read: {error.strerror}. Paths are relative to data_dir, or "
            "to the manifest where it is empty."
        ) from error
    header = read_header(file)
    for pattern in patterns:
        if not any(fnmatchcase(column, pattern) for column in header):
            raise UserError(
                f"imglist_pth.columns.{modality}: no column of {os.fspath(path)} matches '{pattern}'; it has "
                f"{', '.join(header[:8])}{', ...' if len(header) > 8 else ''}."
            )
    chosen = tuple(i for i, column in enumerate(header) if any(fnmatchcase(column, p) for p in patterns))
    return read_csv(file, chosen).numbers
