"""Classes under other names: those of in-distribution (ID) and OOD clips, those of the encoders' pretraining set.

Names are compared without case, spaces and punctuation (``ride_bike``, ``RideBike``).  What names don't tell stands
in ``benchmark_splits/class_overlaps.yml``, a list reviewed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ...config import bind
from ...errors import UserError
from ...files import read_yaml
from ...resources import benchmark_splits_dir

FILE_NAME = "class_overlaps.yml"
RELATIONS = ("same", "part", "alike")
PRETRAINING_SET = "kinetics400"


@dataclass(frozen=True)
class NearClasses:
    """Each class of ``one`` with each of ``other``, as ``<dataset>/<class>``."""

    relation: str
    one: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True)
class PretrainingSet:
    """Classes of a dataset that encoders were pretrained on.

    Attributes:
        source: where they are published.
        classes: their names.
        known: dataset → class → the names that it has there, where they differ.
    """

    source: str
    classes: tuple[str, ...]
    known: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def names_of(self, dataset: str, class_name: str) -> tuple[str, ...]:
        """Return the classes of this set that show what ``class_name`` of ``dataset`` shows; none if there are none."""
        other = self.known.get(dataset, {}).get(class_name)
        if other:
            return other
        wanted = plain(class_name)
        return tuple(name for name in self.classes if plain(name) == wanted)


@dataclass(frozen=True)
class ClassOverlaps:
    """What the reviewed file says."""

    name: str
    version: int
    near: tuple[NearClasses, ...]
    pretraining: Mapping[str, PretrainingSet]

    def pairs(self) -> dict[frozenset[str], str]:
        """Return the two classes, as ``<dataset>/<class>`` → their relation."""
        return {
            frozenset((one, other)): entry.relation
            for entry in self.near
            for one in entry.one
            for other in entry.other
        }


@dataclass(frozen=True)
class Collision:
    """An ID and an OOD class that are not apart; ``relation`` is ``same name`` or one of `RELATIONS`."""

    id_class: str
    ood_class: str
    relation: str


def plain(name: str) -> str:
    """Return a name's letters and digits, small."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def load_class_overlaps(path: Path | None = None) -> ClassOverlaps:
    """Return the packaged list, or that in ``path``.

    Raises:
        UserError: when it can't be read or is not of that form.
    """
    return _load(benchmark_splits_dir() / FILE_NAME if path is None else path)


@lru_cache(maxsize=8)
def _load(path: Path) -> ClassOverlaps:
    content = read_yaml(path, "a list of near classes")
    overlaps = bind(content, ClassOverlaps, str(path), ignore=())
    for entry in overlaps.near:
        if entry.relation not in RELATIONS:
            raise UserError(f"{path}: '{entry.relation}' is no relation; use {', '.join(RELATIONS)}.")
        for name in (*entry.one, *entry.other):
            if "/" not in name:
                raise UserError(f"{path}: '{name}' is not of the form <dataset>/<class>.")
    return overlaps


def collisions(
    id_dataset: str,
    id_classes: Iterable[str],
    ood_dataset: str,
    ood_classes: Sequence[str],
    overlaps: ClassOverlaps,
) -> list[Collision]:
    """Return the ID and OOD classes of one name, then the near ones, in the order of the classes."""
    reviewed = overlaps.pairs()
    by_name: dict[str, list[str]] = {}
    for name in ood_classes:
        by_name.setdefault(plain(name), []).append(name)
    exact, near = [], []
    for id_class in id_classes:
        same = by_name.get(plain(id_class), [])
        exact += [Collision(id_class, name, "same name") for name in same]
        for name in ood_classes:
            relation = reviewed.get(frozenset((f"{id_dataset}/{id_class}", f"{ood_dataset}/{name}")))
            if relation and name not in same:
                near.append(Collision(id_class, name, relation))
    return exact + near
