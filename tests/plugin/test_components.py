"""Our components through the stand-in's own pipelines, and its image configs as they were."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from openood_multimodal.config import Config
from openood_multimodal.errors import UserError
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.plugin import register, surroundings, unregister
from openood_multimodal.plugin.placeholders import placeholders
from openood_multimodal.reporting.records import load_records

FAR = "--evaluator.name", "ood"


@pytest.fixture
def registered(standin):
    register()
    return standin


@pytest.fixture
def trained_here(registered, table_config, run_openood, tmp_path, capsys):
    run_openood(table_config("train"))
    capsys.readouterr()
    return tmp_path / "run" / "best.ckpt"


def _scores(folder: Path) -> list[str]:
    return next(folder.rglob("ood.csv")).read_text().splitlines()


def test_openoods_train_trains_the_same_network_as_our_own(trained_here, table_config, tmp_path):
    from openood_multimodal.config import Config

    own = table_config("train", folder="own", pipeline={"name": "multimodal_train"})
    best = TrainPipeline(Config(own)).run().folder / "last.ckpt"
    theirs, ours = torch.load(trained_here, weights_only=True), torch.load(best, weights_only=True)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)


def test_auxiliary_outliers_train_the_same_network_in_both_hosts(
    registered, table_config, run_openood, tmp_path
):
    from openood_multimodal.config import Config

    request = {"benchmark": "synthetic_far", "split": "ood_val", "set": "synthetic_val"}
    outliers = {"dataset_class": "MultimodalTabularDataset", "imglist_pth": request, "batch_size": 32}
    test = table_config("test")
    ood = {**test["ood_dataset"], "split_names": ["nearood", "farood"]}
    config = table_config("train", ood_dataset=ood, trainer={"name": "outlier_exposure"})
    config["dataset"] = {**config["dataset"], "auxiliary": outliers}
    run_openood(config)
    own = {**config, "output_dir": str(tmp_path / "own"), "pipeline": {"name": "multimodal_train"}}
    TrainPipeline(Config(own)).run()
    theirs, ours = (
        torch.load(folder / "best.ckpt", weights_only=True) for folder in (tmp_path / "run", tmp_path / "own")
    )
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)
    with pytest.raises(
        UserError, match=r"was trained with auxiliary outliers \(200 rows.*no section dataset.auxiliary"
    ):
        run_openood({**test, "postprocessor": {"name": "msp"}})
    with pytest.raises(UserError, match=r"it shares with ood_dataset.val class"):
        run_openood({**config, "ood_dataset": test["ood_dataset"], "output_dir": str(tmp_path / "shared")})


def test_openoods_own_trainer_tells_our_data_sets_the_epoch(
    registered, table_config, run_openood, monkeypatch
):
    from openood_multimodal.datasets import MultimodalTabularDataset

    seen = []
    monkeypatch.setattr(MultimodalTabularDataset, "set_epoch", lambda self, epoch: seen.append(epoch))
    config = table_config("train", trainer={"name": "base"}, folder="base")
    run_openood(config)
    assert seen == list(range(1, config["optimizer"]["num_epochs"] + 1))


def test_which_openood_it_was_lies_beside_the_results(trained_here):
    host = json.loads((trained_here.parent / "openood_host.json").read_text())
    assert host["openood"]["fpr95"] == "ood"
    assert host["openood"]["root"].endswith("standin_openood")


def test_openoods_test_with_its_evaluator_and_table_of_class_counts(
    trained_here, table_config, run_openood, tmp_path
):
    from openood.postprocessors.info import num_classes_dict

    run_openood(table_config("test", *FAR, folder="mds", postprocessor={"name": "mds"}))
    assert num_classes_dict == {"gray": 2, "synthetic_far": 6}
    names = [line.split(",")[0] for line in _scores(tmp_path / "mds")]
    assert names == ["synthetic_near", "synthetic_shift", "synthetic_noise"]
    unregister()
    assert num_classes_dict == {"gray": 2}


def test_our_evaluator_and_a_native_score_inside_openood(trained_here, table_config, run_openood, tmp_path):
    run_openood(
        table_config("test", folder="mm", postprocessor={"name": "mm_knn", "postprocessor_args": {"K": 5}})
    )
    csv = next((tmp_path / "mm").rglob("ood.csv")).read_text()
    assert csv.startswith("dataset,FPR@95")
    assert "nearood" in csv


def test_ash_really_is_ash(trained_here, table_config, run_openood, tmp_path):
    for name, args in (("ebo", {"temperature": 1}), ("ash", {"percentile": 65})):
        section = {"name": name, "postprocessor_args": args}
        run_openood(table_config("test", *FAR, folder=name, postprocessor=section))
    assert _scores(tmp_path / "ash") != _scores(tmp_path / "ebo")


def test_literal_cuda_devices_mean_the_cpu(trained_here, table_config, run_openood, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    run_openood(table_config("test", *FAR, folder="ts", postprocessor={"name": "temperature_scaling"}))
    assert len(_scores(tmp_path / "ts")) == 3
    with pytest.raises((AssertionError, RuntimeError)):
        torch.ones(1, device="cuda")  # only while OpenOOD's class runs


def test_our_pipelines_run_inside_and_their_records_say_so(
    trained_here, table_config, run_openood, tmp_path, capsys
):
    config = table_config("test", folder="inside")
    records = run_openood({**config, "pipeline": {"name": "multimodal_test"}, "network": config["network"]})
    assert all(note.startswith("run inside OpenOOD") for record in records for note in record.notes[-1:])
    written = load_records(tmp_path / "inside")
    assert sorted(r.file_name for r in written) == sorted(r.file_name for r in records)
    assert all(r.notes == next(o for o in records if o.file_name == r.file_name).notes for r in written)
    first = capsys.readouterr().out.splitlines()[0]
    assert "inside OpenOOD" in first
    assert "FPR@95 of OpenOOD's evaluators: OOD is the positive class" in first

    config["output_dir"] = str(tmp_path / "own")
    own = TestPipeline(config).run()
    assert [r.metrics for r in own] == [r.metrics for r in records]


def test_image_runs_are_the_same_before_during_and_after(standin, image_config, run_openood, tmp_path):
    import sys

    def figures(when: str) -> list[list[str]]:
        found = []
        run_openood(image_config(exp_name=when, output_dir=str(tmp_path / when)))
        network = {"name": "react_net", "num_classes": 2, "num_gpus": 1, "pretrained": False}
        backbone = {"name": "small", "num_classes": 2, "num_gpus": 1, "pretrained": True}
        backbone["checkpoint"] = str(tmp_path / when / "best.ckpt")
        for name in ("msp", "mds"):
            out = tmp_path / f"{when}_{name}"
            config = image_config(
                output_dir=str(out), network={**network, "backbone": backbone}, postprocessor={"name": name}
            )
            config |= {"pipeline": {"name": "test_ood"}, "evaluator": {"name": "ood"}}
            run_openood(config)
            found.append(_scores(out))
            assert {path.name for path in out.iterdir()} == {"ood.csv", "scores"}
        weights = torch.load(tmp_path / when / "best.ckpt", weights_only=True)
        return [*found, [str(value.tolist()) for value in weights.values()]]

    sys.path.insert(0, str(standin))
    with placeholders():
        import openood.pipelines  # noqa: F401
    surroundings.switch_on()  # the one thing that an image run needs here, whether or not anything is registered
    before = figures("before")
    register()
    during = figures("during")
    unregister()
    surroundings.switch_on()
    assert before == during == figures("after")


def test_a_mistake_in_an_image_config_fails_as_before(registered, image_config, run_openood):
    with pytest.raises(KeyError, match="nonsense"):
        run_openood(image_config(trainer={"name": "nonsense"}))
    config = image_config(
        pipeline={"name": "test_ood"}, evaluator={"name": "ood"}, postprocessor={"name": "mds"}
    )
    config["dataset"]["name"] = "unknown"
    with pytest.raises(KeyError, match="unknown"):
        run_openood(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessor": {"name": None}}, "preprocessor.name is not set.*multimodal_base"),
        ({"preprocessor": "base"}, "preprocessor is 'base'.*after it"),
        ({"merge_option": "default"}, "exists already, and merge_option is 'default'.*terminal.*--merge_option merge"),
        ({"merge_option": "pass"}, "makes OpenOOD fail"),
        ({"postprocessor": {"name": "mps"}}, r"postprocessor\.name is 'mps'.*Did you mean 'm"),
        ({"postprocessor": {}}, r"postprocessor\.name is not set.*configs/postprocessors"),
        ({"recorder": None}, "recorder is not set"),
        ({"pipeline": {"name": "test_odd"}}, "pipeline.name is 'test_odd'. Did you mean 'test_ood'"),
        ({"postprocessor": {"name": "vim", "postprocessor_args": {"dim": 12}}}, "dim is 12.*12 columns.*1 to 11"),
        ({"postprocessor": {"name": "residual", "postprocessor_args": {"dim": 512}}}, "dim is 512.*12 columns"),
        ({"postprocessor": {"name": "conf_branch"}}, "'conf_branch' can't run on .* a confidence branch"),
        ({"postprocessor": {"name": "adascale_a"}}, "'adascale_a' can't run on .*one image tensor"),
        ({"postprocessor": {"name": "nonsense"}}, "'nonsense', which neither"),
        ({"postprocessor": {"name": "msp", "APS_mode": True}}, "msp has no postprocessor_sweep"),
        ({"num_gpus": 2, "pipeline": {"name": "multimodal_test"}}, "runs in one process.*--num_gpus 1"),
    ],
)  # fmt: skip
def test_our_own_check_names_it_before_the_run(
    registered, table_config, run_openood, tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr("sys.stdin", None)
    config = table_config("test", postprocessor={"name": "msp"}, folder="out")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        run_openood({**config, **changes})
    assert not list((tmp_path / "out").iterdir())


def test_openoods_evaluator_needs_far_sets_and_ours_do_not(registered, table_config, run_openood):
    config = table_config("test", *FAR, postprocessor={"name": "msp"})
    config["ood_dataset"]["split_names"] = ["val", "nearood"]
    with pytest.raises(
        UserError, match=r"'ood' needs nearood and farood.*no farood; set --evaluator.name near_ood"
    ):
        run_openood(config)


def test_a_search_needs_a_validation_set(registered, table_config, run_openood):
    config = table_config("test", postprocessor={"name": "ebo", "APS_mode": True})
    config["postprocessor"]["postprocessor_sweep"] = {"temperature_list": [1]}
    config["ood_dataset"]["split_names"] = ["nearood"]
    with pytest.raises(UserError, match=r"APS_mode is on.*no 'val'.*--postprocessor.APS_mode False"):
        run_openood(config)


def test_a_search_needs_something_to_search(registered, table_config, run_openood, trained_here):
    section = {"name": "msp", "APS_mode": True, "postprocessor_sweep": {"x_list": [1]}}
    with pytest.raises(UserError, match="OpenOOD's 'msp' has nothing to search"):
        run_openood(table_config("test", folder="aps", postprocessor=section))


def test_conditions_are_not_left_out_silently(registered, table_config):
    from openood_multimodal.plugin import preflight

    config = table_config("test", postprocessor={"name": "msp"})
    for name in (None, "clean"):
        preflight.check({**config, "condition": {"name": name}}, own_pipelines=["test_ood"])
    with pytest.raises(
        UserError, match=r"'missing:x', and OpenOOD's test_ood.*--pipeline.name multimodal_test"
    ):
        preflight.check({**config, "condition": {"name": "missing:x"}}, own_pipelines=["test_ood"])


def test_the_width_check_draws_no_random_numbers(registered, table_config):
    from openood_multimodal.plugin import preflight

    config = table_config("test", postprocessor={"name": "vim", "postprocessor_args": {"dim": 4}})
    state = torch.random.get_rng_state()
    preflight.check(config, own_pipelines=["test_ood"])
    assert torch.equal(state, torch.random.get_rng_state())


def test_augmentation_stays_out_of_tests(registered, table_config):
    import openood.preprocessors.utils as utils
    from openood.utils import Config

    noise = {"name": "multimodal_noise", "noise_std": 0.5}
    split = {}
    for which in ("train", "test"):
        config = Config(table_config(which, preprocessor=noise))
        split[which] = utils.get_preprocessor(config, "train").split
    assert split == {"train": "train", "test": "test"}


def test_training_keeps_in_step_across_processes(monkeypatch):
    import torch.distributed as dist

    from openood_multimodal.plugin.training import keep_in_step

    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "broadcast", lambda tensor, src: None)

    def add_the_other(tensor, op=dist.ReduceOp.SUM):
        if op is dist.ReduceOp.SUM:
            tensor.add_(3.0)  # what the other process has

    monkeypatch.setattr(dist, "all_reduce", add_the_other)
    keep_in_step(net, optimizer)
    before = net.weight.detach().clone()
    net.bias.requires_grad_(False)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.allclose(before - net.weight, torch.full((1, 2), (1.0 + 3.0) / 2))
    assert np.isfinite(net.bias.item())


def test_tests_read_in_the_manifests_order_and_training_shuffles(registered, table_config):
    from openood.datasets import get_dataloader
    from openood.utils import Config

    samplers = {}
    for which in ("train", "test"):
        config = Config(table_config(which, "--num_workers", "0"))
        config["dataset"]["train"]["shuffle"] = True
        samplers[which] = type(get_dataloader(config)["train"].sampler).__name__
        assert config["dataset"]["train"]["shuffle"]
    assert samplers == {"train": "RandomSampler", "test": "SequentialSampler"}


def test_what_draws_is_seeded_by_the_config(trained_here, table_config, run_openood, tmp_path, monkeypatch):
    import openood.postprocessors.base as base

    def postprocess(self, net, data):
        return net(data).argmax(1), torch.rand(data.size(0))

    monkeypatch.setattr(base.BasePostprocessor, "postprocess", postprocess)
    results = []
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        torch.rand(3)
        run_openood(table_config("test", *FAR, folder=folder, postprocessor={"name": "msp"}, seed=seed))
        results.append(_scores(tmp_path / folder))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    "encoders",
    [
        {"audio": {"name": "audio_resnet18", "checkpoint": "nowhere.pth"}},
        {"flow": {"name": "tsn_r50_flow", "depth": 18, "checkpoint": "nowhere.pth"}},
        {"video": {"name": "swin_tiny"}},
    ],
)
def test_the_width_of_a_clip_network_is_known_before_the_run(encoders):
    pytest.importorskip("mmaction")
    from openood_multimodal.plugin.preflight import _width

    section = {"name": "clip_fusion", "num_classes": 3, "modalities": list(encoders), "encoders": encoders}
    widths = {"audio": 512, "flow": 512, "video": 768}
    assert _width({**section, "pretrained": True, "checkpoint": "not read"}) == widths[next(iter(encoders))]


def test_what_this_version_cannot_run_is_refused_before_the_run(
    registered, table_config, run_openood, monkeypatch
):
    import openood.postprocessors as theirs

    monkeypatch.setattr(
        theirs, "GRAMPostprocessor", type("V15", (theirs.MDSPostprocessor,), {}), raising=False
    )
    with pytest.raises(UserError, match=r"'gram' can't run on .*at v1.5 it asks for .*Use OpenOOD's main"):
        run_openood(table_config("test", postprocessor={"name": "gram"}))


def test_openoods_train_leaves_a_card_and_other_clips_are_refused(
    trained_here, table_config, run_openood, tmp_path
):
    from openood_multimodal.pipelines.card import read_card

    card = read_card(trained_here)
    assert (card.epoch, card.num_epochs, card.trainer["name"]) == (2, 2, "a2d")
    own = TrainPipeline(
        Config({**table_config("train", folder="own"), "pipeline": {"name": "multimodal_train"}})
    ).run()
    ours = read_card(own.folder / "last.ckpt")
    assert (card.settings_digest, card.manifest_digests) == (ours.settings_digest, ours.manifest_digests)
    assert read_card(next(trained_here.parent.glob("best_epoch2_acc*.ckpt"))).epoch == 2

    section = {"name": "msp"}
    run_openood(table_config("test", *FAR, folder="same", postprocessor=section))
    with pytest.raises(UserError, match=r"was trained on other clips.*partition 0 there, 1 here"):
        run_openood(
            table_config("test", *FAR, "--dataset.partition", "1", folder="other", postprocessor=section)
        )
    assert not (tmp_path / "other").exists()


def test_without_a_card_the_trainings_config_is_looked_at(
    trained_here, table_config, run_openood, tmp_path, capsys
):
    """A training that was stopped has written no card."""
    import yaml

    def save(config):  # as OpenOOD's setup_logger does
        tag = "!!python/object/new:openood.utils.config.Config"
        (trained_here.parent / "config.yml").write_text(f"{tag}\n{yaml.safe_dump({'state': config})}")

    for card in trained_here.parent.glob("*.json"):
        card.unlink()
    section = {"name": "msp"}
    run_openood(table_config("test", *FAR, folder="none", postprocessor=section))
    assert "so nothing can check on which clips" in capsys.readouterr().out
    save(table_config("train"))
    run_openood(table_config("test", *FAR, folder="same", postprocessor=section))
    assert "so nothing can check on which clips" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"was trained on other clips.*partition 0 there, 1 here"):
        run_openood(
            table_config("test", *FAR, "--dataset.partition", "1", folder="other", postprocessor=section)
        )
    config = table_config("train")
    config["dataset"]["train"]["imglist_pth"] = str(tmp_path / "gone.csv")
    save(config)
    run_openood(table_config("test", *FAR, folder="gone", postprocessor=section))
    assert "has no card" in (said := capsys.readouterr().out)
    assert "gone.csv" in said


def test_a_card_is_of_this_run_and_not_of_what_lay_there(registered, table_config, run_openood, tmp_path):
    import os

    folder = tmp_path / "run"
    folder.mkdir()
    old = folder / "best_epoch9_acc0.9999.ckpt"
    old.write_bytes(b"of an earlier training")
    os.utime(old, (1, 1))
    run_openood(table_config("train"))
    assert not old.with_suffix(".json").exists()
    assert json.loads((folder / "best.json").read_text())["epoch"] == 2


def test_openoods_evaluator_writes_a_folder_a_postprocessor_and_replaces(
    trained_here, table_config, run_openood, tmp_path
):
    for name in ("msp", "mds", "msp"):
        run_openood(table_config("test", *FAR, folder="ood", postprocessor={"name": name}))
    assert not (tmp_path / "ood" / "ood.csv").exists()
    for name in ("msp", "mds"):
        rows = (tmp_path / "ood" / name / "ood.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["synthetic_near", "synthetic_shift", "synthetic_noise"]
        scores = tmp_path / "ood" / name / "scores" / name
        assert {path.stem for path in scores.iterdir()} == {
            "id",
            "synthetic_near",
            "synthetic_shift",
            "synthetic_noise",
        }
