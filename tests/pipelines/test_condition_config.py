"""Conditions and covariate-shifted ID sets in test and extraction configs."""

import numpy as np
import pytest

from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.files import atomic
from openood_multimodal.pipelines import ExtractPipeline, TestPipeline
from openood_multimodal.pipelines.inspect_run import inspect_run
from openood_multimodal.reporting.figures.runs import open_runs
from openood_multimodal.reporting.records import load_records
from openood_multimodal.scoring.table import evaluate

FEW = (
    *("--pipeline.name", "multimodal_extract", "--dataset.split_names", "val", "test"),
    *("--ood_dataset.split_names", "nearood", "--ood_dataset.batch_size", "3"),
    *("--dataset.val.batch_size", "3", "--dataset.test.batch_size", "3"),
)


class KilledError(BaseException):
    """Nothing in the package may catch it."""


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def input_level(name, *more):
    return "--condition.name", name, "--condition.level", "input", *more


def extract(clips, checkpoint, *more):
    return ExtractPipeline(clips.config(clips.test(checkpoint, *FEW, *more))).run()


def test_input_conditions_are_extracted_into_stores_of_their_own(
    clips, trained_on_clips, monkeypatch, tmp_path
):
    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: None)
    clean = extract(clips, trained_on_clips)
    folder = extract(clips, trained_on_clips, *input_level("black:video"))
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        *("val", "test", "moving_shapes_near", "test@black~video~0", "moving_shapes_near@black~video~0")
    }
    before, after = (
        EmbeddingStore.open(folder / name).embeddings() for name in ("test", "test@black~video~0")
    )
    start, stop = before.slices["video"]
    assert not np.array_equal(before.features[:, start:stop], after.features[:, start:stop])
    others = np.r_[0:start, stop : before.dim]
    assert np.array_equal(before.features[:, others], after.features[:, others])
    noisy = input_level("noise:video=5", "--condition.applied_to", "ood")
    expected = files(extract(type(clips)(clips.data, tmp_path / "whole"), trained_on_clips, *noisy))
    assert sorted({name.split("/")[0] for name in expected} - {"head.npz"}) == [
        *("moving_shapes_near@noise~video~5~0", "test", "val")
    ]
    victim, write, left = type(clips)(clips.data, tmp_path / "killed"), EmbeddingStore.write, [7]

    def killed(self, *values):
        left[0] -= 1
        if left[0] == 0:
            raise KilledError
        write(self, *values)

    monkeypatch.setattr(EmbeddingStore, "write", killed)
    with pytest.raises(KilledError):
        extract(victim, trained_on_clips, *noisy)
    assert files(extract(victim, trained_on_clips, *noisy)) == expected
    # scored from the stores, the record says so
    test, ood = clean / "test", folder / "moving_shapes_near@black~video~0"
    evaluate(
        None, test, {"near": ood}, folder / "head.npz", postprocessors="msp", records=tmp_path / "records"
    )
    (record,) = load_records(tmp_path / "records")
    assert record.condition == {
        **{"kind": "black", "modalities": ["video"], "severity": None, "level": "input", "applied_to": "ood"},
        "seed": 0,
    }


def test_conditions_in_a_test_config(clips, trained_on_clips):
    def run(*more):
        words = clips.test(trained_on_clips, "--postprocessors", "msp", *more)
        TestPipeline(clips.config(words)).run()
        (record,) = load_records(clips.folder / "test")
        return record

    clean = run()
    assert clean.condition is None
    missing = run("--condition.name", "missing:flow=mean", "--condition.applied_to", "id")
    shared = {"modalities": ["flow"], "applied_to": "id", "seed": 0}
    assert missing.condition == {**shared, "kind": "missing", "severity": "mean", "level": "embedding"}
    assert missing.run_id != clean.run_id
    still = run(*input_level("black:flow", "--condition.applied_to", "id"))
    assert still.condition == {**shared, "kind": "black", "severity": None, "level": "input"}
    assert still.digests["store"] == clean.digests["store"]  # of the OOD set, which is clean
    assert len({each.digests["scores"] for each in (clean, missing, still)}) == 3
    for words, said in (
        (("--condition.name", "missing:vidoe"), "no modality 'vidoe'"),
        (("--condition.name", "noise:flow=6"), "whole number from 1 to 5"),
        (("--condition.name", "blur:video=99", "--condition.level", "input"), "from 0.1 to 64"),
        (
            ("--condition.name", "silence:video", "--condition.level", "input"),
            "doesn't change frames of video",
        ),
        (
            ("--condition.name", "blur:flow=9", "--condition.level", "input"),
            "holds flow that was computed before",
        ),
        (("--condition.name", "black:video+flow", "--condition.level", "input"), "all modalities"),
        (("--condition.applied_to", "all", "--condition.name", "missing:flow"), "condition.applied_to"),
        (("--condition.seed", "-1", "--condition.name", "missing:flow"), "condition.seed is -1"),
        (("--evaluator.ood_scheme", "fsood"), "add the group csid"),
    ):
        with pytest.raises(UserError, match=said):
            run(*words)


def full_spectrum(clips, checkpoint, *more):
    """Words of a test with the packaged config whose covariate-shifted ID sets are the degraded test set."""
    words = clips.test(checkpoint, "--postprocessors", "msp", "--ood_dataset.csid.datasets", "blurred", *more)
    place = words.index("pipelines/test/near_ood.yml") + 1
    return [*words[:place], "datasets/moving_shapes/moving_shapes_csid.yml", *words[place:]]


def test_the_degraded_test_set_as_a_covariate_shifted_one(clips, trained_on_clips):
    (record,) = TestPipeline(clips.config(full_spectrum(clips, trained_on_clips))).run()
    assert (record.csid, record.condition) == (["blurred"], None)
    assert "blurred: samples under blur:video=4 (input, seed 0)" in record.notes
    folder = clips.folder / "test" / "embeddings"
    shifted = folder / "blurred@blur~video~4~0"
    degraded = input_level("blur:video=4", "--condition.applied_to", "id")
    (alone,) = TestPipeline(
        clips.config(clips.test(trained_on_clips, "--postprocessors", "msp", *degraded))
    ).run()
    one, other = (
        EmbeddingStore.open(each).embeddings() for each in (shifted, folder / "test@blur~video~4~0")
    )
    np.testing.assert_array_equal(one.features, other.features)
    assert (record.n_id, alone.n_id) == (2 * len(one), len(one))
    ood = {"near": folder / "moving_shapes_near"}
    table = evaluate(
        None, folder / "test", ood, folder / "head.npz", postprocessors="msp", csid={"blurred": shifted}
    )
    assert table.AUROC[0] == pytest.approx(100 * record.metrics["AUROC"]["value"])
    accuracy = table.attrs["accuracy"]["msp"]
    assert accuracy["blurred"] == pytest.approx(alone.metrics["ACC"]["value"])
    assert sum(accuracy.values()) / 2 == pytest.approx(record.metrics["ACC"]["value"])
    assert any("blurred was extracted under" in note for note in table.attrs["notes"])
    (again,) = TestPipeline(clips.config(full_spectrum(clips, trained_on_clips))).run()
    assert again.metrics == record.metrics
    (run,) = open_runs([clips.folder / "test"])  # figures and inspect take neither set for an OOD set
    assert run.ood_sets() == ["moving_shapes_near"]
    assert set(run.embeddings()) == {"id", "moving_shapes_near"}
    looked_at = inspect_run(clips.folder / "test").tables["sets"]
    assert {row["dataset"] for row in looked_at} == {"test", "moving_shapes_near"}


def test_a_condition_of_embeddings_makes_one_covariate_shifted_set(clips, trained_on_clips):
    def confidences(*words):
        TestPipeline(clips.config(words)).run()
        folder = clips.folder / "test" / "scores" / "msp"
        return {path.stem: np.load(path)["conf"] for path in folder.iterdir()}

    shifted = "--ood_dataset.csid.blurred.condition.name", "missing:flow"
    shifted += "--ood_dataset.csid.blurred.condition.level", "embedding"
    missing = confidences(*full_spectrum(clips, trained_on_clips, *shifted))
    condition = "--condition.name", "missing:flow", "--condition.applied_to", "id"
    alone = confidences(*clips.test(trained_on_clips, "--postprocessors", "msp", *condition))
    np.testing.assert_array_equal(missing["blurred"], alone["id"])
    assert not np.array_equal(missing["blurred"], missing["id"])
    np.testing.assert_array_equal(missing["moving_shapes_near"], alone["moving_shapes_near"])
    for condition, said in (
        ({"name": "missing:vidoe", "level": "embedding"}, "no modality 'vidoe'"),
        ({"name": "noise:flow=9", "level": "embedding"}, "whole number from 1 to 5"),
        ({"applied_to": "ood"}, "its condition is of this set alone"),
        ({"severity": 3}, "condition.severity is not a parameter"),
    ):
        config = clips.config(full_spectrum(clips, trained_on_clips))
        config.merge({"ood_dataset": {"csid": {"blurred": {"condition": condition}}}}, "a test")
        with pytest.raises(UserError, match=f"ood_dataset.csid.blurred: .*{said}"):
            TestPipeline(config).run()
