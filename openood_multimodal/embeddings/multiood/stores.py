"""One embedding store for each set of a group, the head beside them, and a note of what was imported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import Slices
from ...doubts import PROBABILITIES, look_like_probabilities
from ...errors import UserError
from ...files import atomic, file_sha256, holding
from ...files.paths import remove
from ...version import __version__
from ..store import EmbeddingStore
from .groups import Group, SavedSet
from .head import HeadFit, head_from_checkpoint, head_from_outputs
from .names import NEEDED

KNOWN_SLICES: Mapping[int, Mapping[str, int]] = {
    4352: {"video": 2304, "flow": 2048},
    4864: {"video": 2304, "audio": 512, "flow": 2048},
}
"""Width → modality → its width, in the order in which the authors concatenate them."""

NOTE_FILE = "import.json"
HEAD_FILE = "head.npz"
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class ImportedGroup:
    """What an import left.

    Attributes:
        group: the files that it read.
        folder: where the stores are.
        fit: the head, or why there is none.
        rows: set → number of rows.
        doubts: what the files look like and should not be, one sentence each.
    """

    group: Group
    folder: Path
    fit: HeadFit
    rows: dict[str, int]
    doubts: tuple[str, ...] = ()

    def path(self, which: str) -> Path:
        """Return the store of a set."""
        return self.folder / which


def import_group(
    group: Group,
    out: Path,
    slices: Mapping[str, int] | None = None,
    checkpoint: Path | None = None,
    overwrite: bool = False,
) -> ImportedGroup:
    """Write the stores of a group to ``out/<group>/{train,val,test,ood/<name>}``, and ``head.npz``.

    A store whose source files haven't changed is left as it is.  Shaped features get no head: nothing but the
    energy of their saved outputs is of use.

    Args:
        group: complete (see `select_groups`).
        out: folder of all groups.
        slices: modality → width, in order; None: known from the features' width.
        checkpoint: the authors' checkpoint, or None.
        overwrite: replace stores that were made from other files.

    Raises:
        UserError: for files that don't fit together, a width that says nothing about modalities, a checkpoint
            of another network, or a store of other files.
        OSError: when the disk is full.
    """
    sets = group.read()
    columns = columns_of(sets["test"].features.shape[1], slices)
    fit = _head(group, sets, checkpoint, columns)
    folder = out / group.name
    with holding(folder):
        # The note goes first and comes back last: a folder that has one is whole.
        remove(folder, NOTE_FILE)
        for name, each in sets.items():
            _write_store(folder / name, each, columns, _digests(group, name), overwrite)
        if fit.head is not None:
            atomic.write_npz(folder / HEAD_FILE, fit.head.arrays())
        else:
            remove(folder, HEAD_FILE)
        atomic.write_json(folder / NOTE_FILE, _note(group, sets, fit))
    rows = {name: len(each.labels) for name, each in sets.items()}
    return ImportedGroup(group, folder, fit, rows, _doubts(group, sets))


def _doubts(group: Group, sets: Mapping[str, SavedSet]) -> tuple[str, ...]:
    return tuple(
        f"{group.files[name]['output']}: {PROBABILITIES.format(what='outputs')}."
        for name, each in sets.items()
        if look_like_probabilities(each.outputs)
    )


def columns_of(dim: int, slices: Mapping[str, int] | None) -> Slices:
    """Return modality → ``(start, stop)`` for features of width ``dim``.

    Raises:
        UserError: when the width is none of the authors' and no slices are given, or these don't add up to it.
    """
    widths = slices if slices is not None else KNOWN_SLICES.get(dim)
    if widths is None:
        known = ", ".join(map(str, KNOWN_SLICES))
        raise UserError(
            f"features of {dim} columns: only for {known} is it known which belong to which modality. "
            "Give slices=, e.g. video:2304,flow:2048."
        )
    if sum(widths.values()) != dim:
        raise UserError(f"the slices cover {sum(widths.values())} columns, but the features have {dim}.")
    stops = np.cumsum(list(widths.values())).tolist()
    return {name: (stop - width, stop) for (name, width), stop in zip(widths.items(), stops, strict=True)}


def _head(group: Group, sets: Mapping[str, SavedSet], checkpoint: Path | None, columns: Slices) -> HeadFit:
    if group.key.shaped:
        return HeadFit(
            None, missing=f"the features are shaped by {group.key.shaped} already, and scored by energy alone"
        )
    if checkpoint is not None:
        fit = head_from_checkpoint(checkpoint, sets.values())
        _check_modality_heads(fit, columns, checkpoint)
        return fit
    return head_from_outputs(list(sets.values()))


def _check_modality_heads(fit: HeadFit, columns: Slices, checkpoint: Path) -> None:
    heads = fit.head.modality_heads if fit.head is not None else {}
    for name, (start, stop) in columns.items() if heads else ():
        if name not in heads or heads[name].dim != stop - start:
            held = ", ".join(f"{modality}:{each.dim}" for modality, each in heads.items())
            raise UserError(
                f"{checkpoint} has heads of {held}, but the columns of '{name}' are {start} to {stop}; give the "
                "slices= of this checkpoint's modalities."
            )


def _digests(group: Group, name: str) -> dict[str, str]:
    digest = hashlib.sha256()
    for kind in NEEDED:
        digest.update(bytes.fromhex(file_sha256(group.files[name][kind])))
    shaped = {"shaped": group.key.shaped} if group.key.shaped else {}
    return {"source": digest.hexdigest(), **shaped}


def _write_store(
    path: Path, saved: SavedSet, columns: Slices, digests: Mapping[str, str], overwrite: bool
) -> None:
    count = len(saved.labels)
    arguments: dict[str, Any] = {
        "num_samples": count,
        "slices": columns,
        "num_classes": saved.outputs.shape[1],
        "digests": digests,
        "clips": [f"{path.name}/{row:06d}" for row in range(count)],  # the authors save no names
        "modality_logits": False,
    }
    try:
        store = EmbeddingStore.create(path, **arguments)
    except UserError:
        if not overwrite:
            raise
        store = EmbeddingStore.create(path, **arguments, overwrite=True)
    pending = store.pending()
    for start in range(0, len(pending), _BLOCK_ROWS):
        rows = pending[start : start + _BLOCK_ROWS]
        store.write(rows, saved.features[rows], saved.outputs[rows], None, saved.labels[rows])
    store.finish()


def _note(group: Group, sets: Mapping[str, SavedSet], fit: HeadFit) -> dict[str, Any]:
    return {
        "id": group.key.id,
        "setting": group.key.setting,
        "tag": group.key.tag,
        "shaped": group.key.shaped,
        "sets": {
            name: {
                "rows": len(each.labels),
                "files": [str(group.files[name][kind]) for kind in NEEDED],
            }
            for name, each in sets.items()
        },
        "head": {"source": fit.source, "missing": fit.missing, "residual": fit.residual},
        "package_version": __version__,
    }


def score_command(each: ImportedGroup) -> list[str]:
    """Return the words of the command that scores these stores with all scores that can use them.

    What `import_group` gave is turned into ``openood-mm score ... --preset multiood``; no word is quoted.
    """
    key, rows = each.group.key, each.rows
    words = ["openood-mm", "score"]
    if not key.shaped:
        words += [w for name in ("train", "val") if name in rows for w in (f"--{name}", str(each.path(name)))]
    words += ["--test", str(each.path("test")), "--ood"]
    words += [f"{name.removeprefix('ood/')}={each.path(name)}" for name in each.group.ood]
    if each.fit.head is not None:
        words += ["--head", str(each.folder / "head.npz")]
    # the authors fit to the validation set where ID is Kinetics, and have no training files for it
    on_val = "val" in rows and (key.id == "Kinetics" or "train" not in rows)
    if on_val and not key.shaped:
        words += ["--fit-on", "val"]
    names = _usable(each, fits=on_val or "train" in rows)
    if names is not None:
        words += ["--postprocessors", ",".join(names)]
    return [*words, "--preset", "multiood", "--out", str(each.folder / "results")]


def _usable(each: ImportedGroup, fits: bool) -> list[str] | None:
    """Return the scores that can run, or None for all."""
    shaped = each.group.key.shaped
    if shaped:
        return [shaped if shaped in ("ash", "react") else "ebo"]
    head = each.fit.head is not None
    if head and fits:
        return None
    names = ["msp", "ebo", "mls", "gen"]
    return [*names, *(["mds", "knn"] if fits else []), *(["ash"] if head else [])]
