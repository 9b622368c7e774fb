"""``split.json`` beside prepared manifests: which benchmark they are, by which digests, and where they come from.

A folder ``<out>/<benchmark>/`` holds ``train.csv``, ``val.csv``, ``test.csv``, one ``nearood_<set>.csv`` or
``farood_<set>.csv`` an OOD set (``oodval_<set>.csv`` for validation), and the card.  A split's key in the card is
its manifest's name without ``.csv``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import bind
from ..errors import UserError
from ..files import holding, read_json
from ..files.atomic import write_json
from ..files.folders import writing_together
from ..files.paths import remove, resolve_inside
from ..vocabulary import CSID, GROUP_OF_FILE, ID_SETS
from .benchmark_files import check_track
from .clip_benchmarks import available_clip_benchmarks, load_clip_benchmark
from .manifest import Manifest

SCHEMA_VERSION = 1
FILE_NAME = "split.json"

_KEY = re.compile(rf"(?:{'|'.join(ID_SETS)})|(?:{'|'.join((*GROUP_OF_FILE, CSID))})_[^\x00-\x1f/\\]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SplitEntry:
    """One manifest of a split.

    Attributes:
        manifest: its file in the card's folder.
        sha256: `Manifest.digest` of all its columns.
        clips: its number of rows.
        source: where its rows come from (the authors' list and its digest, say), or None.
    """

    manifest: str
    sha256: str
    clips: int
    source: dict[str, Any] | None = None


@dataclass(frozen=True)
class SplitCard:
    """What ``split.json`` says.

    Attributes:
        benchmark: its name; None for a split that is nobody's benchmark.
        benchmark_version: its version, or None.
        track: ``multiood``, ``grouped`` or ``demo``.
        class_names: the in-distribution classes; a class's place is its label.
        splits: ``train``, ``val``, ``test``, ``nearood_<set>``, ``farood_<set>``, ``oodval_<set>`` → its manifest.
        synthetic: the data is generated; such a split is never more than a demo.
        modified: a list, or what was made of it, is not the benchmark's.
        seed: of a generated split, or None.
        notes: what a reader of results must know.
        schema_version: of this form of card.
    """

    benchmark: str | None
    benchmark_version: int | None
    track: str
    class_names: list[str]
    splits: dict[str, SplitEntry]
    synthetic: bool = False
    modified: bool = False
    seed: int | None = None
    notes: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> SplitCard:
        """Return the card of ``folder``.

        Raises:
            UserError: when it is missing, is no JSON object, or fails `validate`.
        """
        path = Path(folder) / FILE_NAME
        content: Any = read_json(path, "a split card", "Make the split again.")
        if not isinstance(content, dict):
            raise UserError(f"the split card {path} must be a JSON object.")
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"the split card {path} has schema_version {version}; this version of openood-multimodal reads "
                f"{SCHEMA_VERSION}. Make the split again."
            )
        card = bind(content, cls, str(path), ignore=())
        card.validate(str(path))
        return card

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the card into ``folder`` atomically, and return its path.

        Raises:
            UserError: as `validate`.
        """
        path = Path(folder) / FILE_NAME
        self.validate(str(path))
        content = asdict(self)
        first = {"schema_version": content.pop("schema_version")}
        tail = {key: content.pop(key) for key in ("class_names", "splits", "notes")}
        write_json(path, first | content | tail)
        return path

    def validate(self, where: str = "the split card") -> None:
        """Check the card against itself.

        Raises:
            UserError: when track, a split's key, a manifest's name, a digest or a count is not as it must be, class
                names repeat, or synthetic data claims a track other than ``demo``.
        """
        check_track(where, self.track, self.synthetic)
        if len(set(self.class_names)) != len(self.class_names):
            raise UserError(f"{where}: class_names holds a class twice.")
        for key, entry in self.splits.items():
            if not _KEY.fullmatch(key):
                known = [*ID_SETS, *(f"{group}_<set>" for group in GROUP_OF_FILE)]
                raise UserError(f"{where}: splits: '{key}' can't name a split; use {', '.join(known)}.")
            if Path(entry.manifest).name != entry.manifest or entry.manifest in ("", ".", ".."):
                raise UserError(
                    f"{where}: splits.{key}.manifest: '{entry.manifest}' must be a file's name in the card's folder."
                )
            if not _DIGEST.fullmatch(entry.sha256):
                raise UserError(f"{where}: splits.{key}.sha256: '{entry.sha256}' is no SHA-256 digest.")
            if entry.clips < 0:
                raise UserError(f"{where}: splits.{key}.clips is {entry.clips}; a count is at least 0.")

    def split_of(self, manifest_name: str) -> str | None:
        """Return the split whose manifest is the file ``manifest_name``, or None."""
        return next((key for key, entry in self.splits.items() if entry.manifest == manifest_name), None)


def entry_of(manifest: Manifest, file: str, source: dict[str, Any] | None = None) -> SplitEntry:
    """Return the card's entry for ``manifest``, to be written as ``file``."""
    return SplitEntry(manifest=file, sha256=manifest.digest(), clips=len(manifest), source=source)


def read_split(folder: Path) -> tuple[SplitCard, dict[str, Manifest], list[str]]:
    """Return the card of ``folder``, split → its manifest, and the splits that have changed since the card was written.

    Raises:
        UserError: when the card or a manifest is missing, or not valid.
    """
    card = SplitCard.read(folder)
    manifests = {
        key: Manifest.read(resolve_inside(folder, entry.manifest)) for key, entry in card.splits.items()
    }
    return (
        card,
        manifests,
        [key for key, each in manifests.items() if each.digest() != card.splits[key].sha256],
    )


def write_split(folder: Path, manifests: Mapping[str, Manifest], card: SplitCard) -> None:
    """Write the manifests of a split and its card into ``folder``.

    They are put there together, so that the folder holds the old split or the new one, also when it is cut short.
    Manifests that the old card names and this one doesn't are removed, if they have the digests that it says: a card
    may name any file, and only what was written with it goes.

    Args:
        folder: made when missing.
        manifests: split → its manifest.
        card: names the file of each.
    """
    with holding(folder):
        old: dict[str, str] = {}
        with suppress(UserError):  # no card, or one that can't be read
            old = {entry.manifest: entry.sha256 for entry in SplitCard.read(folder).splits.values()}
        with writing_together(folder, last=FILE_NAME) as stage:
            for key, manifest in manifests.items():
                manifest.write(resolve_inside(stage.path, card.splits[key].manifest))
            card.write(stage.path)
        for name in old.keys() - {entry.manifest for entry in card.splits.values()}:
            with suppress(UserError):  # not there, or no manifest
                if Manifest.read(resolve_inside(folder, name)).digest() == old[name]:
                    remove(folder, name)


def clip_provenance(
    manifest_path: str | os.PathLike[str], manifest: Manifest, modalities: Sequence[str]
) -> dict[str, Any]:
    """Return what a result record needs to know of a set of clips (the keys of tabular data's provenance).

    ``track`` and ``benchmark`` are the card's.  A manifest that is not the one its card was written for is
    ``modified``; so is one whose card says ``multiood`` but whose digest is not that of the packaged benchmark.
    What is modified is the benchmark ``<name>_modified``, and no longer of track ``multiood`` but ``demo``.
    Without a card beside it, a manifest is of no benchmark, track ``demo``.

    Args:
        manifest_path: the file that ``manifest`` was read from.
        manifest: as it was read, with the columns of all its modalities: its digest is the benchmark's.
        modalities: those in use, for the record.

    Raises:
        UserError: when there is a card and it is not valid.
    """
    path = Path(manifest_path)
    found: dict[str, Any] = {
        "benchmark": None,
        "benchmark_version": None,
        "track": "demo",
        "synthetic": False,
        "modified": False,
        "partition": 0,
        "seed": 0,
        "split": "",
        "set": "",
        "modalities": list(modalities),
    }
    if not (path.parent / FILE_NAME).is_file():
        return found
    card = SplitCard.read(path.parent)
    key = card.split_of(path.name)
    if key is None:
        return found
    group, _, set_name = key.partition("_")
    digest = manifest.digest()
    modified = card.modified or digest != card.splits[key].sha256
    track = card.track
    if track == "multiood":
        modified |= digest != _published_digest(card, key)
        track = "demo" if modified else track
    return found | {
        "benchmark": f"{card.benchmark}_modified" if card.benchmark and modified else card.benchmark,
        "benchmark_version": card.benchmark_version,
        "track": track,
        "synthetic": card.synthetic,
        "modified": modified,
        "seed": card.seed or 0,
        "split": GROUP_OF_FILE.get(group, group),
        "set": set_name,
    }


def _published_digest(card: SplitCard, key: str) -> str | None:
    if card.benchmark not in available_clip_benchmarks():
        return None
    benchmark = load_clip_benchmark(str(card.benchmark))
    published = benchmark.sets.get(key)
    same_version = card.benchmark_version == benchmark.version
    return published.sha256 if published is not None and same_version else None
