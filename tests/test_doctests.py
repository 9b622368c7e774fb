"""The examples in docstrings do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import openood_multimodal

PACKAGE = Path(openood_multimodal.__file__).parent
MODULES = sorted(
    ".".join(("openood_multimodal", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_examples_are_found():
    assert len(MODULES) >= 20


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
