"""docs/benchmarks.md is what the published results make."""

from pathlib import Path

import pytest

from benchmarks.suite import page
from benchmarks.suite.load import Usage
from benchmarks.suite.measuring import Measurement, Report, Times
from benchmarks.suite.results import make_record, read_record, write_record
from openood_multimodal.errors import UserError

QUIET = Usage(0.0, 2, 1.0, 1.0, 1.0)


def record(usage: Usage = QUIET, lines: int = 1) -> dict[str, object]:
    measurements = [Measurement.of(f"line {each}", Times((1.0,), (1.0,))) for each in range(lines)]
    report = Report({"N": 3}, measurements, {"ratio of it": 2.5}, ["a note"])
    return make_record({"some": report}, usage, threads=1, quick=False)


def test_the_page_is_what_the_published_results_make() -> None:
    written = page.PAGE.read_text(encoding="utf-8")
    records = [(path.name, read_record(path)) for path in page.published_results()]
    assert page.replaced(written, page.figures(records)) == written, "run: python -m benchmarks page"


def test_figures_name_machine_and_load() -> None:
    text = page.figures([("a.json", record())])
    for part in (
        "### some: full size",
        "a.json",
        "1 thread",
        "BLAS",
        "Python",
        "ratio of it | 2.5",
        "line 0",
    ):
        assert part in text
    assert "loaded" not in text
    assert "**This machine was loaded**" in page.figures(
        [("a.json", record(QUIET._replace(load_before=5.0)))]
    )


def test_long_tables_are_folded() -> None:
    assert "<details>" not in page.figures([("a.json", record(lines=20))])
    assert "<summary>21 measurements</summary>" in page.figures([("a.json", record(lines=21))])


def test_writing_the_page(tmp_path: Path) -> None:
    target, result = tmp_path / "page.md", tmp_path / "a.json"
    write_record(result, record())
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.write_page([result], target)
    once = target.read_text(encoding="utf-8")
    assert once.startswith(f"before\n{page.BEGIN}\n\n### some")
    assert once.endswith(f"{page.END}\nafter\n")
    assert "old" not in once
    page.write_page([result], target)
    assert target.read_text(encoding="utf-8") == once
    page.write_page([], target)
    assert "No results have been published yet." in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", ["", page.BEGIN, f"{page.END}\n{page.BEGIN}", f"{page.BEGIN}{page.BEGIN}{page.END}"]
)
def test_a_page_without_markers_is_left_alone(text: str, tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="once each"):
        page.write_page([], target)
    assert target.read_text(encoding="utf-8") == text
