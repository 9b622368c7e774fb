"""Files that name programs to run: none is run."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest

from openood_multimodal.plugin.host import _MARKS
from openood_multimodal.plugin.version import openood_version


def _git(folder, *words):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A checkout of something that looks like OpenOOD, and the mark that a run program would leave."""
    root = tmp_path / "OpenOOD"
    for mark in _MARKS:
        (root / "openood" / mark).parent.mkdir(parents=True, exist_ok=True)
        (root / "openood" / mark).write_text("")
    (root / "openood" / "__init__.py").write_text("")
    (root / "main.py").write_text("a\n")
    _git(tmp_path, "init", str(root))
    _git(root, "add", ".")
    _git(root, "commit", "-m", "first")
    _git(root, "tag", "-a", "v9.9", "-m", "tag")
    mark = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch '{mark}'\ncat\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    yield root, script, mark
    for name in [each for each in sys.modules if each.partition(".")[0] == "openood"]:
        del sys.modules[name]  # doctor has imported it, and would describe it instead of the next one


PROGRAMS = {
    "fsmonitor": "[core]\nfsmonitor = {script}\n",
    "hooks": "[core]\nhooksPath = {hooks}\n",
    "filter": '[filter "x"]\nclean = {script}\nsmudge = {script}\nprocess = {script}\nrequired = true\n',
    "include": "[include]\npath = {included}\n",
    "diff": '[diff]\nexternal = {script}\n[diff "x"]\ntextconv = {script}\ncommand = {script}\n',
    "alias": "[alias]\nstatus = !{script}\ndescribe = !{script}\n",
    "alternates": "[core]\nalternateRefsCommand = {script}\nsshCommand = {script}\nfsmonitorHookVersion = 2\n",
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("linked", [False, True])
def test_no_program_of_a_checkouts_configuration_is_run(
    checkout, tmp_path, monkeypatch, cli, program, linked
):
    root, script, mark = checkout
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("fsmonitor-watchman", "post-index-change", "query-watchman"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    included = tmp_path / "included"
    included.write_text(PROGRAMS["fsmonitor"].format(script=script))
    (root / ".gitattributes").write_text("* filter=x diff=x\n")
    _git(root, "add", ".gitattributes")
    _git(root, "commit", "-m", "second")
    where = root
    if linked:
        where = tmp_path / "linked"
        _git(root, "worktree", "add", "--detach", str(where))
    config = root / ".git" / "config"
    planted = PROGRAMS[program].format(script=script, hooks=hooks, included=included)
    config.write_text(config.read_text() + planted)
    (where / "main.py").write_text("b\n")  # has to be compared
    monkeypatch.setenv("OPENOOD_ROOT", str(where))
    done = cli(["doctor"])
    found = openood_version(where)
    assert not mark.exists()
    assert "v9.9-1-g" in done.out
    assert (found.name[:7], found.modified) == ("v9.9-1-", True)


def test_a_planted_program_would_have_been_run(checkout):
    """The trap works: git itself runs it."""
    root, script, mark = checkout
    config = root / ".git" / "config"
    config.write_text(config.read_text() + PROGRAMS["fsmonitor"].format(script=script))
    subprocess.run(["git", "-C", str(root), "status"], check=False, capture_output=True)
    assert mark.exists()


@pytest.mark.parametrize(
    "head",
    [
        "",
        "ref: refs/../../x",
        "ref: /etc/passwd",
        "ref: refs/heads/none",
        "x" * 40,
        "ref: HEAD",
        "\0",
        "a" * 40,
    ],
)
def test_a_damaged_head_is_an_unknown_version(checkout, head):
    root, _, _ = checkout
    (root / ".git" / "HEAD").write_text(head)
    found = openood_version(root)
    assert found.modified is None or head == "a" * 40
    assert found.name in ("unknown version", head)


def test_without_git_the_commit_is_read_from_files(checkout, monkeypatch, tmp_path):
    root, _, _ = checkout
    wanted = openood_version(root).commit
    _git(root, "pack-refs", "--all")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = openood_version(root)
    assert (found.commit, found.name, found.modified) == (wanted, wanted, None)
