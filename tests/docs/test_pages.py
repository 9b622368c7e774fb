"""The hand-written pages: links lead somewhere, and docs/architecture.md names files and functions that exist."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "openood_multimodal"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MADE = ("../board.html",)  # pages that the site alone has
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
STEP = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \| (.*?) \| .* \|$", flags=re.M)


def text_of(page: Path) -> str:
    """Return a page's Markdown; of a notebook, the Markdown of its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
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


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text_of(page), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        if path in MADE:
            continue
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_without_outputs(path):
    """``make docs`` executes them; see scripts/docs_site.py."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for cell in code:
        source = "".join(cell["source"])
        if not source.startswith("%%bash"):
            ast.parse(source)


def test_every_user_has_a_tutorial_and_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert [name for name in [*pages, *(path.name for path in NOTEBOOKS)] if f"{name})" not in index] == []
