"""The files of one training, found in one or several folders, complete and of one shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import listed
from ...files.npz import map_array
from ...naming import did_you_mean
from ...vocabulary import ID_SETS
from .names import KINDS, NEEDED, GroupKey, file_name, ood_set, parse_name

_BLOCK_ROWS = 1024
_SHOWN = 12


class SavedSet(NamedTuple):
    """Memory maps of one set: features ``[N, D]``, outputs ``[N, C]``, labels int64 ``[N]`` (OOD: -1)."""

    features: NDArray[Any]
    outputs: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """All files of one training.

    Attributes:
        key: setting, ID dataset, tag.
        files: set → kind → path.
    """

    key: GroupKey
    files: dict[str, dict[str, Path]]

    @property
    def name(self) -> str:
        """The group's folder name."""
        return self.key.name

    @property
    def sets(self) -> list[str]:
        """``train``, ``val``, ``test`` as far as they are there, then the OOD sets."""
        known = [name for name in ID_SETS if name in self.files]
        return [*known, *sorted(name for name in self.files if name.startswith("ood/"))]

    @property
    def ood(self) -> list[str]:
        """The OOD sets."""
        return [name for name in self.sets if name.startswith("ood/")]

    def missing(self) -> list[str]:
        """Return the names of files without which this group can't be imported."""
        wanted = {*self.files, "test"}
        if not self.ood:
            wanted.add(ood_set(self.key.id) if self.key.setting == "near" else "ood/<OOD>")
        return [
            file_name(self.key, which, kind)
            for which in sorted(wanted)
            for kind in NEEDED
            if kind not in self.files.get(which, {})
        ]

    def unneeded_missing(self) -> list[str]:
        """Return the names of files that the authors' scripts also save, but that aren't read."""
        return [
            file_name(self.key, which, kind)
            for which in self.sets
            for kind in KINDS
            if kind not in NEEDED and kind not in self.files[which]
        ]

    def read(self) -> dict[str, SavedSet]:
        """Map the arrays of every set, and check that they belong together.

        Raises:
            UserError: for a damaged file, an empty set, shapes that don't fit, values that are not finite, or
                a label outside the classes.
        """
        sets = {name: _read_set(self.files[name], ood=name.startswith("ood/")) for name in self.sets}
        dim, classes = sets["test"].features.shape[1], sets["test"].outputs.shape[1]
        for name, each in sets.items():
            for kind, array, width in (("feature", each.features, dim), ("output", each.outputs, classes)):
                if array.shape[1] != width:
                    raise UserError(
                        f"{self.files[name][kind]} has {array.shape[1]} columns, "
                        f"{self.files['test'][kind]} has {width}; they are not of one network."
                    )
            outside = np.flatnonzero((each.labels < 0) | (each.labels >= classes))
            if len(outside) and not name.startswith("ood/"):
                row = int(outside[0])
                raise UserError(
                    f"{self.files[name]['label']}: the label {each.labels[row]} in row {row} is none of the "
                    f"{classes} classes of the outputs."
                )
        return sets


def find_groups(folders: Iterable[Path]) -> list[Group]:
    """Return the groups of files in these folders and in their subfolders ``saved_files``.

    Files of one group may be in several folders (the authors' HMDB and EPIC code write to folders of their
    own).

    Raises:
        UserError: when a folder does not exist, none has such files, or two have the same file.
    """
    groups: dict[GroupKey, Group] = {}
    looked = []
    for folder in dict.fromkeys(Path(each).resolve() for each in folders):
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder.")
        for place in (folder, folder / "saved_files"):
            looked.append(str(place))
            for path in listed(place, "id_*.npy"):
                _add(groups, path)
    if not groups:
        raise UserError(
            f"no saved files of MultiOOD in {', '.join(looked)}: their names are like "
            "id_HMDB_near_ood_feature_a2d_npmix_best_test.npy."
        )
    found = sorted(groups.values(), key=lambda group: group.name)
    for one, other in pairwise(found):
        if one.name == other.name:
            raise UserError(
                f"the tags '{one.key.tag}' and '{other.key.tag}' would be imported into one folder, "
                f"{one.name}; import them from folders of their own."
            )
    return found


def _add(groups: dict[GroupKey, Group], path: Path) -> None:
    saved = parse_name(path)
    if saved is None:
        return
    group = groups.setdefault(saved.group, Group(saved.group, {}))
    kinds = group.files.setdefault(saved.set, {})
    if saved.kind in kinds and kinds[saved.kind] != path:
        raise UserError(f"{path.name} is both in {kinds[saved.kind].parent} and in {path.parent}; name one.")
    kinds[saved.kind] = path


def select_groups(groups: Sequence[Group], only: Sequence[str] | None) -> list[Group]:
    """Return those groups that are asked for, all of them complete.

    Raises:
        UserError: for an unknown name, or naming the files that a group lacks.
    """
    names = [group.name for group in groups]
    for name in only or ():
        if name not in names:
            raise UserError(f"there is no group '{name}' in these folders.{did_you_mean(name, names)}")
    chosen = [group for group in groups if not only or group.name in only]
    lacking = {group.name: group.missing() for group in chosen if group.missing()}
    if lacking:
        texts = []
        for name, files in lacking.items():
            more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
            texts.append(f"{name} lacks {', '.join(files[:_SHOWN])}{more}")
        complete = [name for name in names if name not in lacking]
        rest = f" To import the others alone: only={complete}." if complete and not only else ""
        raise UserError(
            f"{'; '.join(texts)}. Name every folder that the scripts saved to (HMDB-rgb-flow and "
            f"EPIC-rgb-flow), or save these files with the authors' test script.{rest}"
        )
    return chosen


def _read_set(files: dict[str, Path], ood: bool) -> SavedSet:
    features, outputs = _map(files["feature"], "f", 2), _map(files["output"], "f", 2)
    labels = np.array(_map(files["label"], "iu", 1), dtype=np.int64)
    for kind, array in (("output", outputs), ("label", labels)):
        if len(array) != len(features):
            raise UserError(
                f"{files[kind]} has {len(array)} rows, {files['feature']} has {len(features)}; "
                "they are not of one run."
            )
    for kind, array in (("feature", features), ("output", outputs)):
        _check_finite(files[kind], array)
    # whatever class numbers an OOD set has are those of its own dataset
    return SavedSet(features, outputs, np.full_like(labels, -1) if ood else labels)


def _map(path: Path, kinds: str, ndim: int) -> NDArray[Any]:
    """Map one array, and check its kind and dimensions."""
    array: NDArray[Any] = map_array(path)
    if array.dtype.kind not in kinds or array.ndim != ndim or not array.size:
        kind = "floats" if kinds == "f" else "integers"
        raise UserError(
            f"{path} must hold {kind} in {ndim} dimensions and not be empty; it holds {array.dtype} "
            f"{list(array.shape)}."
        )
    return array


def _check_finite(path: Path, array: NDArray[Any]) -> None:
    for start in range(0, len(array), _BLOCK_ROWS):
        block = array[start : start + _BLOCK_ROWS]
        # stores hold float32: what is infinite there is found here, by file and row
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(block, dtype=np.float32))
        if not finite.all():
            row, column = map(int, np.argwhere(~finite)[0])
            raise UserError(
                f"{path} holds {block[row, column]} at row {start + row}, column {column}; "
                "save these files again."
            )
