"""Each benchmark at tiny sizes, and what it is made of against plain computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import parity  # scripts/openood_pages
import pytest
from running import checked, options

from benchmarks import reference_scores, scores, scoring
from benchmarks.parts import embeddings, limit, methods, processes
from benchmarks.parts.scoring_worker import load_problem
from benchmarks.suite.measuring import Report
from openood_multimodal.errors import UserError

TINY_SCORING = (
    "--train 400 --val 60 --test 80 --ood 90 --dim 40 --classes 8 --neighbours 5 --vim-dim 12 --rounds 1"
)


# --- scoring


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> methods.Problem:
    folder = tmp_path_factory.mktemp("problem")
    embeddings.write_problem(folder, embeddings.Source(40, 8), embeddings.Shape(400, 60, 80, 90, 40, 8))
    return load_problem(folder, neighbours=5, vim_dim=12)


@pytest.mark.usefixtures("in_process")
def test_scoring_measures_the_native_scores_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENOOD_ROOT", raising=False)
    words = f"{TINY_SCORING} --scores knn mds --skip pytorch_ood openood --check"
    report = scoring.run(options("scoring", words))
    lines = checked(report)
    assert {
        *(f"limit/{part}: {way}" for part, ways in limit.WAYS.items() for way in ways),
        "limit",
        "table",
        "native/knn",
        "faiss/knn",
    } <= set(lines)
    parts = [
        [lines[f"limit/{part}: {way}"].wall_s or 0.0 for way in ways] for part, ways in limit.WAYS.items()
    ]
    assert lines["limit"].wall_s == pytest.approx(sum(map(min, parts)))
    assert lines["former limit"].wall_s == pytest.approx(sum(ways[0] for ways in parts))
    assert lines["native/mds"].values["AUROC off by"] <= 1e-4  # type: ignore[operator]
    assert lines["native/knn"].values["AUROC"] == pytest.approx(lines["faiss/knn"].values["AUROC"], abs=0.1)
    assert lines["pytorch_ood"].note == "left out by --skip"
    assert lines["openood"].note == "left out by --skip"
    table, limited = lines["table"].wall_s, lines["limit"].wall_s
    assert table is not None
    assert limited is not None
    assert report.ratios["table / limit"] == pytest.approx(table / limited)
    assert "native, sum of 2" in lines
    assert "openood, sum of 2" not in lines
    assert "variance" in report.settings["spectrum"]


def test_stored_embeddings_take_the_place_of_generated_ones(
    problem: methods.Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, new = problem.test.features[:80], problem.test.features[80:]
    rows = {"train": problem.train.features, "val": problem.val.features, "test": known, "near": new[:50]}
    labels = {"train": problem.train.labels, "val": problem.val.labels, "test": problem.test.labels[:80]}
    for name, features in {**rows, "far": new[50:], "ood_val": new[:9]}.items():
        given = {"labels": labels[name]} if name in labels else {}
        np.savez(tmp_path / f"{name}.npz", features=features, **given)
    words = f"--embeddings {tmp_path} --scores msp --skip openood pytorch_ood --neighbours 5 --vim-dim 12"
    with pytest.raises(UserError, match=r"has no head; it must hold train, val, test and OOD sets"):
        scoring.run(options("scoring", words))
    np.savez(tmp_path / "head.npz", weight=problem.head.weight, bias=problem.head.bias)
    read = list[methods.Problem]()

    def keep(self: scoring.Scoring) -> None:
        read.append(load_problem(self.folder, 5, 12))

    monkeypatch.setattr(scoring.Scoring, "measure", keep)
    report = scoring.run(options("scoring", words))
    assert {**report.settings, **embeddings.Shape(400, 60, 80, 90, 40, 8)._asdict()} == report.settings
    np.testing.assert_array_equal(
        np.sort(read[0].test.features, axis=0), np.sort(problem.test.features, axis=0)
    )
    assert sorted(read[0].train.labels[:8]) == list(range(8))
    scoring.run(options("scoring", f"{words} --copies 3"))
    assert read[1].train.features.shape == (1200, 40)
    assert read[1].train.features.min() == 0.0
    for label in range(8):  # the moved rows stay with their class
        ours, theirs = (
            each.train.features[each.train.labels == label].mean(axis=0) for each in (problem, read[1])
        )
        others = problem.train.features.mean(axis=0)
        assert np.linalg.norm(ours - theirs) < 0.3 * np.linalg.norm(ours - others)


class FakeScoring(scoring.Scoring):
    """Answers without processes."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(options("scoring"), Path("unused"), Report({}))
        self.absent = {}
        self.answers, self.asked = answers, list[str]()

    def _ask(self, who: str, score: str, repeats: int, limit_s: float | None = None) -> dict[str, Any]:
        self.asked.append(f"{who}/{score}")
        answer = self.answers[who]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.mark.usefixtures("in_process")
def test_scores_measures_each_native_score_and_both_tables() -> None:
    words = TINY_SCORING.replace(
        "--rounds 1", "--scores msp knn modality_drop residual --skip openood pytorch_ood"
    )
    report = scores.run(options("scores", words))
    lines = checked(report)
    names = [f"native/{score}" for score in ("msp", "knn", "modality_drop", "residual")]
    assert set(lines) == {
        "table of nine",
        "table of all",
        *names,
        "openood",
        "pytorch_ood",
        "native, sum of 4",
    }
    assert lines["openood"].note == "left out by --skip"
    assert 50 < float(lines["native/modality_drop"].values["AUROC"] or 0) < 100
    whole, nine = lines["table of all"].wall_s, lines["table of nine"].wall_s
    assert whole and nine  # noqa: PT018
    assert report.ratios == {"table of all / table of nine": pytest.approx(whole / nine)}


@pytest.mark.usefixtures("in_process")
def test_scores_measures_what_each_takes_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "TRAINED", ("pnml",))  # those that are take seconds
    words = f"{TINY_SCORING} --scores msp knn pnml --together"
    report = scores.run(options("scores", words))
    lines = checked(report)
    parts = [lines[f"all together/{name}"].cpu_s or 0.0 for name in ("msp", "knn", "pnml")]
    whole, nine = (lines[f"{name} together"].cpu_s or 0.0 for name in ("all", "nine"))
    assert 0.0 < sum(parts) <= whole + 0.1
    assert report.ratios["CPU, all together / nine"] == pytest.approx(whole / nine)
    assert report.ratios["CPU, all together but the trained / nine"] == pytest.approx(
        (whole - parts[-1]) / nine
    )


class FakeScores(scores.Scores):
    """Answers without processes."""

    def __init__(self, answers: dict[str, Any], words: str) -> None:
        super().__init__(options("scores", words), Path("unused"), Report({}))
        self.absent, self.answers, self.asked = {}, answers, list[str]()

    def _ask(self, who: str, score: str, *rest: Any) -> dict[str, Any]:
        self.asked.append(f"{who}/{score}")
        if isinstance(self.answers[who], Exception):
            raise self.answers[who]
        return dict(self.answers[who])

    def _metrics(self, who: str, score: str) -> tuple[float, float]:
        return 0.9, 0.3


def test_scores_compares_with_peers_the_cheap_first_within_the_budget() -> None:
    took = {"wall": [2.0], "cpu": [2.0], "fit_s": 1.0, "score_s": 1.0, "peak_MiB": 1.0}
    answers = {
        "table": {**took, "wall": [8.0]},
        "native": took,
        "openood": processes.OverTimeError("over 5 s"),
        "pytorch_ood": {**took, "wall": [6.0]},
    }
    fake = FakeScores(answers, "--scores msp knn heat")
    fake.measure()
    lines = checked(fake.report)
    assert fake.asked[5:] == [
        "openood/msp",
        "pytorch_ood/msp",
        "openood/knn",
        "pytorch_ood/knn",
    ]  # heat is ours alone
    assert (lines["openood/msp"].note, lines["openood/msp"].wall_s) == ("over 5 s", None)
    assert lines["pytorch_ood/knn"].values["times native"] == 3.0
    assert fake.report.ratios == {
        "table of all / table of nine": 1.0,
        "pytorch_ood / native, median of 2 scores": 3.0,
    }
    late = FakeScores(answers, "--scores msp --budget 0")
    late.measure()
    assert late.asked == []
    assert {each.note for each in late.report.measurements} == {"not reached within --budget"}


def test_what_cannot_be_imported_is_asked_once() -> None:
    fake = FakeScoring({"openood": {"skipped": "OpenOOD was not found"}})
    fake.options.skip = ["openood/msp"]
    fake._all_of("openood")
    assert fake.asked == ["openood/ebo"]
    notes = [(each.name, each.note) for each in fake.report.measurements]
    assert notes == [("openood/msp", "left out by --skip"), ("openood", "OpenOOD was not found")]


def test_over_time_and_failures_are_listed() -> None:
    fake = FakeScoring(
        {"openood": processes.OverTimeError("over 5 s"), "pytorch_ood": RuntimeError("a\nb: no")}
    )
    fake._one("openood", "mds")
    fake._one("openood", "vim")
    fake._one("pytorch_ood", "mds")
    assert [each.note for each in fake.report.measurements] == ["over 5 s", "over 5 s", "b: no"]
    assert fake.asked == ["openood/mds", "openood/vim", "pytorch_ood/mds"]


def test_a_process_of_its_own(tmp_path: Path) -> None:
    shape = embeddings.Shape(64, 20, 20, 20, 16, 4)
    embeddings.write_problem(tmp_path, embeddings.Source(16, 4), shape)
    task = {
        "folder": str(tmp_path),
        "who": "faiss",
        "score": "knn",
        "repeats": 2,
        "neighbours": 3,
        "vim_dim": 4,
    }
    worker = "benchmarks.parts.scoring_worker"
    answer = processes.run_module(worker, {**task, "openood_batch": 8, "keep": str(tmp_path / "conf.npy")})
    assert len(answer["wall"]) == len(answer["cpu"]) == 2
    assert np.load(tmp_path / "conf.npy").shape == (40,)
    with pytest.raises(processes.OverTimeError, match=r"over 0\.05 s"):
        processes.run_module(worker, task, 0.05)
    with pytest.raises(RuntimeError, match="KeyError"):
        processes.run_module(worker, {})


def test_data_are_reproducible_in_chunks_and_decay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = embeddings.Source(64, 5, seed=3)
    rows = np.concatenate([chunk for chunk, _ in source.draw(1, 3000)])
    again = np.concatenate([chunk for chunk, _ in embeddings.Source(64, 5, seed=3).draw(1, 3000)])
    np.testing.assert_array_equal(rows, again)
    assert not np.array_equal(rows[:100], next(source.draw(2, 100))[0])
    assert rows.min() == 0.0
    assert 0.15 < (rows == 0).mean() < 0.35
    noise = source._coloured(20000, np.random.default_rng(0))
    values = np.linalg.eigvalsh(np.cov(noise.T))[::-1]
    expected = np.arange(1, 65) ** -1.0
    np.testing.assert_allclose(values, expected * 64 / expected.sum(), rtol=0.12)
    monkeypatch.setattr(embeddings, "CHUNK_ROWS", 7)
    source.write(tmp_path, "x", 1, 20, ood=True)
    assert np.load(tmp_path / "x_features.npy").shape == (20, 64)
    assert set(np.load(tmp_path / "x_labels.npy")) == {-1}


@pytest.mark.parametrize("score", methods.SCORES)
def test_reference_scores_agree_with_another_literal_version(score: str, problem: methods.Problem) -> None:
    parameters = {"knn": {"K": 5}, "vim": {"dim": 12}}.get(score, {})
    other = parity.REFERENCES[score](
        parity.Problem(problem.train, problem.val, problem.test, problem.head), **parameters
    )
    np.testing.assert_allclose(reference_scores.REFERENCES[score](problem), other, rtol=1e-8, atol=1e-10)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's: MSP and GEN are another increasing function of the same thing than the papers'."""
    return float(np.corrcoef(*(np.argsort(np.argsort(each)) for each in (one, other)))[0, 1])


@pytest.mark.parametrize("score", methods.SCORES)
def test_native_methods_are_the_scores(score: str, problem: methods.Problem) -> None:
    method = methods.Native(score, problem)
    method.fit(problem)
    correlation = rank_correlation(method.score(problem).conf, reference_scores.REFERENCES[score](problem))
    assert correlation > 0.9999


@pytest.mark.parametrize("score", methods.SCORES)
def test_pytorch_ood_ranks_alike(score: str, problem: methods.Problem) -> None:
    pytest.importorskip("pytorch_ood")
    method = methods.PytorchOOD(score, problem)
    method.fit(problem)
    correlation = rank_correlation(method.score(problem).conf, reference_scores.REFERENCES[score](problem))
    assert correlation > 0.99, correlation


def test_a_small_problem_is_one(problem: methods.Problem) -> None:
    small = problem.small()
    assert len(small.train) <= 320
    assert small.vim_dim < small.head.dim
