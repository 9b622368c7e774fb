"""OpenOOD's ``Evaluator`` and ``scripts/eval_ood.py`` on our benchmarks: in the stand-in, and in a real OpenOOD."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from openood_multimodal.config import load_config
from openood_multimodal.config.load import HOST_DEFAULTS
from openood_multimodal.errors import UserError
from openood_multimodal.networks import build_network
from openood_multimodal.plugin import add_benchmark, register, unregister
from openood_multimodal.plugin.__main__ import main
from openood_multimodal.plugin.benchmarks import _added, benchmarks, trained_benchmark
from openood_multimodal.plugin.trained import read_saved_config

DATA = ["datasets/synthetic/synthetic_far.yml", "datasets/synthetic/synthetic_far_ood.yml"]
NETWORK = "networks/mlp_fusion.yml"
SMALL = ("--network.hidden_dim", "8", "--network.embedding_dim", "6")
NEAR_ONLY = {"ood_dataset": {"split_names": ["nearood"]}}
REAL = os.environ.get("OPENOOD_ROOT")


@pytest.fixture
def evaluator_class(standin):
    """The stand-in's Evaluator, registered; benchmarks that a test adds are forgotten afterwards."""
    register()
    from openood.evaluation_api import Evaluator

    before = dict(_added)
    yield Evaluator
    _added.clear()
    _added.update(before)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_network(load_config([HOST_DEFAULTS, DATA[0], NETWORK], SMALL)["network"])


def test_every_packaged_benchmark_is_known():
    assert {"htad_4_3", "mfeat_5_5", "synthetic_far", "hmdb51_25_26", "moving_shapes", "far_hmdb51"} <= set(
        benchmarks()
    )


def test_the_table_is_that_of_the_scores(evaluator_class, net):
    found = evaluator_class(net, "synthetic_far", postprocessor_name="msp", num_workers=0)
    table = found.eval_ood()
    assert list(table.index) == ["synthetic_near", "nearood", "synthetic_shift", "synthetic_noise", "farood"]
    conf = {}
    config = benchmarks()["synthetic_far"].config()
    from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders

    loaders = {"id": build_loaders(config, training=False)["test"]}
    loaders |= build_ood_loaders(config, ("nearood",))["nearood"]
    for name, loader in loaders.items():
        with torch.no_grad():
            conf[name] = np.concatenate(
                [torch.softmax(net(b["data"]), 1).max(1).values.numpy() for b in loader]
            )
    known, unknown = conf["id"], conf["synthetic_near"]
    less = (unknown[:, None] < known).mean() + (unknown[:, None] == known).mean() / 2
    assert table.loc["synthetic_near", "AUROC"] == pytest.approx(100 * less, abs=1e-6)


def test_training_mode_does_not_matter(evaluator_class, net):
    tables = []
    for mode in (True, False):
        net.train(mode)
        tables.append(
            evaluator_class(net, "synthetic_far", postprocessor_name="mds", num_workers=0).eval_ood()
        )
    pd.testing.assert_frame_equal(*tables)
    assert not net.training


def test_groups_that_a_benchmark_lacks(evaluator_class, net):
    add_benchmark("near_only", [*DATA, NEAR_ONLY])
    table = evaluator_class(net, "near_only", postprocessor_name="msp", num_workers=0).eval_ood()
    assert list(table.index) == ["synthetic_near", "nearood"]
    assert not table.isna().any().any()


def test_a_search_needs_an_ood_validation_set(evaluator_class, net, capsys):
    add_benchmark("near_only", [*DATA, NEAR_ONLY])
    assert not evaluator_class(net, "near_only", postprocessor_name="ebo", num_workers=0).searched
    assert (
        "no parameters are searched for ebo: 'near_only' has no OOD validation set" in capsys.readouterr().out
    )
    assert evaluator_class(net, "synthetic_far", postprocessor_name="ebo", num_workers=0).searched


def test_ash_is_wrapped_once_whoever_makes_it(evaluator_class, net):
    from openood.evaluation_api.postprocessor import get_postprocessor
    from openood.networks import ASHNet

    by_name = evaluator_class(net, "synthetic_far", postprocessor_name="ash", num_workers=0)
    given = get_postprocessor("", "ash", "synthetic_far")
    by_object = evaluator_class(net, "synthetic_far", postprocessor=given, num_workers=0)
    for each in (by_name, by_object):
        assert type(each.net) is ASHNet
        assert each.net.backbone is net
    pd.testing.assert_frame_equal(by_name.eval_ood(), by_object.eval_ood())


def test_our_scores_by_name_and_as_objects(evaluator_class, net):
    from openood_multimodal.plugin.native import openood_postprocessors

    by_name = evaluator_class(net, "synthetic_far", postprocessor_name="mm_knn", num_workers=0)
    config = {"postprocessor": {"postprocessor_args": {"K": 50}}}
    given = openood_postprocessors()["mm_knn"](config)
    by_object = evaluator_class(net, "synthetic_far", postprocessor=given, num_workers=0)
    pd.testing.assert_frame_equal(by_name.eval_ood(), by_object.eval_ood())


@pytest.mark.parametrize("name", ["mds", "mm_knn", "ash"])
def test_a_postprocessor_is_pickled_after_its_setup(evaluator_class, net, name):
    first = evaluator_class(net, "synthetic_far", postprocessor_name=name, num_workers=0)
    again = pickle.loads(pickle.dumps(first.postprocessor))
    pd.testing.assert_frame_equal(
        first.eval_ood(),
        evaluator_class(
            net, "synthetic_far", postprocessor_name=name, postprocessor=again, num_workers=0
        ).eval_ood(),
    )


def test_what_is_refused(evaluator_class, net):
    with pytest.raises(UserError, match=r"rankfeat.*can't run"):
        evaluator_class(net, "synthetic_far", postprocessor_name="rankfeat")
    with pytest.raises(UserError, match="preprocessor is for images"):
        evaluator_class(net, "synthetic_far", postprocessor_name="msp", preprocessor=lambda image: image)
    found = evaluator_class(net, "synthetic_far", postprocessor_name="msp", num_workers=0)
    with pytest.raises(UserError, match="no covariate-shifted"):
        found.eval_ood(fsood=True)
    with pytest.raises(UserError, match="no section ood_dataset"):
        add_benchmark("half", DATA[:1])
    with pytest.raises(ValueError, match="Dataset \\[nothing\\] is not supported"):
        evaluator_class(net, "nothing", postprocessor_name="msp")


def test_openoods_own_datasets_stay_its_own(evaluator_class, net):
    with pytest.raises(AssertionError, match="gray would be downloaded"):
        evaluator_class(net, "gray", postprocessor_name="msp", preprocessor=object())


def test_another_partition_is_another_benchmark(evaluator_class):
    add_benchmark("seeded", DATA, ["--seed", "3"])
    assert benchmarks()["seeded"].config()["dataset.train.imglist_pth.seed"] == 3


def test_the_data_folder_is_that_of_the_evaluator():
    config = benchmarks()["hmdb51_25_26"].config("/elsewhere")
    assert config["dataset.train.data_dir"] == "/elsewhere/HMDB51"
    assert benchmarks()["moving_shapes"].config("/x")["dataset.train.data_dir"] == "/x/moving_shapes"


def test_registered_after_the_import_and_taken_back(standin):
    register()
    import openood.evaluation_api as api

    codes = api.Evaluator.__init__.__code__
    unregister()
    assert "synthetic_far" not in api.datasets.DATA_INFO
    assert api.Evaluator.__init__.__code__ is not codes
    register()
    assert "synthetic_far" in api.datasets.DATA_INFO
    unregister()


def test_another_evaluation_api_is_left_alone(standin, monkeypatch):
    register()
    import openood.evaluation_api.evaluator as module

    unregister()
    monkeypatch.delattr(module.Evaluator, "_eval_ood")
    with pytest.warns(UserWarning, match="Evaluator._eval_ood does not exist"):
        register()
    assert "synthetic_far" not in sys.modules["openood.evaluation_api.datasets"].DATA_INFO


def _train(root: str, out: Path, seed: int) -> None:
    words = ["--config", "configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml"]
    words += ["configs/pipelines/train/multimodal_baseline.yml", *SMALL, "--optimizer.num_epochs", "2"]
    words += [
        "--seed",
        str(seed),
        "--pipeline.name",
        "train",
        "--output_dir",
        str(out),
        "--exp_name",
        f"run/s{seed}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "openood_multimodal.plugin", "main.py", *words],
        env={**os.environ, "OPENOOD_ROOT": root, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=out,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    saved = out / "run" / f"s{seed}" / "config.yml"
    if not saved.is_file():  # the stand-in's train writes none
        load_config([HOST_DEFAULTS, DATA[0], NETWORK], [*SMALL, "--seed", str(seed)]).dump(saved)


def _eval(root: str, out: Path, name: str, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    script = str(Path(root) / "scripts" / "eval_ood.py")
    words = ["--root", str(out / "run"), "--id-data", "synthetic_far", "--postprocessor", name, *more]
    done = subprocess.run(
        [sys.executable, "-m", "openood_multimodal.plugin", script, *words],
        env={**os.environ, "OPENOOD_ROOT": root, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=out,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done


def _expected(out: Path, seeds: tuple[int, ...], name: str) -> float:
    """Near-OOD AUROC, percent, of our own host on the same checkpoints; the mean over the seeds."""
    from openood_multimodal.cli.main import main as own

    values = []
    for seed in seeds:
        checkpoint = str(out / "run" / f"s{seed}" / "best.ckpt")
        words = [
            "run",
            "--config",
            *DATA,
            NETWORK,
            "pipelines/test/near_ood.yml",
            *SMALL,
            "--seed",
            str(seed),
        ]
        folder = ["--output_dir", str(out), "--exp_name", f"own{seed}"]
        assert own([*words, "--network.checkpoint", checkpoint, "--postprocessors", name, *folder]) == 0
        table = pd.read_csv(out / f"own{seed}" / name / "ood.csv", index_col=0)
        values.append(float(table.loc["nearood", "AUROC"]))
    return float(np.mean(values))


def test_its_script_tests_each_run_on_its_own_data(standin, tmp_path):
    for seed in (0, 1):
        _train(str(standin), tmp_path, seed)
    for _ in range(2):  # the second time with the pickled postprocessors
        _eval(str(standin), tmp_path, "msp")
        table = pd.read_csv(tmp_path / "run" / "msp.csv", index_col=0)
        assert table.loc["nearood", "AUROC"] == pytest.approx(_expected(tmp_path, (0, 1), "msp"), abs=0.006)
    (tmp_path / "run" / "s1" / "config.yml").unlink()
    assert "config.yml" in _eval(str(standin), tmp_path, "msp", code=2).stderr


def test_a_script_of_another_shape_is_refused(standin, tmp_path, capsys, monkeypatch):
    script = tmp_path / "eval.py"
    script.write_text("MODEL = {}\n")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main([str(script), "--root", "x", "--id-data", "synthetic_far"]) == 2
    assert "has no --id-data, NUM_CLASSES" in capsys.readouterr().err


def test_a_saved_config_is_data(tmp_path):
    path = tmp_path / "config.yml"
    tag = "!!python/object/new:openood.utils.config.Config"
    path.write_text(f"{tag}\nstate: {{dataset: {{name: a}}, seed: 1}}\ndictitems:\n  seed: 2\n")
    assert read_saved_config(path) == {"dataset": {"name": "a"}, "seed": 2}
    with pytest.raises(UserError, match="trained on 'a', not on 'synthetic_far'"):
        trained_benchmark("synthetic_far", tmp_path)
    for text, said in (
        ("!!python/object/new:os.system [x]", "could not determine a constructor"),
        (f"{tag} [x]", "must be a mapping"),
        ("[1]", "holds a list"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            read_saved_config(path)


@pytest.mark.skipif(not REAL, reason="no OpenOOD: set OPENOOD_ROOT to a checkout")
def test_an_unmodified_openood(tmp_path):
    for seed in (0, 1):
        _train(str(REAL), tmp_path, seed)
    for name in ("mm_knn", "ash"):
        _eval(str(REAL), tmp_path, name, "--save-csv")
        table = pd.read_csv(tmp_path / "run" / "ood" / f"{name}.csv", index_col=0)
        assert list(table.index) == [
            "synthetic_near",
            "nearood",
            "synthetic_shift",
            "synthetic_noise",
            "farood",
        ]
        if name == "mm_knn":
            mean = float(table.loc["nearood", "AUROC"].split()[0])
            assert mean == pytest.approx(_expected(tmp_path, (0, 1), "knn"), abs=0.02)
