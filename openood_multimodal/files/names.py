"""Which names in a folder are clutter: what systems, editors and downloads leave beside a user's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

_CLUTTER = re.compile(
    r"\..*|~\$.*|#.*#|.*~"
    r"|.*\.(?:bak|orig|rej|sw[op]|tmp|temp|part|partial|crdownload|download)"
    r"|(?:eh)?thumbs\.db|desktop\.ini|icon\r|__macosx|\$recycle\.bin|@eadir|lost\+found",
    re.IGNORECASE | re.DOTALL,
)


def is_clutter(name: str) -> bool:
    """Tell whether a file or folder of this name is passed over wherever a folder's content is listed.

    Hidden names (``.DS_Store``, macOS's ``._clip.avi``), Windows' ``Thumbs.db``, editors' backups (``a.csv~``,
    ``a.csv.bak``, ``#a.csv#``, ``~$a.xlsx``) and downloads that have not ended (``a.avi.part``).
    """
    return _CLUTTER.fullmatch(name) is not None


def listed(folder: str | os.PathLike[str], pattern: str = "*", recursive: bool = False) -> list[Path]:
    """Return what is in ``folder`` and matches the glob ``pattern``, sorted, without clutter.

    Args:
        folder: nothing is returned where it isn't there.
        pattern: as for `Path.glob`; with ``recursive`` one name, without separators.
        recursive: look into subfolders too, but for those that are clutter.
    """
    root = Path(folder)
    if recursive:
        return sorted(path for path in _below(root) if fnmatchcase(path.name, pattern))
    # relative: the folder itself may well be in a hidden one
    return sorted(
        path for path in root.glob(pattern) if not any(map(is_clutter, path.relative_to(root).parts))
    )


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):  # unlike a glob, it bears folders that vanish meanwhile
        folders[:] = [name for name in folders if not is_clutter(name)]
        yield from (Path(folder, name) for name in (*folders, *files) if not is_clutter(name))
