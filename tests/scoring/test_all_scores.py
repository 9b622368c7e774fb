"""Every score that can run, ranked; those that can't, with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.postprocessors.run import all_scores

FEW = ("msp", "mds", "residual", "knn", "modality_virtual_logits", "entropy")


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("openood_multimodal.postprocessors.run.all_scores", lambda: list(FEW))
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((4, 20))

    def draw(n: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n) % 4
        return (centres[labels] + spread * rng.standard_normal((n, 20))).astype("f4"), labels

    ood = (3 * rng.standard_normal((60, 20))).astype("f4")
    head = (centres.astype("f4") / 5, np.zeros(4, "f4"))
    return {
        "train": draw(120, 1.0),
        "val": draw(40, 1.0),
        "test": draw(60, 1.0),
        "ood": {"far": ood},
        "head": head,
    }


def test_all_is_every_score_that_combines_no_others() -> None:
    names = all_scores()
    assert {"msp", "vim", "rmds", "neco", "lof"} <= set(names)
    assert not {"ensemble", "per_modality"} & set(names)


def test_scores_are_ranked_and_the_others_have_a_reason(sets: dict[str, Any]) -> None:
    table = evaluate(**sets, postprocessors="all")
    assert sorted(table["postprocessor"]) == ["entropy", "knn", "mds", "msp"]
    assert table["AUROC"].is_monotonic_decreasing
    left_out = table.attrs["left_out"]
    assert set(left_out) == {"residual", "modality_virtual_logits"}
    assert "dim=512 must be below the features' 20 columns" in left_out["residual"]  # told by its fit
    assert "needs modality_logits" in left_out["modality_virtual_logits"]  # told before
    alone = evaluate(**sets, postprocessors=["knn"])
    assert table.set_index("postprocessor").loc["knn", "AUROC"] == alone["AUROC"][0]
    correlation = table.attrs["rank_correlation"]
    assert correlation["msp"]["msp"] == pytest.approx(1.0)
    assert correlation["msp"]["entropy"] == pytest.approx(correlation["entropy"]["msp"])
    assert correlation["msp"]["entropy"] > 0.9 > correlation["msp"]["mds"]


def test_parameters_let_a_score_run(sets: dict[str, Any]) -> None:
    table = evaluate(**sets, postprocessors="all", parameters={"residual": {"dim": 5}})
    assert "residual" in set(table["postprocessor"])


def test_the_command_prints_and_writes_it(
    sets: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val", "test"):
        np.savez(tmp_path / f"{name}.npz", features=sets[name][0], labels=sets[name][1])
    np.savez(tmp_path / "far.npz", features=sets["ood"]["far"])
    np.savez(tmp_path / "head.npz", weight=sets["head"][0], bias=sets["head"][1])
    given = [
        word
        for name in ("train", "val", "test", "head")
        for word in (f"--{name}", str(tmp_path / f"{name}.npz"))
    ]
    out = tmp_path / "out"
    code = main(["score", *given, "--ood", f"far={tmp_path / 'far.npz'}", "--all", "--out", str(out)])
    assert code == 0
    printed = capsys.readouterr().out
    assert "Left out: residual: dim=512 must be below the features' 20 columns" in printed
    first, *_ = printed.partition("Ranked by mean AUROC")[2].splitlines()[1:]
    table = evaluate(**sets, postprocessors="all", intervals=True)
    low, high = (f"{table[f'AUROC_{bound}'][0]:.2f}" for bound in ("ci_low", "ci_high"))
    correlation = table.attrs["rank_correlation"][table["postprocessor"][0]]
    alike = max(set(correlation) - {table["postprocessor"][0]}, key=correlation.__getitem__)
    expected = ["1", table["postprocessor"][0], f"{table['AUROC'][0]:.2f}", "far", f"[{low},", f"{high}]"]
    assert first.split() == [*expected, alike, f"{correlation[alike]:.2f}"]
    meta = json.loads((out / "metrics.json").read_text())["_meta"]
    assert set(meta["left_out"]) == {"residual", "modality_virtual_logits"}
    assert meta["rank_correlation"]["knn"]["knn"] == pytest.approx(1.0)
