"""The files of an embedding store: their names, shapes and checks.  `store` works through these."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..arrays import check_slices
from ..config import bind
from ..datasets.skipped import SkippedClip
from ..errors import UserError
from ..files import atomic, is_clutter, npz, read_json, read_text
from ..files.paths import remove
from ..files.seal import check_sealed_json, sealed_json
from ..version import __version__

SCHEMA_VERSION = 3
META, CLIPS, DONE = "meta.json", "clips.txt", "done"
BLOCK_ROWS = 1024
"""Rows that one checksum is of."""
REMEDY = "delete the folder and extract the embeddings again."

Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


@dataclass(frozen=True)
class StoreMeta:
    """What ``meta.json`` holds.

    Attributes:
        num_samples: N.
        num_classes: C.
        slices: modality → ``(start, stop)`` columns of the features, in order, from 0 to D without a gap.
        modality_logits: whether the store has ``[N, M, C]`` logits of the single modalities.
        digests: what the embeddings were made from, e.g. ``{"checkpoint", "manifest", "config"}`` → SHA-256.
        complete: whether every row is done and the store is sealed.
        digest: SHA-256 over the content; None until complete.
        checksums: file → SHA-256 of each block of `BLOCK_ROWS` rows, skipped ones left out; empty until complete, and
            in stores of versions 1 and 2.
        skipped: the rows that a complete store lacks, because their clips couldn't be read.
        notes: what a result record has to say of the clips that were read, such as faults in their files.
        package_version: version that created the store.
        schema_version: version of this format.
    """

    num_samples: int
    num_classes: int
    slices: dict[str, tuple[int, int]]
    modality_logits: bool
    digests: dict[str, str]
    complete: bool = False
    digest: str | None = None
    checksums: dict[str, list[str]] = field(default_factory=dict)
    skipped: tuple[SkippedClip, ...] = ()
    notes: list[str] = field(default_factory=list)
    package_version: str = __version__
    schema_version: int = SCHEMA_VERSION
    dim: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", max((stop for _, stop in self.slices.values()), default=0))

    @classmethod
    def read(cls, path: Path) -> StoreMeta:
        """Read and check ``meta.json``.

        Raises:
            UserError: when it is not valid, or of a later schema version.
        """
        raw = read_json(path, "the meta.json of an embedding store", f"The store is damaged; {REMEDY}")
        try:
            return cls._from_json(raw, path)
        except UserError as error:
            raise (
                error
                if str(path) in str(error)
                else UserError(
                    f"{path} is not the meta.json of an embedding store: {error} The store is damaged; {REMEDY}"
                )
            ) from error

    @classmethod
    def _from_json(cls, raw: Any, path: Path) -> StoreMeta:
        if not isinstance(raw, dict):
            raise UserError("it is no JSON object.")
        version = raw.get("schema_version")
        if version not in range(1, SCHEMA_VERSION + 1):
            raise UserError(
                f"{path}: this store has schema version {version}; this package reads 1 to {SCHEMA_VERSION}. "
                "Update openood-multimodal, or extract the embeddings again."
            )
        if version == SCHEMA_VERSION and "sha256" not in raw:
            raise UserError("its checksum is missing.")
        content = check_sealed_json(raw, str(path), REMEDY.capitalize())
        del content["schema_version"]
        content.setdefault("skipped", [])  # version 1 knew none
        dim = content.pop("dim", None)
        skipped = _skipped(content.pop("skipped", None))
        meta = replace(bind(content, cls, "meta", ignore=()), skipped=skipped)
        _check_slices(meta.slices)
        if meta.dim != dim or meta.num_samples < 1 or meta.num_classes < 1:
            raise UserError("its counts are wrong.")
        if meta.complete and meta.digest is None:
            raise UserError("a digest is missing.")
        if (version == SCHEMA_VERSION and meta.complete) != bool(meta.checksums):
            raise UserError("its checksums are missing.")
        rows = [each.row for each in meta.skipped]
        if rows != sorted({row for row in rows if 0 <= row < meta.num_samples}):
            raise UserError("its skipped rows are wrong.")
        return meta

    def write(self, path: Path) -> None:
        """Write ``meta.json`` in one step."""
        atomic.write_json(path, sealed_json(asdict(self)))

    def arrays(self) -> Layout:
        """Return the dtype and shape of each array of the store, ``done`` left out."""
        n, c, f32 = self.num_samples, self.num_classes, np.dtype("<f4")
        layout: Layout = {"features": (f32, (n, self.dim)), "logits": (f32, (n, c))}
        if self.modality_logits:
            layout["modality_logits"] = (f32, (n, len(self.slices), c))
        return {**layout, "labels": (np.dtype("<i8"), (n,))}


def _skipped(raw: Any) -> tuple[SkippedClip, ...]:
    if not isinstance(raw, list):
        raise UserError("skipped must be a list.")
    for each in raw:
        if not isinstance(each, list) or tuple(map(type, each)) != (int, str, str):
            raise UserError("skipped must be a list of [row, clip, reason].")
    return tuple(SkippedClip(*each) for each in raw)


def _check_slices(slices: Mapping[str, tuple[int, int]]) -> None:
    if not slices:
        raise UserError("slices name no modality; a store needs at least one.")
    check_slices(slices)


def check_request(meta: StoreMeta, clips: tuple[str, ...]) -> None:
    """Check what a new store is asked to hold."""
    _check_slices(meta.slices)
    if meta.num_samples < 1 or meta.num_classes < 1:
        raise UserError(
            f"a store needs at least one sample and one class, got {meta.num_samples} and {meta.num_classes}."
        )
    if len(clips) != meta.num_samples:
        raise UserError(f"there are {len(clips)} clip names for {meta.num_samples} samples.")
    broken = next((clip for clip in clips if "\n" in clip), None)
    if broken is not None:
        raise UserError(f"the clip name {broken!r} contains a line break, which {CLIPS} can't hold.")


def check_digests(folder: Path, stored: Mapping[str, str], expected: Mapping[str, str], remedy: str) -> None:
    """Check that two sets of digests are equal; the message names the first that differs."""
    for key in sorted({*stored, *expected}):
        if stored.get(key) != expected.get(key):
            raise UserError(
                f"{folder} was made from another {key}: its {key} digest is {_short(stored.get(key))}, "
                f"expected {_short(expected.get(key))}. {remedy}"
            )


def _short(digest: str | None) -> str:
    return "absent" if digest is None else digest if len(digest) <= 16 else f"{digest[:16]}..."


def make_files(folder: Path, meta: StoreMeta, clips: tuple[str, ...]) -> None:
    """Make the files of an empty store; what is there of an earlier one goes."""
    layout = {**meta.arrays(), DONE: (np.dtype(bool), (meta.num_samples,))}
    own = {META, CLIPS, *(f"{name}.npy" for name in (*layout, "modality_logits"))}
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(p.name for p in folder.iterdir() if p.name not in own and not is_clutter(p.name))
    if others:
        raise UserError(f"{folder} holds other files ('{others[0]}'); name an empty folder for the store.")
    # Without meta.json the folder is no store: a kill between here and the end leaves nothing to be mistaken.
    for name in (META, *sorted(own - {META})):
        remove(folder, name)
    try:
        for name, (dtype, shape) in layout.items():
            _allocate(folder / f"{name}.npy", dtype, shape)
        atomic.write_bytes(folder / CLIPS, "".join(f"{clip}\n" for clip in clips).encode("utf-8"))
        meta.write(folder / META)
    except OSError:
        for name in own:
            with suppress(OSError):
                remove(folder, name)
        raise


def _allocate(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Make an array of zeros whose blocks exist on disk.

    A file with holes would let a disk that fills up later kill the process (SIGBUS) in the middle of a write;
    so the room is taken now, and its absence is an `OSError` now.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    array.flush()
    del array
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            os.fsync(file.fileno())


def map_array(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], mode: Literal["r", "r+"]
) -> np.memmap[Any, Any]:
    """Memory-map one array, and check it against what ``meta.json`` says."""
    array: np.memmap[Any, Any] = npz.map_array(path, mode, f"The store is damaged; {REMEDY}")
    if array.dtype != dtype or array.shape != shape:
        raise UserError(
            f"{path} holds {array.dtype} {list(array.shape)}, but {META} says {dtype} {list(shape)}; {REMEDY}"
        )
    return array


def read_clips(folder: Path, num_samples: int) -> tuple[str, ...]:
    """Return the names in ``clips.txt``."""
    path = folder / CLIPS
    text = read_text(path, "csv_bytes", "the clips of an embedding store")
    clips = tuple(text.split("\n")[:-1])
    if len(clips) != num_samples:
        raise UserError(f"{path} names {len(clips)} clips, but {META} says {num_samples}; {REMEDY}")
    return clips
