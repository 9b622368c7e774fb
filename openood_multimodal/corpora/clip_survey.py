"""From a dataset's folder, and manifests if there are some, to what is there: clips looked for, and found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..datasets.cells import split_frames
from ..datasets.inventory import FILE, FOLDER, Inventory
from ..datasets.manifest import LEADING, OOD_LABEL, Manifest
from ..errors import ArgumentError, UserError
from ..files import is_clutter, listed
from ..naming import did_you_mean
from .clip_check import Checked, Wanted, check
from .layout import ClipKey, ClipLayout, Place

UNKNOWN_CLASS = "unknown"


@dataclass(frozen=True)
class Row:
    """What a manifest says of a clip, or what its name tells."""

    class_name: str
    label: int | None
    group: str
    start: float = math.nan
    stop: float = math.nan


@dataclass(frozen=True)
class Survey:
    """What `survey` found.

    Attributes:
        layout: with the places of the files.
        checked: which files are there and which are missing.
        rows: clip → the rest of its row; empty where clips can't be told from files.
        sources: the manifests used; none where the clips are those found on disk.
    """

    layout: ClipLayout
    checked: Checked
    rows: Mapping[str, Row]
    sources: tuple[str, ...]

    @property
    def nothing_there(self) -> bool:
        """Whether no clip has any of its files, not even under a name that differs in little."""
        found = any(self.checked.found(modality) for modality in self.checked.modalities)
        return not found and not any(each.nearest for each in self.checked.missing)

    def manifest(self) -> Manifest | None:
        """Return the manifest of the clips that have all their files; None where there is none to be made.

        Labels are the manifests' where those agree, else the places of classes in alphabetical order.  A class that
        isn't known is ``unknown``, label -1.
        """
        chosen = [
            each for each, whole in zip(self.checked.wanted, self.checked.complete, strict=True) if whole
        ]
        if not chosen or not self.rows:
            return None
        rows = [self.rows[each.clip] for each in chosen]
        labels = _labels(rows)
        return Manifest.create(
            clips=[each.clip for each in chosen],
            labels=labels,
            class_names=[row.class_name or UNKNOWN_CLASS for row in rows],
            files={
                modality: [each.cells[modality] for each in chosen] for modality in self.checked.modalities
            },
            groups=[row.group for row in rows],
            starts=[row.start for row in rows],
            stops=[row.stop for row in rows],
        )


def survey(
    layout: ClipLayout,
    inventory: Inventory,
    manifests: Sequence[Manifest] = (),
    modalities: Sequence[str] | None = None,
) -> Survey:
    """Look for the files of the manifests' clips; without manifests, of all clips whose videos are on disk.

    Args:
        layout: the dataset's.
        inventory: of its folder.
        manifests: see `read_manifests`.
        modalities: those needed; None for all that are published, or that the manifests have.

    Raises:
        UserError: when a modality is not known, or the manifests have no clip of this dataset.
    """
    located = locate(layout, inventory)
    chosen = _modalities(layout, manifests, modalities)
    rows: dict[str, Row] = {}
    wanted: list[Wanted] = []
    if manifests:
        wanted, rows = _from_manifests(layout, located, manifests, chosen)
    elif layout.recordings:
        for recording in layout.recordings:
            cells = layout.cells(ClipKey(f"{recording}/0-2", ""))
            whole = {modality: split_frames(cell)[0] for modality, cell in cells.items()}
            wanted.append(Wanted(recording, recording, whole))
    else:
        for clip in sorted(clips_on_disk(located, inventory)):
            key = ClipKey(clip, located.class_of(clip))
            wanted.append(Wanted(clip, key.class_name or UNKNOWN_CLASS, located.cells(key)))
            rows[clip] = Row(key.class_name, None, located.recording(key))
    sources = tuple(manifest.source for manifest in manifests)
    return Survey(located, check(inventory, wanted, chosen), rows, sources)


def read_manifests(layout: ClipLayout, names: Iterable[str]) -> list[Manifest]:
    """Return the manifests of these files, and those in these folders that have clips of the dataset.

    A folder's manifests are its CSV files and those of the folders in it; passed over are CSV files of another kind,
    ``<dataset>_all.csv``, and of manifests the rows
    of other datasets (far-OOD sets).

    Raises:
        UserError: when there is no such file, or none with clips of the dataset.
    """
    found: list[Manifest] = []
    given = list(names)
    for name in given:
        path = Path(name)
        if not path.exists():
            raise ArgumentError("manifests", f"names {path}, and there is no such file or folder.")
        if not path.is_dir():
            found.append(Manifest.read(path))
            continue
        for file in sorted([*listed(path, "*.csv"), *listed(path, "*/*.csv")]):
            if file.name == f"{layout.name}_all.csv" or not _is_manifest(file):
                continue
            manifest = Manifest.read(file)
            own = [row for row in range(len(manifest)) if _belongs(layout, manifest, row)]
            if own:
                part = manifest if len(own) == len(manifest) else manifest.take(own)
                found.append(replace(part, source=str(file)))
    if not found:
        raise UserError(
            f"{', '.join(given)}: no manifest with clips of {layout.name} in it. Manifests are made from the authors' "
            "lists by openood-mm splits import."
        )
    return found


def _is_manifest(file: Path) -> bool:
    with open(file, encoding="utf-8-sig", errors="replace") as opened:
        return opened.readline().startswith(",".join(LEADING))


def _belongs(layout: ClipLayout, manifest: Manifest, row: int) -> bool:
    """Tell whether a row is of this dataset: its clip's name and one of its cells have to say so."""
    words = layout.words(manifest.clips[row])
    if words is None:
        return False
    return any(
        cells[row] == place.path(words)
        for modality, cells in manifest.files.items()
        for place in layout.places.get(modality, ())
    )


def _modalities(
    layout: ClipLayout, manifests: Sequence[Manifest], asked: Sequence[str] | None
) -> tuple[str, ...]:
    if asked is None:
        columns = {modality for manifest in manifests for modality in manifest.modalities}
        known = [name for name in ("video", "audio", "flow") if name in columns]
        return tuple(known) if manifests else layout.modalities
    for name in asked:
        if name not in layout.places:
            raise ArgumentError(
                "modalities",
                f"names '{name}', which {layout.name} does not have.{did_you_mean(name, layout.places)}",
            )
    if not asked:
        raise ArgumentError("modalities", f"is empty; {layout.name} has {', '.join(layout.modalities)}.")
    return tuple(dict.fromkeys(asked))


def _from_manifests(
    layout: ClipLayout, located: ClipLayout, manifests: Sequence[Manifest], modalities: Sequence[str]
) -> tuple[list[Wanted], dict[str, Row]]:
    rows: dict[str, Row] = {}
    wanted: list[Wanted] = []
    for manifest in manifests:
        columns = [manifest.class_names, manifest.labels.tolist(), manifest.groups]
        columns += [manifest.starts.tolist(), manifest.stops.tolist()]
        for line, (clip, *row) in enumerate(zip(manifest.clips, *columns, strict=True)):
            found = Row(*row)
            known = rows.setdefault(clip, found)
            if known is not found:
                if (known.class_name, known.label) != (found.class_name, found.label):
                    rows[clip] = Row(known.class_name, None, known.group, known.start, known.stop)
                continue
            key = ClipKey(clip, found.class_name)
            usual = layout.cells(key) if layout.words(clip) is not None else {}
            others = located.cells(key) if usual else {}
            cells = {
                modality: manifest.files[modality][line]
                if modality in manifest.files
                else others.get(modality, "")
                for modality in modalities
            }
            elsewhere = {name: cell for name, cell in others.items() if name in cells and cell != cells[name]}
            wanted.append(Wanted(clip, found.class_name, cells, elsewhere))
    return wanted, rows


def _labels(rows: Sequence[Row]) -> list[int]:
    """Return the rows' labels where they are known and agree, else the places of classes in alphabetical order."""
    pairs = {(row.class_name, row.label) for row in rows}
    by_class = dict(pairs)
    known = [label for label in by_class.values() if label is not None and label != OOD_LABEL]
    if None not in by_class.values() and len(by_class) == len(pairs) and len(set(known)) == len(known):
        return [OOD_LABEL if row.label is None else row.label for row in rows]
    names = sorted({row.class_name for row in rows} - {""})
    place = {name: number for number, name in enumerate(names)}
    return [place.get(row.class_name, OOD_LABEL) for row in rows]


def locate(layout: ClipLayout, inventory: Inventory) -> ClipLayout:
    """Return the layout with the places that hold most files of each modality; where none has any, the first.

    A function of what is below the folder alone.  The first place wins a tie.
    """
    if layout.recordings:
        return layout
    places = {
        modality: (max(choices, key=lambda place: len(_clips_in(layout, inventory, place))),)
        for modality, choices in layout.places.items()
    }
    return layout.with_places(places)


def clips_on_disk(layout: ClipLayout, inventory: Inventory) -> dict[str, str]:
    """Return clip → its video, of all clips whose videos are in the layout's first place for them."""
    found = _clips_in(layout, inventory, layout.places["video"][0])
    return {clip: path for path, clip in found if clip}


def _clips_in(layout: ClipLayout, inventory: Inventory, place: Place) -> list[tuple[str, str]]:
    """Return (file, clip) of the files in ``place``; the clip is "" where the file doesn't tell."""
    found = []
    for path in matching(inventory, place):
        words = place.words(path)
        clip = layout.clip_at(words) if words is not None else None
        own = layout.words(clip) if clip else None
        if clip == "" or (clip and own is not None and place.path(own) == path):
            found.append((path, clip))
    return found


def matching(inventory: Inventory, place: Place) -> Iterator[str]:
    """Yield the files that are where ``place`` says, sorted folder by folder."""
    return _matching(inventory, place.parts, "")


def _matching(inventory: Inventory, parts: Sequence[str | re.Pattern[str]], folder: str) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    entries = inventory.entries(folder)
    if isinstance(part, str):
        names = [part] if part in entries else []
    else:
        names = sorted(name for name in entries if part.fullmatch(name) and not is_clutter(name))
    for name in names:
        path = f"{folder}/{name}" if folder else name
        if rest and entries[name] == FOLDER:
            yield from _matching(inventory, rest, path)
        elif not rest and entries[name] == FILE:
            yield path
