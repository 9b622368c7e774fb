"""What a test leaves behind, what it reuses, and what it refuses to reuse."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.pipelines import ExtractPipeline, TestPipeline, TrainPipeline
from openood_multimodal.pipelines.checks import choose_scores
from openood_multimodal.pipelines.digest import config_digest, split_digest
from openood_multimodal.pipelines.test import _unseen
from openood_multimodal.reporting.records import load_records


def run(tiny, trained, *words, **more):
    more.setdefault("checkpoint", trained / "best.ckpt")
    return TestPipeline(tiny.config(tiny.test(*words, **more))).run()


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


STORE = (
    "clips.txt",
    "done.npy",
    "features.npy",
    "labels.npy",
    "logits.npy",
    "meta.json",
    "modality_logits.npy",
)


@pytest.mark.parametrize(
    ("evaluator", "ood"),
    [("near_ood", ["synthetic_near"]), ("far_ood", ["synthetic_shift", "synthetic_noise"])],
)
def test_files_of_a_test(tiny, trained, evaluator, ood):
    records = run(tiny, trained, evaluator=evaluator)
    scores, group = ("msp", "ebo", "mls"), evaluator.replace("_", "")
    sets = ("train", "val", "test", *(f"{group}_{name}" for name in ood))
    expected = {"split/split.json", *(f"split/{name}.csv" for name in sets)}
    expected |= {"config.yml", "results.csv", "embeddings/head.npz"}
    expected |= {f"{score}/ood.csv" for score in scores}
    expected |= {f"scores/{score}/{name}.npz" for score in scores for name in ("id", *ood)}
    expected |= {f"records/{score}@{name}.record.json" for score in scores for name in ood}
    expected |= {
        f"embeddings/{name}/{file}" for name in ("train", "val", "test", "ood_val", *ood) for file in STORE
    }
    assert set(tree(tiny.folder / "test")) == expected
    assert [(r.postprocessor, r.ood_set) for r in records] == [(s, o) for s in scores for o in ood]
    lines = (tiny.folder / "test" / "results.csv").read_text().splitlines()
    assert lines[0] == "postprocessor,dataset,FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC"
    assert [line.split(",")[:2] for line in lines[1:]] == [[s, o] for s in scores for o in [*ood, group]]


def test_records_say_what_was_run(tiny, trained):
    records = run(tiny, trained, "--postprocessors", "knn,msp", "--preset", "multiood", "--fit_on", "val")
    loaded = load_records(tiny.folder / "test" / "records")  # validates each
    assert {r.to_json() for r in loaded} == {r.to_json() for r in records}
    knn = next(r for r in records if r.postprocessor == "knn")
    assert (knn.parameters, knn.preset, knn.fit_on) == ({"K": 10}, "multiood", "val")
    assert knn.parameters_from == "preset"
    with (
        np.load(tiny.folder / "test" / "scores" / "knn" / "id.npz") as known,
        np.load(tiny.folder / "test" / "scores" / "knn" / "synthetic_near.npz") as unknown,
    ):
        assert knn.digests["scores"] == scores_digest(SetScores(**known), SetScores(**unknown))
    assert (knn.benchmark, knn.partition, knn.track, knn.setting) == ("synthetic_far", "0", "demo", "near")
    assert (knn.training, knn.protocol, knn.synthesis) == ("a2d_npmix", "multiood-code", "npmix")
    assert (knn.discrepancy, knn.modalities, knn.seed) == ("hellinger", ["a", "b"], 0)
    assert "synthetic data" in knn.notes
    assert (knn.n_id, knn.n_ood) == (90, 300)
    assert knn.engine["name"] == "native"
    card = json.loads((trained / "best.json").read_text())
    assert knn.digests["checkpoint"] == card["checkpoint_digest"]
    assert knn.best_epoch == card["epoch"]
    store = EmbeddingStore.open(tiny.folder / "test" / "embeddings" / "synthetic_near")
    assert knn.digests["store"] == store.digest()
    assert len({r.run_id for r in records}) == 1


def test_metrics_are_those_of_the_saved_scores(tiny, trained):
    from sklearn.metrics import roc_auc_score

    for record in run(tiny, trained):
        folder = tiny.folder / "test" / "scores" / record.postprocessor
        known, unknown = (np.load(folder / f"{name}.npz") for name in ("id", record.ood_set))
        truth = np.r_[np.ones(len(known["conf"])), np.zeros(len(unknown["conf"]))]
        auroc = roc_auc_score(truth, np.r_[known["conf"], unknown["conf"]])
        assert record.metrics["AUROC"]["value"] == pytest.approx(auroc)
        assert record.metrics["ACC"]["value"] == pytest.approx((known["pred"] == known["label"]).mean())
        assert (unknown["label"] == -1).all()


def test_other_metrics_are_those_of_scores_and_logits(tiny, trained, tested):
    from sklearn.metrics import log_loss, roc_auc_score

    stores = {
        name: EmbeddingStore.open(tested / "embeddings" / name).embeddings() for name in ("test", "val")
    }
    for record in load_records(tested / "records"):
        known = np.load(tested / "scores" / record.postprocessor / "id.npz")
        found = {name: each["value"] for name, each in record.failure["metrics"].items()}
        right = known["pred"] == known["label"]
        assert found["AUROC_right"] == pytest.approx(roc_auc_score(right, known["conf"]))
        assert record.failure["val_range"][0] < known["conf"].mean() < record.failure["val_range"][1]
        assert {"AURC", "OSCR", "AUTC"} <= found.keys()
        calibration = record.calibration
        for kind, temperature in (("metrics", 1.0), ("scaled", calibration["temperature"])):
            p = scipy.special.softmax(stores["test"].logits.astype("f8") / temperature, axis=1)
            assert calibration[kind]["NLL"]["value"] == pytest.approx(log_loss(stores["test"].labels, p))
        losses = [
            log_loss(
                stores["val"].labels, scipy.special.softmax(stores["val"].logits.astype("f8") / t, axis=1)
            )
            for t in calibration["temperature"] * np.array([0.9, 1.0, 1.1])
        ]
        assert losses[1] == min(losses)
    rows = (tested / "failure.csv").read_text().splitlines()
    assert {tuple(row.split(",")[:2]) for row in rows[1:]} == {
        (score, name) for score in ("msp", "knn") for name in ("id", "synthetic_near")
    }
    shutil.copytree(tested, tiny.folder / "test")
    records = run(tiny, trained, "--postprocessors", "msp")
    assert all(record.failure is record.calibration is None for record in records)
    assert not {"failure.csv", "calibration.csv"} & set(tree(tiny.folder / "test"))


def test_an_unknown_kind_of_metrics_is_refused_before_anything_is_read(tiny, trained):
    with pytest.raises(
        UserError, match=r"metrics name 'failures'; there are failure, calibration\. Did you mean"
    ):
        run(tiny, trained, "--metrics", "failures")


def test_stores_hold_what_the_network_returns(tiny, trained):
    run(tiny, trained)
    store = EmbeddingStore.open(tiny.folder / "test" / "embeddings" / "test").embeddings()
    with np.load(tiny.folder / "test" / "embeddings" / "head.npz") as head:
        logits = LinearHead(head["weight"], head["bias"]).logits(np.asarray(store.features))
    np.testing.assert_allclose(logits, store.logits, rtol=1e-5, atol=1e-5)
    assert dict(store.slices) == {"a": (0, 6), "b": (6, 12)}
    assert store.modality_logits.shape == (90, 2, 6)


def test_a_second_run_replaces_and_extracts_nothing(tiny, trained, monkeypatch):
    run(tiny, trained)
    folder = tiny.folder / "test"
    before = {name: (folder / name).read_bytes() for name in tree(folder)}

    def fail(*_):
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(MLPFusionNet, "forward_modalities", fail)
    run(tiny, trained)
    after = {name: (folder / name).read_bytes() for name in tree(folder)}
    assert before == after  # dates are days


def test_a_second_run_leaves_nothing_of_scores_that_it_does_not_have(tiny, trained):
    run(tiny, trained, "--postprocessors", "msp", "knn", "--postprocessor_args", "{knn: {K: 5}}")
    folder = tiny.folder / "test"
    before = tree(folder)
    assert {"knn/ood.csv", "scores/knn/id.npz", "records/knn@synthetic_near.record.json"} <= set(before)
    run(tiny, trained, "--postprocessors", "msp")
    assert set(tree(folder)) == {path for path in before if "knn" not in path}
    assert not (folder / "knn").exists()


def test_a_parameter_search_takes_the_config_s_sweep_and_is_noted(tiny, trained):
    config = tiny.config(tiny.test(checkpoint=trained / "best.ckpt"))
    config["postprocessor"] = {
        "name": "react",
        "APS_mode": True,
        "postprocessor_sweep": {"percentile_list": [42, 43]},
    }
    (record,) = TestPipeline(config).run()
    assert record.postprocessor == "react"
    assert record.parameters["percentile"] in (42, 43)
    assert any("chosen by AUROC on the validation OOD set: percentile = " in note for note in record.notes)


def test_a_search_takes_the_published_sweeps_and_says_so(tiny, trained):
    words = ("--postprocessors", "msp", "react", "ash", "--postprocessor_args", "{ash: {percentile: 70}}")
    records = {each.postprocessor: each for each in run(tiny, trained, *words, "--search", "validation")}
    by = {name: each.parameters_from for name, each in records.items()}
    assert by == {"msp": "preset", "react": "searched", "ash": "given"}
    (note,) = [note for note in records["react"].notes if "chosen by AUROC on the validation OOD set" in note]
    single = tiny.config(tiny.test(checkpoint=trained / "best.ckpt"))
    single["postprocessor"] = {"name": "react", "APS_mode": True}
    (openood,) = TestPipeline(single).run()
    assert openood.parameters == records["react"].parameters
    assert openood.metrics == records["react"].metrics
    assert note in openood.notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--search", "test"), "search is 'test'; in a test config it is validation, or null"),
        (("--search", "validation", "--fit_on", "val"), "search goes with fit_on: train"),
        (("--search", "validation", "--postprocessors", "msp"), "none of msp has a sweep"),
        (("--search", "validation", "--dataset.split_names", "train", "test"), "split_names has no val"),
    ],
)
def test_what_a_search_refuses(tiny, trained, words, message):
    with pytest.raises(UserError, match=message):
        run(tiny, trained, "--postprocessors", "react", *words)


def test_no_search_is_no_part_of_a_config_s_digest(tiny, trained):
    config = dict(tiny.config(tiny.test(checkpoint=trained / "best.ckpt")))
    without = {key: value for key, value in config.items() if key != "search"}
    assert config_digest({**config, "search": None}) == config_digest(without)
    assert config_digest({**config, "search": "validation"}) != config_digest(without)


def test_records_hold_the_trainer_s_defaults(tiny):
    config = tiny.config(tiny.train("a2d"))
    config["trainer"] = {"name": "a2d"}
    TrainPipeline(config).run()
    record, *_ = run(tiny, tiny.folder / "run")
    assert (record.protocol, record.discrepancy) == ("multiood-code", "hellinger")
    other = type(tiny)(tiny.folder / "other")
    TrainPipeline(other.config(other.train("a2d"))).run()  # the same, written out
    again, *_ = run(other, other.folder / "run")
    assert again.digests["training"] == record.digests["training"]


@pytest.mark.parametrize(
    ("training", "synthesis", "expected"),
    [
        ("a2d_npmix", "vos", ("a2d_synthesis", "vos")),
        ("a2d_synthesis", "npmix", ("a2d_npmix", "npmix")),
        ("a2d_synthesis", "none", ("a2d_synthesis", None)),
    ],
)
def test_a_record_names_np_mix_where_that_made_the_outliers(tiny, training, synthesis, expected):
    words = (
        "--trainer.synthesis",
        synthesis,
        "--trainer.synthesis_args",
        "{}",
        "--optimizer.num_epochs",
        "1",
    )
    TrainPipeline(tiny.config(tiny.train(training, *words))).run()
    record, *_ = run(tiny, tiny.folder / "run")
    assert (record.training, record.synthesis) == expected
    assert not any("outliers" in note for note in record.notes) or synthesis != "none"


def test_other_clips_are_refused_without_a_train_split_too(tiny, trained):
    words = ("--dataset.split_names", "val", "test", "--fit_on", "val", "--dataset.partition", "1")
    with pytest.raises(UserError, match="other clips"):
        run(tiny, trained, *words)


def test_an_extraction_that_was_stopped_goes_on(tiny, trained, monkeypatch):
    run(tiny, trained, "--exp_name", "whole")
    write = EmbeddingStore.write
    for kill in (0, 1, 3, 6):
        left = [kill]

        def stop(self, *batch, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            write(self, *batch)

        monkeypatch.setattr(EmbeddingStore, "write", stop)
        words = ("--exp_name", f"stopped_{kill}", "--ood_dataset.batch_size", "100")
        with pytest.raises(KeyboardInterrupt):
            run(tiny, trained, *words)
        monkeypatch.setattr(EmbeddingStore, "write", write)
        run(tiny, trained, *words)
        for name in ("train", "test", "synthetic_near"):
            here, there = (
                tiny.folder / which / "embeddings" / name for which in (f"stopped_{kill}", "whole")
            )
            np.testing.assert_array_equal(np.load(here / "labels.npy"), np.load(there / "labels.npy"))
            np.testing.assert_allclose(
                np.load(here / "features.npy"), np.load(there / "features.npy"), rtol=1e-5, atol=1e-6
            )


def test_extract_first_then_test(tiny, trained, monkeypatch):
    words = tiny.test("--pipeline.name", "multimodal_extract", checkpoint=trained / "best.ckpt")
    folder = ExtractPipeline(tiny.config(words)).run()
    assert {path.name for path in folder.iterdir()} == {
        *(
            "train",
            "val",
            "test",
            "ood_val",
            "synthetic_near",
            "synthetic_shift",
            "synthetic_noise",
            "head.npz",
        )
    }

    def fail(*_):
        raise AssertionError("extracted again")

    monkeypatch.setattr(MLPFusionNet, "forward_modalities", fail)
    run(tiny, trained)
    run(tiny, trained, evaluator="far_ood")


def test_without_stores_the_results_are_the_same(tiny, trained):
    stored = run(tiny, trained)
    memory = tiny.folder / "memory.yml"
    memory.write_text("recorder: {save_embeddings: False}\n")
    kept = run(tiny, trained, "--exp_name", "memory", files=(str(memory),))
    assert [r.metrics for r in kept] == [r.metrics for r in stored]
    assert not (tiny.folder / "memory" / "embeddings").exists()
    assert kept[0].digests["store"] is None


def test_a_checkpoint_without_a_card_is_tested_and_noted(tiny, trained):
    shutil.copy(trained / "best.ckpt", tiny.folder / "bare.ckpt")
    record = run(tiny, trained, checkpoint=tiny.folder / "bare.ckpt")[0]
    assert any("has no card" in note for note in record.notes)
    assert (record.track, record.training, record.best_epoch) == ("own", None, None)
    assert {each.track for each in load_records(tiny.folder / "test")} == {"own"}


def test_default_output_goes_beside_the_checkpoint(tiny, trained):
    shutil.copytree(trained, tiny.folder / "run")
    words = tiny.test()
    where = words.index("--output_dir")
    del words[where : where + 4]
    TestPipeline(tiny.config(words)).run()
    assert (tiny.folder / "run" / "best.ckpt.near_ood" / "results.csv").is_file()


def unscaled(tiny):
    splits = ", ".join(
        f"{name}: {{imglist_pth: {{standardize: False}}}}" for name in ("train", "val", "test")
    )
    path = tiny.folder / "unscaled.yml"
    path.write_text(
        f"dataset: {{{splits}}}\n"
        "ood_dataset: {nearood: {synthetic_near: {imglist_pth: {standardize: False}}}}\n"
    )
    return str(path)


def test_input_on_another_scale_is_refused(tiny, trained):
    files = (unscaled(tiny),)
    with pytest.raises(UserError, match="standardize: True, and this config's data has standardize: False"):
        run(tiny, trained, files=files)
    # without a card only the store can tell
    shutil.copy(trained / "best.ckpt", tiny.folder / "bare.ckpt")
    run(tiny, trained, checkpoint=tiny.folder / "bare.ckpt")
    with pytest.raises(UserError, match="made from another config"):
        run(tiny, trained, checkpoint=tiny.folder / "bare.ckpt", files=files)


def test_stores_of_another_checkpoint_are_refused(tiny, trained):
    run(tiny, trained)
    other = type(tiny)(tiny.folder / "other")
    TrainPipeline(other.config(other.train("multimodal_baseline"))).run()
    with pytest.raises(UserError, match=r"made from another checkpoint.*Delete the folder"):
        run(tiny, trained, checkpoint=other.folder / "run" / "best.ckpt")


def test_real_data(tiny):
    """HTAD end to end; the synthetic benchmark serves for the rest."""
    TrainPipeline(tiny.config(tiny.train("a2d", data="htad"))).run()
    records = TestPipeline(tiny.config(tiny.test(data="htad"))).run()
    assert {r.track for r in records} == {"grouped"}
    assert records[0].notes == []
    with pytest.raises(
        UserError, match="seed 0 there, 1 here"
    ):  # other runs are test runs under another seed
        TestPipeline(tiny.config(tiny.test("--seed", "1", data="htad"))).run()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"postprocessors": "msp"}, ("msp",)),
        ({"postprocessors": ["msp", "knn", "msp"]}, ("msp", "knn")),
        ({"postprocessor": {"name": "vim", "postprocessor_args": {"dim": 5}}}, ("vim",)),
        ({"postprocessors": ["ebo"], "postprocessor": {"name": "vim"}}, ("vim",)),
        ({"postprocessors": ["ebo", "vim"], "postprocessor": {"name": "vim"}}, ("vim",)),
    ],
)
def test_options(config, expected):
    chosen = choose_scores(config)
    assert [each.name for each in chosen] == list(expected)
    assert {each.engine["name"] for each in chosen} == {"native"}
    given = choose_scores({**config, "preset": "openood", "engine": "native", "fit_on": "train"})
    assert [repr(each) for each in given] == [repr(each) for each in chosen]
    if "postprocessor_args" in config.get("postprocessor", {}):
        assert chosen[0].score.parameters["dim"] == 5


def test_the_manifest_digest_covers_every_split(tiny, trained):
    """It changes with any of the sets that a result rests on, not with the test set alone."""
    near, far = (run(tiny, trained, evaluator=name)[0] for name in ("near_ood", "far_ood"))
    assert near.digests["manifest"] != far.digests["manifest"]
    datasets = {name: SimpleNamespace(manifest=SimpleNamespace(digest=lambda n=name: n)) for name in "abc"}
    assert split_digest(datasets) == split_digest(dict(reversed(datasets.items())))
    assert split_digest(datasets) != split_digest({**datasets, "c": datasets["a"]})


def test_rows_of_unseen_recordings_are_found_by_clip_name():
    """Clips may have been skipped, so a row's place in the manifest is not its place in the embeddings."""

    def loader(**recordings):
        manifest = Manifest.create(
            recordings, [0] * len(recordings), ["x"] * len(recordings), {"a": recordings}, recordings.values()
        )
        return SimpleNamespace(dataset=SimpleNamespace(manifest=manifest))

    def embeddings(*clips):
        return Embeddings(np.zeros((len(clips), 2)), np.zeros(len(clips), np.int64), clips=clips)

    loaders = {"train": loader(t1="r1", t2="r2"), "test": loader(c1="r1", c2="r3", c3="r4")}
    ood_loaders = {"nearood": {"other": loader(o1="r2", o2="r9"), "unknown": loader(u1="")}}
    sets = {"nearood": {"other": embeddings("o1", "o2"), "unknown": embeddings("u1")}}
    found = _unseen(loaders, ood_loaders, {"test": embeddings("c3", "c1")}, sets)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "id": [True, False],
        "other": [False, True],
    }
    assert _unseen({"test": loaders["test"]}, ood_loaders, {"test": embeddings("c1")}, sets) == {}
