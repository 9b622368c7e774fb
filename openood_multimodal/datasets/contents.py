"""What a dataset of manifest rows is told before a row is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from .manifest import OOD_LABEL, Manifest
from .split_card import FILE_NAME, SplitCard, clip_provenance


@dataclass(frozen=True)
class ClipRequest:
    """What ``imglist_pth`` says of a set of clips.

    Attributes:
        manifest: path of the manifest CSV.
        modalities: which of its modality columns, in which order; a list, or text with commas; None for all.
        on_error: what to do with a clip that can't be read: ``raise``, or ``skip`` it and list it.
        follow_links: whether symbolic links may lead out of the data folder.
    """

    manifest: str
    modalities: list[str] | str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    follow_links: bool = False


@dataclass(frozen=True, eq=False)
class Contents:
    """What a dataset is told of before a row is loaded.

    Attributes:
        manifest: one row a sample, with the modalities in use, in their order.
        class_names: the in-distribution classes, in the order of their labels.
        provenance: what a result record needs to know of the data; its ``track`` is the dataset's.
        root: folder that cells are relative to.
        on_error: as in `ClipRequest`.
        follow_links: as in `ClipRequest`.
    """

    manifest: Manifest
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    root: str = ""
    on_error: str = "raise"
    follow_links: bool = False


def contents_of(whole: Manifest, request: ClipRequest, data_dir: str = "") -> Contents:
    """Return the rows that ``request`` asks for and what is known of them.

    Args:
        whole: the manifest, with the columns of all its modalities.
        request: which of them.
        data_dir: folder that cells are relative to.  Empty: the manifest's folder.

    Raises:
        UserError: when it has no row, or a modality is unknown.
    """
    if not len(whole):
        raise UserError(f"{request.manifest} has a header but no clip.")
    wanted = names_of(request.modalities)
    manifest = whole if wanted is None else whole.select(wanted)
    if not manifest.modalities:
        raise UserError(
            f"imglist_pth.modalities is empty; {request.manifest} has {', '.join(manifest.files) or 'none'}."
        )
    return Contents(
        manifest,
        _class_names(manifest),
        clip_provenance(request.manifest, whole, manifest.modalities),
        os.path.abspath(data_dir or os.path.dirname(request.manifest)),
        request.on_error,
        request.follow_links,
    )


def names_of(modalities: list[str] | str | None) -> list[str] | None:
    """Return a list of modalities that a config gives as a list, as text with commas, or not at all."""
    if isinstance(modalities, str):
        return [part.strip() for part in modalities.split(",") if part.strip()]
    return modalities


def class_names_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the in-distribution classes of a manifest, ``class 3`` where no row has the label 3."""
    class_of = dict(zip(manifest.labels.tolist(), manifest.class_names, strict=True))
    count = max(class_of, default=OOD_LABEL) + 1
    return tuple(class_of.get(label, f"class {label}") for label in range(count))


def _class_names(manifest: Manifest) -> tuple[str, ...]:
    folder = Path(os.path.abspath(manifest.source)).parent
    return (
        tuple(SplitCard.read(folder).class_names)
        if (folder / FILE_NAME).is_file()
        else class_names_of(manifest)
    )
