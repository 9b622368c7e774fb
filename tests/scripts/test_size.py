"""scripts/size.py: what a line of code is, rooms, and revisions of git."""

import subprocess

import pytest
import size

SOURCE = '''"""A module.

Two lines.
"""

X = 1
"""Documents X."""


def f():
    """Does it."""
    # a comment counts
    text = """not a docstring
"""
    return text
'''


def test_docstrings_and_blank_lines_are_no_code():
    assert size.measure(SOURCE) == size.Size(code=6, lines=15, files=1, long=0)
    assert size.measure("") == size.Size(0, 0, 1, 0)
    assert size.measure("x = 1\n" * 350).long == 0
    assert size.measure("x = 1\n" * 351).long == 1


def test_rooms_are_folders_and_the_modules_beside_them():
    rooms = size.by_room({"a.py": "x = 1\n", "b/c.py": "\ny = 2\n", "b/d/e.py": "z = 3\n"})
    assert rooms == {"(top)": size.Size(1, 1, 1, 0), "b": size.Size(2, 3, 2, 0)}
    lines = size.table({"now": rooms})
    assert lines[-1].split() == ["|", "**all**", "|", "3", "|", "4", "|", "3", "|", "0", "|"]


@pytest.fixture
def repository(tmp_path):
    """Two revisions, tagged ``one`` and ``two``, of a package with a room that only the second one has."""

    def git(*words):
        who = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    git("init")
    for tag, path in (("one", "files/a.py"), ("two", "plugin/b.py")):
        file = tmp_path / size.PACKAGE / path
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n\n")
        git("add", ".")
        git("commit", "-m", tag)
        git("tag", tag)
    return tmp_path


def test_revisions_side_by_side(repository, capsys):
    (repository / size.PACKAGE / "plugin" / "b.py").write_text("")  # the working tree isn't looked at
    assert size.main(["--root", str(repository), "--at", "one", "--at", "two"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["room", "one", "two"]
    assert rows[2:] == [["files", "1 / 2", "1 / 2"], ["plugin", "", "1 / 2"], ["**all**", "1 / 2", "2 / 4"]]
    assert size.main(["--root", str(repository)]) == 0
    assert "| plugin  |    0 |     0 |" in capsys.readouterr().out


@pytest.mark.parametrize("revision", ["nowhere", "--output=x"])
def test_a_revision_that_git_does_not_know(repository, capsys, revision):
    assert size.main(["--root", str(repository), f"--at={revision}"]) == 2
    assert f"no package openood_multimodal at '{revision}'" in capsys.readouterr().err
    assert not (repository / "x").exists()


def test_long_files_are_named(repository, capsys):
    (repository / size.PACKAGE / "files" / "a.py").write_text("x = 1\n" * 400)
    assert size.main(["--root", str(repository), "--long"]) == 0
    assert "over 350 lines (working tree):\n   400  files/a.py\n" in capsys.readouterr().out
