"""What every layout of clips declares: where a clip's files are below the dataset's folder.

Cells of a manifest of clips are paths relative to that folder, with forward slashes:

* a file, ``video/catch/x.avi``; optical flow names its x video, ``..._flow_x.mp4``, and the y video beside it
  is ``..._flow_y.mp4``;
* a folder of JPEG frames, with a slash at its end and the span meant, ``rgb/train/D3/P22_01/#frames=12,90``:
  frames ``frame_0000000012.jpg`` to ``frame_0000000090.jpg``, the last one included (optical flow has them in
  the folders ``u`` and ``v`` below).

``start`` and ``stop`` of a manifest row are seconds; they cut files, and never a span of frames.

A layout's first `Place` for a modality is where benchmarks expect its files (`ClipLayout.cells`).  Data that lies in
another of its places is found by `inventory.locate`, once for a whole folder; the cells of manifests say which it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import UserError
from .recordings import original_name, unknown_span

_WORD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class ClipKey:
    """One clip of a dataset, as the split lists name it.

    Attributes:
        clip: its name: ``catch/x.avi`` (HMDB51), ``v_Archery_g01_c01.avi`` (UCF101), ``archery/<id>_<from>_<to>.mp4``
            (Kinetics-600), ``human/<name>.mp4`` (HAC, with its domain), ``P22_01/12-91`` (EPIC-Kitchens: recording,
            start and stop frame of the annotation; as in the authors' code frames 12 to 90 are read).
        class_name: its class; "" where it isn't known.
        start: where in its recording it begins, in seconds; NaN for the file's beginning.
        stop: where it ends; NaN for the file's end.
    """

    clip: str
    class_name: str
    start: float = math.nan
    stop: float = math.nan


@dataclass(frozen=True)
class Place:
    """A relative path with words in braces for what differs from clip to clip.

    Attributes:
        template: ``video/{class_name}/{stem}.avi``, say.  A word stands for one or more characters of one folder's
            or file's name; a word that comes twice stands for the same text.
    """

    template: str

    def path(self, words: Mapping[str, str]) -> str:
        """Return the path with these words.  Raises KeyError when one is lacking."""
        return self.template.format_map(words)

    def words(self, path: str) -> dict[str, str] | None:
        """Return the words of a path that lies so, or None."""
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None

    @property
    def shown(self) -> str:
        """The template for people: ``video/<class name>/<stem>.avi``."""
        return _WORD.sub(lambda word: f"<{word[1].replace('_', ' ')}>", self.template)

    @property
    def fields(self) -> list[str]:
        """The words in it."""
        return _WORD.findall(self.template)

    @cached_property
    def parts(self) -> tuple[str | re.Pattern[str], ...]:
        """Its folders and its file, from the top: a name where nothing differs, else a pattern of names."""
        return tuple(
            re.compile(_expression(part)) if _WORD.search(part) else part for part in self.template.split("/")
        )

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_expression(self.template))


@dataclass(frozen=True)
class Archive:
    """One thing to download.

    Attributes:
        what: what it holds.
        published: where it is published.
        file_names: what is to be fetched there.
        unpack_into: the folder to unpack it into, below the dataset's; with what else is to be done.
        modalities: those that it gives.
    """

    what: str
    published: str
    file_names: tuple[str, ...]
    unpack_into: str
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipLayout:
    """One dataset's files.

    Attributes:
        name: ``hmdb51``, ``ucf101``, ``epic_kitchens``, ``hac`` or ``kinetics600``.
        modalities: those that are published, in the order of the paper's tables: ``video, audio, flow``.
        cells: clip → modality → manifest cell, whether or not the file is there.  It may name more modalities than
            are published: sound that ``prepare audio`` makes of the videos.  UserError for a clip with another form
            of name.
        recording_of: a clip's original name → its source recording, or "" where it can't be told.
        archives: what a user has to download.
        tree: the expected folders, for readers.
        places: modality → where its files may be; the first is the one in ``cells``.
        words: a clip's name → the words for templates of places, None where it is no clip of this dataset.
        clip_at: words of a file → its clip's name; "" where they don't tell, None where there is no such clip.
        class_of: a clip's name → the class that it tells, "" where it doesn't.
        recordings: recordings of a dataset whose clips are parts of them, and can't be told from the files.
        span_of: a clip's original name → where in its recording it begins and ends, in seconds; NaN twice where
            that can't be told.
        summary: one line for listings.
    """

    name: str
    modalities: tuple[str, ...]
    cells: Callable[[ClipKey], Mapping[str, str]]
    recording_of: Callable[[str], str]
    archives: tuple[Archive, ...]
    tree: str
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    words: Callable[[str], Mapping[str, str] | None] = lambda clip: None
    clip_at: Callable[[Mapping[str, str]], str | None] = lambda words: None
    class_of: Callable[[str], str] = lambda clip: ""
    recordings: tuple[str, ...] = ()
    span_of: Callable[[str], tuple[float, float]] = unknown_span
    summary: str = ""

    def recording(self, key: ClipKey) -> str:
        """Return the recording that a clip was cut from, or "" where its name doesn't tell."""
        return self.recording_of(original_name(key.clip))

    def with_places(self, places: Mapping[str, Sequence[Place]]) -> ClipLayout:
        """Return the layout with the files in other places, the first of each modality's."""
        chosen = {modality: tuple(each) for modality, each in places.items()}
        return replace(self, places=chosen, cells=make_cells(self.name, chosen, self.words))


def make_cells(
    name: str, places: Mapping[str, Sequence[Place]], words: Callable[[str], Mapping[str, str] | None]
) -> Callable[[ClipKey], Mapping[str, str]]:
    """Return the function ``cells`` of a layout, from the first place of each modality."""
    first = {modality: each[0] for modality, each in places.items()}

    def cells(key: ClipKey) -> Mapping[str, str]:
        found = words(key.clip)
        if found is None:
            raise UserError(
                f"'{key.clip}' is not the name of a clip of {name}; see docs/clips.md for their form."
            )
        return {modality: place.path(found) for modality, place in first.items()}

    return cells


def _expression(template: str) -> str:
    known: set[str] = set()
    expression = ""
    for place, text in enumerate(_WORD.split(template)):
        if place % 2 == 0:
            expression += re.escape(text)
        elif text in known:
            expression += f"(?P={text})"
        else:
            known.add(text)
            expression += f"(?P<{text}>[^/]+)"
    return expression
