"""Records and the table of a `test_ood` inside the stand-in; `test_real_openood.py` does the same in OpenOOD."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from openood_multimodal.config import Config
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.pipelines.submission import verify_folder
from openood_multimodal.plugin import register
from openood_multimodal.plugin.recording import HostRecorder, _Seen
from openood_multimodal.reporting.aggregate import method_of
from openood_multimodal.reporting.records import load_records

SETS = {"near_ood": ["synthetic_near"], "ood": ["synthetic_near", "synthetic_noise", "synthetic_shift"]}


@pytest.fixture
def trained(standin, table_config, tmp_path):
    """A checkpoint with a card, where `table_config`'s tests look for it."""
    TrainPipeline(Config(table_config("train", pipeline={"name": "multimodal_train"}))).run()
    register()
    return tmp_path / "run" / "best.ckpt"


@pytest.fixture
def test_ood(table_config, run_openood, capsys):
    def run(evaluator="near_ood", name="msp", folder="out", *words, **sections):
        section = {"name": name, "APS_mode": False, **sections.pop("postprocessor", {})}
        config = table_config(
            "test", *words, folder=folder, evaluator={"name": evaluator, "ood_scheme": "ood"}, **sections
        )
        capsys.readouterr()
        run_openood({**config, "postprocessor": section})
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("evaluator", SETS)
@pytest.mark.parametrize(("name", "engine"), [("msp", "openood"), ("mm_msp", "native")])
def test_records_are_those_of_our_own_host(
    trained, test_ood, table_config, tmp_path, evaluator, name, engine
):
    out = test_ood(evaluator, name, metrics=["failure"])
    records = {each.ood_set: each for each in load_records(tmp_path / "out" / name / "records")}
    assert sorted(records) == SETS[evaluator]
    asked = {"postprocessors": ["msp"], "metrics": ["failure"]}
    own = table_config("test", folder="own", pipeline={"name": "multimodal_test"}, **asked)
    (here,) = TestPipeline(Config({**own, "evaluator": {"name": "near_ood"}})).run()
    there = records["synthetic_near"]
    for key in (
        "metrics",
        "track",
        "benchmark",
        "setting",
        "training",
        "seed",
        "best_epoch",
        "n_id",
        "n_ood",
    ):
        assert getattr(there, key) == getattr(here, key), key
    for key in ("manifest", "training", "checkpoint"):
        assert there.digests[key] == here.digests[key]
    failure, expected = (dict(each.failure["metrics"]) for each in (there, here))
    assert ("AUTC" in failure) == (evaluator == "near_ood") != (there.failure["val_range"] is None)
    for metrics in (failure, expected):
        metrics.pop("AUTC", None)  # it depends on the scale of scores
    assert failure == expected
    assert (there.postprocessor, there.engine["name"]) == ("msp", engine)
    if engine == "native":
        assert method_of(there) == method_of(here)
    values = "".join(f"{100 * there.metrics[key]['value']:8.2f}" for key in ("FPR@95", "AUROC", "ACC"))
    assert f"msp     synthetic_near    {values}" in out
    folder = tmp_path / "out" / name
    assert f"Written: {folder / 'ood.csv'}, {folder / 'records'}" in out
    assert (folder / "ood.csv").is_file()
    assert {(each.tier, each.reason) for each in verify_folder(folder)} == {("verified", "")}


def test_without_scores_they_are_self_reported_and_an_earlier_run_s_scores_go(trained, test_ood, tmp_path):
    test_ood("ood")
    folder = tmp_path / "out"
    assert not (folder / "scores").exists()
    assert (folder / "msp" / "scores" / "msp" / "synthetic_shift.npz").is_file()
    test_ood("near_ood")
    assert sorted(path.name for path in (folder / "msp" / "scores" / "msp").iterdir()) == [
        "id.npz",
        "synthetic_near.npz",
    ]
    test_ood("near_ood", "msp", "bare", recorder={"save_scores": False})
    (found,) = verify_folder(tmp_path / "bare" / "msp")
    assert (found.tier, found.reason) == ("self-reported", "")


def test_calibration_is_refused_as_openood_keeps_no_logits(trained, test_ood):
    with pytest.raises(UserError, match=r"metrics: calibration needs the logits .* 'openood-mm run'"):
        test_ood(metrics=["failure", "calibration"])


def test_its_scores_are_those_that_it_records(trained, test_ood, tmp_path):
    test_ood()
    (record,) = load_records(tmp_path / "out")
    folder = tmp_path / "out" / "msp" / "scores" / "msp"
    with np.load(folder / "id.npz") as known, np.load(folder / "synthetic_near.npz") as unknown:
        assert record.digests["scores"] == scores_digest(SetScores(**known), SetScores(**unknown))


def test_without_a_card_they_are_on_track_own(trained, test_ood, tmp_path):
    shutil.copy(trained, tmp_path / "bare.ckpt")
    out = test_ood(
        "near_ood", "msp", "out", "--network.checkpoint", str(tmp_path / "bare.ckpt"), "--seed", "3"
    )
    (record,) = load_records(tmp_path / "out")
    assert (record.track, record.benchmark, record.training, record.seed) == ("own", "synthetic_far", None, 3)
    assert "Note: track own: the checkpoint has no card" in out


def test_a_second_run_replaces_and_another_postprocessor_s_stay(trained, test_ood, tmp_path):
    test_ood("ood")
    test_ood("near_ood", "mm_ebo")
    test_ood("near_ood")
    found = {(each.postprocessor, each.ood_set) for each in load_records(tmp_path / "out")}
    assert found == {("ebo", "synthetic_near"), ("msp", "synthetic_near")}


def test_parameters_that_were_given_are_told_from_a_preset_s(trained, test_ood, tmp_path):
    test_ood("near_ood", "mm_knn", "a", postprocessor={"postprocessor_args": {"K": 7}})
    test_ood("near_ood", "mm_knn", "b", postprocessor={"preset": "multiood"})
    (a,), (b,) = (load_records(tmp_path / letter) for letter in "ab")
    assert (a.parameters, a.parameters_from, a.preset) == ({"K": 7}, "given", "openood")
    assert (b.parameters, b.parameters_from, b.preset) == ({"K": 10}, "preset", "multiood")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_postprocessor_is_as_before_once_it_was_watched(wrapped):
    class Postprocessor:
        def inference(self, _net, loader):
            return loader, loader, loader

    found = Postprocessor()
    if wrapped:  # as `spare_cuda` does
        found.inference = found.inference
    before = dict(vars(found))
    with _Seen(found) as seen:
        found.inference(None, rows := [1, 2])
    assert vars(found) == before
    assert seen.scores(rows).conf.tolist() == rows


def test_image_runs_leave_none(standin, image_config, run_openood, tmp_path, capsys):
    register()
    run_openood(image_config())
    config = image_config(pipeline={"name": "test_ood"}, evaluator={"name": "ood", "ood_scheme": "ood"})
    config["network"] |= {"pretrained": True, "checkpoint": str(tmp_path / "out" / "best.ckpt")}
    capsys.readouterr()
    run_openood(config)
    assert not list((tmp_path / "out").rglob("*.record.json"))
    assert "score   OOD set" not in capsys.readouterr().out


@pytest.mark.usefixtures("standin")
def test_frames_of_clips_are_recorded_as_those_clips(tmp_path):
    from openood_multimodal.making.frame_card import CARD

    digest = {name: name[0] * 64 for name in ("train", "val", "test", "nearood_x")}
    sets = {
        name: {
            **{"file": f"lists/{name}.txt", "manifest": digest[name], "clips": 3, "images": 3},
            **{"provenance": {"benchmark": "b", "track": "grouped", "partition": "1"}},
            "skipped": ["gone.avi"] if name == "test" else [],
        }
        for name in digest
    }
    settings = {"frames": 1, "test_frames": 1, "short_side": None, "image_size": 224}
    (tmp_path / CARD).write_text(json.dumps({"settings": settings, "sets": sets, "schema_version": 1}))
    split = {name: {"imglist_pth": f"/elsewhere/lists/{name}.txt"} for name in ("train", "val", "test")}
    config = {
        "dataset": {"name": "b", "frames": str(tmp_path / CARD), **split},
        "ood_dataset": {"nearood": {"x": {"imglist_pth": "lists/nearood_x.txt"}}},
        "network": {"name": "resnet18_32x32", "checkpoint": "none"},
        "evaluator": {"name": "ood"},
        "postprocessor": {"name": "msp"},
        "seed": 2,
    }
    recorder = HostRecorder(config, "run inside OpenOOD v")
    scores = {name: np.linspace(low, low + 1, 60) for name, low in (("test", 0.5), ("x", 0.0))}
    loader = {name: SimpleNamespace(dataset=[name]) for name in ("train", "val", "test", "x")}

    class Postprocessor:
        def inference(self, _net, each, *_):
            conf = scores[each.dataset[0]]
            return np.zeros(60, int), conf, np.zeros(60, int)

    def eval_ood(net, ids, ood, postprocessor):
        for each in (ids["test"], ood["nearood"]["x"]):
            postprocessor.inference(net, each)

    evaluator = SimpleNamespace(eval_ood=eval_ood)
    recorder.watch(evaluator)
    ids = {name: loader[name] for name in ("train", "val", "test")}
    evaluator.eval_ood({}, ids, {"nearood": {"x": loader["x"]}}, Postprocessor())
    (record,) = recorder.finish(tmp_path / "out")
    assert (record.benchmark, record.partition, record.track, record.modalities) == (
        "b",
        "1",
        "own",
        ["video"],
    )
    assert (record.networks, record.training, record.seed, record.setting) == (
        "resnet18_32x32",
        None,
        2,
        "near",
    )
    assert record.digests["manifest"] is not None
    assert any("test" in note and "1" in note for note in record.notes if "skipped" in note)


def _frames(tmp_path, **digests):
    """A card of frames and the config of a training on them."""
    from openood_multimodal.making.frame_card import CARD

    sets = {
        name: {
            **{"file": f"lists/{name}.txt", "manifest": digest, "clips": 3, "images": 6, "skipped": []},
            "provenance": {"benchmark": "b", "track": "demo", "partition": 0, "modalities": ["video"]},
        }
        for name, digest in digests.items()
    }
    settings = {"frames": 2, "test_frames": 2, "short_side": None, "image_size": 32}
    (tmp_path / CARD).write_text(json.dumps({"settings": settings, "sets": sets, "schema_version": 1}))
    split = {"dataset_class": "ImglistDataset", "batch_size": 4}
    return {
        "dataset": {
            **{"name": "b", "frames": str(tmp_path / CARD), "split_names": list(digests)},
            **{name: {**split, "imglist_pth": f"lists/{name}.txt"} for name in digests},
        },
        "network": {"name": "resnet18_32x32", "checkpoint": str(tmp_path / "best.ckpt")},
        "trainer": {"name": "base"},
        "optimizer": {"name": "sgd", "num_epochs": 3, "lr": 0.1},
        "seed": 4,
    }


def test_a_training_on_frames_leaves_the_card_of_their_clips(tmp_path):
    from openood_multimodal.config import Config
    from openood_multimodal.errors import UserError
    from openood_multimodal.making.frame_card import frames_of
    from openood_multimodal.pipelines.card import read_card
    from openood_multimodal.plugin import preflight
    from openood_multimodal.plugin.trained import TrainingRun

    config = _frames(tmp_path, train="a" * 64, val="b" * 64, test="c" * 64)
    run = TrainingRun(config)
    run.loaders = {name: SimpleNamespace(dataset=[]) for name in ("train", "val", "test")}
    run.trainer = SimpleNamespace(net=object())
    (tmp_path / "best_epoch2_acc0.5000.ckpt").write_bytes(b"weights")
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    run.finish(tmp_path)
    card = read_card(tmp_path / "best.ckpt")
    assert (card.epoch, card.val_acc, card.seed, card.modalities) == (2, 0.5, 4, ["video"])
    assert (card.data["track"], card.manifest_digests["test"]) == ("demo", "c" * 64)
    assert frames_of(config).notes == ["every frame is a sample: 2 frames a clip"]
    preflight._check_clips(Config(config))
    other = _frames(tmp_path, train="a" * 64, val="b" * 64, test="d" * 64)
    with pytest.raises(UserError, match="trained on other clips"):
        preflight._check_clips(Config(other))


def test_what_openood_s_search_chose_is_noted_under_the_parameter_s_name(trained, test_ood, tmp_path):
    section = {"APS_mode": True, "postprocessor_sweep": {"percentile_list": [42, 43]}}
    test_ood("near_ood", "mm_react", postprocessor=section)
    (record,) = load_records(tmp_path / "out")
    value = record.parameters["percentile"]
    assert record.parameters_from == "searched"
    assert f"parameters chosen by AUROC on the validation OOD set: percentile = {value}" in record.notes
