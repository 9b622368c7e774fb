"""Clips through an unmodified OpenOOD's own ``train`` and ``test_ood``: the figures are our own host's."""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = os.environ.get("OPENOOD_ROOT")
pytestmark = pytest.mark.skipif(
    not ROOT and importlib.util.find_spec("openood") is None,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)

SETS = "configs/datasets/moving_shapes/moving_shapes"
NETWORK = "configs/networks/clip_fusion_small.yml"
SETTINGS = (
    *("--dataset.num_classes", "4", "--num_gpus", "0", "--num_workers", "1"),
    *("--dataset.train.batch_size", "8"),
    *("--network.encoders.video.base_channels", "8", "--network.encoders.flow.base_channels", "8"),
    *("--preprocessor.video.frames", "8", "--preprocessor.flow.frames", "4"),
    *("--preprocessor.video.short_side", "36", "--preprocessor.video.size", "32"),
    *("--preprocessor.flow.short_side", "36", "--preprocessor.flow.size", "32"),
    *("--preprocessor.audio.seconds", "0.3"),
)
TRAINING = (
    *("--optimizer.num_epochs", "2", "--optimizer.lr", "0.001"),
    *("--trainer.start_epoch", "2", "--trainer.bank_size", "3"),
)
SCORES = ("msp", "ebo", "mls", "react", "ash", "knn", "mds")
EVALUATORS = {"near_ood": "nearood", "far_ood": "farood"}


def _main(*words: str) -> None:
    """What OpenOOD's main.py does with these words, in its folder."""
    from openood_multimodal.plugin.host import find_openood

    root = find_openood()
    here = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "openood_multimodal.plugin", "main.py", *words],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "OPENOOD_ROOT": str(root),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    from openood_multimodal.moving_shapes import generate

    return generate(tmp_path_factory.mktemp("clips") / "shapes", size="tiny", height=32, width=40).root


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory) -> Path:
    """Holds a run of OpenOOD's own ``train``."""
    out = tmp_path_factory.mktemp("openood")
    _main(
        *("--config", f"{SETS}.yml", NETWORK, "configs/pipelines/train/a2d_npmix.yml", *SETTINGS, *TRAINING),
        *(
            "--data_root",
            str(data),
            "--pipeline.name",
            "train",
            "--output_dir",
            str(out),
            "--exp_name",
            "run",
        ),
    )
    return out


def test_it_trains_what_our_own_host_trains(data, folder):
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TrainPipeline

    more = ("--output_dir", str(folder), "--exp_name", "own", "--recorder.tensorboard", "false")
    files = [f"{SETS}.yml", NETWORK, "configs/pipelines/train/a2d_npmix.yml"]
    TrainPipeline(load_config(files, [*SETTINGS, *TRAINING, "--data_root", str(data), *more])).run()
    ours, theirs = (torch.load(folder / run / "best.ckpt", weights_only=True) for run in ("own", "run"))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def _test_words(data: Path, folder: Path, evaluator: str, name: str) -> list[str]:
    return [
        *("--config", f"{SETS}.yml", f"{SETS}_ood.yml", NETWORK, f"configs/pipelines/test/{evaluator}.yml"),
        *(*SETTINGS, "--data_root", str(data), "--network.checkpoint", str(folder / "run" / "best.ckpt")),
        *("--output_dir", str(folder), "--exp_name", name),
    ]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_its_test_gives_our_figures(data, folder, evaluator):
    """OpenOOD's MSP in OpenOOD's own pipeline, on decoded clips, and our engine on stored embeddings."""
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import TestPipeline

    words = _test_words(data, folder, evaluator, f"theirs_{evaluator}")
    place = words.index(SETTINGS[0])
    words[place:place] = ["configs/postprocessors/msp.yml"]
    _main(*words, "--pipeline.name", "test_ood", "--postprocessor.APS_mode", "False")
    (file,) = (folder / f"theirs_{evaluator}").rglob("ood.csv")
    theirs = {row["dataset"]: row for row in csv.DictReader(file.open())}

    ours = _test_words(data, folder, evaluator, f"ours_{evaluator}")
    place = ours.index(SETTINGS[0])
    TestPipeline(load_config(ours[1:place], [*ours[place:], "--postprocessors", "msp"])).run()
    (file,) = (folder / f"ours_{evaluator}").rglob("ood.csv")
    own = {row["dataset"]: row for row in csv.DictReader(file.open())}
    assert set(own) == {f"moving_shapes_{evaluator.partition('_')[0]}", EVALUATORS[evaluator]}
    assert own == theirs


def test_its_scores_read_stores_without_the_clips(data, folder, tmp_path):
    """The engine ``openood`` on embeddings, when the clips are gone; and its figures are the native engine's."""
    from openood_multimodal.config import load_config
    from openood_multimodal.pipelines import ExtractPipeline, TestPipeline

    copy = tmp_path / "shapes"
    shutil.copytree(data, copy)
    words = _test_words(copy, folder, "near_ood", str(tmp_path / "stores"))
    place = words.index(SETTINGS[0])
    stores = ExtractPipeline(load_config(words[1:place], words[place:])).run()
    for kind in ("video", "audio", "flow"):
        shutil.rmtree(copy / kind)
    results = {}
    for engine in ("native", "openood"):
        config = load_config(
            words[1:place], [*words[place:], "--engine", engine, "--postprocessors", *SCORES]
        )
        config["output_dir"] = str(tmp_path / engine)
        config["recorder"]["embeddings"] = str(stores)
        config["postprocessor_args"] = {"knn": {"K": 5}}  # there are 16 training clips
        records = TestPipeline(config).run()
        results[engine] = {r.postprocessor.rpartition("/")[2]: r.metrics for r in records}
        assert {r.engine["name"] for r in records} == {engine}
    assert set(results["openood"]) == set(results["native"]) == set(SCORES)
    for name in ("msp", "ebo", "mls", "knn"):  # of the others the engines' definitions or precision differ
        for key, value in results["openood"][name].items():
            assert value["value"] == pytest.approx(results["native"][name][key]["value"], abs=1e-6), (
                name,
                key,
            )
