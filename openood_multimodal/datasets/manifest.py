"""The manifest: one row a clip, naming its label, its source recording and one file a modality.

CSV columns: ``clip,label,class_name,group,<one column a modality>,start,stop``.  For tabular data a
modality's cell is ``file.csv#row``, the row counted from 0 without the header; for clips it is a path.  Paths
are relative to the data folder and never leave it.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from ..files.atomic import write_text
from ..files.digests import text_sha256
from ..files.paths import first_leaving
from ..files.text import parse_csv, read_text
from ..naming import did_you_mean

LEADING = ("clip", "label", "class_name", "group")
TRAILING = ("start", "stop")
REQUIRED = LEADING + TRAILING
OOD_LABEL = -1

_SECONDS = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_MODALITY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Manifest:
    """Clips and where their files are.  All columns have N rows; build it with `create` or `read`.

    Attributes:
        clips: unique names of the clips.
        labels: int64 ``[N]``; -1 for a class that is out of distribution.
        class_names: the class of each clip.
        groups: the source recording of each clip; empty where it is unknown.
        files: modality → its cell for each clip; empty where the clip lacks that modality.
        starts: float64 ``[N]``, where in the file the clip begins; NaN for its beginning.
        stops: float64 ``[N]``, where it ends; NaN for the file's end.
        source: file that it was read from, for messages; otherwise empty.
    """

    clips: tuple[str, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    starts: NDArray[np.float64]
    stops: NDArray[np.float64]
    source: str = ""

    @classmethod
    def create(
        cls,
        clips: Iterable[str],
        labels: ArrayLike,
        class_names: Iterable[str],
        files: Mapping[str, Iterable[str]],
        groups: Iterable[str] | None = None,
        starts: ArrayLike | None = None,
        stops: ArrayLike | None = None,
        source: str = "",
    ) -> Manifest:
        """Return a validated manifest of these columns.

        Raises:
            UserError: as `validate`.

        >>> manifest = Manifest.create(
        ...     clips=["a", "b"],
        ...     labels=[0, 1],
        ...     class_names=["sit", "walk"],
        ...     files={"video": ["a.mp4", "b.mp4"]},
        ... )
        >>> print(manifest.to_csv(), end="")
        clip,label,class_name,group,video,start,stop
        a,0,sit,,a.mp4,,
        b,1,walk,,b.mp4,,
        """
        names = tuple(clips)
        count = len(names)
        unknown = np.full(count, np.nan)
        manifest = cls(
            clips=names,
            labels=np.asarray(labels, dtype=np.int64),
            class_names=tuple(class_names),
            groups=("",) * count if groups is None else tuple(groups),
            files={str(modality): tuple(cells) for modality, cells in files.items()},
            starts=unknown if starts is None else np.asarray(starts, dtype=np.float64),
            stops=unknown if stops is None else np.asarray(stops, dtype=np.float64),
            source=source,
        )
        manifest.validate()
        return manifest

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Return the manifest in the CSV file ``path``.

        Raises:
            UserError: when the file is missing, is not UTF-8 CSV, lacks a column, has a cell that is no
                number where one is needed, or fails `validate`; the message names the file and the line.
        """
        text = read_text(path, "csv_bytes", "a manifest")
        return cls.from_csv(text, source=str(path))

    @classmethod
    def from_csv(cls, text: str, source: str = "the manifest") -> Manifest:
        """Return the manifest in the CSV ``text``; ``source`` is named in messages.  Raises as `read`."""
        rows = _rows(text, source)
        header, body = rows[0], rows[1:]
        modalities = _modalities_of(header, source)
        columns = (
            dict(zip(header, zip(*body, strict=True), strict=True)) if body else dict.fromkeys(header, ())
        )
        return cls.create(
            clips=columns["clip"],
            labels=_labels(columns["label"], source),
            class_names=columns["class_name"],
            groups=columns["group"],
            files={modality: columns[modality] for modality in modalities},
            starts=_times(columns["start"], source, "start"),
            stops=_times(columns["stop"], source, "stop"),
            source=source,
        )

    def to_csv(self) -> str:
        """Return the canonical CSV text: fixed column order, line feeds, shortest exact numbers."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*LEADING, *self.files, *TRAILING])
        columns: list[Iterable[object]] = [self.clips, self.labels.tolist(), self.class_names, self.groups]
        columns += self.files.values()
        columns += [map(_time_text, self.starts.tolist()), map(_time_text, self.stops.tolist())]
        writer.writerows(zip(*columns, strict=True))
        return buffer.getvalue()

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the canonical CSV to ``path`` atomically, and return the path."""
        write_text(path, self.to_csv())
        return Path(path)

    @cached_property
    def _digest(self) -> str:
        return text_sha256(self.to_csv())

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of the canonical CSV text."""
        return self._digest

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modality columns, in order."""
        return tuple(self.files)

    def select(self, modalities: Iterable[str]) -> Manifest:
        """Return the manifest with these modality columns only, in the order given.

        Raises:
            UserError: when a modality has no column; the message names the nearest one.
        """
        wanted = list(modalities)
        for name in wanted:
            if name not in self.files:
                raise UserError(
                    f"{self.source or 'the manifest'} has no modality "
                    f"'{name}'.{did_you_mean(name, self.files)}"
                )
        return self._replace(files={name: self.files[name] for name in wanted})

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> Manifest:
        """Return the manifest of these rows, in the order given."""
        rows = np.asarray(indices, dtype=np.int64)
        order = rows.tolist()

        def pick(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(cells[i] for i in order)

        return self._replace(
            clips=pick(self.clips),
            labels=self.labels[rows],
            class_names=pick(self.class_names),
            groups=pick(self.groups),
            files={modality: pick(cells) for modality, cells in self.files.items()},
            starts=self.starts[rows],
            stops=self.stops[rows],
            source="",  # its lines are not this manifest's
        )

    def _replace(self, **changes: object) -> Manifest:
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return type(self)(**{**columns, **changes})

    def class_counts(self) -> dict[str, int]:
        """Return class name → number of clips, in the order in which the classes appear."""
        return dict(Counter(self.class_names))

    def __len__(self) -> int:
        return len(self.clips)

    def __eq__(self, other: object) -> bool:
        return self.to_csv() == other.to_csv() if isinstance(other, Manifest) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest())

    def validate(self) -> None:
        """Check the columns against each other.

        Raises:
            UserError: when columns differ in length, there is no modality or one with an odd name, a clip's
                name is empty or used twice, a cell holds a line break or leaves the data folder, a label is
                below -1, a label has two classes or a class two labels, or a clip stops before it starts.
                The message names the line (the header is line 1).
        """
        where = self.source or "the manifest"
        self._check_shape(where)
        self._check_clips(where)
        self._check_labels(where)
        for modality, cells in self.files.items():
            if (row := first_leaving(cells)) is not None:
                raise UserError(
                    f"{where}, line {row + 2}, column {modality}: '{cells[row]}' leaves the data folder. "
                    "Paths must be relative to it, without '..'."
                )
        with np.errstate(invalid="ignore"):
            reversed_rows = np.flatnonzero((self.stops <= self.starts) | (self.starts < 0) | (self.stops < 0))
        if reversed_rows.size:
            row = int(reversed_rows[0])
            raise UserError(
                f"{where}, line {row + 2}: start {self.starts[row]:g} and stop {self.stops[row]:g} are no "
                "span; both must be at least 0, and stop after start."
            )

    def _check_shape(self, where: str) -> None:
        if not self.files:
            raise UserError(f"{where} has no modality column; add at least one beside {', '.join(REQUIRED)}.")
        for modality in self.files:
            if not _MODALITY.fullmatch(modality) or modality in REQUIRED:
                raise UserError(
                    f"{where}: '{modality}' can't name a modality; use letters, digits and underscores."
                )
        lengths = {"label": len(self.labels), "class_name": len(self.class_names), "group": len(self.groups)}
        lengths |= {modality: len(cells) for modality, cells in self.files.items()}
        lengths |= {"start": len(self.starts), "stop": len(self.stops)}
        for name, length in lengths.items():
            if length != len(self.clips):
                raise UserError(f"{where}: column {name} has {length} rows, column clip {len(self.clips)}.")
        texts = {"clip": self.clips, "class_name": self.class_names, "group": self.groups, **self.files}
        for name, column in texts.items():
            joined = "\n".join(column)
            if joined.count("\n") >= max(len(column), 1) or "\r" in joined or "\0" in joined:
                row = next(i for i, cell in enumerate(column) if set(cell) & set("\n\r\0"))
                raise UserError(
                    f"{where}, line {row + 2}, column {name}: a cell holds a line break or a NUL character."
                )

    def _check_clips(self, where: str) -> None:
        if len(set(self.clips)) != len(self.clips):
            first: dict[str, int] = {}
            for row, clip in enumerate(self.clips):
                if first.setdefault(clip, row) != row:
                    raise UserError(
                        f"{where}, line {row + 2}: clip '{clip}' is also on line {first[clip] + 2}."
                    )
        for name, column in (("clip", self.clips), ("class_name", self.class_names)):
            if "" in column:
                raise UserError(f"{where}, line {column.index('') + 2}: {name} is empty.")

    def _check_labels(self, where: str) -> None:
        below = np.flatnonzero(self.labels < OOD_LABEL)
        if below.size:
            row = int(below[0])
            raise UserError(
                f"{where}, line {row + 2}: label {self.labels[row]}; use 0, 1, ... for classes and "
                f"{OOD_LABEL} for out-of-distribution clips."
            )
        labels = self.labels.tolist()
        pairs = set(zip(labels, self.class_names, strict=True))
        label_of: dict[str, int] = {}
        class_of: dict[int, str] = {}
        for label, name in sorted(pairs):
            other_label = label_of.setdefault(name, label)
            other_name = class_of.setdefault(label, name) if label != OOD_LABEL else name
            if other_label != label or other_name != name:
                row = next(
                    i
                    for i, pair in enumerate(zip(labels, self.class_names, strict=True))
                    if pair == (label, name)
                )
                against = f"label {other_label}" if other_label != label else f"class '{other_name}'"
                raise UserError(
                    f"{where}, line {row + 2}: label {label} with class '{name}' contradicts another line, "
                    f"which has {against}. A class has one label, and a label one class."
                )


def _rows(text: str, source: str) -> list[list[str]]:
    rows = parse_csv(text, source)
    if not rows:
        raise UserError(f"{source} is empty; its first line must be the header {','.join(REQUIRED)}, ....")
    width = len(rows[0])
    if set(map(len, rows)) != {width}:
        line = next(i for i, row in enumerate(rows, start=1) if len(row) != width)
        raise UserError(f"{source}, line {line}: {len(rows[line - 1])} cells, but the header has {width}.")
    return rows


def _modalities_of(header: list[str], source: str) -> list[str]:
    for name in REQUIRED:
        if name not in header:
            present = did_you_mean(name, header)
            raise UserError(f"{source} has no column '{name}'.{present} It needs {', '.join(REQUIRED)}.")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise UserError(f"{source} has the column '{repeated[0]}' twice.")
    return [name for name in header if name not in REQUIRED]


def _labels(cells: Sequence[str], source: str) -> list[int]:
    parsed: dict[str, int] = {}
    for cell in set(cells):
        if not re.fullmatch(r"-?[0-9]{1,18}", cell):
            raise UserError(f"{source}, line {cells.index(cell) + 2}: label '{cell}' is not an integer.")
        parsed[cell] = int(cell)
    return [parsed[cell] for cell in cells]


def _times(cells: Sequence[str], source: str, column: str) -> list[float]:
    parsed: dict[str, float] = {"": math.nan}
    for cell in set(cells) - {""}:
        # not float() alone: it takes 1_0 for 10
        parsed[cell] = float(cell) if _SECONDS.fullmatch(cell) else math.nan
        if not math.isfinite(parsed[cell]):
            raise UserError(
                f"{source}, line {cells.index(cell) + 2}: {column} '{cell}' is not a number; leave it empty "
                "for the whole file."
            )
    return [parsed[cell] for cell in cells]


def _time_text(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
