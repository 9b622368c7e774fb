"""docs/scores.md: its table is what the scores' classes declare."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from by_path import SCRIPTS, load

from openood_multimodal.built_in import BUILT_IN
from openood_multimodal.errors import UserError
from openood_multimodal.registry import POSTPROCESSORS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(SCRIPTS / "update_scores_page.py")


def test_the_page_is_current(script: ModuleType) -> None:
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.updated(text) == text, "run: python scripts/update_scores_page.py"


def test_every_score_has_a_row_with_its_paper(script: ModuleType) -> None:
    lines = script.table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == sorted(BUILT_IN["postprocessors"])
    for line, name in zip(lines, sorted(BUILT_IN["postprocessors"]), strict=True):
        info = POSTPROCESSORS.get(name).info
        assert info.title in line
        assert f"{info.venue} {info.year}" in line
        assert line.count(" | ") == len(script.HEADING) - 1


def test_a_page_without_markers_is_named(script: ModuleType) -> None:
    with pytest.raises(UserError, match=r"lacks the markers <!-- scores: begin -->"):
        script.updated("# Scores")
