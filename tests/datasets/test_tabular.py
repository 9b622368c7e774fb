"""The tabular dataset: what it serves, by whose statistics, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, default_collate

from openood_multimodal.datasets import Collated, Manifest, ModalityBatch, MultimodalTabularDataset
from openood_multimodal.datasets.benchmarks import load_benchmark
from openood_multimodal.datasets.table_splits import grouped_runs
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import GaussianNoise
from openood_multimodal.registry import DATASETS


def synthetic(split: str = "train", num_classes: int = 6, preprocessor: Any = None, **options: Any) -> Any:
    return MultimodalTabularDataset(
        name="synthetic",
        imglist_pth={"benchmark": "synthetic_far", "split": split, **options},
        data_dir="",
        num_classes=num_classes,
        preprocessor=preprocessor,
        data_aux_preprocessor=None,
    )


def small(fixture: Any, split: str = "train", num_classes: int = 2, **options: Any) -> Any:
    return MultimodalTabularDataset(
        name="small",
        imglist_pth={"benchmark": fixture.write(), "split": split, **options},
        data_dir=str(fixture.folder),
        num_classes=num_classes,
    )


def features(dataset: Any) -> dict[str, np.ndarray]:
    batch = dataset.__getitems__(range(len(dataset)))[0].batch
    return {name: tensor.numpy() for name, tensor in batch["data"].items()}


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left.keys()) == list(right.keys())
        for key in left.keys():  # noqa: SIM118  (a ModalityBatch's length is the batch size)
            assert_same(left[key], right[key])
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    else:
        assert left == right


def test_is_registered() -> None:
    assert DATASETS.get("MultimodalTabularDataset") is MultimodalTabularDataset


def test_attributes() -> None:
    dataset = synthetic(partition=1)
    partition = load_benchmark("synthetic_far").partitions[1]
    assert dataset.modalities == ("a", "b")
    assert dataset.input_dims == {"a": 24, "b": 16}
    assert dataset.labels.dtype == np.int64
    assert len(dataset) == len(dataset.labels) == len(dataset.manifest) == 420
    assert dataset.class_names == partition.id
    assert [partition.id[label] for label in dataset.labels] == list(dataset.manifest.class_names)
    assert dataset.benchmark.name == "synthetic_far"
    assert dataset.track == "demo"
    assert dataset.provenance["synthetic"] is True
    assert dataset.provenance["modified"] is False
    assert dataset.provenance["partition"] == 1


@pytest.mark.parametrize("noisy", [False, True])
def test_a_batch_is_its_collated_samples(noisy: bool) -> None:
    preprocessor = GaussianNoise({"preprocessor": {"noise_std": 0.3}, "seed": 5}, "train") if noisy else None
    dataset = synthetic(preprocessor=preprocessor)
    dataset.set_epoch(3)
    chosen = [7, 3, 400, 3]
    fetched = dataset.__getitems__(chosen)
    assert [type(each) for each in fetched] == [Collated]
    batch = default_collate(fetched)
    assert_same(batch, default_collate([dataset[i] for i in chosen]))
    assert type(batch["data"]) is ModalityBatch
    assert batch["data"]["a"].shape == (4, 24)
    assert batch["data"]["a"].dtype == torch.float32
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    assert batch["index"].tolist() == chosen
    assert batch["clip"] == [dataset.manifest.clips[i] for i in chosen]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_loader(workers: int) -> None:
    dataset = synthetic("test")
    batches = list(DataLoader(dataset, batch_size=32, num_workers=workers))
    assert [len(batch["data"]) for batch in batches] == [32, 32, 26]
    np.testing.assert_array_equal(
        np.concatenate([b["data"]["b"].numpy() for b in batches]), features(dataset)["b"]
    )
    assert torch.cat([b["label"] for b in batches]).tolist() == dataset.labels.tolist()


def test_batches_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data._utils.pin_memory import pin_memory

    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: pinned.append(tensor) or tensor)
    batch = default_collate(synthetic("test").__getitems__([0, 1]))
    assert_same(pin_memory(batch), batch)
    assert len(pinned) == 4  # two modalities, label, index


def test_whole_batches_can_not_be_stacked() -> None:
    batch = default_collate(synthetic("test").__getitems__([0, 1]))
    with pytest.raises(ValueError, match=r"one collated batch, got 2"):
        default_collate([Collated(batch), Collated(batch)])


def test_index_is_as_a_sequences() -> None:
    dataset = synthetic("test")
    assert dataset[-1]["index"] == len(dataset) - 1
    assert_same(dataset[torch.tensor(4)], dataset[4])
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_pickles_and_copies() -> None:
    dataset = synthetic("val", preprocessor=GaussianNoise({"seed": 1}, "train"))
    for twin in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert_same(twin[5], dataset[5])
        assert twin.manifest == dataset.manifest


def test_changing_a_batch_leaves_the_data_alone() -> None:
    dataset = synthetic("test")
    before = features(dataset)["a"].copy()
    dataset[0]["data"]["a"].zero_()
    default_collate(dataset.__getitems__([0, 1]))["data"]["a"].zero_()
    np.testing.assert_array_equal(features(synthetic("test"))["a"], before)
    with pytest.raises(ValueError, match=r"read-only"):
        dataset.labels[0] = 3


@pytest.mark.parametrize("split", ["train", "val", "test", "nearood"])
def test_z_scores_by_the_training_rows_only(small_htad: Any, split: str) -> None:
    raw = np.loadtxt(small_htad.folder / "htad.csv", delimiter=",", skiprows=1, usecols=range(1, 6))
    names = np.loadtxt(small_htad.folder / "htad.csv", delimiter=",", skiprows=1, usecols=0, dtype=str)
    for partition, seed in ((0, 0), (0, 1), (1, 2)):
        known = [["run_a", "run_b"], ["run_b", "run_c"]][partition]
        rows = grouped_runs(names, known, partition + seed)
        dataset = small(small_htad, split, partition=partition, seed=seed)
        chosen = getattr(rows, split) if split != "nearood" else np.flatnonzero(~np.isin(names, known))
        expected = StandardScaler().fit(raw[rows.train]).transform(raw[chosen])
        got = features(dataset)
        np.testing.assert_allclose(got["audio"], expected[:, :3], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got["accelerometer"], expected[:, 3:], rtol=1e-5, atol=1e-6)
        unscaled = features(small(small_htad, split, partition=partition, seed=seed, standardize=False))
        np.testing.assert_array_equal(unscaled["audio"], raw[chosen][:, :3].astype(np.float32))
        labels = [-1 if split == "nearood" else known.index(name) for name in names[chosen]]
        assert dataset.labels.tolist() == labels
        assert dataset.manifest.files["audio"] == tuple(f"htad.csv#{row}" for row in chosen)


def test_no_recording_on_both_sides(small_htad: Any) -> None:
    for seed in range(4):
        train, val, test = (small(small_htad, split, seed=seed) for split in ("train", "val", "test"))
        tested = set(test.manifest.groups)
        assert "" not in tested
        assert not tested & (set(train.manifest.groups) | set(val.manifest.groups))
        assert not set(train.manifest.clips) & set(val.manifest.clips)


def test_a_column_that_is_constant_in_training(small_mfeat: Any) -> None:
    data = small_mfeat.folder / "mfeat-mor.csv"
    lines = data.read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        digit = line[-1]
        lines[number] = f"{0.1 if digit != '1' else number},{line.split(',')[1]},{digit}"
    data.write_text("\n".join(lines) + "\n")
    small_mfeat.refresh_digests()
    for split in ("train", "test", "nearood"):
        got = features(small(small_mfeat, split, modalities=["mor"]))["mor"]
        assert (got[:, 0] == 0).all()
        assert (got[:, 1] != 0).any()


def test_modalities_in_any_number_and_order(small_mfeat: Any) -> None:
    assert small(small_mfeat).modalities == ("fou",)
    assert small(small_mfeat, modalities=["mor", "fou"]).input_dims == {"mor": 2, "fou": 4}
    assert small(small_mfeat, modalities="mor, fou").modalities == ("mor", "fou")
    assert small(small_mfeat, modalities=["mor"]).manifest.modalities == ("mor",)


def test_ood_groups() -> None:
    val = synthetic("ood_val")
    near = synthetic("nearood", set="synthetic_near")
    far = synthetic("farood", set="synthetic_shift")
    assert {len(val), len(far)} == {200}
    assert len(near) == 300
    for dataset in (val, near, far):
        assert set(dataset.labels.tolist()) == {-1}
        assert dataset.class_names == synthetic().class_names
    clips = [set(d.manifest.clips) for d in (val, near, far, synthetic("train"), synthetic("test"))]
    assert sum(map(len, clips)) == len(set().union(*clips))


def test_rows_are_shared_between_datasets() -> None:
    assert synthetic().manifest is synthetic().manifest


def test_an_image_preprocessor_is_ignored() -> None:
    def fails(image: Any) -> Any:
        raise AssertionError("called")

    assert_same(synthetic(preprocessor=fails)[0], synthetic()[0])


def test_noise_changes_with_the_epoch() -> None:
    dataset = synthetic(preprocessor=GaussianNoise({"seed": 1}, "train"))
    dataset.set_epoch(1)
    first = dataset[0]
    dataset.set_epoch(2)
    assert not torch.equal(first["data"]["a"], dataset[0]["data"]["a"])
    dataset.set_epoch(1)
    assert_same(first, dataset[0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"splt": "train"}, "imglist_pth.splt.*Did you mean 'split'"),
        ({"split": "trian"}, "no split 'trian'. Did you mean 'train'"),
        ({"split": "train", "set": "synthetic_near"}, "goes with an OOD group"),
        ({"split": "farood"}, "2 sets, so name one"),
        ({"split": "nearood", "set": "near"}, "no set 'near'"),
        ({"partition": 8}, "no partition 8"),
        ({"partition": "two"}, "partition must be a whole number"),
        ({"modalities": ["a", "c"]}, "no modality 'c'"),
        ({"modalities": []}, "no modality chosen"),
        ({"modalities": ["a", "a"]}, "named twice"),
        ({"benchmark": "synthetic_fa"}, "Did you mean 'synthetic_far'"),
    ],
)
def test_refuses_options(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        MultimodalTabularDataset(
            "x", {"benchmark": "synthetic_far", "split": "train", **options}, data_dir="", num_classes=6
        )


def test_num_classes_must_agree() -> None:
    with pytest.raises(UserError, match=r"num_classes is 5, but the benchmark's partition has 6"):
        synthetic(num_classes=5)
    with pytest.raises(UserError, match=r"Set num_classes: 6"):
        synthetic("nearood", num_classes=7)


def test_too_few_rows_and_runs(small_mfeat: Any) -> None:
    for view in ("fou", "mor"):
        data = small_mfeat.folder / f"mfeat-{view}.csv"
        lines = data.read_text().splitlines()
        data.write_text("\n".join([lines[0], *lines[8:]]) + "\n")
    small_mfeat.refresh_digests()
    with pytest.raises(UserError, match=r"class '0' has 3 rows"):
        small(small_mfeat)


def test_accepted_changes_are_marked(small_htad: Any) -> None:
    data = small_htad.folder / "htad.csv"
    data.write_text(data.read_text() + "run_a,1,2,3,4,5\nrun_a,1,2,3,4,5\n")
    with pytest.raises(UserError, match=r"SHA-256"):
        small(small_htad)
    assert small(small_htad, accept_changed=True).provenance["modified"] is True


def test_too_large_for_float32(small_htad: Any) -> None:
    data = small_htad.folder / "htad.csv"
    data.write_text(data.read_text().replace("run_a,", "run_a,1e200,x,", 1).replace(",x,", ",", 1))
    lines = data.read_text().splitlines()
    lines[1] = ",".join(lines[1].split(",")[:6])
    data.write_text("\n".join(lines) + "\n")
    small_htad.refresh_digests()
    with pytest.raises(UserError, match=r"too large for float32"):
        small(small_htad, seed=1, standardize=False)


@pytest.fixture
def own_table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, header in (("sound", "id,m0,m1,m2"), ("motion", "x,y")):
        width = header.count(",") + 1
        rows = random.normal(2, 3, (12, width))
        np.savetxt(tmp_path / f"{name}.csv", rows, delimiter=",", header=header, comments="", fmt="%.17g")
    for part, rows, labels in (("train", range(8), [0, 1] * 4), ("ood", range(8, 12), [-1] * 4)):
        Manifest.create(
            clips=[f"{part}{row}" for row in rows],
            labels=labels,
            class_names=["sit" if label == 0 else "walk" if label == 1 else "fly" for label in labels],
            files={name: [f"{name}.csv#{row}" for row in rows] for name in ("sound", "motion")},
        ).write(tmp_path / f"{part}.csv")
    return tmp_path


def own(folder: Path, options: Any, num_classes: int = 2, data_dir: str = "") -> Any:
    return MultimodalTabularDataset("own", options, data_dir, num_classes)


def test_own_manifest(own_table: Path) -> None:
    dataset = own(own_table, str(own_table / "train.csv"))
    raw = np.loadtxt(own_table / "sound.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(features(dataset)["sound"], raw[:8].astype(np.float32))
    assert dataset.benchmark is None
    assert dataset.class_names == ("sit", "walk")
    assert dataset.provenance["benchmark"] is None
    assert len(own(own_table, str(own_table / "ood.csv"))) == 4


def test_own_manifest_with_options(own_table: Path) -> None:
    options = {
        "manifest": str(own_table / "ood.csv"),
        "modalities": ["motion", "sound"],
        "columns": {"sound": ["m*"]},
        "standardize_from": str(own_table / "train.csv"),
    }
    dataset = own(own_table, options, data_dir=str(own_table))
    assert dataset.input_dims == {"motion": 2, "sound": 3}
    raw = np.loadtxt(own_table / "sound.csv", delimiter=",", skiprows=1)[:, 1:]
    expected = StandardScaler().fit(raw[:8]).transform(raw[8:])
    np.testing.assert_allclose(features(dataset)["sound"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("z,5,fly,,sound.csv#0,motion.csv#0,,", "line 10: label 5 is outside the 2 classes"),
        ("z,0,sit,,sound.csv#12,motion.csv#0,,", "line 10, column sound: sound.csv has 12 rows.*no row 12"),
        ("z,0,sit,,sound.csv,motion.csv#0,,", "line 10, column sound: 'sound.csv' is no reference"),
        ("z,0,sit,,,motion.csv#0,,", "line 10, column sound: '' is no reference"),
        ("z,0,sit,,sound.csv#-1,motion.csv#0,,", "is no reference"),
        ("z,0,sit,,noise.csv#1,motion.csv#0,,", "line 10, column sound: the file .*noise.csv can't be read"),
        ("z,0,sit,,motion.csv#1,motion.csv#0,,", "feature columns"),
    ],
)
def test_own_manifest_refuses(own_table: Path, line: str, expected: str) -> None:
    path = own_table / "train.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=expected):
        own(own_table, str(path))


def test_own_manifest_refuses_options(own_table: Path) -> None:
    train = str(own_table / "train.csv")
    with pytest.raises(UserError, match=r"no column of .*sound.csv matches 'q"):
        own(own_table, {"manifest": train, "columns": {"sound": ["q*"]}})
    with pytest.raises(UserError, match=r"no modality 'sund'. Did you mean 'sound'"):
        own(own_table, {"manifest": train, "columns": {"sund": ["q*"]}})
    with pytest.raises(UserError, match=r"no modality 'video'"):
        own(own_table, {"manifest": train, "modalities": ["video"]})
    (own_table / "empty.csv").write_text("clip,label,class_name,group,sound,start,stop\n")
    with pytest.raises(UserError, match=r"no clip"):
        own(own_table, str(own_table / "empty.csv"))


def test_text_column_is_named(own_table: Path) -> None:
    path = own_table / "motion.csv"
    path.write_text(
        path.read_text().replace("x,y", "x,y,who").replace("\n", ",anna\n").replace("who,anna", "who")
    )
    with pytest.raises(UserError, match=r"'who'"):
        own(own_table, str(own_table / "train.csv"))
    dataset = own(own_table, {"manifest": str(own_table / "train.csv"), "columns": {"motion": ["x", "y"]}})
    assert dataset.input_dims["motion"] == 2


def test_the_documentations_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})


def test_real_htad(htad_data: None) -> None:
    benchmark = load_benchmark("htad_4_3")
    for number in range(len(benchmark.partitions)):
        sets = {
            split: MultimodalTabularDataset(
                "htad",
                {"benchmark": "htad_4_3", "split": split, "partition": number, "seed": number % 3},
                "",
                4,
            )
            for split in ("train", "val", "test", "nearood")
        }
        known = sum(benchmark.classes[name] for name in benchmark.partitions[number].id)
        assert len(sets["train"]) + len(sets["val"]) + len(sets["test"]) == known
        assert len(sets["nearood"]) == 1386 - known
        fitted = set(sets["train"].manifest.groups) | set(sets["val"].manifest.groups)
        assert not fitted & set(sets["test"].manifest.groups)
        assert set(sets["test"].labels.tolist()) == {0, 1, 2, 3}
        assert len(set(sets["test"].manifest.groups)) == 4


def test_real_mfeat_in_every_view(mfeat_data: None) -> None:
    views = list(load_benchmark("mfeat_5_5").modalities)
    for count in range(1, 7):
        options = {"benchmark": "mfeat_5_5", "split": "test", "modalities": views[:count], "partition": 39}
        dataset = MultimodalTabularDataset("mfeat", options, "", 5)
        assert len(dataset) == 150
        assert dataset.modalities == tuple(views[:count])
        assert np.bincount(dataset.labels).tolist() == [30] * 5
