"""Figures: what a run's files allow is drawn, the same way every time; what they don't is told with its reason."""

import builtins
import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("matplotlib")

from openood_multimodal.cli.main import main
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.outputs import SetScores, write_scores
from openood_multimodal.reporting.figures import FIGURES, correlation, draw
from openood_multimodal.reporting.figures.embeddings import project
from openood_multimodal.reporting.figures.records import _frame
from openood_multimodal.reporting.figures.runs import Options, open_runs
from openood_multimodal.reporting.figures.style import style_of
from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.reporting.schema import DIGEST_NAMES
from openood_multimodal.vocabulary import METRICS


def record(postprocessor="msp", training="a2d", modalities=("a", "b"), seed=0, auroc=0.8, **changes):
    fields = {
        **{"benchmark": "bench", "partition": "0", "track": "demo", "setting": "near", "id_set": "bench"},
        **{"ood_set": "unseen", "networks": "net", "protocol": "multiood-code", "synthesis": None},
        **{"discrepancy": None, "parameters": {}, "preset": "openood", "fit_on": "train", "best_epoch": 1},
        **{"engine": {"name": "native", "version": "0.1.0"}, "n_id": 40, "n_ood": 30},
        "metrics": {name: {"value": auroc, "ci_low": None, "ci_high": None} for name in METRICS},
        "digests": dict.fromkeys(DIGEST_NAMES),
        **{"postprocessor": postprocessor, "training": training, "modalities": modalities, "seed": seed},
        **changes,
    }
    text = json.dumps([training, modalities, seed, fields["partition"]])
    return ResultRecord(run_id=hashlib.sha256(text.encode()).hexdigest()[:16], **fields)


def make_run(folder, training, shift):
    """Write what a test keeps: scores, stores and records of two postprocessors."""
    rng = np.random.default_rng(int(10 * shift))
    labels = {"id": rng.integers(0, 3, 40), "unseen": np.full(30, -1)}
    for name in ("msp", "$knn_{x}$"):  # a name is text, not a formula
        for each, label in labels.items():
            conf = rng.normal(shift if each == "id" else 0, 1, len(label))
            scores = SetScores(np.where(label < 0, 0, label), conf, label)
            write_scores(folder, name, each, scores)
        record(name, training).write(folder / "records")
    for place, label in (("test", labels["id"]), ("unseen", labels["unseen"])):
        store = EmbeddingStore.create(
            folder / "embeddings" / place,
            num_samples=len(label),
            slices={"a": (0, 2), "b": (2, 4)},
            num_classes=3,
            digests={},
            clips=[str(row) for row in range(len(label))],
        )
        rows = np.arange(len(label))
        store.write(rows, rng.normal(size=(len(label), 4)), rng.normal(size=(len(label), 3)),
                    rng.normal(size=(len(label), 2, 3)), label)  # fmt: skip
        store.finish()
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [
        make_run(root / name, name, shift) for name, shift in (("multimodal_baseline", 1.0), ("a2d", 2.0))
    ]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    for seed in range(2):
        for chosen in (("a",), ("a", "b")):
            for name in ("msp", "knn"):
                one = record(name, modalities=chosen, seed=seed, auroc=0.7 + 0.1 * seed)
                one.write(root / "+".join(chosen) / str(seed) / "records")
    return root


def test_two_runs_give_every_figure_of_samples_and_the_same_bytes_again(runs, tmp_path):
    drawn = draw(runs, tmp_path / "one", formats=["png"], projection="pca")
    names = {path.name.removesuffix(".png") for path in drawn.files}
    assert names == {
        *("roc-unseen", "precision_recall-unseen", "histogram-unseen", "embeddings", "discrepancy"),
        *("predictions-Cross-entropy", "predictions-A2D", "reliability", "risk_coverage", "ranks"),
    }
    assert set(drawn.left_out) == {"modalities", "seeds", "parameter", "discrepancy_auroc"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.files)
    few = {"only": ["discrepancy"], "formats": ["png", "pdf", "svg"]}
    first, second = (draw(runs, tmp_path / name, **few).files for name in ("two", "three"))
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == 3
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_names_are_drawn_as_text(runs, tmp_path):
    path = draw(runs[:1], tmp_path, ["roc"], ["svg"]).files[0]
    assert "$knn_{x}$" in path.read_text()


def test_records_alone(suite, tmp_path, capsys):
    words = [
        "figures",
        str(suite),
        "--out",
        str(tmp_path),
        "--formats",
        "png",
        "--only",
        "modalities,seeds,ranks",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out.split()
    assert sorted(path.rpartition("/")[2] for path in printed) == [
        "modalities-bench-near-a2d.png",
        "ranks.png",
        "seeds-bench-near-a+b.png",
        "seeds-bench-near-a.png",
    ]


def test_the_discrepancy_against_the_auroc(runs, tmp_path, capsys):
    """Means of L1 distances by hand, from the stores; the correlation over three runs, as NumPy has it."""
    third = make_run(tmp_path / "multimodal_multihead", "multimodal_multihead", 3.0)
    record(auroc=0.9, training="multimodal_multihead").write(third / "records")
    folders = [*runs, third]
    words = ["figures", *map(str, folders), "--only", "discrepancy_auroc", "--postprocessors", "msp", "--out"]
    assert main([*words, str(tmp_path / "out"), "--format", "png"]) == 0
    printed = capsys.readouterr().out
    gaps = []
    for folder in folders:
        logits = [EmbeddingStore.open(folder / "embeddings" / name).embeddings().modality_logits
                  for name in ("test", "unseen")]  # fmt: skip
        p = [np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in logits]
        known, unknown = (np.abs(each[:, 0] - each[:, 1]).sum(-1).mean() for each in p)
        gaps.append(unknown - known)
        assert f"|{known:.2f}|{unknown:.2f}|{unknown - known:.2f}|" in printed.replace(" ", "")
    expected = np.corrcoef(gaps, [80, 80, 90])[0, 1]
    assert f"MSP: Pearson {expected:+.2f}, Spearman" in printed
    assert (tmp_path / "out" / "discrepancy_auroc.png").is_file()
    assert "2 runs; a correlation takes 3" in draw(
        runs, tmp_path / "two", ["discrepancy_auroc"], ["png"], ["msp"]).texts[0]  # fmt: skip


def test_the_discrepancys_difference_is_paired_over_partitions(monkeypatch):
    """Mean difference and 95 % interval to the first training are those of a paired t-test, seeds averaged first."""
    gaps = {"multimodal_multihead": [0.1, 0.4, 0.2], "a2d": [0.3, 0.5, 0.1]}
    rows = [
        {"benchmark": "b", "training": training, "partition": str(place), "ood_set": "unseen", "postprocessor": "msp",
         "id": 0.0, "ood": gap + shift, "gap": gap + shift, "AUROC": 90.0 - place}
        for training, values in gaps.items() for place, gap in enumerate(values) for shift in (-0.05, 0.05)
    ]  # fmt: skip
    monkeypatch.setattr(correlation, "points", lambda runs, postprocessors: pd.DataFrame(rows))
    table = correlation.discrepancy_table([], Options())
    paired = stats.ttest_rel(gaps["a2d"], gaps["multimodal_multihead"])
    low, high = paired.confidence_interval(0.95)
    assert f"| +0.07 [{low:+.2f}, {high:+.2f}] " in table
    one = [row for row in rows if row["partition"] == "0"]
    monkeypatch.setattr(correlation, "points", lambda runs, postprocessors: pd.DataFrame(one))
    assert "| +0.20 " in correlation.discrepancy_table([], Options()), "one partition has no interval"
    assert "+0.20 [" not in correlation.discrepancy_table([], Options())


def test_a_number_of_the_training_is_found_in_its_config(tmp_path):
    """alpha varies with N as most have it; the training without either is the reference, whatever else differs."""
    made = [("multimodal_baseline", None, 0), ("a2d_npmix", {"alpha": 2.0, "n": 2}, 0)]
    made += [("a2d_npmix", {"alpha": 4.0, "n": 2}, 0), ("a2d_npmix", {"alpha": 4.0, "n": 3}, 0)]
    made += [("a2d_npmix", {"alpha": 10, "n": 2}, 0)]
    for number, (training, settings, seed) in enumerate(made):
        run = tmp_path / "runs" / str(number)
        one = record("knn", training, auroc=0.5 + 0.1 * number, seed=seed)
        replace(one, run_id=f"run{number}").write(run / "test" / "records")
        (run / "training").mkdir()
        trainer = {"name": training, **({"synthesis_args": settings} if settings else {"epochs": 3})}
        (run / "training" / "config.yml").write_text(json.dumps({"trainer": trainer}))
    drawn = draw([tmp_path / "runs"], tmp_path / "out", ["parameter"], ["svg"])
    names = [path.name for path in drawn.files]
    assert names == [f"parameter-{key}-bench-near-a+b-a2d_npmix.svg" for key in ("alpha", "n")]
    text = drawn.files[0].read_text()
    assert all(f">{label}</text>" in text for label in ("baseline", "2", "4", "10", "alpha", "KNN"))
    for number in range(2, 5):
        (tmp_path / "runs" / str(number) / "training" / "config.yml").unlink()
    with pytest.raises(UserError, match="no training method was run with two values of a number"):
        draw([tmp_path / "runs"], tmp_path / "out", ["parameter"], ["svg"])


def test_results_that_differ_in_more_than_their_run_are_not_averaged(suite, tmp_path):
    record("msp").write(tmp_path / "clean" / "records")
    record("msp", preset="multiood", seed=1).write(tmp_path / "preset" / "records")
    condition = {"kind": "noise", "modalities": ["a"], "severity": 3, "level": "embedding"}
    noisy = replace(record("msp", seed=2), condition={**condition, "applied_to": "both", "seed": 0})
    noisy.write(tmp_path / "noisy" / "records")
    frame = _frame(open_runs([tmp_path]))
    assert len(frame[["benchmark", "postprocessor"]].drop_duplicates()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{empty}"], "is not the folder of a run"),
        (["{empty}/none"], "there is no such folder"),
        (["{suite}", "--only", "roc"], "roc can't be drawn: .* has no scores of single samples"),
        (["{suite}", "--only", "parameter"], "parameter can't be drawn: no training that keeps its config"),
        (
            ["{run}", "--only", "discrepancy_auroc"],
            "discrepancy_auroc can't be drawn: .* no record of 'ebo' on unseen",
        ),
        (["{suite}", "--only", "embeddings"], "embeddings can't be drawn: .* has no embeddings"),
        (["{suite}", "--only", "rok"], "--only names 'rok'.*roc"),
        (["{suite}", "--formats", "gif"], "--formats names 'gif'"),
        (["{run}", "--projection", "isomap"], "--projection names 'isomap'"),
        (["{run}", "--only", "roc", "--postprocessors", "vim"], "no scores of 'vim'; it has those of msp"),
        (["{run}", "{run}", "{run}", "--only", "roc"], "at most 2 runs"),
        (
            ["{suite}", "--only", "ranks", "--postprocessors", "vim"],
            "no record is of the postprocessor 'vim'",
        ),
    ],
)
def test_bad_input(words, message, runs, suite, tmp_path, capsys):
    import re

    places = {"empty": tmp_path, "suite": suite, "run": runs[0]}
    assert main(["figures", *(word.format(**places) for word in words), "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_score_file_with_nan_is_named(runs, tmp_path):
    values = np.array([0.5, np.nan])
    for name in ("id", "unseen"):
        write_scores(tmp_path, "msp", name, SetScores(np.zeros(2, int), values, np.zeros(2, int)))
    with pytest.raises(UserError, match=r"\.npz: conf must be one number a sample, and not NaN"):
        draw([tmp_path], tmp_path / "out", ["roc"])


def test_without_matplotlib_the_remedy_is_told(runs, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["figures", str(runs[0])]) == 2
    assert 'pip install "openood-multimodal[report]"' in capsys.readouterr().err


def test_a_name_has_one_style_and_the_known_ones_differ():
    paper = [style_of(name) for name in ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")]
    assert len(set(paper)) == 9
    assert style_of("my_score") == style_of("my_score")


def test_projections():
    rows = np.random.default_rng(0).normal(size=(12, 5))
    for name, title in (("pca", "PCA"), ("tsne", "t-SNE")):
        place, found = project(rows, name)
        assert (place.shape, found) == ((12, 2), title)
        assert np.array_equal(place, project(rows, name)[0])
    assert project(rows[:, :1], "pca")[0].shape == (12, 2)


def test_every_figure_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["figures", "--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in FIGURES)
