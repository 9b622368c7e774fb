"""Embeddings to be scored: generated ones with a decaying spectrum, or those that a run has stored.

Generated ones are drawn in chunks and reproducible by seed.

A row is ``max(0, offset + centre[class] + noise)``.  Noise and centres have the covariance ``Q diag(λ) Qᵀ`` with
``λ_k ∝ k^-decay``, normalised to a mean of 1; ``Q`` is orthogonal: a permutation, random signs, a cosine
transform, so that a row costs D log D and D = 8192 is no trouble.  The rectification makes features
non-negative, about a quarter of them zero, as pooled features of a network after ReLU are, and adds a floor to the
spectrum's tail, so that the covariance has full rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.errors import UserError
from openood_multimodal.scoring import inputs

Floats = NDArray[np.float32]

OFFSET = 0.85
OOD_MIX = (0.85, 0.35)
CENTRE_SPREAD = 0.8
LOGIT_SPREAD = 4.0
CHUNK_ROWS = 8192


class Shape(NamedTuple):
    """Sizes of a problem.  ``ood`` rows belong to none of the ``classes``."""

    train: int
    val: int
    test: int
    ood: int
    dim: int
    classes: int


class Source:
    """Draws rows.

    Args:
        dim: D.
        classes: C, the number of in-distribution classes.
        decay: exponent of the power law.
        seed: of everything.
    """

    def __init__(self, dim: int, classes: int, decay: float = 1.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.dim, self.classes, self.decay, self.seed = dim, classes, decay, seed
        spectrum = np.arange(1, dim + 1) ** -decay
        self._deviations = rng.permutation(np.sqrt(spectrum * dim / spectrum.sum())).astype(np.float32)
        self._signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), dim)
        self.centres = CENTRE_SPREAD * self._coloured(classes, rng)
        unseen = CENTRE_SPREAD * self._coloured(classes, rng)
        self.ood_centres = OOD_MIX[0] * self.centres[rng.permutation(classes)] + OOD_MIX[1] * unseen

    def _coloured(self, rows: int, rng: np.random.Generator) -> Floats:
        noise = rng.standard_normal((rows, self.dim), dtype=np.float32)
        noise *= self._deviations
        noise = np.asarray(dct(noise, axis=1, norm="ortho", overwrite_x=True))
        noise *= self._signs
        return noise

    def draw(self, stream: int, rows: int, ood: bool = False) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
        """Yield chunks of float32 rows and labels (-1 for OOD); the same for the same stream and seed.

        Args:
            stream: a number for each set.
            rows: how many.
            ood: whether around the OOD centres.
        """
        rng = np.random.default_rng((self.seed, stream))
        for start in range(0, rows, CHUNK_ROWS):
            labels = np.arange(start, min(start + CHUNK_ROWS, rows)) % self.classes
            chunk = self._coloured(len(labels), rng)
            chunk += (self.ood_centres if ood else self.centres)[labels]
            chunk += OFFSET
            np.maximum(chunk, 0.0, out=chunk)
            yield chunk, np.full(len(labels), -1) if ood else labels.astype(np.int64)

    def head(self, rows: int = 4096) -> LinearHead:
        """Return a head that points at the classes' means, with logits of a spread of some units."""
        features, labels = next(self.draw(99, min(rows, CHUNK_ROWS)))
        counts = np.bincount(labels, minlength=self.classes)[:, None]
        sums = np.zeros((self.classes, self.dim), dtype=np.float32)
        np.add.at(sums, labels, features)
        mean = features.mean(axis=0)
        weight = np.where(counts > 0, sums / np.maximum(counts, 1) - mean, 0.0).astype(np.float32)
        logits = features @ weight.T
        scale = LOGIT_SPREAD / float((logits - logits.mean(axis=1, keepdims=True)).std())
        weight *= scale
        return LinearHead(weight, (-(weight @ mean) / 2).astype(np.float32))

    def write(self, folder: Path, name: str, stream: int, rows: int, ood: bool = False) -> None:
        """Write ``<name>_features.npy`` and ``<name>_labels.npy``, a chunk at a time."""
        features = np.lib.format.open_memmap(
            folder / f"{name}_features.npy", mode="w+", dtype=np.float32, shape=(rows, self.dim)
        )
        labels = np.empty(rows, dtype=np.int64)
        at = 0
        for chunk, classes in self.draw(stream, rows, ood):
            features[at : at + len(chunk)] = chunk
            labels[at : at + len(chunk)] = classes
            at += len(chunk)
        features.flush()
        np.save(folder / f"{name}_labels.npy", labels)

    def describe(self) -> str:
        """Return what the rows are, for a report's settings."""
        return (
            f"max(0, {OFFSET} + class centre + noise), both with eigenvalues k^-{self.decay:g} "
            f"(mean 1; centres x {CENTRE_SPREAD}); OOD: {OOD_MIX[0]} of a class's centre + {OOD_MIX[1]} of an "
            "unseen one"
        )


STREAMS = {"train": 1, "val": 2, "test": 3, "ood": 4}


def write_problem(folder: Path, source: Source, shape: Shape) -> None:
    """Write the sets ``train``, ``val``, ``test``, ``ood`` and the head into ``folder``."""
    for name, stream in STREAMS.items():
        source.write(folder, name, stream, getattr(shape, name), ood=name == "ood")
    _write_head(folder, source.head(max(4096, 8 * shape.classes)))


def _write_head(folder: Path, head: LinearHead) -> None:
    np.save(folder / "weight.npy", head.weight)
    np.save(folder / "bias.npy", head.bias)


class Stored:
    """Embeddings of a trained network: a folder with the sets ``train``, ``val``, ``test`` and OOD sets, and head.npz.

    A set is a store (a folder), as test pipelines keep them, or an .npz file; every set that isn't named above is an
    OOD set, but for ``ood_val``.

    Args:
        folder: with the sets.
        copies: how often each row is written: as it is, and moved by half the difference of two rows of its class.
        seed: of those rows.
    """

    def __init__(self, folder: Path, copies: int = 1, seed: int = 0) -> None:
        if not folder.is_dir():
            raise UserError(f"--embeddings {folder} is not a folder.")
        if copies < 1:
            raise UserError(f"--copies is {copies}; it must be at least 1.")
        self.copies, self.seed = copies, seed
        found = {
            each.stem: each for each in sorted(folder.iterdir()) if each.is_dir() or each.suffix == ".npz"
        }
        missing = [name for name in ("train", "val", "test", "head") if name not in found]
        if missing:
            raise UserError(
                f"--embeddings {folder} has no {', '.join(missing)}; it must hold train, val, test and OOD sets "
                "(stores or .npz files) and head.npz, as the folder 'embeddings' of a test run does."
            )
        self.head = inputs.read_head(found.pop("head"))
        found.pop("ood_val", None)
        sets = {name: inputs.read_set(path, name, ood=name not in STREAMS) for name, path in found.items()}
        known = {name: sets.pop(name).embeddings for name in ("train", "val", "test")}
        if not sets:
            raise UserError(f"--embeddings {folder} has no OOD set.")
        ood = [each.embeddings for each in sets.values()]
        if {each.dim for each in (*known.values(), *ood)} != {self.head.dim}:
            raise UserError(
                f"--embeddings {folder}: the sets and the head differ in the width of their rows."
            )
        every = np.concatenate([each.features for each in ood])
        self.sets = {**known, "ood": Embeddings(every, np.full(len(every), -1))}

    @property
    def shape(self) -> Shape:
        """The sizes of what `write` writes."""
        rows = {name: self.copies * len(each) for name, each in self.sets.items()}
        return Shape(**rows, dim=self.head.dim, classes=self.head.num_classes)

    def write(self, folder: Path) -> None:
        """Write all sets in float32 and the head, as `write_problem` does."""
        rng = np.random.default_rng(self.seed)
        for name, each in self.sets.items():
            parts = [np.asarray(each.features, dtype=np.float32)]
            for _ in range(1, self.copies):
                parts.append(parts[0] + 0.5 * _differences(parts[0], each.labels, rng))
            features = np.concatenate(parts)
            if parts[0].min() >= 0.0:
                np.maximum(features, 0.0, out=features)
            labels = np.tile(each.labels, self.copies)
            order = _classes_in_turn(labels)  # as generated rows are: the first few hold every class
            np.save(folder / f"{name}_features.npy", features[order])
            np.save(folder / f"{name}_labels.npy", labels[order])
        _write_head(folder, self.head)

    def describe(self) -> str:
        """Return what the rows are, for a report's settings."""
        times = f", {self.copies} of each row, moved within its class" if self.copies > 1 else ""
        return f"embeddings of a trained network{times}"


def _classes_in_turn(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order of the rows: every class's first one, every class's second one, and so on."""
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        place[labels == label] = np.arange((labels == label).sum())
    return np.argsort(place, kind="stable")


def _differences(features: Floats, labels: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Return for every row the difference of two random rows of its class."""
    found = np.empty_like(features)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        first, second = rng.choice(rows, (2, len(rows)))
        found[rows] = features[first] - features[second]
    return found


def bytes_of(shape: Shape) -> int:
    """Return what `write_problem` writes."""
    return 4 * shape.dim * (shape.train + shape.val + shape.test + shape.ood + shape.classes)


def slices_of(dim: int) -> dict[str, tuple[int, int]]:
    """Return the columns of two modalities, for scores that look at each."""
    return {"video": (0, dim // 2), "flow": (dim // 2, dim)}


def read_set(folder: Path, name: str, mmap_mode: Literal["r"] | None = None) -> Embeddings:
    """Read one of the sets of `write_problem`, or map it."""
    features = np.load(folder / f"{name}_features.npy", mmap_mode=mmap_mode)
    return Embeddings(features, np.load(folder / f"{name}_labels.npy"), slices=slices_of(features.shape[1]))


def with_modality_heads(weight: Floats, bias: Floats) -> LinearHead:
    """Return the fusion head, and as each modality's own its part of the weights."""
    own = {name: LinearHead(weight[:, a:b], bias) for name, (a, b) in slices_of(weight.shape[1]).items()}
    return LinearHead(weight, bias, own)


def read_head(folder: Path) -> LinearHead:
    """Read the head of `write_problem`."""
    return with_modality_heads(np.load(folder / "weight.npy"), np.load(folder / "bias.npy"))
