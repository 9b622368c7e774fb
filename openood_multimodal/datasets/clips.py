"""Clips of video, optical flow, sound or anything else that has a reader, as a multimodal dataset."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from ..errors import UserError
from ..files import file_sha256, text_sha256
from ..naming import did_you_mean
from ..registry import CONDITIONS, DATASETS, PREPROCESSORS
from .base import BrokenClipError, ClipError, ClipRequest, MultimodalDataset
from .batch import ModalityBatch
from .cells import FRAME_NAME
from .clip_benchmarks import available_clip_benchmarks
from .clip_files import ClipFiles, ClipLoader, explain_absent, files_of, is_clip_loader
from .manifest import Manifest
from .skipped import SkipLog, SkippedClip, remark_note

__all__ = ["BrokenClipError", "ClipError", "ClipRequest", "MultimodalClipDataset"]


@DATASETS.register("MultimodalClipDataset")
class MultimodalClipDataset(MultimodalDataset):
    """Clips of a manifest; nothing is read before a clip is asked for.

    Samples and batches are those of `MultimodalDataset`.  With the preprocessor ``multimodal_clip``: video
    ``[B, 3, 32, 224, 224]``, flow ``[B, 2, 8, 224, 224]``, audio ``[B, 1, 257, 1004]``.

    Whatever is drawn at random depends on the preprocessor's seed, the epoch and a clip's place alone.

    Args:
        name: what to call it in messages.
        imglist_pth: path of the manifest, or a mapping with the fields of `ClipRequest`.
        data_dir: folder that cells are relative to.  Empty: the manifest's folder.
        num_classes: number of in-distribution classes.
        preprocessor: one that reads clips (`clip_files.ClipLoader`).  With any other, clips are read as
            ``multimodal_clip`` does for a test; one of this package's kind (``handles_modalities``) then gets the
            batch, OpenOOD's own, for images, is ignored.
        data_aux_preprocessor: taken for OpenOOD's sake, not used.

    Raises:
        UserError: unknown option; a modality that the manifest lacks, or that the preprocessor can't read; a manifest
            that can't be read; a label outside the classes.
    """

    def use(self, preprocessor: Any) -> None:
        """Take a preprocessor that reads clips, or one for the batches of clips that are read as for a test."""
        super().use(preprocessor)
        self._remarks = SkipLog()
        self._loader: ClipLoader = (
            preprocessor
            if is_clip_loader(preprocessor)
            else PREPROCESSORS.get("multimodal_clip")({"seed": self.seed}, "test")
        )
        if preprocessor is self._loader:
            self._preprocessor = None  # it reads clips, and leaves batches as they are
        try:
            self._shapes = dict(self._loader.clip_shapes(self.modalities))
        except UserError as error:
            raise UserError(
                f"{self.manifest.source}: {error} For tables of features take MultimodalTabularDataset."
            ) from error

    def read_manifest(self, path: str) -> Manifest:
        """Return the manifest; a missing one of a packaged benchmark is told how to make."""
        if os.path.lexists(path):
            return Manifest.read(path)
        folder, name = os.path.split(os.path.dirname(os.path.abspath(path)))
        remedy = "Name another manifest, or the folder that has it (data_root, splits_root)."
        if name in available_clip_benchmarks():
            remedy = (
                f"Make the manifests: openood-mm splits import --from MultiOOD --benchmark {name} --out "
                f"{os.path.relpath(folder)} (docs/splits.md), or set splits_root to where they are."
            )
        elif name == "moving_shapes":
            remedy = f"Make the data: openood-mm prepare moving_shapes --root {os.path.dirname(path)}."
        raise UserError(f"{path}: there is no such file. {remedy}")

    @property
    def remarks(self) -> tuple[SkippedClip, ...]:
        """The clips in whose files something was tolerated so far, with what that was; they are not left out."""
        return self._remarks.read()

    @property
    def notes(self) -> list[str]:
        """What a result record has to say of this set so far: clips skipped, and clips with faults in their files."""
        note = remark_note(self.name, self.remarks)
        return [*super().notes, note] if note else super().notes

    def files(self, index: int) -> ClipFiles:
        """Return where the files of a clip are, without checking that they exist.

        Raises:
            ClipError: when a cell leads out of the data folder, or can't be one of its modality.
        """
        row = range(len(self))[int(index)]
        try:
            return files_of(
                self.manifest, row, self.root, getattr(self._loader, "companion", None), self.follow_links
            )
        except UserError as error:
            raise ClipError(self._message(row, error)) from error

    def degrade(self, kind: str, severity: str | None, modalities: Sequence[str], seed: int) -> None:
        """Apply a test-time condition to all clips that are read from now on, before their preprocessing.

        Raises:
            UserError: for an unknown condition or modality, a severity outside its range, a condition that a modality
                can't have, or flow that is read from files and would have to be computed from changed frames.
        """
        condition = CONDITIONS.get(kind)(severity)
        for modality in modalities:
            if modality not in self.modalities:
                hint = did_you_mean(modality, self.modalities)
                raise UserError(f"{self.name}: there is no modality '{modality}'.{hint}")
        degrade = getattr(self._loader, "degrade", None)
        if degrade is None:
            raise UserError(f"{self.name}: its preprocessor knows no conditions; take multimodal_clip.")
        degrade(condition, modalities, seed, map(self.files, range(len(self))))
        said = {"kind": kind, "severity": severity, "modalities": list(modalities), "seed": seed}
        self.condition = json.dumps(said)

    def load(self, row: int) -> dict[str, Tensor]:
        """Return a clip as the preprocessor reads it."""
        values = {name: torch.empty(shape) for name, shape in self._shapes.items()}
        self._read(row, {name: tensor.numpy() for name, tensor in values.items()})
        return values

    def load_batch(self, rows: list[int]) -> tuple[ModalityBatch, list[int]]:
        """Return the clips that can be read, each read into its place of the batch."""
        values = {name: _batch_tensor(len(rows), shape) for name, shape in self._shapes.items()}
        arrays = {name: tensor.numpy() for name, tensor in values.items()}
        kept = self.keep_readable(
            rows, lambda row, place: self._read(row, {name: each[place] for name, each in arrays.items()})
        )
        return ModalityBatch((name, tensor[: len(kept)]) for name, tensor in values.items()), kept

    def _read(self, row: int, out: Mapping[str, NDArray[np.float32]]) -> None:
        remarks = self._loader.load_clip(self.files(row), self._loader.seed, self.epoch, row, out)
        if remarks:
            self._remarks.add(row, self.manifest.clips[row], "; ".join(remarks))

    def content_digest(self, row: int) -> str:
        """Return the SHA-256 of a clip's files and span; of a folder of frames, of its first and last one.

        Raises:
            BrokenClipError: when a file can't be read.
        """
        with self.naming(row):
            return text_sha256("\n".join([*map(_file_digest, self.paths(row)), self.span(row)]))

    def content_hint(self, row: int) -> Hashable:
        """Return the sizes of a clip's files, and its span: a file is read only where another is as large."""
        sizes = tuple(path.stat().st_size if path.is_file() else -1 for path in self.paths(row))
        return sizes, self.span(row)

    def paths(self, row: int) -> list[Path]:
        """Return the files of a clip in the order of its modalities, each once."""
        paths = []
        for _, files in sorted(self.files(row).modalities.items()):
            if files.frames is not None:
                paths += [files.path / FRAME_NAME.format(number) for number in files.frames]
            else:
                paths += [path for path in (files.path, files.y) if path is not None]
        return paths

    def explain(self, row: int) -> str:
        """Return what is there instead of a file that is missing."""
        return explain_absent(self.files(row), self.root)


def _file_digest(path: Path) -> str:
    try:
        return _digest_of(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}.") from error


@lru_cache(maxsize=4096)
def _digest_of(path: Path, changed: int) -> str:
    return file_sha256(path)  # many clips may be spans of one file


def _batch_tensor(count: int, shape: Sequence[int]) -> Tensor:
    """Return float32 ``[count, *shape]`` to be filled; in a worker, in the memory that the batch is sent in.

    As torch's own ``default_collate`` does: a batch of video is some hundred megabytes, and would be copied.
    """
    size = count * math.prod(shape)
    empty = torch.empty(0, dtype=torch.float32)
    if get_worker_info() is None:
        return empty.new_empty((count, *shape))
    storage = empty._typed_storage()._new_shared(size, device=empty.device)
    return empty.new(storage).resize_(count, *shape)
