"""Clips of video, sound and an inertial sensor that the package knows nothing of: from files to a near-OOD table."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openood_multimodal.datasets import Manifest, MultimodalClipDataset
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors import ClipPreprocessor
from openood_multimodal.registry import ENCODERS, READERS
from openood_multimodal.reporting.records import load_records
from openood_multimodal.testing import check_dataset

CONFIG = Path(__file__).parent / "mm_examples" / "configs" / "imu.yml"
SETS = {"train": "train", "val": "val", "test": "test", "near": "nearood_moving_shapes_near"}
SECONDS = 1.6


@pytest.fixture(scope="session")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated clips with a CSV of accelerations for each: a class has a frequency, and an axis that it shakes."""
    root = generate(tmp_path_factory.mktemp("sensors") / "data", size="tiny", height=32, width=40).root
    random = np.random.default_rng(0)
    seconds = np.linspace(0.0, SECONDS, 161)
    classes: dict[str, int] = {}
    (root / "imu").mkdir()
    for name, listed in SETS.items():
        manifest = Manifest.read(root / f"{listed}.csv")
        cells = []
        for row, class_name in enumerate(manifest.class_names):
            kind = classes.setdefault(class_name, len(classes))
            values = random.normal(0.0, 0.1, (len(seconds), 3))
            values[:, kind % 3] += np.sin(2 * np.pi * (kind + 1) * seconds)
            cells.append(f"imu/{name}_{row}.csv")
            np.savetxt(
                root / cells[-1],
                np.column_stack([seconds, values]),
                "%.5f",
                ",",
                header="seconds,x,y,z",
                comments="",
            )
        Manifest.create(
            manifest.clips,
            manifest.labels,
            manifest.class_names,
            {"video": manifest.files["video"], "audio": manifest.files["audio"], "imu": cells},
            manifest.groups,
            manifest.starts,
            manifest.stops,
        ).write(root / "manifests" / f"{name}.csv")
    return root


@pytest.fixture
def openood_mm(run_module, tmp_path, sensors):
    def run(*words: str):
        own = ("--data_root", str(sensors), "--num_gpus", "0", "--output_dir", str(tmp_path))
        return run_module("openood_multimodal", "run", "--config", str(CONFIG), *words, *own)

    return run


def test_from_files_to_a_near_ood_table(openood_mm, tmp_path):
    pytest.importorskip("mmaction")
    done = openood_mm(
        *("pipelines/train/a2d.yml", "--exp_name", "run", "--optimizer.num_epochs", "2"),
        *("--recorder.tensorboard", "false"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    test = ("pipelines/test/near_ood.yml", "--exp_name", "test", "--postprocessors", "msp,ebo")
    trained = ("--network.checkpoint", str(tmp_path / "run" / "best.ckpt"))
    done = openood_mm(*test, *trained)
    assert done.returncode == 0, done.stderr[-3000:]
    for score in ("msp", "ebo"):
        table = pd.read_csv(tmp_path / "test" / score / "ood.csv", index_col="dataset")
        assert set(table.index) == {"other_actions", "nearood"}
        assert table["AUROC"].between(0, 100).all()
    (record, *_) = load_records(tmp_path / "test" / "records")
    assert record.modalities == ["video", "audio", "imu"]
    assert "imu: imu_conv" in record.networks or "imu_conv" in str(record.networks)

    turned = openood_mm(
        *test, *trained, "--exp_name", "turned", "--dataset.modalities", "imu", "video", "audio"
    )
    assert turned.returncode == 2
    assert "order" in turned.stderr, "embeddings in another order than the head's are refused"


@pytest.fixture
def package(site, put_on_path):
    put_on_path(site)


@pytest.fixture
def dataset(sensors, package):
    def make(section=None, split="test", manifest="train", **request):
        small = {"video": {"frames": 4, "stride": 4, "short_side": 36, "size": 32}, "audio": {"seconds": 0.5}}
        preprocessor = ClipPreprocessor({"seed": 1, "preprocessor": {**small, **(section or {})}}, split)
        path = manifest if os.path.isabs(manifest) else str(sensors / "manifests" / f"{manifest}.csv")
        return MultimodalClipDataset("sensors", {"manifest": path, **request}, sensors, 4, preprocessor)

    return make


def test_the_dataset_keeps_the_contract(dataset):
    assert "imu" in READERS
    assert "imu_conv" in ENCODERS
    for split in ("test", "train"):
        check_dataset(dataset({"imu": {"samples": 20, "noise": 0.1}}, split), num_workers=1)
    assert dataset().modalities == ("video", "audio", "imu")
    assert dataset(modalities="imu,video").modalities == ("imu", "video")
    assert dataset(modalities=["imu"])[0]["data"]["imu"].shape == (3, 50)


def test_the_sensor_is_read_in_the_window_of_the_video(dataset, sensors):
    one = dataset({"imu": {"samples": 9}}, "train")
    table = np.loadtxt(one.path(2, "imu"), delimiter=",", skiprows=1)
    seen = set()
    for epoch in range(1, 6):
        one.set_epoch(epoch)
        look = one._loader.look(one.files(2), 1, epoch, 2, ("video", "audio", "imu"))
        start, stop = look.windows.sound
        moments = np.linspace(start, stop, 9)
        expected = np.stack([np.interp(moments, table[:, 0], table[:, axis]) for axis in (1, 2, 3)])
        np.testing.assert_allclose(one[2]["data"]["imu"], expected, atol=1e-6)
        seen.add((start, stop))
    assert len(seen) > 1, "training draws windows"


def test_two_columns_of_one_kind(dataset, sensors, tmp_path):
    """Any column can be read by any reader: two cameras, say."""
    manifest = Manifest.read(sensors / "manifests" / "train.csv")
    files = {"front": manifest.files["video"], "side": manifest.files["video"]}
    path = Manifest.create(manifest.clips, manifest.labels, manifest.class_names, files).write(
        tmp_path / "two.csv"
    )
    video = {"reader": "video", "frames": 4, "stride": 2, "short_side": 36, "size": 32}
    two = dataset({"front": video, "side": {**video, "size": 24}}, manifest=str(path))
    assert {name: tuple(value.shape) for name, value in two[0]["data"].items()} == {
        "front": (3, 4, 32, 32),
        "side": (3, 4, 24, 24),
    }


def test_what_a_user_gets_wrong(dataset, sensors, tmp_path):
    with pytest.raises(UserError, match=r"train\.csv has no modality 'imuu'\. Did you mean 'imu'\?"):
        dataset(modalities=["video", "imuu"])
    with pytest.raises(
        UserError, match=r"preprocessor\.imu\.sampels is not a parameter of .*Did you mean 'samples'\?"
    ):
        dataset({"imu": {"sampels": 20}})
    with pytest.raises(UserError, match=r"preprocessor\.imuu: there is no reader .*Did you mean 'imu'\?"):
        dataset({"imuu": {"samples": 20}})
    manifest = Manifest.read(sensors / "manifests" / "train.csv")
    columns = {"video": manifest.files["video"], "gyro": manifest.files["imu"]}
    other = Manifest.create(manifest.clips, manifest.labels, manifest.class_names, columns).write(
        tmp_path / "m.csv"
    )
    with pytest.raises(
        UserError, match=r"m\.csv: .*no reader of a modality 'gyro'\. Known: audio, flow, imu, video"
    ):
        dataset(manifest=str(other))
    folder = tmp_path / "broken"
    shutil.copytree(sensors / "imu", folder / "imu")
    (folder / "imu" / "train_1.csv").write_text("seconds,x,y,z\n0.0,1,2,3\n0.1,nan,2,3\n")
    (folder / "imu" / "train_2.csv").write_text("seconds,x,y,z\n0.0,1,2,3\n0.1,one,2,3\n")
    (folder / "imu" / "train_3.csv").write_text("seconds,x,y\n0.0,1,2\n0.1,1,2\n")
    (folder / "imu" / "train_4.csv").unlink()
    part = MultimodalClipDataset(
        "sensors",
        {"manifest": str(sensors / "manifests" / "train.csv"), "modalities": ["imu"]},
        folder,
        4,
        ClipPreprocessor({}, "test"),
    )
    clip = r"train\.csv, line {line}, clip '.*': imu: "
    for row, fault in (
        (1, r"ImuReader\.read returned NaN or infinity for .*train_1\.csv"),
        (2, r"train_2\.csv can't be read: ValueError: .*one"),
        (3, r"ImuReader\.read returned shape \(2, 50\) for .*train_3\.csv, and its shape\(\) is \(3, 50\)"),
        (4, r"train_4\.csv"),
    ):
        with pytest.raises(UserError, match=clip.format(line=row + 2) + ".*" + fault):
            part[row]
