"""A wheel carries configs, splits and published results, and runs without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content in an empty folder, as an installation would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    names = ("openood_multimodal", "configs", "benchmark_splits", "leaderboard", "setup.cfg", "setup.py")
    for name in (*names, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(
            ROOT / name
        )  # setuptools writes its build folders here, not into the checkout
    code = f"from setuptools import build_meta as b; print(b.build_wheel({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    target = folder / "site"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    return target


def run(installed, tmp_path, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "openood_multimodal", *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_everything_of_the_data_folders_is_in_the_wheel(installed):
    for name in ("configs", "benchmark_splits", "leaderboard"):
        here = {p.relative_to(ROOT / name) for p in (ROOT / name).rglob("*") if p.is_file()}
        there = installed / "openood_multimodal" / "_data" / name
        assert here == {p.relative_to(there) for p in there.rglob("*") if p.is_file()}


def test_the_layouts_of_clips_are_in_the_wheel(installed, tmp_path):
    folder = Path("openood_multimodal", "corpora", "layouts")
    assert {p.name for p in (installed / folder).glob("*.yml")} == {
        p.name for p in (ROOT / folder).glob("*.yml")
    }
    guide = run(installed, tmp_path, "prepare", "hmdb51")
    assert "hmdb51_flow_mp4.tar.gz" in guide.stdout, guide.stderr


def test_an_installed_wheel_trains_and_evaluates(installed, tmp_path):
    listed = run(installed, tmp_path, "doctor")
    assert str(installed / "openood_multimodal" / "_data" / "configs") in listed.stdout, listed.stderr
    done = run(
        installed, tmp_path, "benchmark", "--benchmark", "synthetic/synthetic_far", "--trainings", "a2d",
        "--partitions", "1", "--seeds", "1", "--workers", "1", "--postprocessors", "msp", "--output-dir", "out",
        "--optimizer.num_epochs", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AUROC" in done.stdout
    assert (tmp_path / "out" / "leaderboard.csv").is_file()
