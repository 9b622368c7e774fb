"""The page itself: one template, our style and script, the table library, and the data, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MissingPackageError, UserError
from ..colours import DARK, PALETTE
from .data import payload

if TYPE_CHECKING:
    from ..leaderboard import Board

PAGE = "index.html"
"""Name of the page's file."""

SCRIPTS = ("rows.js", "exports.js", "views.js", "page.js")
"""Our own scripts, in order; together they are one module."""

_EXPORT = re.compile(r"export\{([^{}]*)\};")
_DEFAULT = re.compile(r"([\w$]+) as default")


def page(boards: Mapping[str, Board]) -> str:
    """Return the page of all ``boards``: the same boards and versions of libraries, the same text.

    Raises:
        MissingPackageError: without itables (DataTables) or Jinja2.
        UserError: for a release of itables whose script has another form.
    """
    return render(payload(boards))


def render(content: Mapping[str, Any]) -> str:
    """Return the page of what `payload` returns."""
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise _missing("jinja2") from error
    library, notice = _table_library()
    script = "\n".join(_own(name) for name in SCRIPTS)
    style = _own("page.css") + _colours()
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    template = Environment(autoescape=True, keep_trailing_newline=True).from_string(_own("template.html"))
    return template.render(
        library=library,
        notice=notice,
        script=script,
        style=style,
        hashes=[_hash(library), _hash(script)],
        style_hash=_hash(style),
        # no text in it may end the script element, or begin a comment
        data=data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
    )


def _own(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _colours() -> str:
    """Return the rules for the classes ``c0``, ``c1``, ... of `colours.PALETTE`."""
    rules = (
        f".c{place} {{ color: light-dark({colour}, {DARK.get(colour, colour)}); }}"
        for place, colour in enumerate(PALETTE)
    )
    return "\n".join([*rules, ""])


def _hash(text: str) -> str:
    """Return ``text``'s digest as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _table_library() -> tuple[str, str]:
    """Return DataTables's script, which sets ``window.DataTable``, and a line about its version and licence.

    The package itables brings it as a module; what it exports is put in reach of our own script, and nothing in it may
    look like the end of a script element.
    """
    try:
        package = distribution("itables")
    except PackageNotFoundError as error:
        raise _missing("itables") from error
    path = Path(str(package.locate_file("itables/html/dt_bundle.js")))
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    exports = list(_EXPORT.finditer(text))
    default = _DEFAULT.search(exports[-1][1]) if exports else None
    if not default:
        raise UserError(
            f"itables {package.version} holds DataTables in another form than this package knows: "
            'pip install "itables>=2.9,<3".'
        )
    begin, end = exports[-1].span()
    text = f"{text[:begin]}window.DataTable={default[1]};{text[end:]}"
    return re.sub(r"<(?=!--|/?script)", r"\\x3c", text), f"itables {package.version}"


def _missing(name: str) -> MissingPackageError:
    return MissingPackageError(
        f'the leaderboard\'s page needs {name}: pip install "openood-multimodal[report]".'
    )
