"""Where the files of one modality may be below a dataset's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_WORD = re.compile(r"\{([a-z_]+)\}")


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
