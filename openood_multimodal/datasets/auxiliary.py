"""Auxiliary outliers to train with: the section ``dataset.auxiliary``, kept apart from all that is tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..config.ranges import Count
from ..errors import UserError
from ..ranks import ShareOfBatches
from ..vocabulary import AUXILIARY, LOADER_GROUPS
from .base import BrokenClipError
from .loaders import build_loaders, build_ood_loaders, build_split
from .manifest import Manifest

MOST_NAMED = 5


class AuxiliaryOutliers:
    """Batches without end, in an order that depends on the seed and their number alone.

    Every row is drawn once before any is drawn again.  So a training is resumed with one number, how many batches it
    has taken, and neither the order of the other data nor the global random state depends on what is drawn here.

    Args:
        dataset: the outliers; their labels are not used.
        batch_size: >= 1, also more than there are rows.
        seed: of the order.
        options: further arguments of torch's `DataLoader`.

    Raises:
        UserError: for a set without a row, or a batch size below 1.
    """

    def __init__(
        self, dataset: Dataset[Any], batch_size: int, seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> None:
        key = "dataset.auxiliary.batch_size"
        Count.__metadata__[0].check(batch_size, key)  # type: ignore[attr-defined]
        ShareOfBatches((), batch_size, key)
        if not len(dataset):  # type: ignore[arg-type]
            raise UserError("dataset.auxiliary has no row; name a set of outliers.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.options = dict(options or {})

    def batches(self, taken: int, epoch: int) -> Iterator[dict[str, Any]]:
        """Yield the batches after the first ``taken``; of several ranks, each yields its share of every batch.

        Args:
            taken: >= 0.
            epoch: that augmentation depends on.
        """
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        order = _Order(len(self.dataset), self.batch_size, self.seed, taken)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(
            self.seed
        )  # of the workers' seeds, for the loader wants some
        mine = ShareOfBatches(order, self.batch_size)
        yield from DataLoader(self.dataset, batch_sampler=mine, generator=generator, **self.options)

    def describe(self) -> dict[str, Any]:
        """Return what checkpoints and records say of these rows: ``name``, ``rows``, ``classes`` and ``digest``."""
        manifest: Manifest | None = getattr(self.dataset, "manifest", None)
        return {
            "name": str(getattr(self.dataset, "name", type(self.dataset).__name__)),
            "rows": len(self.dataset),  # type: ignore[arg-type]
            "classes": sorted(set(manifest.class_names)) if manifest is not None else [],
            "digest": manifest.digest() if manifest is not None else "",
        }


class _Order(Sampler[list[int]]):
    """Batches of rows: one permutation after the other, each from a generator of its own."""

    def __init__(self, rows: int, batch_size: int, seed: int, taken: int) -> None:
        self.rows, self.batch_size, self.seed, self.taken = rows, batch_size, seed, taken

    def __iter__(self) -> Iterator[list[int]]:
        revolution, place = divmod(self.taken * self.batch_size, self.rows)
        order = self._permutation(revolution)
        while True:
            batch: list[int] = []
            while len(batch) < self.batch_size:
                more = order[place : place + self.batch_size - len(batch)]
                batch += more
                place += len(more)
                if place == self.rows:
                    revolution, place = revolution + 1, 0
                    order = self._permutation(revolution)
            yield batch

    def _permutation(self, revolution: int) -> list[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + revolution) % 2**63)
        return torch.randperm(self.rows, generator=generator).tolist()


def build_auxiliary(config: Mapping[str, Any]) -> AuxiliaryOutliers:
    """Return the outliers that ``dataset.auxiliary`` names, once they are known to be apart from everything else.

    The section is one of a split: ``dataset_class``, ``imglist_pth``, ``data_dir``, ``batch_size``.

    Raises:
        UserError: without the section, or without ``ood_dataset`` to compare with; and as `check_apart`.
    """
    section = auxiliary_section(config)
    dataset, options = build_split(config, AUXILIARY)
    check_apart(dataset, config)
    return AuxiliaryOutliers(dataset, section["batch_size"], int(config.get("seed") or 0), options)


def auxiliary_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section ``dataset.auxiliary``.

    Raises:
        UserError: where there is none.
    """
    section = config["dataset"].get(AUXILIARY)
    if not isinstance(section, Mapping) or "dataset_class" not in section:
        raise UserError(
            "this training needs auxiliary outliers, and the config has no section dataset.auxiliary. Take a benchmark "
            "that has some (datasets/mfeat/mfeat_5_3_2.yml, datasets/htad/htad_4_2_1.yml), or write the section "
            "(docs/auxiliary-outliers.md)."
        )
    return section


def check_apart(auxiliary: Any, config: Mapping[str, Any]) -> None:
    """Refuse auxiliary outliers of a class, or with a row, of the in-distribution data or of any OOD set of a config.

    Names of classes are compared without regard to case, spaces and punctuation.  Rows are the same when their content
    is (of clips: their files' bytes and span), or when their cells name the same place.

    Args:
        auxiliary: their dataset.
        config: with ``dataset`` and ``ood_dataset``.

    Raises:
        UserError: naming every set with the classes and rows that it shares; or when the config has no OOD sets.
    """
    if not config.get("ood_dataset"):
        raise UserError(
            "auxiliary outliers are compared with the OOD test sets before training, and this config names none: add "
            "the benchmark's second file (..._ood.yml) after --config."
        )
    sets: dict[str, Any] = {
        name: loader.dataset for name, loader in build_loaders(config, training=False).items()
    }
    for group, part in build_ood_loaders(config, tuple(LOADER_GROUPS.values())).items():
        named = {f"ood_dataset.{group}": part} if not isinstance(part, dict) else part
        sets |= {name: loader.dataset for name, loader in named.items()}
    own = _Contents(auxiliary)
    shared = [text for name, each in sets.items() if (text := own.shared_with(_Contents(each), name))]
    if shared:
        raise UserError(
            f"dataset.auxiliary must be apart from all data that the network is trained to know or tested on: "
            f"{'; '.join(shared)}. Leave these classes and rows out of dataset.auxiliary."
        )


class _Contents:
    """Classes and rows of a dataset."""

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "content_digest"):
            raise UserError(
                f"auxiliary outliers can be compared only with datasets of this package, and {type(dataset).__name__} "
                "is none."
            )
        self.dataset, self.manifest = dataset, dataset.manifest
        self.classes = {_plain(name): name for name in self.manifest.class_names}
        self.hints = [dataset.content_hint(row) for row in range(len(dataset))]
        self.places = [dataset.place(row) for row in range(len(dataset))]

    def shared_with(self, other: _Contents, name: str) -> str:
        """Return a sentence about what is shared, or ""."""
        parts = []
        classes = [self.classes[each] for each in self.classes if each in other.classes]
        if classes:
            parts.append(f"class {_some(classes)}")
        hints, places = set(other.hints), set(other.places)
        alike = {row for row, hint in enumerate(self.hints) if hint in hints}
        compared = {self.hints[row] for row in alike}
        digests = {other.digest(row) for row, hint in enumerate(other.hints) if hint in compared}
        rows = [
            row
            for row in range(len(self.hints))
            if self.places[row] in places or (row in alike and self.digest(row) in digests)
        ]
        if rows:
            parts.append(f"{len(rows)} rows ({_some([self.manifest.clips[row] for row in rows])})")
        return f"it shares with {name} {' and '.join(parts)}" if parts else ""

    def digest(self, row: int) -> str:
        """Return the digest of a row's content; no other's, where a row that can't be read is left out of the data."""
        try:
            digest: str = self.dataset.content_digest(row)
        except BrokenClipError:
            if self.dataset.on_error != "skip":
                raise
            return f"{id(self)} {row}"
        return digest


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold())) or name


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
