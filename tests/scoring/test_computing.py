"""Threads, device, rows held at once, precision: from the command line and from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.postprocessors import run
from openood_multimodal.vocabulary import METRICS


def table(arrays: Any, **more: Any) -> pd.DataFrame:
    return evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, val=arrays.val, **more)


def test_results_do_not_depend_on_how_they_are_computed(arrays: Any) -> None:
    expected = table(arrays)
    for more in ({"chunk_rows": 7}, {"threads": 1}, {"precision": "float32"}, {"precision": "float64"}):
        found = table(arrays, **more)
        pd.testing.assert_frame_equal(
            found[["postprocessor", "dataset"]], expected[["postprocessor", "dataset"]]
        )
        atol = 0.0 if "precision" in more else 1e-2  # accepted, and without effect
        np.testing.assert_allclose(found[list(METRICS)], expected[list(METRICS)], rtol=0.0, atol=atol)


def test_settings_reach_the_computation(arrays: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = run.fit_all

    def spy(scores: Any, fit: Any, val: Any, head: Any, options: Any, *more: Any) -> None:
        seen.append((options, {each["num_threads"] for each in threadpool_info()}))
        original(scores, fit, val, head, options, *more)

    monkeypatch.setattr(run, "fit_all", spy)
    before = {each["num_threads"] for each in threadpool_info()}
    table(arrays, threads=2, chunk_rows=9, precision="float32", progress=True)
    ((options, threads),) = seen
    assert (options.threads, options.chunk_rows, options.precision) == (2, 9, "float32")
    assert options.progress
    assert options.checked  # reading has checked the sets already
    assert threads == {2}
    assert {each["num_threads"] for each in threadpool_info()} == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_one_error_before_anything_is_read(
    arrays: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="device is 'cuda', and torch sees no CUDA device here"):
        evaluate("missing", "missing", {"x": "missing"}, "missing", device="cuda")
    words = ["score", "--test", "no.npz", "--ood", "x=no.npz", "--out", str(tmp_path), "--device", "cuda"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "use --device cpu" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"chunk_rows": -1}, "chunk_rows must be at least 1"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"precision": "half"}, "precision is 'half'"),
    ],
)
def test_refusals(arrays: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(arrays, **more)


FIRST = """
import sys
import numpy as np
from threadpoolctl import threadpool_info
from openood_multimodal import evaluate
from openood_multimodal.postprocessors import run

rng = np.random.default_rng(0)
draw = lambda n: (rng.standard_normal((n, 8)), np.arange(n) % 2)
train, test, ood, head = draw(90), draw(20), {"x": draw(20)[0]}, (np.eye(2, 8), np.zeros(2))
evaluate(None, test, ood, head, postprocessors="msp,ebo,mls,gen")
print([name for name in ("scipy.linalg", "scipy.sparse", "sklearn", "torch", "faiss") if name in sys.modules])
score_all, seen = run.score_all, []
run.score_all = lambda *given: seen.append({each["num_threads"] for each in threadpool_info()}) or score_all(*given)
evaluate(train, test, ood, head, postprocessors="mds", threads=1)
print(seen, "scipy.linalg" in sys.modules)
"""


def test_a_first_run_of_logit_scores_imports_no_linear_algebra_and_a_later_one_limits_its_threads() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[{1}] True"]


def test_command_line(arrays: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    for name in ("train", "val", "test"):
        features, labels = getattr(arrays, name)
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    np.savez(tmp_path / "near.npz", features=arrays.ood["near"])
    np.savez(tmp_path / "head.npz", weight=arrays.head[0], bias=arrays.head[1])
    words = ["score", "--test", f"{tmp_path}/test.npz", "--ood", f"near={tmp_path}/near.npz"]
    words += [
        "--train",
        f"{tmp_path}/train.npz",
        "--head",
        f"{tmp_path}/head.npz",
        "--out",
        f"{tmp_path}/out",
    ]
    more = ["--threads", "1", "--chunk-rows", "13", "--device", "cpu", "--precision", "float32"]
    more += ["--postprocessors", "mds,knn", "--set", "knn.index=hnsw"]
    assert main([*words, *more]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "Note: knn: approximate search (hnsw); recall@50 is " in out
    meta = json.loads((tmp_path / "out" / "metrics.json").read_text())["_meta"]
    assert meta["parameters"]["knn"] == {"K": 50, "index": "hnsw"}
    assert any("recall@50" in note for note in meta["notes"]["knn"])
    assert main([*words, "--threads", "0"]) == 2
    assert "threads must be at least 1" in capsys.readouterr().err
