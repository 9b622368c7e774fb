"""Files of a data folder that must be there, and what to say of one that is not."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError
from ..files.paths import resolve_inside


def find_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """Return ``root/relative`` as `resolve_inside`, which must be there.

    Raises:
        UserError: as `resolve_inside`; when nothing is there.  The message names what is there instead if only
            letter case, Unicode normalisation, blanks or the ending differ.
    """
    path = resolve_inside(root, relative)
    if not path.exists():
        raise UserError(explain_missing(root, relative))
    return path


def explain_missing(root: str | os.PathLike[str], relative: str) -> str:
    """Return a sentence that says that ``relative`` is not below ``root``, and what is there in its stead.

    Folders are listed for it: call it once something is missing, not before.
    """
    return f"there is no '{relative}' in {Path(root)}. {what_is_there(root, relative)}"


def what_is_there(root: str | os.PathLike[str], relative: str) -> str:
    """Return a sentence about what lies where the missing ``relative`` should be; see `explain_missing`."""
    from .inventory import Inventory

    base = Path(root)
    if not base.is_dir():
        return f"The data folder {base} does not exist."
    nearest, difference = Inventory(base).nearest(relative)
    said = f"There is '{nearest}' ({difference}). " if nearest else ""
    return f"{said}openood-mm prepare lists all that is missing."
