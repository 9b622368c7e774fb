"""``openood-mm compare-modalities``: which runs it asks for, and the page that it ends with."""

from dataclasses import replace
from pathlib import Path

import pytest

from openood_multimodal.cli import compare_modalities, main
from openood_multimodal.config import find_config, read_config
from openood_multimodal.pipelines.suites import plan_suite
from openood_multimodal.reporting.published import published_records


@pytest.fixture
def asked(monkeypatch):
    """The suites that were asked for; running one leaves two records of single modalities."""
    found = []

    def run(suite, rest, options):
        found.append(plan_suite(suite, options.output_dir))
        first = published_records()[0]
        for name in first.modalities:
            replace(first, modalities=[name], run_id=name).write(Path(options.output_dir, name))

    monkeypatch.setattr(compare_modalities, "run_and_report", run)
    return found


def test_each_modality_each_pair_and_all_with_any_network_and_score(asked, tmp_path, capsys):
    words = [
        "--benchmark",
        "mfeat/mfeat_5_5",
        "--modalities",
        "fou,kar,zer,pix",
        "--partitions",
        "1",
        "--seeds",
        "1",
    ]
    words += ["--network", "clip_fusion_demo", "--evaluator", "near_ood", "far_ood"]
    words += ["--postprocessors", "msp", "openood/knn", "--output-dir", str(tmp_path / "out")]
    assert main(["compare-modalities", *words]) == 0
    (runs,) = asked
    assert [len(run.modalities) for run in runs] == [1] * 4 + [2] * 6 + [4]
    assert {(run.network, run.evaluator) for run in runs} == {("clip_fusion_demo", "near_ood,far_ood")}
    assert {run.postprocessors for run in runs} == {("msp", "openood/knn")}
    page = tmp_path / "out" / "leaderboard" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert page.is_file()


@pytest.mark.parametrize(("suite", "runs"), [("image_methods", 100), ("image_methods_clips", 35)])
def test_the_suites_have_all_sets_of_modalities(suite, runs, tmp_path):
    planned = plan_suite(read_config(find_config(f"suites/{suite}.yml")), str(tmp_path))
    assert len(planned) == runs
    for benchmark in {run.benchmark for run in planned}:
        sets = {run.modalities for run in planned if run.benchmark == benchmark}
        names = {name for each in sets for name in each}
        assert len(sets) == 2 ** len(names) - 1
