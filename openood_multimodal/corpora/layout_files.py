"""Layouts of clips as data: a YAML file says how a dataset's clips and files are called."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import bind
from ..errors import UserError
from ..files import read_yaml
from ..naming import did_you_mean
from .layout import Archive, ClipLayout, Place, make_cells
from .recordings import original_name


@dataclass(frozen=True)
class Word:
    """A word of templates that follows from another one.

    Attributes:
        of: the other word.
        values: its value → this word's.
        otherwise: this word for other values; None for the same text.
    """

    of: str
    values: Mapping[str, str]
    otherwise: str | None = None


@dataclass(frozen=True)
class LayoutFile:
    """What the YAML file of a layout says.  Patterns are Python's regular expressions, their groups are words.

    Attributes:
        name, summary, modalities, archives, tree, recordings: see `ClipLayout`.
        clip: pattern of a clip's name.  With the words ``first`` and ``stop``, a clip is a span of frames, and has the
            words ``last``, ``flow_first`` and ``flow_last`` too.
        places: modality → templates of its files, see `Place`; the first is where benchmarks expect them.
        clip_names: templates of a clip's name from the words of a file; the first whose words are all there is taken.
            None: clips can't be told from files.
        words: word → how it follows from another.
        flow_every: optical flow has every n-th frame.
        recording_patterns: patterns of a clip's original name, the first that fits is taken.
        recording: template of the recording, from the words of that pattern.
        span: pattern of a clip's original name with the words ``start`` and ``stop``.
        span_units: units of these a second.
    """

    name: str
    summary: str
    modalities: tuple[str, ...]
    clip: str
    places: Mapping[str, tuple[str, ...]]
    archives: tuple[Archive, ...]
    tree: str
    clip_names: tuple[str, ...] = ()
    words: Mapping[str, Word] = field(default_factory=dict)
    flow_every: int = 1
    recording_patterns: tuple[str, ...] = ()
    recording: str = "{recording}"
    span: str = ""
    span_units: float = 1.0
    recordings: tuple[str, ...] = ()

    def layout(self) -> ClipLayout:
        """Return the layout.  Raises re.error for a pattern that is none."""
        clip_pattern = re.compile(self.clip)
        span_pattern = re.compile(self.span)
        recording_patterns = [re.compile(each) for each in self.recording_patterns]
        places = {modality: tuple(map(Place, templates)) for modality, templates in self.places.items()}

        def words_of(clip: str) -> Mapping[str, str] | None:
            found = clip_pattern.fullmatch(original_name(clip))
            words = self._derived(found.groupdict()) if found else None
            return words if words is None or "stop" not in words else self._frames(words)

        def clip_at(words: Mapping[str, str]) -> str | None:
            if not self.clip_names:
                return None
            for template in self.clip_names:
                if all(word in words for word in Place(template).fields):
                    own = words_of(template.format_map(words))
                    return self.clip_names[0].format_map(own) if own is not None else None
            return ""

        def recording_of(clip: str) -> str:
            found = next(filter(None, (each.fullmatch(clip) for each in recording_patterns)), None)
            return self.recording.format_map(self._derived(found.groupdict())) if found else ""

        def span_of(clip: str) -> tuple[float, float]:
            found = span_pattern.fullmatch(clip) if self.span else None
            if found is None:
                return math.nan, math.nan
            return float(found["start"]) / self.span_units, float(found["stop"]) / self.span_units

        return ClipLayout(
            name=self.name,
            summary=self.summary,
            modalities=self.modalities,
            cells=make_cells(self.name, places, words_of),
            recording_of=recording_of,
            archives=self.archives,
            tree=self.tree,
            places=places,
            words=words_of,
            clip_at=clip_at,
            class_of=lambda clip: (words_of(clip) or {}).get("class_name", ""),
            recordings=self.recordings,
            span_of=span_of,
        )

    def _derived(self, words: Mapping[str, str]) -> dict[str, str]:
        derived = {
            name: word.values.get(
                words[word.of], words[word.of] if word.otherwise is None else word.otherwise
            )
            for name, word in self.words.items()
            if word.of in words
        }
        return {**words, **derived}

    def _frames(self, words: Mapping[str, str]) -> Mapping[str, str] | None:
        first, stop = int(words["first"]), int(words["stop"])
        if stop <= first:
            return None
        flow_first = -(-first // self.flow_every)
        flow_last = flow_first + max(1, (stop - first) // self.flow_every) - 1
        spans = {"first": first, "last": stop - 1, "flow_first": flow_first, "flow_last": flow_last}
        return {**words, **{name: str(number) for name, number in spans.items()}}


def read_layout(path: str | os.PathLike[str]) -> ClipLayout:
    """Return the layout that a YAML file describes; the packaged ones in ``corpora/layouts/`` show the form.

    To use it by name: ``registry.CLIP_LAYOUTS.register("mine")(read_layout("mine.yml"))``.

    Raises:
        UserError: when the file is missing, is no YAML, has an unknown key or lacks one, a pattern is no regular
            expression, or a template uses a word that clips don't have.
    """
    where = os.fspath(path)
    described = bind(read_yaml(path, "a layout of clips"), LayoutFile, where, ignore=())
    try:
        layout = described.layout()
        told = set(re.compile(described.clip).groupindex)
    except re.error as error:
        raise UserError(f"{where}: '{error.pattern!s}' is not a regular expression: {error}.") from error
    known = told | {"last", "flow_first", "flow_last"} if {"first", "stop"} <= told else told
    wanted = {f"words.{name}": [word.of] for name, word in described.words.items()}
    wanted |= {f"clip_names: '{each}'": Place(each).fields for each in described.clip_names}
    wanted |= {
        f"places.{modality}: '{place.template}'": place.fields
        for modality, places in layout.places.items()
        for place in places
    }
    for user, fields in wanted.items():
        if unknown := set(fields) - known - set(described.words):
            raise UserError(
                f"{where}: {user} uses '{min(unknown)}', which 'clip' and 'words' don't give."
                f"{did_you_mean(min(unknown), [*known, *described.words])}"
            )
    return layout
