"""Looking through a dataset's folder: what ``openood-mm prepare <dataset>`` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.inventory import FOLDER, Inventory
from ..datasets.manifest import Manifest
from ..files.atomic import PathLike, write_csv
from ..files.paths import remove
from .clip_check import Missing
from .clip_survey import Survey, matching, survey
from .layout import ClipLayout

_FOLDERS = 20  # that are looked into for the dataset, where it isn't in the folder given


@dataclass(frozen=True)
class Looked:
    """What `look` found.

    Attributes:
        survey: which files are there and which are missing.
        inventory: of the dataset's folder.
        missing: the CSV file that lists all missing files; None where none is missing, or there is nothing at all.
        manifest: the CSV file with the manifest of the complete clips; None where there are none.
        hint: what is nearly right where there is nothing at all: a sentence that begins with a blank, or "".
    """

    survey: Survey
    inventory: Inventory
    missing: Path | None = None
    manifest: Path | None = None
    hint: str = ""

    @property
    def complete(self) -> bool:
        """Whether no file is missing."""
        return not self.survey.checked.missing

    def document(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        found, checked = self.survey, self.survey.checked
        return {
            "dataset": found.layout.name,
            "root": str(self.inventory.root),
            "complete": self.complete,
            "clips": len(checked.wanted),
            "clips_complete": sum(checked.complete),
            "modalities": {
                modality: {
                    "place": found.layout.places[modality][0].shown,
                    "found": checked.found(modality),
                    "missing": len(checked.wanted) - checked.found(modality),
                }
                for modality in checked.modalities
            },
            "missing_by_class": {
                name: {"clips": counts[""], **{m: counts[m] for m in checked.modalities if counts[m]}}
                for name, counts in checked.by_class().items()
            },
            "manifests": list(found.sources),
            "missing": str(self.missing) if self.missing else None,
            "manifest": str(self.manifest) if self.manifest else None,
        }


def look(
    layout: ClipLayout,
    root: PathLike,
    out: PathLike,
    manifests: Sequence[Manifest] = (),
    modalities: Sequence[str] | None = None,
    looked: Callable[[], object] = lambda: None,
) -> Looked:
    """Look for the files of a dataset; list what is missing, and write a manifest of the clips that are complete.

    Nothing below ``root`` is changed.  ``out`` gets ``<dataset>_missing.csv`` and ``<dataset>_all.csv``.

    Args:
        layout: of ``registry.CLIP_LAYOUTS``.
        root: the dataset's folder, which exists.
        out: folder of the two files; nothing is written where ``root`` has no file of the dataset
            (``survey.nothing_there``).
        manifests: their clips are looked for (`clip_survey.read_manifests`); without, every clip whose video is there.
        modalities: those needed; None for all that are published, or that the manifests have.
        looked: called after each folder.

    Raises:
        UserError: when a modality is not known, or the manifests have no clip of the dataset.
    """
    inventory = Inventory(Path(root), lambda folder: looked())
    found = survey(layout, inventory, manifests, modalities)
    if found.nothing_there:
        return Looked(found, inventory, hint=_hint(layout, inventory))
    out, name, missing = Path(out), layout.name, found.checked.missing
    listed = out / f"{name}_missing.csv"
    if missing:
        write_csv(listed, Missing._fields, (each._asdict() for each in missing))
    else:
        remove(out, listed.name)
    manifest = found.manifest()
    written = manifest.write(out / f"{name}_all.csv") if manifest is not None else None
    return Looked(found, inventory, listed if missing else None, written)


def guide(layout: ClipLayout, modalities: Sequence[str] | None = None) -> str:
    """Return where the parts of a dataset are published, and the folders to unpack them into."""
    lines = [f"{layout.name}: where its parts are published (see also https://github.com/donghao51/MultiOOD)"]
    for archive in layout.archives:
        if modalities is not None and not set(modalities) & set(archive.modalities):
            continue
        lines.append(f"\n  {archive.what}: {archive.published}")
        lines += [f"    {name}" for name in archive.file_names]
        lines.append(f"    -> {archive.unpack_into}")
    lines.append("\nThe expected folders:\n")
    lines += [f"  {line}" for line in layout.tree.splitlines()]
    return "\n".join(lines) + "\n"


def guide_document(layout: ClipLayout) -> dict[str, Any]:
    """Return what `guide` says, for JSON."""
    return {
        "dataset": layout.name,
        "archives": [
            {
                "what": archive.what,
                "published": archive.published,
                "files": list(archive.file_names),
                "unpack_into": archive.unpack_into,
                "modalities": list(archive.modalities),
            }
            for archive in layout.archives
        ],
        "tree": layout.tree,
    }


def _hint(layout: ClipLayout, inventory: Inventory) -> str:
    """Return a sentence that tells what is nearly right: a folder's name, or the folder one further down; or ""."""
    places = [place for each in layout.places.values() for place in each]
    for name in dict.fromkeys(place.parts[0] for place in places):
        nearest, difference = inventory.nearest(name) if isinstance(name, str) else ("", "")
        if difference:
            return f" There is '{nearest}' instead of '{name}' ({difference}): rename it."
    root = inventory.root
    folders = sorted(name for name, kind in inventory.entries().items() if kind == FOLDER)
    for folder in folders[:_FOLDERS]:
        below = Inventory(root / folder)
        if any(True for place in places for _ in matching(below, place)):
            return f" But {root / folder} does: give that folder."
    return ""
