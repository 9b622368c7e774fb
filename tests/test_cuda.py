"""What a GPU computes is what a CPU computes, within the tolerance of its arithmetic; the same bodies on both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic
from openood_multimodal.postprocessors import shared
from openood_multimodal.trainers.mixed import Computation, TrainingOptions

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}
"""Of an epoch's mean losses, relative to those of float32 on a CPU."""


def on(device: str) -> tuple[str, ...]:
    """Return the words that choose a device for a run."""
    return ("--num_gpus", "1" if device == "cuda" else "0")


def losses(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "run" / "log.csv").filter(like="loss")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_in):
    """A training with outliers on a CPU, in float32, and an extraction with its network."""
    tiny = tiny_in(tmp_path_factory.mktemp("plain"))
    extract = ("--pipeline.name", "multimodal_extract")
    assert main(tiny.train("a2d_npmix", *on("cpu"))) == 0
    assert main(tiny.test(*extract, *on("cpu"))) == 0
    return tiny


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        ("bfloat16", "cpu"),
        *(pytest.param(each, "cuda", marks=pytest.mark.cuda) for each in TOLERANCE),
    ],
)
def test_training(tiny, plain, precision, device):
    """Losses under autocast, with loss scaling where it is float16; weights are stored in float32."""
    assert main(tiny.train("a2d_npmix", *on(device), "--training.precision", precision)) == 0
    found, expected = losses(tiny.folder), losses(plain.folder)
    assert "loss_outlier_entropy" in found
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[precision], atol=TOLERANCE[precision] / 10)
    assert precision == "float32" or not np.array_equal(found, expected), "it was computed in float32"
    weights = torch.load(tiny.folder / "run" / "last.ckpt", map_location="cpu")
    assert {each.dtype for each in weights.values() if each.is_floating_point()} == {torch.float32}


def test_compiled(tiny, plain, device, monkeypatch):
    """A compiled network's losses; on a CPU traced only, since a compiler takes half a minute there."""
    if device == "cpu":
        compiler = torch.compile
        monkeypatch.setattr(torch, "compile", lambda call: compiler(call, backend="eager"))
    words = tiny.train("a2d_npmix", *on(device), "--training.compile", "true")
    assert main(words) == 0
    np.testing.assert_allclose(losses(tiny.folder), losses(plain.folder), rtol=1e-3, atol=1e-4)


def test_extraction(tiny, plain, device):
    """Embeddings and logits in float32: to 1e-4 of the largest value."""
    checkpoint = plain.folder / "run" / "best.ckpt"
    extract = ("--pipeline.name", "multimodal_extract", *on(device))
    assert main(tiny.test(*extract, checkpoint=checkpoint)) == 0
    for name in ("train", "synthetic_near"):
        found, expected = (
            EmbeddingStore.open(each.folder / "test" / "embeddings" / name).embeddings()
            for each in (tiny, plain)
        )
        for field in ("features", "logits", "modality_logits"):
            one, other = (np.asarray(getattr(each, field)) for each in (found, expected))
            np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_scoring(device, monkeypatch):
    """Scores that compute on a device, through `evaluate`: their metrics to 0.01 points."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 64))
    labels = np.arange(2000) % 4
    rows = (centres[labels] + rng.standard_normal((2000, 64))).astype("f4")
    ood = {"x": rng.standard_normal((300, 64)).astype("f4")}
    given = (
        (rows[400:], labels[400:]),
        (rows[:400], labels[:400]),
        ood,
        (centres.astype("f4"), np.zeros(4, "f4")),
    )
    scores = {"postprocessors": "mds,rmds,vim,knn,relation", "parameters": {"vim": {"dim": 8}}}
    tables = [evaluate(*given, **scores)]
    if device == "cpu":  # torch's products there, where a CPU's scores take BLAS's
        monkeypatch.setattr(shared, "arithmetic_for", TorchArithmetic)
    tables.append(evaluate(*given, **scores, device=device))
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0.0, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            TrainingOptions("float16"),
            r"training\.precision is float16, which a CPU doesn't train in; use bfloat16",
        ),
        (
            TrainingOptions(sync_batch_norm=True),
            r"training\.sync_batch_norm is on, and torch .* on GPUs only",
        ),
    ],
)
def test_what_needs_a_gpu(options, message):
    """A CPU's refusals."""
    with pytest.raises(UserError, match=message):
        Computation(options, torch.device("cpu"), None)
