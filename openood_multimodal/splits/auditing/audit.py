"""One split's audit, as plain values for JSON; `reporting.audit` prints and draws them.

``docs/splits.md`` explains the fields; `SCHEMA_VERSION` rises when one changes its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...corpora.clip_check import Checked, Wanted, check
from ...datasets.inventory import Inventory
from ...datasets.manifest import Manifest
from ...errors import UserError
from .class_names import PRETRAINING_SET, ClassOverlaps, collisions, load_class_overlaps
from .contents import ContentReader, SetContents, same_content
from .leaks import duplicates_across, duplicates_within, overlaps, seen_recordings, spans
from .loading import LoadedSplit, dataset_of, is_ood

SCHEMA_VERSION = 1

_MISSING_SHOWN = 10


def audit_split(
    split: LoadedSplit,
    root: Path | None = None,
    class_overlaps: ClassOverlaps | None = None,
    content: ContentReader | None = None,
) -> dict[str, Any]:
    """Return what is known of a split.

    Args:
        split: its manifests.
        root: a folder to look for files in: the dataset's, or one that holds ``<dataset>/`` folders.
        class_overlaps: near classes and pretraining sets; the packaged ones by default.
        content: reads the files in ``root``, so that clips of the same content are found under any name; None
            leaves this out.

    Raises:
        UserError: when ``root`` is not a folder, or ``content`` is to be compared without it or can't be read.
    """
    known = class_overlaps or load_class_overlaps()
    manifests = split.manifests
    datasets = {key: dataset_of(manifest) for key, manifest in manifests.items()}
    times = {key: spans(manifest, datasets[key]) for key, manifest in manifests.items()}
    if content is not None and root is None:
        raise UserError("the clips' content can't be compared without a folder with their files; give root.")
    contents: dict[str, SetContents] = {}
    sets: dict[str, Any] = {}
    for key, manifest in manifests.items():
        entry: dict[str, Any] = {
            "dataset": datasets[key] or None,
            "ood": is_ood(key),
            "clips": len(manifest),
            "classes": len(manifest.class_counts()),
            "recordings": len(set(manifest.groups) - {""}),
            "unknown_recordings": manifest.groups.count(""),
            "balance": _balance(manifest),
            "duplicates": asdict(duplicates_within(manifest)),
            PRETRAINING_SET: _pretrained(manifest, datasets[key], known),
            "missing_files": None,
        }
        if root is not None:
            inventory = Inventory(_folder(datasets[key], root))
            checked = _checked(manifest, inventory)
            entry["missing_files"] = _missing(checked, inventory)
            if content is not None:
                contents[key] = content.read(manifest, checked, inventory)
        sets[key] = entry
    for key, manifest in manifests.items():
        for side in _sides(key, manifests):
            other = manifests[side]
            sets[key][f"in_{side}"] = {
                "recordings": asdict(seen_recordings(manifest, other)),
                "segments": asdict(overlaps(manifest, times[key], other, times[side])),
                "duplicates": asdict(duplicates_across(manifest, other)),
            }
            if contents:
                sets[key][f"in_{side}"]["content"] = asdict(same_content(contents[key], contents[side]))
        if contents:
            own = asdict(same_content(contents[key]))
            sets[key]["content"] = {"hashed": contents[key].hashed, **own}
    return {
        "name": split.name,
        "path": split.path,
        "track": split.track or None,
        "modified": split.modified,
        "seed": split.seed,
        "sets": sets,
        "classes": _collisions(split, datasets, known),
    }


def _balance(manifest: Manifest) -> dict[str, Any]:
    counts = manifest.class_counts()
    total, number = sum(counts.values()), len(counts)
    entropy = -sum(n / total * math.log(n / total) for n in counts.values()) if total else 0.0
    return {
        "smallest": min(counts.values(), default=0),
        "largest": max(counts.values(), default=0),
        # 1 where all classes have as many clips; of a single class it says nothing
        "entropy": round(entropy / math.log(number), 4) if number > 1 else None,
        "per_class": counts,
    }


def _pretrained(manifest: Manifest, dataset: str, overlaps: ClassOverlaps) -> dict[str, Any]:
    pretraining = overlaps.pretraining[PRETRAINING_SET]
    counts = manifest.class_counts()
    known = {name: list(pretraining.names_of(dataset, name)) for name in counts}
    classes = {name: names for name, names in known.items() if names}
    return {"classes": classes, "clips": sum(counts[name] for name in classes)}


def _collisions(
    split: LoadedSplit, datasets: Mapping[str, str], overlaps: ClassOverlaps
) -> list[dict[str, Any]]:
    id_keys = [key for key in split.manifests if not is_ood(key)]
    id_classes = list(dict.fromkeys(name for key in id_keys for name in split.manifests[key].class_names))
    id_dataset = next((datasets[key] for key in id_keys), "")
    found = []
    for key, manifest in split.manifests.items():
        if not is_ood(key) or not id_keys:
            continue
        classes = list(manifest.class_counts())
        pairs = collisions(id_dataset, id_classes, datasets[key], classes, overlaps)
        labels = _colliding_labels(split, key, id_keys)
        found.append({"set": key, "pairs": [asdict(each) for each in pairs], "colliding_labels": labels})
    return found


def _colliding_labels(split: LoadedSplit, key: str, id_keys: Sequence[str]) -> int:
    """Return how many OOD classes have a number that an ID class has: in the manifests, else in the authors' lists."""
    id_labels = {label for each in id_keys for label in split.manifests[each].labels.tolist()}
    ood = set(split.manifests[key].labels.tolist()) - {-1}
    benchmark = split.benchmark
    if not ood and benchmark is not None and key in benchmark.sets:
        ood = set(benchmark.sets[key].classes.values())
    return len(ood & id_labels)


def _sides(key: str, manifests: Mapping[str, Manifest]) -> list[str]:
    """Return the sets that a set is compared with: those before it, of train, val, and for an OOD set test."""
    before = {"train": [], "val": ["train"]}.get(key, ["train", "val", *(["test"] if is_ood(key) else [])])
    return [side for side in before if side in manifests]


def _folder(dataset: str, root: Path) -> Path:
    return root / dataset if dataset and (root / dataset).is_dir() else root


def _checked(manifest: Manifest, inventory: Inventory) -> Checked:
    wanted = [
        Wanted(clip, name, {modality: cells[row] for modality, cells in manifest.files.items()})
        for row, (clip, name) in enumerate(zip(manifest.clips, manifest.class_names, strict=True))
    ]
    return check(inventory, wanted, manifest.modalities)


def _missing(checked: Checked, inventory: Inventory) -> dict[str, Any]:
    return {
        "root": str(inventory.root),
        "incomplete_clips": len(checked.wanted) - sum(checked.complete),
        "by_modality": {
            modality: sum(each.modality == modality for each in checked.missing)
            for modality in checked.modalities
        },
        "examples": [f"{each.expected}: {each.reason}" for each in checked.missing[:_MISSING_SHOWN]],
    }
