"""One of the authors' lists: its lines or entries, each checked by itself and against the others.

``.txt`` (HMDB51, UCF101, Kinetics-600): ``<path> <label>`` a line.  ``.csv`` (HAC): ``<name>,<label>``, the domain
in the file's name.  ``.pkl`` (EPIC-Kitchens): a list of tuples ``(recording, first frame, last frame, start, stop,
label)``, the times as ``HH:MM:SS.cc``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError
from ...files import bytes_sha256, read_bytes
from ...files.safe_pickle import load_plain
from .names import check_class, read_name

_LABEL = re.compile(r"[0-9]{1,6}")
_TIME = re.compile(r"([0-9]{2}):([0-5][0-9]):([0-5][0-9])\.([0-9]{2})")
_HAC_FILE = re.compile(r"HAC_(?:train|test)_only_(human|animal|cartoon)\.csv")


class Entry(NamedTuple):
    """A clip of a list.

    ``place`` says where it stands, for messages: ``line 3`` or ``entry 3``, both from 1.
    """

    place: str
    clip: str
    class_name: str
    label: int
    start: float = math.nan
    stop: float = math.nan


@dataclass(frozen=True)
class ParsedList:
    """A list's clips in its order, and how many names were repaired."""

    entries: tuple[Entry, ...]
    repaired: int
    sha256: str


class _Raw(NamedTuple):
    place: str
    name: str
    label: int
    frames: tuple[int, int] | None = None
    start: str = ""
    stop: str = ""


def read_list(
    path: Path, dataset: str, classes: Mapping[str, int], repeated: Collection[str] = ()
) -> ParsedList:
    """Return the clips of the list ``path``.  Raises as `parse_list`, and when the file can't be read."""
    data = read_bytes(path, "list_bytes", "a split list")
    return parse_list(data, path, dataset, classes, repeated)


def parse_list(
    data: bytes, path: Path, dataset: str, classes: Mapping[str, int], repeated: Collection[str] = ()
) -> ParsedList:
    """Return the clips of a list's content.

    Args:
        data: the file's bytes.
        path: its name tells the form (and HAC's domain); for messages.
        dataset: whose clips it lists.
        classes: class → label as the list must have them.
        repeated: clips that are known to stand twice.

    Raises:
        UserError: by line or entry: a line that is cut off, mixed encodings, a path that leaves the data folder, a
            name that is none of this dataset, an unknown class, a label that contradicts its class, a clip that
            stands twice, a span that ends before it starts; or no clip at all.
    """
    domain = ""
    if dataset == "hac":
        found = _HAC_FILE.fullmatch(path.name)
        if found is None:
            raise UserError(f"{path}: a list of HAC is named HAC_train_only_<domain>.csv, or test.")
        domain = found[1]
    raws = _pickled(data, path) if path.suffix == ".pkl" else _lines(data, path)
    entries: list[Entry] = []
    first: dict[str, str] = {}
    repaired = 0
    for raw in raws:
        try:
            name = read_name(dataset, raw.name, domain)
            repaired += name.repaired
            entry = _entry(raw, name.clip, check_class(name.class_name, raw.label, classes))
        except UserError as error:
            raise UserError(f"{path}, {raw.place}: {error}") from None
        if entry.clip in first and entry.clip not in repeated:
            raise UserError(
                f"{path}, {raw.place}: the clip '{entry.clip}' is also {first[entry.clip]}. Remove one of the two."
            )
        first.setdefault(entry.clip, entry.place)
        entries.append(entry)
    if not entries:
        raise UserError(f"{path} holds no clip.")
    return ParsedList(tuple(entries), repaired, bytes_sha256(data))


def _entry(raw: _Raw, clip: str, class_name: str) -> Entry:
    if raw.frames is None:
        return Entry(raw.place, clip, class_name, raw.label)
    first, last = raw.frames
    start, stop = _seconds(raw.start), _seconds(raw.stop)
    if not 0 <= first < last or not start < stop:
        raise UserError(
            f"frames {first} to {last}, {raw.start} to {raw.stop}, are no span: it must end after it starts."
        )
    return Entry(raw.place, f"{clip}/{first}-{last}", class_name, raw.label, start, stop)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if found is None:
        raise UserError(f"'{text}' is no time such as 00:05:24.30.")
    hours, minutes, seconds, hundredths = map(int, found.groups())
    return (((hours * 60 + minutes) * 60 + seconds) * 100 + hundredths) / 100


def _lines(data: bytes, path: Path) -> Iterator[_Raw]:
    comma = path.suffix == ".csv"
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, raw in enumerate(lines, start=1):
        place = f"line {number}"
        line = _decoded(raw.removesuffix(b"\r"), path, number)
        name, separator, label = line.rpartition("," if comma else " ")
        if not separator or not name or not _LABEL.fullmatch(label):
            form = "<name>,<label>" if comma else "<path> <label>"
            shown = line if len(line) <= 120 else f"{line[:120]}..."
            raise UserError(f"{path}, {place}: {shown!r} is not '{form}'. Is the file cut off?")
        yield _Raw(place, name, int(label))


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: byte {error.start} is not UTF-8. The file mixes encodings, or has another one; "
            "the authors' lists are plain ASCII."
        ) from error
    if "\0" in line or "\ufeff" in line:
        raise UserError(
            f"{path}, line {number}: a NUL or a byte order mark; the file is not plain UTF-8. Save it as UTF-8 "
            "without a mark."
        )
    return line


def _pickled(data: bytes, path: Path) -> Iterator[_Raw]:
    rows = load_plain(data, str(path))
    if not isinstance(rows, list):
        raise UserError(f"{path} holds a {type(rows).__name__}, where a list of tuples is needed.")
    for number, row in enumerate(rows, start=1):
        place = f"entry {number}"
        kinds = (str, int, int, str, str, int)
        if not isinstance(row, tuple) or tuple(map(type, row)) != kinds:
            raise UserError(
                f"{path}, {place}: {row!r:.120} is not (recording, first frame, last frame, start, stop, label)."
            )
        recording, first, last, start, stop, label = row
        yield _Raw(place, recording, label, (first, last), start, stop)
