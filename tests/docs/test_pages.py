"""The hand-written pages: links lead somewhere, and docs/architecture.md names files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "openood_multimodal"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
STEP = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \| (.*?) \| .* \|$", flags=re.M)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def functions(path: Path) -> set[str]:
    """Return the names of a module's functions and classes, and ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


def test_the_walks_name_what_exists():
    steps = STEP.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    assert len(steps) > 50
    for name, column in steps:
        known, owner = functions(PACKAGE / name), ""
        for function in re.findall(r"`([\w.]+)`", column):
            owner = function.split(".")[0] if "." in function else owner
            assert function in known or f"{owner}.{function}" in known, f"{name} has no {function}"


def test_a_walk_names_a_file_once():
    walks = re.split(r"^### ", ARCHITECTURE.read_text(encoding="utf-8"), flags=re.M)[1:]
    assert len(walks) == 4
    for walk in walks:
        files = [name for name, _ in STEP.findall(walk)]
        assert len(files) == len(set(files)), walk.splitlines()[0]


def test_every_room_is_described():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    rooms = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"`{room}/`" not in text] == []
