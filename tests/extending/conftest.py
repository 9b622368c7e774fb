"""The package of docs/extending.md, installed as pip installs any other."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "mm_examples"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that ``pip install --target`` filled with the package and its metadata."""
    folder = tmp_path_factory.mktemp("extending")
    source, target = folder / "source", folder / "site"
    shutil.copytree(SOURCE, source)  # building writes into the source folder
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture
def run_module(
    site: Path, environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs ``python -m <module> <words>`` in a process that has the package."""
    path = os.pathsep.join([str(site), environment["PYTHONPATH"]])

    def run(module: str, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", module, *words],
            capture_output=True,
            text=True,
            env={**environment, "PYTHONPATH": path},
            cwd=tmp_path,
            timeout=600,
            check=False,
        )

    return run
