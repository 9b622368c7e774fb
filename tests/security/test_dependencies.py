"""The lower bounds in setup.cfg leave out versions with published advisories."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HOLES = {
    "torch": ["2.4.0", "2.5.1", "2.6.0", "2.9.1"],
    "opencv-contrib-python": ["4.8.0.76", "4.8.1.77", "4.10.0.84", "4.11.0.86"],
    "opencv-python": ["4.8.0.76", "4.10.0.84", "4.11.0.86"],
    "pillow": ["10.2.0", "11.2.1", "12.1.0", "12.2.0"],
    "scikit-learn": ["1.4.2"],
    "tqdm": ["4.66.2"],
    "filelock": ["3.20.2"],
    "PyYAML": ["5.3.1"],
}


def _requirements():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lists = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    lines = [line.strip() for text in lists for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", HOLES)
def test_versions_with_advisories_are_refused(name):
    found = [each for each in _requirements() if each.name == name]
    assert found
    for requirement in found:
        assert [version for version in HOLES[name] if version in requirement.specifier] == []


def test_every_bound_of_the_page_is_tested():
    page = (ROOT / "docs" / "security.md").read_text()
    table = page.split("## Lower bounds of dependencies")[1]
    for name in HOLES:
        assert name in table
