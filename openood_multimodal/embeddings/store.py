"""Embeddings on disk: extracted once, scored many times.

A store is a folder of plain NumPy arrays and one ``meta.json``; `docs/embedding-store.md` gives the format.
It is written in batches and can be resumed after a kill at any instant: a row counts as done only once its
data has been flushed, and a store counts as complete only once `EmbeddingStore.finish` has sealed it.  One
that is not complete, or that was made from something else than expected, can't be opened for scoring.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Embeddings, Slices
from ..datasets.skipped import SkippedClip
from ..dense import dense
from ..errors import UserError
from .checksums import checksums_of, digest_of, verify_content
from .format import (
    DONE,
    META,
    StoreMeta,
    check_digests,
    check_request,
    make_files,
    map_array,
    read_clips,
)


class EmbeddingStore:
    """Embeddings, logits and labels of one set of clips, in a folder.

    Make one with `create` (to write) or `open` (to read), not with the constructor.  One process writes a
    store at a time; any number may read a complete one.
    """

    def __init__(self, path: Path, meta: StoreMeta, clips: tuple[str, ...], writable: bool) -> None:
        self.path = path
        self.clips = clips
        self._meta = meta
        self._verified = False
        layout = {**meta.arrays(), DONE: (np.dtype(bool), (meta.num_samples,))}
        mode: Literal["r", "r+"] = "r+" if writable else "r"
        self._arrays = {
            name: map_array(path / f"{name}.npy", *expected, mode) for name, expected in layout.items()
        }

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        num_samples: int,
        slices: Slices,
        num_classes: int,
        digests: Mapping[str, str],
        clips: Sequence[str],
        modality_logits: bool = True,
        overwrite: bool = False,
    ) -> EmbeddingStore:
        """Make a store to write to, or go on with the one that an earlier run left there.

        Args:
            path: folder; made when missing.
            num_samples: N >= 1.
            slices: modality → ``(start, stop)``, in order, without gaps, from 0.
            num_classes: C.
            digests: what the embeddings are made from: ``checkpoint``, ``manifest``, ``config`` → SHA-256.
            clips: N names, without line breaks.
            modality_logits: whether to store ``[N, M, C]`` logits of the single modalities too.
            overwrite: replace whatever store is there.

        Returns:
            A store whose `pending` rows are still to be written; a complete one with these digests has none.

        Raises:
            UserError: when the folder holds a store of other digests, clips or shapes, or other files.
            OSError: when the disk has no room for it; nothing of the store is left then.
        """
        folder = Path(path)
        meta = StoreMeta(
            num_samples=int(num_samples),
            num_classes=int(num_classes),
            slices={name: (int(start), int(stop)) for name, (start, stop) in slices.items()},
            modality_logits=modality_logits,
            digests={str(key): str(value) for key, value in digests.items()},
        )
        names = tuple(map(str, clips))
        check_request(meta, names)
        if (folder / META).exists() and not overwrite:
            return cls._resume(folder, meta, names)
        make_files(folder, meta, names)
        return cls(folder, meta, names, writable=True)

    @classmethod
    def _resume(cls, folder: Path, wanted: StoreMeta, clips: tuple[str, ...]) -> EmbeddingStore:
        present = StoreMeta.read(folder / META)
        remedy = "Delete the folder, or give overwrite=True, to make it again."
        check_digests(folder, present.digests, wanted.digests, remedy)
        for name in ("num_samples", "num_classes", "slices", "modality_logits"):
            old, new = getattr(present, name), getattr(wanted, name)
            if old != new or (name == "slices" and list(old) != list(new)):
                raise UserError(f"{folder} holds a store whose {name} is {old}, not {new}. {remedy}")
        stored = read_clips(folder, present.num_samples)
        if stored != clips:
            row = next(i for i, (a, b) in enumerate(zip(stored, clips, strict=True)) if a != b)
            raise UserError(
                f"{folder} holds a store of other clips: row {row} is '{stored[row]}', not '{clips[row]}'. "
                f"{remedy}"
            )
        return cls(folder, present, stored, writable=not present.complete)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], expected_digests: Mapping[str, str] | None = None
    ) -> EmbeddingStore:
        """Open a complete store to read.

        Args:
            path: its folder.
            expected_digests: what it must have been made from; only the keys given are compared.

        Raises:
            UserError: when there is no store, it is incomplete or damaged, or a digest differs.
        """
        folder = Path(path)
        if not (folder / META).is_file():
            raise UserError(f"{folder} is not an embedding store: it has no {META}.")
        meta = StoreMeta.read(folder / META)
        remedy = "Extract the embeddings again, or point to the store that belongs to these."
        expected = dict(expected_digests or {})
        check_digests(folder, {k: v for k, v in meta.digests.items() if k in expected}, expected, remedy)
        store = cls(folder, meta, read_clips(folder, meta.num_samples), writable=False)
        store._require_complete()
        return store

    @property
    def meta(self) -> dict[str, Any]:
        """The content of ``meta.json``."""
        return asdict(self._meta)

    @property
    def complete(self) -> bool:
        """Whether every row is done and the store is sealed."""
        return self._meta.complete

    @property
    def skipped(self) -> tuple[SkippedClip, ...]:
        """The rows that a complete store lacks, because their clips couldn't be read; `embeddings` leaves them out."""
        return self._meta.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        """What a result record has to say of the clips of a complete store."""
        return tuple(self._meta.notes)

    def __len__(self) -> int:
        return self._meta.num_samples

    def pending(self) -> NDArray[np.int64]:
        """Return the rows that are not done, ascending."""
        return np.flatnonzero(~self._arrays[DONE]).astype(np.int64)

    def write(
        self,
        rows: ArrayLike,
        features: ArrayLike,
        logits: ArrayLike,
        modality_logits: ArrayLike | None,
        labels: ArrayLike,
    ) -> None:
        """Write a batch of rows; when this returns, they are on disk and done.

        Args:
            rows: int ``[B]``, which rows of the store.
            features: float ``[B, D]``.
            logits: float ``[B, C]``.
            modality_logits: float ``[B, M, C]``; None exactly if the store has none.
            labels: int ``[B]``, from -1 (OOD) to C - 1.

        Raises:
            UserError: for shapes that don't fit, a value that is not finite in float32 (the clip is named), a
                label outside the classes, or a store that is complete.
        """
        if self.complete:
            raise UserError(f"{self.path} is complete; make it again with overwrite=True to write to it.")
        index = np.asarray(rows)
        index = index if index.size else index.astype(np.int64)  # an empty list is a float array to NumPy
        if index.ndim != 1 or index.dtype.kind not in "iu" or len(np.unique(index)) != len(index):
            raise UserError("rows must be a one-dimensional array of distinct integers.")
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise UserError(f"rows must be in 0 to {len(self) - 1}, got {index.min()} to {index.max()}.")
        batch = {"features": features, "logits": logits, "modality_logits": modality_logits, "labels": labels}
        checked = self._checked(index, batch)
        for name, values in checked.items():
            self._arrays[name][index] = values
            self._arrays[name].flush()
        # Only now: a row marked done before its data is on disk would be skipped by the run that resumes.
        self._arrays[DONE][index] = True
        self._arrays[DONE].flush()

    def _checked(self, index: NDArray[Any], batch: Mapping[str, ArrayLike | None]) -> dict[str, NDArray[Any]]:
        layout = self._meta.arrays()
        if (batch["modality_logits"] is not None) != ("modality_logits" in layout):
            has = "has" if "modality_logits" in layout else "has no"
            raise UserError(f"{self.path} {has} modality logits; it was created so.")
        checked = {}
        for name, (dtype, shape) in layout.items():
            given = dense(batch[name], name)
            if given.shape != (len(index), *shape[1:]):
                raise UserError(f"{name} must be {[len(index), *shape[1:]]}, got {list(given.shape)}.")
            with np.errstate(over="ignore"):
                checked[name] = given.astype(dtype)
            if name == "labels":
                bad = (given != checked[name]) | (given < -1) | (given >= self._meta.num_classes)
                problem = f"a label outside -1 (OOD) to {self._meta.num_classes - 1}"
            else:
                bad = ~np.isfinite(checked[name]).all(axis=tuple(range(1, given.ndim)))
                problem = "values that are not finite (in float32)"
            if bad.any():
                row = int(index[np.flatnonzero(bad)[0]])
                raise UserError(
                    f"the {name} of clip '{self.clips[row]}' (row {row}) have {problem}; nothing of this "
                    "batch was written. Check that clip's data and the network's weights."
                )
        return checked

    def finish(self, skipped: Sequence[SkippedClip] = (), notes: Sequence[str] = ()) -> None:
        """Seal the store: compute its digest and mark it complete.  Does nothing if it is complete.

        Args:
            skipped: rows that are to stay out, with the reasons; `meta` lists them.
            notes: what a result record has to say of the others.

        Raises:
            UserError: when other rows are pending, or no row is left.
        """
        if self.complete:
            return
        pending = self.pending()
        reasons = {each.row: each for each in skipped}
        missing = [row for row in pending.tolist() if row not in reasons]
        if missing:
            row = missing[0]
            raise UserError(
                f"{self.path} can't be finished: {len(missing)} of {len(self)} rows are not written, "
                f"the first is row {row} ('{self.clips[row]}')."
            )
        left_out = tuple(SkippedClip(row, self.clips[row], reasons[row].reason) for row in pending.tolist())
        if len(left_out) == len(self):
            raise UserError(
                f"{self.path} would be empty: none of its {len(self)} clips can be read. The first: "
                f"{left_out[0].reason}"
            )
        for name in self._meta.arrays() if left_out else ():
            # whoever reads the files without `done` is not to take zeros for embeddings
            self._arrays[name][pending] = -1 if name == "labels" else np.nan
        for array in self._arrays.values():
            array.flush()
        rows = self._done_rows()
        checksums = checksums_of(self._meta, self._arrays, rows, self.clips)
        digest = digest_of(self._meta, len(rows), checksums)
        sealed = replace(
            self._meta,
            complete=True,
            digest=digest,
            checksums=checksums,
            skipped=left_out,
            notes=list(notes),
        )
        sealed.write(self.path / META)
        self._meta = sealed
        self._verified = True

    def embeddings(self) -> Embeddings:
        """Return the arrays without skipped rows; memory-mapped and read only, where none is skipped.

        What a process didn't write itself is verified first, all of it, once.

        Raises:
            UserError: when the store is not complete, or has changed since it was finished.
        """
        self._require_complete()
        if not self._verified:
            self.verify()
        layout = self._meta.arrays()
        views: dict[str, NDArray[Any]] = {
            name: map_array(self.path / f"{name}.npy", *layout[name], "r") for name in layout
        }
        clips = self.clips
        if self.skipped:
            rows = np.flatnonzero(self._arrays[DONE])
            views = {name: view[rows] for name, view in views.items()}
            clips = tuple(clips[row] for row in rows)
        return Embeddings(
            features=views["features"],
            labels=np.array(views["labels"], dtype=np.int64),
            logits=views["logits"],
            modality_logits=views.get("modality_logits"),
            slices=dict(self._meta.slices),
            clips=clips,
        )

    def digest(self) -> str:
        """Return the SHA-256 over the content, as computed when the store was finished.

        Raises:
            UserError: when the store is not complete.
        """
        self._require_complete()
        assert self._meta.digest is not None
        return self._meta.digest

    def verify(self) -> None:
        """Read everything, a block of rows at a time, and compare with the checksums in ``meta.json``.

        Raises:
            UserError: when the content has changed since the store was finished; the message names the file and the
                rows.
        """
        verify_content(self.path, self._meta, self._arrays, self._done_rows(), self.clips)
        self._verified = True

    def _done_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._arrays[DONE]).astype(np.int64)

    def _require_complete(self) -> None:
        pending = self.pending().tolist()
        if self.complete and pending != [each.row for each in self.skipped]:
            raise UserError(
                f"{self.path} is damaged: it is marked complete, yet {len(pending)} rows are not done. "
                "Delete the folder and extract the embeddings again."
            )
        if not self.complete:
            raise UserError(
                f"{self.path} is not complete: {len(self) - len(pending)} of {len(self)} clips are done. "
                "Run the extraction again; it resumes where it stopped."
            )
