"""Clips of video, optical flow and sound as a multimodal dataset: one manifest row a clip."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ..config import bind
from ..errors import MissingPackageError, UserError
from ..naming import did_you_mean
from ..registry import DATASETS, PREPROCESSORS
from .batch import ModalityBatch
from .clip_benchmarks import available_clip_benchmarks
from .clip_files import MODALITIES, ClipFiles, ClipLoader, explain_absent, files_of, is_clip_loader
from .collate import Collated
from .manifest import OOD_LABEL, Manifest
from .skipped import SkipLog, SkippedClip, skip_note
from .split_card import FILE_NAME as SPLIT_CARD
from .split_card import SplitCard, clip_provenance


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


class ClipError(UserError):
    """Something wrong with a clip.  The message names manifest, line, clip, modality, file and fault.

    Torch raises what a worker process raised once more, with the worker's traceback for a message; that is cut off.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip("\n"))


class BrokenClipError(ClipError):
    """A clip with a file that is missing or broken: what ``on_error: skip`` leaves out."""


@DATASETS.register("MultimodalClipDataset")
class MultimodalClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest, as OpenOOD constructs datasets; nothing is read before a clip is asked for.

    A sample is ``{"data": ModalityBatch, "label": int, "index": int, "clip": str}``; loaders fetch whole batches
    through ``__getitems__``: ``{"data": ModalityBatch of float32 [B, ...], "label": int64 [B], "index": int64 [B],
    "clip": list[str]}``.  With the preprocessor ``multimodal_clip``: video ``[B, 3, 32, 224, 224]``, flow
    ``[B, 2, 8, 224, 224]``, audio ``[B, 1, 257, 1004]``.

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

    Attributes:
        manifest: one row a sample, with the modalities in use.
        modalities: names, in order.
        labels: int64 ``[N]``, -1 for OOD rows.
        num_classes: as given.
        class_names: the in-distribution classes, in the order of their labels.
        track: the split's track; ``demo`` without a split card.
        provenance: what a result record needs to know of the data.
        on_error: as in `ClipRequest`.

    Raises:
        UserError: unknown option or modality; a manifest that can't be read; a label outside the classes.
    """

    benchmark = None
    reads_files = True
    """So that loaders have worker processes where a config leaves their number open."""

    def __init__(
        self,
        name: str,
        imglist_pth: str | os.PathLike[str] | Mapping[str, Any],
        data_dir: str | os.PathLike[str],
        num_classes: int,
        preprocessor: Any = None,
        data_aux_preprocessor: Any = None,
    ) -> None:
        super().__init__()
        self.name = name
        request = _request(imglist_pth)
        whole = _read(request.manifest)
        self.manifest = _selected(whole, request)
        self.modalities = self.manifest.modalities
        self.root = os.path.abspath(os.fspath(data_dir or "") or os.path.dirname(request.manifest))
        self.labels: NDArray[np.int64] = self.manifest.labels
        _check_labels(self.manifest, num_classes, name)
        self.num_classes = num_classes
        self.class_names = _class_names(self.manifest)
        self.provenance = clip_provenance(request.manifest, whole, self.modalities)
        self.track = str(self.provenance["track"])
        self.on_error = request.on_error
        self._follow_links = request.follow_links
        self._skips = SkipLog() if request.on_error == "skip" else None
        self._loader: ClipLoader = (
            preprocessor
            if is_clip_loader(preprocessor)
            else PREPROCESSORS.get("multimodal_clip")(_seed_of(preprocessor), "test")
        )
        self._shapes = self._loader.clip_shapes(self.modalities)
        after = preprocessor is not self._loader and getattr(preprocessor, "handles_modalities", False)
        self._preprocessor = preprocessor if after else None
        # in shared memory: workers that outlive an epoch hold a copy of everything else
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that augmentation depends on."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that augmentation depends on; workers see it, persistent ones too."""
        self._epoch.fill_(int(epoch))

    @property
    def skipped(self) -> tuple[SkippedClip, ...]:
        """The clips left out so far because they can't be read, in this process or in a loader's workers."""
        return self._skips.read() if self._skips is not None else ()

    @property
    def notes(self) -> list[str]:
        """What a result record has to say of this set: the clips skipped so far."""
        note = skip_note(self.name, self.skipped)
        return [note] if note else []

    def files(self, index: int) -> ClipFiles:
        """Return where the files of a clip lie; whether they are there is not looked at.

        Raises:
            ClipError: when a cell leads out of the data folder.
        """
        place = range(len(self))[int(index)]
        try:
            return files_of(self.manifest, place, self.root, self._follow_links)
        except UserError as error:
            raise ClipError(self._message(place, error)) from error

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = range(len(self))[int(index)]
        values = {name: torch.empty((1, *shape)) for name, shape in self._shapes.items()}
        self._load(place, {name: tensor[0].numpy() for name, tensor in values.items()})
        data = self._finished(ModalityBatch(values), [place])
        return {
            "data": data.map(lambda tensor: tensor[0]),
            "label": int(self.labels[place]),
            "index": place,
            "clip": self.manifest.clips[place],
        }

    def __getitems__(self, indices: Sequence[int]) -> list[Collated]:
        values = {name: _batch_tensor(len(indices), shape) for name, shape in self._shapes.items()}
        rows = {name: tensor.numpy() for name, tensor in values.items()}
        places: list[int] = []
        for index in indices:
            place = range(len(self))[int(index)]
            try:
                self._load(place, {name: row[len(places)] for name, row in rows.items()})
            except BrokenClipError as error:
                if self._skips is None:
                    raise
                if self._skips.add(place, self.manifest.clips[place], str(error)):
                    logging.getLogger(__name__).warning("skipped: %s", error)
                continue
            places.append(place)
        data = ModalityBatch((name, tensor[: len(places)]) for name, tensor in values.items())
        return [
            Collated(
                {
                    "data": self._finished(data, places),
                    "label": torch.from_numpy(self.labels[places]),
                    "index": torch.tensor(places, dtype=torch.int64),
                    "clip": [self.manifest.clips[place] for place in places],
                }
            )
        ]

    def _load(self, place: int, out: Mapping[str, NDArray[np.float32]]) -> None:
        files = self.files(place)
        try:
            self._loader.load_clip(files, self._loader.seed, self.epoch, place, out)
        except MissingPackageError:
            raise
        except (UserError, OSError) as error:
            message = self._message(place, error)
            if self._skips is None and (explained := explain_absent(files, self.root)):
                message += f" {explained}"
            raise BrokenClipError(message) from error

    def _finished(self, data: ModalityBatch, places: Sequence[int]) -> ModalityBatch:
        if self._preprocessor is None or not places:
            return data
        return self._preprocessor(data, getattr(self._preprocessor, "seed", 0), self.epoch, places)

    def _message(self, place: int, error: Exception) -> str:
        return f"{self.manifest.source}, line {place + 2}, clip '{self.manifest.clips[place]}': {error}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {len(self)} clips; {', '.join(self.modalities)})"


def _request(imglist_pth: str | os.PathLike[str] | Mapping[str, Any]) -> ClipRequest:
    if isinstance(imglist_pth, Mapping):
        return bind(imglist_pth, ClipRequest, "imglist_pth", ignore=())
    return ClipRequest(os.fspath(imglist_pth))


def _read(path: str) -> Manifest:
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


def _selected(manifest: Manifest, request: ClipRequest) -> Manifest:
    if not len(manifest):
        raise UserError(f"{request.manifest} has a header but no clip.")
    wanted = request.modalities
    if isinstance(wanted, str):
        wanted = [part.strip() for part in wanted.split(",") if part.strip()]
    if wanted is not None:
        manifest = manifest.select(wanted)
    for modality in manifest.modalities:
        if modality not in MODALITIES:
            raise UserError(
                f"{request.manifest}: clips have no files of a modality '{modality}'."
                f"{did_you_mean(modality, MODALITIES)} For tables of features take MultimodalTabularDataset."
            )
    if not manifest.modalities:
        raise UserError(
            f"imglist_pth.modalities is empty; {request.manifest} has {', '.join(manifest.files)}."
        )
    return manifest


def _check_labels(manifest: Manifest, num_classes: int, name: str) -> None:
    if len(manifest) and int(manifest.labels.max()) >= num_classes:
        row = int(np.argmax(manifest.labels >= num_classes))
        raise UserError(
            f"{manifest.source}, line {row + 2}: label {manifest.labels[row]} is outside the {num_classes} "
            f"classes of dataset {name} (num_classes); labels are 0 to {num_classes - 1}."
        )


def _class_names(manifest: Manifest) -> tuple[str, ...]:
    folder = os.path.dirname(os.path.abspath(manifest.source))
    if os.path.isfile(os.path.join(folder, SPLIT_CARD)):
        return tuple(SplitCard.read(folder).class_names)
    class_of = dict(zip(manifest.labels.tolist(), manifest.class_names, strict=True))
    count = max(class_of, default=OOD_LABEL) + 1
    return tuple(class_of.get(label, f"class {label}") for label in range(count))


def _seed_of(preprocessor: Any) -> dict[str, Any]:
    return {"seed": getattr(preprocessor, "seed", 0)}


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
