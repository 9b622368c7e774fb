"""The package's size by room: lines of code, all lines, files, and files that are too long.

Lines of code are those that are neither blank nor part of a docstring (or of a text that documents an attribute).
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = "openood_multimodal"
REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST = 350

EXAMPLES = """examples:
  python scripts/size.py                              # the working tree
  python scripts/size.py --at 3f00cd2                 # a revision of git
  python scripts/size.py --at 3f00cd2 --at 899e0da --at HEAD      # side by side: lines of code / all lines
  python scripts/size.py --long                       # and every file over 350 lines

exit codes: 0, or 2 for a revision that git doesn't know
"""


class Size(NamedTuple):
    """Of one file or room: lines of code, all lines, files, files over `LONGEST` lines."""

    code: int
    lines: int
    files: int = 1
    long: int = 0


def measure(source: str) -> Size:
    """Return the size of one file."""
    lines = source.splitlines()
    left_out = {number for number, line in enumerate(lines, 1) if not line.strip()}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return Size(len(lines) - len(left_out), len(lines), 1, int(len(lines) > LONGEST))


def read_tree(root: Path) -> dict[str, str]:
    """Return path below the package → source, of the working tree in ``root``."""
    folder = root / PACKAGE
    return {
        p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))
    }


def read_revision(root: Path, revision: str) -> dict[str, str]:
    """Return the same of a revision of git.

    Raises:
        ValueError: when git doesn't know it.
    """
    done = subprocess.run(  # noqa: S603 - no shell; the revision can't be taken for an option
        ["git", "-C", str(root), "archive", "--format=tar", "--end-of-options", revision, PACKAGE],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"git has no package {PACKAGE} at '{revision}': {done.stderr.decode().strip()}")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".py") else None
            if content is not None:
                found[member.name.removeprefix(f"{PACKAGE}/")] = content.read().decode("utf-8")
    return found


def by_room(sources: Mapping[str, str]) -> dict[str, Size]:
    """Return room → size: a folder of the package, or ``(top)`` for the modules beside the folders."""
    rooms: dict[str, list[Size]] = {}
    for path, source in sources.items():
        room, slash, _ = path.partition("/")
        rooms.setdefault(room if slash else "(top)", []).append(measure(source))
    return {room: total(sizes) for room, sizes in sorted(rooms.items())}


def total(sizes: Iterable[Size]) -> Size:
    """Add sizes up."""
    return Size(*map(sum, zip(*sizes, strict=True)))


def table(columns: Mapping[str, Mapping[str, Size]]) -> list[str]:
    """Return the lines of a Markdown table; one column of sizes in full, several as ``code / all lines``."""
    rooms = sorted({room for sizes in columns.values() for room in sizes})
    if len(columns) == 1:
        (sizes,) = columns.values()
        header = ["room", "code", "lines", "files", f"over {LONGEST}"]
        rows = [[room, *map(str, sizes[room])] for room in rooms]
        rows.append(["**all**", *map(str, total(sizes.values()))])
    else:
        header = ["room", *columns]
        rows = [[room, *(_short(sizes.get(room)) for sizes in columns.values())] for room in rooms]
        rows.append(["**all**", *(_short(total(sizes.values())) for sizes in columns.values())])
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    ruler = [f"{'-' * (width - 1)}:" if i else "-" * width for i, width in enumerate(widths)]
    return [_line(row, widths) for row in (header, ruler, *rows)]


def _short(size: Size | None) -> str:
    return f"{size.code} / {size.lines}" if size else ""


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository (default: this one)")
    parser.add_argument("--at", action="append", metavar="REV", help="a revision of git; may be repeated")
    parser.add_argument("--long", action="store_true", help=f"name the files over {LONGEST} lines")
    options = parser.parse_args(argv)
    try:
        read = {revision: read_revision(options.root, revision) for revision in options.at or ()}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    read = read or {"working tree": read_tree(options.root)}
    print("\n".join(table({name: by_room(sources) for name, sources in read.items()})))
    for name, sources in read.items() if options.long else ():
        sizes = {path: measure(source) for path, source in sources.items()}
        print(f"\nover {LONGEST} lines ({name}):")
        for path in sorted((path for path in sizes if sizes[path].long), key=lambda path: -sizes[path].lines):
            print(f"  {sizes[path].lines:>4}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
