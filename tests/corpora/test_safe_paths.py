"""Paths from manifests that try to leave the data folder, and names that are merely odd."""

import os
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openood_multimodal.datasets.inventory import what_is_there
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.files.paths import check_text, resolve_inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "video").mkdir(parents=True)
    (folder / "video" / "x.avi").touch()
    return folder


LEAVING = [
    "../x",
    "video/../../x",
    "video/..",
    "..",
    "/etc/passwd",
    "C:/x",
    "c:x",
    "~/x",
    "a\\..\\b",
    "\\\\host\\x",
]


@pytest.mark.parametrize("path", [*LEAVING, "", "a\0b"])
def test_text_that_leaves(root: Path, path: str) -> None:
    with pytest.raises(UserError):
        resolve_inside(root, path)


@pytest.mark.parametrize(
    "path", ["video/x.avi", "a..b/..c/d..", "~x/y", "video/", "[a]*?/x", "ä/é", " a / b "]
)
def test_text_that_stays(root: Path, path: str) -> None:
    check_text(path)
    assert resolve_inside(root, path) == root / path


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=5), min_size=1, max_size=5))
def test_what_passes_stays_below_the_root(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        check_text(path)
    except UserError:
        return
    assert os.path.normpath(os.path.join("/root/data", path)).startswith("/root/data")


def test_manifest_and_resolver_agree() -> None:
    for path in ["../x", "a/../b", "/x", "C:/x"]:
        with pytest.raises(UserError, match="leaves the data folder"):
            Manifest.create(["c"], [0], ["k"], {"video": [path]})
        with pytest.raises(UserError, match="leaves the data folder"):
            check_text(path)


def test_links(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.avi").touch()
    (tmp_path / "root2").mkdir()  # shares the root's beginning
    (root / "to_file.avi").symlink_to(outside / "x.avi")
    (root / "to_folder").symlink_to(outside, target_is_directory=True)
    (root / "to_twin").symlink_to(tmp_path / "root2")
    (root / "broken_out.avi").symlink_to(tmp_path / "nowhere")
    (root / "circle").symlink_to(root / "circle")
    (root / "inner.avi").symlink_to(root / "video" / "x.avi")
    (root / "inner_folder").symlink_to("video")
    for path in ["to_file.avi", "to_folder/x.avi", "to_folder", "to_twin/x", "broken_out.avi"]:
        with pytest.raises(UserError, match=r"symbolic link to .*, outside that folder"):
            resolve_inside(root, path)
    with pytest.raises(UserError, match="can't be used"):
        resolve_inside(root, "circle")
    assert resolve_inside(root, "inner.avi") == root / "inner.avi"
    assert resolve_inside(root, "inner_folder/x.avi") == root / "inner_folder" / "x.avi"


def test_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert resolve_inside(link, "video/x.avi") == link / "video" / "x.avi"


def test_a_relative_root_follows_the_working_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere" / "root"
    other.mkdir(parents=True)
    (other / "video").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert resolve_inside("root", "video/x.avi").samefile(root / "video" / "x.avi")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="outside that folder"):
        resolve_inside("root", "video/x.avi")


def test_missing_files_pass_until_they_are_needed(root: Path) -> None:
    assert resolve_inside(root, "video/none/y.avi") == root / "video/none/y.avi"
    assert what_is_there(root, "video/none/y.avi") == "openood-mm prepare lists all that is missing."
    assert "The data folder" in what_is_there(root / "none", "x")


def test_a_name_too_long_is_said(root: Path) -> None:
    with pytest.raises(UserError, match="can't be used") as error:
        resolve_inside(root, "video/" + 300 * "x" + ".avi")
    assert len(str(error.value)) < 300 + len(str(root))


def test_patterns_are_letters(root: Path) -> None:
    (root / "[a-z]*?").mkdir()
    (root / "[a-z]*?" / "{0}.avi").touch()
    (root / "b").mkdir()
    (root / "b" / "{0}.avi").touch()
    assert resolve_inside(root, "[a-z]*?/{0}.avi").is_file()
    assert not resolve_inside(root, "[b]/{0}.avi").exists()


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        ("video/Tür.avi", "video/Tür.avi", "another Unicode normalisation"),
        ("Video2/X.avi", "video2/x.avi", "other upper and lower case"),
        ("video/y.mp4", "video/y.avi", "another ending"),
        ("acting_in_play/y.mp4", "acting in play/y.mp4", "blanks or underscores"),
    ],
)
def test_the_nearest_name_is_named(root: Path, there: str, asked: str, said: str) -> None:
    if "ü" in there:
        there, asked = unicodedata.normalize("NFD", there), unicodedata.normalize("NFC", asked)
        assert there != asked
    (root / there).parent.mkdir(exist_ok=True)
    (root / there).touch()
    if (root / asked).exists():
        pytest.skip("this file system takes the two names for one")
    found = what_is_there(root, asked)
    assert there in found
    assert said in found


def test_sixty_thousand_rows_start_fast(root: Path, tmp_path: Path) -> None:
    """About a second on the slowest machine of ours; the bound is ten times what it takes."""
    count = 60_000
    names = [f"class {i % 229} (odd)/v{i:06d}abcd_000001_000011" for i in range(count)]
    manifest = Manifest.create(
        clips=[f"{name}.mp4" for name in names],
        labels=np.arange(count) % 229,
        class_names=[f"class {i % 229} (odd)" for i in range(count)],
        files={
            "video": [f"video/{name}.mp4" for name in names],
            "audio": [f"video/{name}.wav" for name in names],
            "flow": [f"flow/{name}_flow_x.mp4" for name in names],
        },
    )
    path = manifest.write(tmp_path / "all.csv")
    began = time.perf_counter()
    read = Manifest.read(path)
    reading = time.perf_counter() - began
    began = time.perf_counter()
    for cell in read.files["video"]:
        resolve_inside(root, cell, remember=True)
    resolving = time.perf_counter() - began
    print(f"{count} rows: read and checked in {reading:.2f} s, resolved in {resolving:.2f} s")
    assert reading < 6
    assert resolving < 6
