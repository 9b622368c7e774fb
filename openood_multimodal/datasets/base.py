"""The base class of datasets: a new one writes ``load(row)``, and inherits what hosts, loaders and records ask for.

For example:

    @DATASETS.register("SensorFolder")
    class SensorFolder(MultimodalDataset):
        def load(self, row):
            return {name: np.load(self.path(row, name)) for name in self.modalities}
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..config import bind
from ..errors import MissingPackageError, UserError
from ..files import bytes_sha256
from ..files.paths import resolve_inside
from .batch import ModalityBatch
from .collate import Collated
from .contents import ClipRequest as ClipRequest
from .contents import Contents, contents_of
from .manifest import Manifest
from .skipped import SkipLog, SkippedClip, skip_note


class ClipError(UserError):
    """Something wrong with a clip.  The message names manifest, line, clip, modality, file and fault.

    Torch raises what a worker process raised once more, with the worker's traceback for a message; that is cut off.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip("\n"))


class BrokenClipError(ClipError):
    """A clip with a file that is missing or broken: what ``on_error: skip`` leaves out."""


class MultimodalDataset(Dataset[dict[str, Any]]):
    """Rows of a manifest, as OpenOOD constructs datasets; a subclass writes `load`.

    A sample is ``{"data": ModalityBatch, "label": int, "index": int, "clip": str}``; loaders fetch whole batches
    through ``__getitems__``: ``{"data": ModalityBatch of float32 [B, ...], "label": int64 [B], "index": int64 [B],
    "clip": list[str]}``.

    Args:
        name: what to call it in messages.
        imglist_pth: path of the manifest, or a mapping with the fields of `Request`.
        data_dir: folder that cells are relative to.  Empty: the manifest's folder.
        num_classes: number of in-distribution classes.
        preprocessor: one of this package's kind (``handles_modalities``); any other is ignored, since OpenOOD builds
            one for images whatever the dataset.
        data_aux_preprocessor: taken for OpenOOD's sake, not used.

    Attributes:
        manifest: one row a sample, with the modalities in use.
        modalities: names, in order.
        labels: int64 ``[N]``, -1 for OOD rows.
        num_classes: as given.
        class_names: the in-distribution classes, in the order of their labels.
        track: the split's track; ``demo`` without a split card.
        provenance: what a result record needs to know of the data.
        root: folder that cells are relative to.
        on_error: as in `ClipRequest`.
        follow_links: as in `ClipRequest`.
        seed: the run's.

    Raises:
        UserError: unknown option or modality; a manifest that can't be read; a label outside the classes.
    """

    Request: ClassVar[Any] = ClipRequest
    """The dataclass of what ``imglist_pth`` may say; a subclass with options of its own extends `ClipRequest`."""

    benchmark: Any = None

    reads_files: ClassVar[bool] = True
    """Whether samples are read from disk: loaders then have worker processes, unless a config sets their number."""

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
        self.num_classes = num_classes
        contents = self.describe(imglist_pth, os.fspath(data_dir or ""))
        self.manifest = contents.manifest
        self.modalities = self.manifest.modalities
        self.labels: NDArray[np.int64] = self.manifest.labels
        self.class_names = contents.class_names
        self.provenance = contents.provenance
        self.track = str(self.provenance["track"])
        self.root = contents.root
        self.on_error = contents.on_error
        self.follow_links = contents.follow_links
        self.check_labels()
        self._skips = SkipLog() if self.on_error == "skip" else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.seed = int(getattr(preprocessor, "seed", 0))
        # in shared memory: workers that outlive an epoch hold a copy of everything else
        self._epoch = _shared_count()
        self.use(preprocessor)

    def use(self, preprocessor: Any) -> None:
        """Take a preprocessor for the batches, if it is one of this package's kind."""
        self._preprocessor = preprocessor if getattr(preprocessor, "handles_modalities", False) else None

    def load(self, row: int) -> Mapping[str, Tensor | NDArray[Any]]:
        """Return one sample: modality → finite floating-point array, of the same shape for all rows.

        Called in worker processes as well.  What is drawn at random must depend on `seed`, `epoch` and ``row`` alone.

        Args:
            row: of the manifest, from 0.

        Raises:
            UserError: (or OSError) when the row can't be read; it is reported with manifest, line and clip, and left
                out under ``on_error: skip``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method load")

    def describe(self, imglist_pth: str | os.PathLike[str] | Mapping[str, Any], data_dir: str) -> Contents:
        """Return the manifest and what is known of it; `load` may rely on `request`, which this sets.

        Raises:
            UserError: unknown option or modality; a manifest that can't be read, or has no row.
        """
        given = imglist_pth if isinstance(imglist_pth, Mapping) else {"manifest": os.fspath(imglist_pth)}
        self.request = bind(given, self.Request, "imglist_pth", ignore=())
        return contents_of(self.read_manifest(self.request.manifest), self.request, data_dir)

    def read_manifest(self, path: str) -> Manifest:
        """Return the manifest in a CSV file.

        Raises:
            UserError: as `Manifest.read`.
        """
        return Manifest.read(path)

    def path(self, row: int, modality: str) -> Path:
        """Return the file that a row's cell names; whether it is there is not looked at.

        Raises:
            UserError: when the cell is empty or leads out of the data folder.
        """
        cell = self.manifest.files[modality][row]
        if not cell:
            raise UserError(f"{modality}: the clip has none; its cell in the manifest is empty.")
        return resolve_inside(self.root, cell, remember=True, follow_links=self.follow_links)

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

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = range(len(self))[int(index)]
        with self.naming(row):
            values = self.sample(row)
        data = self._finished(ModalityBatch((name, value[None]) for name, value in values.items()), [row])
        return {
            "data": data.map(lambda tensor: tensor[0]),
            "label": int(self.labels[row]),
            "index": row,
            "clip": self.manifest.clips[row],
        }

    def __getitems__(self, indices: Sequence[int]) -> list[Collated]:
        data, rows = self.load_batch([range(len(self))[int(index)] for index in indices])
        return [
            Collated(
                {
                    "data": self._finished(data, rows),
                    "label": torch.from_numpy(self.labels[rows]),
                    "index": torch.tensor(rows, dtype=torch.int64),
                    "clip": [self.manifest.clips[row] for row in rows],
                }
            )
        ]

    def load_batch(self, rows: list[int]) -> tuple[ModalityBatch, list[int]]:
        """Return the rows that can be read, stacked, and which they are; override it where a batch loads faster."""
        samples: list[Mapping[str, Tensor]] = []
        kept = self.keep_readable(rows, lambda row, place: samples.append(self.sample(row)))
        if not kept:
            return ModalityBatch((m, torch.empty((0, *self._shapes.get(m, ())))) for m in self.modalities), []
        return ModalityBatch((m, torch.stack([each[m] for each in samples])) for m in self.modalities), kept

    def keep_readable(self, rows: Sequence[int], read: Callable[[int, int], None]) -> list[int]:
        """Call ``read(row, place)``, ``place`` counting those read so far, and return the rows that it could read.

        Raises:
            BrokenClipError: for the first that it couldn't, unless ``on_error`` is ``skip``.
        """
        kept: list[int] = []
        for row in rows:
            try:
                with self.naming(row):
                    read(row, len(kept))
            except BrokenClipError as error:
                if self._skips is None:
                    raise
                if self._skips.add(row, self.manifest.clips[row], str(error)):
                    logging.getLogger(__name__).warning("skipped: %s", error)
                continue
            kept.append(row)
        return kept

    def sample(self, row: int) -> dict[str, Tensor]:
        """Return what `load` gives for a row, checked, as float32 tensors in the order of `modalities`.

        Raises:
            UserError: when it is not what `load` promises.
        """
        called = f"{type(self).__name__}.load"
        try:
            values = self.load(row)
        except (UserError, OSError):
            raise
        except (ValueError, EOFError) as error:  # what parsers raise
            raise UserError(f"{called} failed: {type(error).__name__}: {error}") from error
        if not isinstance(values, Mapping) or set(values) != set(self.modalities):
            got = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise ClipError(
                self._message(
                    row, f"{called} returned {got}; it must return a mapping of {', '.join(self.modalities)}."
                )
            )
        found = {}
        for modality in self.modalities:
            value = values[modality]
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                with np.errstate(over="ignore"):  # it is found below
                    value = torch.from_numpy(value.astype(np.float32))
            if not isinstance(value, Tensor) or not value.is_floating_point():
                kind = getattr(value, "dtype", type(value).__name__)
                raise ClipError(
                    self._message(row, f"{called} returned {kind} for {modality}; return float32.")
                )
            value = value.to(torch.float32)
            shape = self._shapes.setdefault(modality, tuple(value.shape))
            if tuple(value.shape) != shape:
                raise UserError(
                    f"{modality}: it has shape {tuple(value.shape)}, and rows before it have {shape}."
                )
            if not bool(torch.isfinite(value).all()):
                raise UserError(f"{modality}: it holds NaN or infinity.")
            found[modality] = value
        return found

    @contextmanager
    def naming(self, row: int) -> Iterator[None]:
        """Turn what goes wrong in the block into a `BrokenClipError` that names manifest, line and clip."""
        try:
            yield
        except (MissingPackageError, ClipError):
            raise
        except (UserError, OSError) as error:
            message = self._message(row, error)
            if self._skips is None and (more := self.explain(row)):
                message += f" {more}"
            raise BrokenClipError(message) from error

    def explain(self, row: int) -> str:
        """Return a sentence to be added to the error that ends a run at this row; "" for none."""
        return ""

    def content_digest(self, row: int) -> str:
        """Return the SHA-256 of a row's content, whatever its name: of all that `load` gives.

        Raises:
            UserError: when the row can't be read.
        """
        with self.naming(row):
            values = self.sample(row)
        return bytes_sha256(
            b"".join(f"{name} ".encode() + each.numpy().tobytes() for name, each in values.items())
        )

    def content_hint(self, row: int) -> Hashable:
        """Return something cheap that rows of the same content have in common; nothing here, so that all are read."""
        return None

    def place(self, row: int) -> Hashable:
        """Return where a row is: the folder, its cells and its span."""
        cells = tuple((name, column[row]) for name, column in sorted(self.manifest.files.items()))
        return self.root, cells, self.span(row)

    def span(self, row: int) -> str:
        """Return the seconds between which a row lies in its files, as text; ``nan nan`` for all of them."""
        return f"{self.manifest.starts[row]} {self.manifest.stops[row]}"

    condition: str | None = None
    """What is done to the samples before preprocessing (`degrade`), as JSON."""

    def degrade(self, kind: str, severity: str | None, modalities: Sequence[str], seed: int) -> None:
        """Apply a test-time condition of ``registry.CONDITIONS`` to all samples that are read from now on.

        Raises:
            UserError: where samples are no clips.
        """
        raise UserError(
            f"{self.name}: conditions of the input need clips (MultimodalClipDataset); take the level embedding."
        )

    def check_labels(self) -> None:
        """Refuse a label outside the classes.

        Raises:
            UserError: naming manifest and line.
        """
        labels, source = self.labels, self.manifest.source
        if len(labels) and int(labels.max()) >= self.num_classes:
            row = int(np.argmax(labels >= self.num_classes))
            raise UserError(
                f"{source}, line {row + 2}: label {labels[row]} is outside the {self.num_classes} classes of "
                f"dataset {self.name} (num_classes); labels are 0 to {self.num_classes - 1}."
            )

    def _finished(self, data: ModalityBatch, rows: Sequence[int]) -> ModalityBatch:
        if self._preprocessor is None or not rows:
            return data
        finished: ModalityBatch = self._preprocessor(data, self.seed, self.epoch, rows)
        return finished

    def _message(self, row: int, error: object) -> str:
        return f"{self.manifest.source}, line {row + 2}, clip '{self.manifest.clips[row]}': {error}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {len(self)} clips; {', '.join(self.modalities)})"


def _shared_count() -> Tensor:
    """Return int64 ``[1]``, 0, that a loader's workers share; without shared memory (no ``/dev/shm``), their own copy.

    Where there is none, workers could send no batch either, so only a loader without workers is of use.
    """
    count = torch.zeros(1, dtype=torch.int64)
    with suppress(RuntimeError):
        count.share_memory_()
    return count
