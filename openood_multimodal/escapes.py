"""Text from files in what this package writes: one escape for each output, used by every writer.

A record's benchmark, a clip's name or a note may hold anything.  As written here it can't end a table's row, be markup,
a link, a formula or a terminal's command, or turn the direction of what follows.
"""

from __future__ import annotations

import html as _html
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Controls but tab and line feed, marks of direction, separators of lines, halves of characters."""

_MARKDOWN = re.compile(r"[\\`*\[\]<>|&~]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_LEADING = re.compile(r"^(\d*)(?=#{1,6}(?:\s|$)|[+\-](?:\s|$)|([=\-])\2*\s*$|(?<=\d)[.)](?:\s|$))")
_AUTOLINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(?=:)|\b(www)(?=\.)|(?<=[\w.+-])(@)(?=[\w-]+\.\w)")
_FORMULA = re.compile(r"^[\s'\"]*[=+\-@]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)|-")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def terminal(text: str) -> str:
    r"""Return ``text`` for a terminal or a plain text file: what isn't seen is written out (``\x1b``, ``\u202e``).

    Tabs and line feeds stay.
    """
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return ``text`` as `terminal`, on one line, with single blanks."""
    return terminal(" ".join(text.split()))


def markdown(text: str) -> str:
    """Return ``text`` for a cell, a line or a heading of GitHub's Markdown."""
    escaped = _MARKDOWN.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), one_line(text))
    return _LEADING.sub(r"\1\\", _AUTOLINK.sub(_unlinked, escaped)) if escaped != "-" else escaped


def _unlinked(match: re.Match[str]) -> str:
    word = match[0]
    return f"{word[:-1]}&#{ord(word[-1])};"


def html(text: str) -> str:
    """Return ``text`` for HTML: an element's content, or an attribute's value in quotes."""
    return _html.escape(one_line(text), quote=True)


def csv_cell(text: str) -> str:
    """Return ``text`` for a cell of a CSV table: one line, and no formula for a spreadsheet; numbers stay."""
    cell = one_line(text)
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def latex(text: str) -> str:
    """Return ``text`` for a cell or a line of LaTeX, outside of mathematics."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


class _Terminal(io.TextIOBase):
    """A stream whose text is escaped for a terminal; the moves of progress bars pass."""

    _BAR = re.compile(r"(?:\r|\n|\x1b\[A)*")

    def __init__(self, stream: TextIO, bars: bool) -> None:
        self._stream = stream
        self._bars = bars

    def write(self, text: str) -> int:
        """Write ``text``, escaped."""
        start = ""
        if self._bars:
            if self._BAR.fullmatch(text):
                start, text = text, ""
            elif text.startswith("\r"):
                start, text = "\r", text[1:]
        self._stream.write(start + terminal(text))
        return len(start) + len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's file."""
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaped_streams() -> Iterator[None]:
    """Escape for a terminal all that is printed in the block."""
    out, err = sys.stdout, sys.stderr
    if isinstance(out, _Terminal):
        yield
        return
    sys.stdout, sys.stderr = _Terminal(out, bars=False), _Terminal(err, bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
