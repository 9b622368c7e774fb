"""The package of docs/extending.md: the page shows its files, its components keep the contracts and run."""

import configparser
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from openood_multimodal.datasets import Manifest
from openood_multimodal.registry import ALL
from openood_multimodal.reporting.records import load_records
from openood_multimodal.testing import check_dataset

SOURCE = Path(__file__).parent / "mm_examples"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
SYNTHETIC = ("datasets/synthetic/synthetic_far.yml",)
LINEAR = str(SOURCE / "configs" / "linear_fusion.yml")
TRAIN = (
    "--num_gpus",
    "0",
    "--optimizer.num_epochs",
    "2",
    "--optimizer.lr",
    "0.01",
    "--recorder.tensorboard",
    "false",
)


@pytest.fixture
def command(run_module):
    def run(*words: str, module: str = "openood_multimodal") -> str:
        done = run_module(module, *words)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_the_page_shows_the_files():
    blocks = re.findall(r"^```\w+\n# (\S+\.(?:py|yml|cfg))\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
    shown = {name: text.rstrip("\n") for name, text in blocks}
    files = [*SOURCE.glob("mm_examples/*.py"), *SOURCE.glob("configs/*.yml"), SOURCE / "setup.cfg"]
    expected = {
        path.relative_to(SOURCE).as_posix(): path.read_text().rstrip("\n")
        for path in files
        if path.name != "__init__.py"
    }
    assert shown == expected


def test_the_page_shows_the_diff_of_a_synthesis():
    [diff] = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
    for part in re.split(r"^--- .*\n\+\+\+ b/", diff, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        added = "\n".join(line[1:] for line in body.splitlines() if line.startswith("+"))
        assert added in (PAGE.parents[1] / name).read_text()


def test_every_kind_that_the_page_lists_has_an_example():
    parser = configparser.ConfigParser()
    parser.read(SOURCE / "setup.cfg")
    kinds = {key.removeprefix("openood_multimodal.") for key in parser["options.entry_points"]}
    smaller = {
        "protocols",
        "clip_protocols",
        "flow_methods",
        "layouts",
        "clip_layouts",
        "engines",
        "conditions",
    }
    assert kinds == set(ALL) - smaller
    assert all(f"`{kind}`" in PAGE.read_text() for kind in smaller)


def test_the_contracts(command):
    assert "all components keep their contracts" in command(module="mm_examples.checks")


def test_a_network_a_trainer_and_scores_from_training_to_a_table(command, tmp_path):
    """Near and far sets in one run of the package's evaluator; the scores also on arrays, without a network."""
    trainer = str(SOURCE / "configs" / "entropy_regularised.yml")
    head = (*SYNTHETIC, LINEAR, "pipelines/train/multimodal_multihead.yml", trainer)
    command("run", "--config", *head, *TRAIN, "--output_dir", ".", "--exp_name", "run")
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert (log["loss_entropy"] < 0).all()
    ood = ("datasets/synthetic/synthetic_far_ood.yml", LINEAR, "pipelines/test/near_ood.yml")
    command(
        *("run", "--config", *SYNTHETIC, *ood, "--network.checkpoint", "run/best.ckpt", "--num_gpus", "0"),
        *("--evaluator.name", "near_and_far", "--postprocessors", "margin,agreement,msp"),
        *(
            "--postprocessor_args",
            "{agreement: {temperature: 2.0}}",
            "--output_dir",
            ".",
            "--exp_name",
            "test",
        ),
    )
    for score in ("margin", "agreement"):
        table = pd.read_csv(tmp_path / "test" / score / "ood.csv", index_col="dataset")
        assert {"nearood", "farood"} <= set(table.index)
    records = load_records(tmp_path / "test" / "records")
    assert {record.setting for record in records} == {"near", "far"}
    assert {record.training for record in records} == {"entropy_regularised"}
    agreement = next(record for record in records if record.postprocessor == "agreement")
    assert agreement.parameters["temperature"] == 2.0

    random = np.random.default_rng(0)
    for name in ("test", "other"):
        logits = random.normal(size=(40, 2, 3))
        arrays = {"logits": logits.mean(1), "modality_logits": logits, "modalities": np.array(["a", "b"])}
        known = {"labels": random.integers(0, 3, 40)} if name == "test" else {}
        np.savez(tmp_path / f"{name}.npz", features=random.normal(size=(40, 4)), **arrays, **known)
    words = (
        "--test",
        "test.npz",
        "--ood",
        "other=other.npz",
        "--postprocessors",
        "margin,agreement",
        "--out",
        "out",
    )
    assert "agreement" in command("score", *words)

    stores = ("--test", "test/embeddings/test", "--ood", "near=test/embeddings/synthetic_near", *words[4:])
    assert "agreement" in command("score", *stores)
    (tmp_path / "user.py").write_text(EVALUATE)
    value = float(command(module="user").split()[-1])
    found = pd.read_csv(tmp_path / "out" / "ood.csv").set_index(["postprocessor", "dataset"])["AUROC"]
    assert found["agreement", "near"] == pytest.approx(value, abs=0.005)
    _inside_openood(command, tmp_path, found)


EVALUATE = """
from openood_multimodal import evaluate

table = evaluate(
    None, "test/embeddings/test", {"near": "test/embeddings/synthetic_near"}, None,
    postprocessors=["agreement", "ensemble(agreement,msp)"], val="test/embeddings/val",
)
print(table[table.postprocessor == "agreement"]["AUROC"].iloc[0])
"""


def _inside_openood(command, tmp_path, found):
    """The same digits from an unmodified OpenOOD's ``test_ood``, where one is at hand."""
    root = os.environ.get("OPENOOD_ROOT")
    if not root:
        return
    section = {"name": "mm_agreement", "APS_mode": False, "postprocessor_args": {}, "postprocessor_sweep": {}}
    (tmp_path / "score.yml").write_text(yaml.safe_dump({"postprocessor": section}))
    configs = Path(__file__).resolve().parents[2] / "configs"
    names = ("datasets/synthetic/synthetic_far.yml", "datasets/synthetic/synthetic_far_ood.yml")
    files = [*(str(configs / name) for name in names), LINEAR, str(configs / "pipelines/test/near_ood.yml")]
    command(
        *(
            "main.py",
            "--config",
            *(str(configs / name) for name in files),
            LINEAR,
            str(tmp_path / "score.yml"),
        ),
        *("--pipeline.name", "test_ood", "--network.pretrained", "True"),
        *("--network.checkpoint", str(tmp_path / "run" / "best.ckpt"), "--num_gpus", "0"),
        *("--output_dir", str(tmp_path / "theirs"), "--exp_name", "x"),
        module="openood_multimodal.plugin",
    )
    (table,) = (tmp_path / "theirs").rglob("ood.csv")
    assert pd.read_csv(table, index_col="dataset")["AUROC"]["synthetic_near"] == found["agreement", "near"]


def test_a_synthesis_and_a_discrepancy_in_a_training(command, tmp_path):
    own = ("--trainer.synthesis", "noisy_prototypes", "--trainer.discrepancy", "total_variation")
    command(
        *("run", "--config", *SYNTHETIC, LINEAR, "pipelines/train/a2d_npmix.yml", *TRAIN, *own),
        *("--trainer.synthesis_args", "{std: 0.5}", "--trainer.start_epoch", "1", "--trainer.bank_size", "5"),
        *("--output_dir", ".", "--exp_name", "run"),
    )
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert log["loss_outlier_entropy"].notna().all()


@pytest.fixture
def arrays(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "arrays"
    folder.mkdir()
    for split, count in (("train", 48), ("val", 24), ("test", 24)):
        labels = np.arange(count) % 3
        files = {name: [f"{split}{row}_{name}.npy" for row in range(count)] for name in ("audio", "imu")}
        for name, width in (("audio", 4), ("imu", 3)):
            for row, cell in enumerate(files[name]):
                np.save(folder / cell, random.normal(size=width) + 3 * np.eye(width)[labels[row]])
        names = [f"class{label}" for label in labels]
        clips = [f"{split}{row}" for row in range(count)]
        Manifest.create(clips, labels, names, files).write(folder / f"{split}.csv")
    return folder


def test_a_dataset_a_preprocessor_and_a_pipeline(command, arrays, tmp_path):
    data = (str(SOURCE / "configs" / "arrays.yml"), LINEAR)
    own = ("--data_root", str(arrays))
    train = (
        "pipelines/train/multimodal_multihead.yml",
        *TRAIN,
        *own,
        "--output_dir",
        ".",
        "--exp_name",
        "run",
    )
    command("run", "--config", *data, *train)
    accuracy = str(SOURCE / "configs" / "modality_accuracy.yml")
    out = command("run", "--config", *data, accuracy, *own, "--network.checkpoint", "run/best.ckpt")
    assert re.findall(r"^(\w+): [01]\.\d{4}$", out, flags=re.M) == ["fused", "audio", "imu"]


def test_the_dataset_keeps_the_contract(site, put_on_path, arrays):
    put_on_path(site)
    dataset = ALL["datasets"].get("ArrayDataset")(
        "own", {"manifest": str(arrays / "test.csv"), "scale": 2.0}, "", 3
    )
    check_dataset(dataset, num_workers=1)
    np.testing.assert_allclose(dataset[2]["data"]["imu"], 2 * np.load(arrays / "test2_imu.npy"), rtol=1e-6)
