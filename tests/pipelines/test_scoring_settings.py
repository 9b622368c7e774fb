"""The section ``scoring`` of a test config, and scores that are computed together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.pipelines import TestPipeline
from openood_multimodal.postprocessors import MSP, Postprocessor, run

WORDS = ("--postprocessors", "msp,knn,mds", "--postprocessor_args", "{knn: {K: 5}}")


def pipeline(tiny, trained, **scoring):
    config = tiny.config(tiny.test(*WORDS, checkpoint=trained / "best.ckpt"))
    config["scoring"] = scoring
    return TestPipeline(config)


def values(records):
    return {(r.postprocessor, r.ood_set): r.metrics["AUROC"]["value"] for r in records}


def test_settings_change_neither_results_nor_what_a_run_is(tiny, trained):
    plain = pipeline(tiny, trained).run()
    found = pipeline(tiny, trained, threads=1, chunk_rows=7, precision="float32", device="cpu").run()
    assert values(found) == pytest.approx(values(plain), abs=1e-4)
    assert {r.run_id for r in found} == {r.run_id for r in plain}


def test_scores_are_those_of_each_alone(tiny, trained, monkeypatch):
    together = pipeline(tiny, trained).run()
    kept = {}
    for record in together:
        with np.load(tiny.folder / "test" / "scores" / record.postprocessor / "id.npz") as file:
            kept[record.postprocessor] = file["conf"]
    monkeypatch.setattr(TestPipeline, "_scored_at_once", lambda self, *given: {})
    alone = pipeline(tiny, trained).run()
    assert values(alone) == pytest.approx(values(together), abs=1e-9)
    for name, conf in kept.items():
        with np.load(tiny.folder / "test" / "scores" / name / "id.npz") as file:
            np.testing.assert_allclose(file["conf"], conf, rtol=1e-6)


def test_each_set_is_scored_once_for_all(tiny, trained, monkeypatch):
    asked = []
    original = run.score_all
    monkeypatch.setattr(
        run, "score_all", lambda *given: asked.append([len(given[0]), list(given[1])]) or original(*given)
    )
    monkeypatch.setattr(Postprocessor, "inference", None)  # nothing is scored a second time
    pipeline(tiny, trained).run()
    assert asked == [[3, ["id", "nearood/synthetic_near"]]]


def own(monkeypatch, **methods):
    """Make MSP a score of the user's own."""
    kind = type("Own", (MSP,), {"name": "msp", **methods})
    build = run.build
    monkeypatch.setattr(
        run, "build", lambda choice, *rest: kind() if choice.name == "msp" else build(choice, *rest)
    )


def test_a_score_that_fails_is_named_with_the_remedy(tiny, trained, monkeypatch):
    def fail(self, *given):
        raise UserError("the moon is full.")

    for method in ("estimate", "score_rows"):
        own(monkeypatch, **{method: fail})
        with pytest.raises(
            UserError, match=r'^msp: the moon is full\. To run the others: postprocessors="knn,mds"$'
        ):
            pipeline(tiny, trained).run()


def test_the_remedy_names_no_score_that_fails_likewise(tiny, trained):
    scores = "discrepancy,ensemble(msp,discrepancy),per_modality(msp),per_modality(ebo),knn"
    chosen = run.choose(scores, "native", "openood", None)
    told = {}
    for each in chosen:
        with pytest.raises(UserError) as caught, run.named(each, chosen):
            raise UserError("no")
        told[each.name] = str(caught.value).partition("postprocessors=")[2]
    assert told["discrepancy"] == '"per_modality(msp),per_modality(ebo),knn"'
    assert told["per_modality(msp)"] == '"discrepancy,ensemble(msp,discrepancy),knn"'
    assert told["knn"] == '"discrepancy,ensemble(msp,discrepancy),per_modality(msp),per_modality(ebo)"'


def test_a_score_with_an_inference_of_its_own_is_asked_for_it(tiny, trained, monkeypatch):
    def inference(self, net, loader, progress=True):
        pred, conf, label = MSP.inference(self, net, loader, progress)
        return pred, 0 * conf + (label >= 0), label

    own(monkeypatch, inference=inference)
    assert {value for (name, _), value in values(pipeline(tiny, trained).run()).items() if name == "msp"} == {
        1.0
    }


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ({"thread": 2}, r"scoring\.thread is not a parameter.*Did you mean 'threads'"),
        ({"threads": "two"}, r"scoring\.threads must be a whole number"),
        ({"chunk_rows": 0}, "chunk_rows must be at least 1"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"checked": True}, r"scoring\.checked is not a parameter"),
    ],
)
def test_refusals_before_anything_is_extracted(tiny, trained, scoring, message):
    with pytest.raises(UserError, match=message):
        pipeline(tiny, trained, **scoring)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda(tiny, trained):
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        pipeline(tiny, trained, device="cuda")
