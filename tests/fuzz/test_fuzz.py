"""A short form of the fuzz harness; ``python tests/fuzz/fuzz.py`` is the long one."""

import os
from pathlib import Path

import pytest
from fuzz import Watch, run, run_one
from fuzz_kinds import Kind

from openood_multimodal.errors import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and the limits of resources are POSIX's")


def test_damaged_files_of_every_kind_end_in_a_user_error(tmp_path):
    said = []
    broken = run(tmp_path, 700, seed=0, bombs=False, say=lambda *words: said.append(" ".join(words)))
    assert [fault for *fault, _ in broken] == []
    assert len(said) >= 30  # kinds


def test_bombs_end_soon_and_in_little_memory(tmp_path):
    names = [
        "near classes",
        "record",
        "pickled list 4",
        ".npz",
        "checkpoint",
        "manifest",
        "WAV, 16000 Hz, 1",
        "saved label",
    ]
    broken = run(tmp_path, 0, seed=0, names=names, say=lambda *_: None)
    assert [fault for *fault, _ in broken] == []


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda folder: (folder / "a").read_text(), ""),
        (lambda folder: int("x"), "ValueError at test_fuzz.py"),
        (lambda folder: (folder.parent / "b").write_text(""), "outside its folder: open"),
        (lambda folder: os.system("true"), "outside its folder: os.system"),
    ],
)
def test_the_harness_sees_what_breaks_a_rule(tmp_path, read, fault):
    kind = Kind("a", {"a": b"x"}, "a", read)
    found = run_one(kind, b"x", tmp_path / "input", Watch(tmp_path / "input"))
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


def test_a_user_error_is_fine(tmp_path):
    def read(folder: Path):
        raise UserError("a file that is no file")

    assert (
        run_one(Kind("a", {"a": b"x"}, "a", read), b"x", tmp_path / "input", Watch(tmp_path / "input")) == ""
    )
