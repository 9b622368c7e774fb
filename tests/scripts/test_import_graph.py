"""scripts/import_graph.py: what counts as an import, circles, forbidden arrows, and known faults that must go."""

import subprocess
import sys
from pathlib import Path

import import_graph as graph
import pytest

SCRIPT = Path(graph.__file__)


@pytest.fixture
def package(tmp_path):
    """Writes a package: ``package({"networks/build.py": "from ..files import x"})`` → its repository."""

    def write(files):
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / graph.PACKAGE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()
        return tmp_path

    return write


def test_imports_of_every_form_are_read(package):
    root = package(
        {
            "a/one.py": "from .two import f\nfrom . import three\nfrom ..b import four, g\n"
            "import openood_multimodal.c\n",
            "a/two.py": "import os.path\n",
            "a/three.py": "",
            "b/four.py": "",
            "b/__init__.py": "from .four import h\n",
            "c.py": "",
        }
    )
    arrows = graph.read_arrows(root)
    own = {(a.source, a.target) for a in arrows if a.own}
    assert own == {*(("a.one", each) for each in ("a.two", "a.three", "b.four", "b", "c")), ("b", "b.four")}
    assert {(a.source, a.target) for a in arrows if not a.own} == {("a.two", "os")}


def test_a_circle_inside_functions_counts_and_one_of_type_checkers_does_not(package):
    files = {
        "networks/a.py": "from .b import f\n",
        "networks/b.py": "def g():\n    if True:\n        from .a import h\n",
        "networks/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .d import T\n",
        "networks/d.py": "from .c import x\n",
    }
    faults = graph.faults_of(graph.read_arrows(package(files)))
    assert [f for f in faults if "circle" in f] == ["circle of modules: networks.a, networks.b"]
    assert faults["inside a function: networks.b -> networks.a"] == "line 3, g()"


def test_what_type_checkers_do_not_see_counts(package):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b\nelse:\n    from . import c\n"
    root = package({"x/a.py": text, "x/b.py": "", "x/c.py": ""})
    assert [a.target for a in graph.read_arrows(root) if a.own] == ["x.c"]


def test_a_circle_of_rooms_without_one_of_modules(package):
    root = package(
        {
            "a/one.py": "from ..b import two\n",
            "b/two.py": "",
            "b/three.py": "from ..a import four\n",
            "a/four.py": "",
        }
    )
    faults = graph.faults_of(graph.read_arrows(root))
    assert list(faults) == ["circle of rooms: a, b"]
    assert faults["circle of rooms: a, b"] == "a.one -> b.two; b.three -> a.four"


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("datasets", "corpora", "the core never imports a wing"),
        ("engines", "plugin", "the core never imports a wing"),
        ("corpora", "datasets", ""),
        ("splits", "preprocessors", ""),
        ("cli", "plugin", ""),
        ("openood_multimodal", "plugin", ""),
        ("plugin", "cli", "nothing imports the command line"),
        ("__main__", "cli", ""),
        ("losses", "trainers", "it knows no trainer"),
        ("trainers", "losses", ""),
        ("linalg", "postprocessors", "it knows no score"),
        ("reporting", "postprocessors", "it computes no score"),
        ("files", "datasets", "it knows no concrete component"),
        ("datasets", "networks", "it knows no network"),
        ("trainers", "files", "it opens no file"),
    ],
)
def test_the_designs_rules(source, target, why):
    assert graph.forbidden(source, target) == why


def test_where_imports_may_be_inside_functions(package):
    root = package(
        {
            "cli/run.py": "def main():\n    from ..networks import build\n",
            "networks/build.py": "def f():\n    import torch\n    import json\n",
            "networks/__init__.py": "def __getattr__(name):\n    from . import build\n    return build\n",
        }
    )
    assert list(graph.faults_of(graph.read_arrows(root))) == ["inside a function: networks.build -> json"]


def test_longer_circles_and_two_of_them():
    assert graph.circles(
        [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("x", "a")]
    ) == [
        ["a", "b", "c"],
        ["d", "e"],
    ]
    assert graph.circles([("a", "b"), ("b", "c"), ("a", "c")]) == []


def test_known_faults_pass_and_must_go_when_they_are_mended():
    assert graph.compare({"x", "y"}, {"x"}) == (["y"], [])
    assert graph.compare({"x"}, {"x", "y"}) == ([], ["y"])


def test_the_command_fails_on_a_new_fault_and_names_it(package):
    root = package({"losses/a.py": "from ..trainers import b\n", "trainers/b.py": ""})
    done = subprocess.run([sys.executable, SCRIPT, "--root", root], capture_output=True, text=True)
    assert done.returncode == 1
    assert "forbidden: losses.a -> trainers.b\n    line 1: it knows no trainer" in done.stdout


def test_a_folder_without_the_package_is_refused(tmp_path, capsys):
    assert graph.main(["--root", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no package openood_multimodal" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        graph.main(["--help"])
    assert "examples:\n  python scripts/import_graph.py" in capsys.readouterr().out


def test_this_package_has_no_fault_that_is_not_known():
    new, _ = graph.compare(graph.faults_of(graph.read_arrows(graph.REPOSITORY)))
    assert new == []
