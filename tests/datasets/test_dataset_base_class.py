"""A dataset of one's own: one method to write, and all that hosts ask for inherited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from openood_multimodal.datasets import Manifest, MultimodalDataset
from openood_multimodal.datasets.base import BrokenClipError, ClipError, ClipRequest
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import GaussianNoise
from openood_multimodal.testing import check_dataset

ROWS = 7


class Arrays(MultimodalDataset):
    """An .npy file for each cell."""

    @dataclass(frozen=True)
    class Request(ClipRequest):
        scale: float = 1.0

    def load(self, row):
        return {
            name: np.load(self.path(row, name)) * self.request.scale for name in reversed(self.modalities)
        }


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for row in range(ROWS):
        np.save(tmp_path / f"a{row}.npy", random.normal(size=(2, 3)).astype(np.float32))
        np.save(tmp_path / f"b{row}.npy", random.normal(size=4))
    Manifest.create(
        clips=[f"clip{row}" for row in range(ROWS)],
        labels=[0, 1, 2, 0, 1, -1, 2],
        class_names=["zero", "one", "two", "zero", "one", "other", "two"],
        files={name: [f"{name}{row}.npy" for row in range(ROWS)] for name in "ab"},
    ).write(tmp_path / "m.csv")
    return tmp_path


def make(folder, kind=Arrays, num_classes=3, preprocessor=None, **request):
    return kind("own", {"manifest": str(folder / "m.csv"), **request}, "", num_classes, preprocessor)


def test_the_contract_is_inherited(folder):
    dataset = make(folder)
    check_dataset(dataset, num_workers=2)
    assert Arrays("own", str(folder / "m.csv"), folder, 3)[1]["clip"] == "clip1"
    assert dataset.modalities == ("a", "b"), "the manifest's order, not that of load's mapping"
    assert dataset.class_names == ("zero", "one", "two")
    assert (dataset.track, dataset.benchmark, len(dataset)) == ("demo", None, ROWS)
    assert dataset.provenance["modalities"] == ["a", "b"]
    assert repr(dataset) == "Arrays(own: 7 clips; a, b)"
    turned = make(folder, modalities="b, a", scale=2.0)
    check_dataset(turned)
    sample = turned[2]
    assert list(sample["data"]) == list(turned.provenance["modalities"]) == ["b", "a"]
    assert sample["data"]["b"].dtype == torch.float32
    np.testing.assert_allclose(sample["data"]["b"], 2 * np.load(folder / "b2.npy"), rtol=1e-6)
    assert (sample["label"], sample["index"], sample["clip"]) == (2, 2, "clip2")


def test_a_preprocessor_of_ours_gets_the_batch_and_the_epoch(folder):
    dataset = make(
        folder, preprocessor=GaussianNoise({"seed": 1, "preprocessor": {"noise_std": 0.5}}, "train")
    )
    check_dataset(dataset)
    before = dataset[0]["data"]["a"]
    loader = DataLoader(dataset, batch_size=ROWS, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["data"]["a"]
    dataset.set_epoch(4)
    second = next(iter(loader))["data"]["a"]
    assert torch.equal(first[0], before)
    assert torch.equal(second[0], dataset[0]["data"]["a"])
    assert not torch.equal(first, second), "workers that outlive an epoch see it"
    assert torch.equal(make(folder, preprocessor=object())[0]["data"]["a"], make(folder)[0]["data"]["a"])


def returning(values):
    def load(self, row):
        if isinstance(values, Exception):
            raise values
        return values

    return type("Odd", (MultimodalDataset,), {"load": load})


A, B = torch.zeros(2, 3), torch.zeros(4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, r"Odd\.load returned NoneType; it must return a mapping of a, b"),
        ({"a": A}, r"Odd\.load returned a; it must return a mapping of a, b"),
        ({"a": A, "b": B, "c": B}, r"returned a, b, c; it must return a mapping of a, b"),
        ({"a": A, "b": B.long()}, r"Odd\.load returned torch\.int64 for b; return float32"),
        ({"a": A, "b": np.zeros(4, int)}, r"returned int64 for b"),
        ({"a": A, "b": [0.0]}, r"returned list for b"),
        ({"a": A, "b": B / 0}, r"b: it holds NaN or infinity"),
        ({"a": A, "b": np.full(4, 1e300)}, r"b: it holds NaN or infinity"),
        (ValueError("no number"), r"Odd\.load failed: ValueError: no number"),
        (FileNotFoundError(2, "No such file", "x.npy"), r"No such file.*x\.npy"),
    ],
)
def test_what_load_returns_is_checked(folder, values, message):
    dataset = make(folder, returning(values))
    where = r"m\.csv, line 3, clip 'clip1': "
    with pytest.raises(ClipError, match=where + ".*" + message):
        dataset[1]
    with pytest.raises(ClipError, match=where + ".*" + message):
        next(iter(DataLoader(dataset, batch_size=2, sampler=[1, 2], num_workers=1)))


def test_shapes_of_rows_must_agree(folder):
    np.save(folder / "b1.npy", np.zeros(5))
    with pytest.raises(
        BrokenClipError, match=r"clip 'clip1': b: it has shape \(5,\), and rows before it have \(4,\)"
    ):
        next(iter(DataLoader(make(folder), batch_size=3)))


def test_rows_that_cannot_be_read_are_skipped_where_asked(folder):
    (folder / "b1.npy").unlink()
    with pytest.raises(BrokenClipError, match=r"clip 'clip1'.*b1\.npy"):
        next(iter(DataLoader(make(folder), batch_size=3)))
    dataset = make(folder, on_error="skip")
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=1)))
    assert batch["index"].tolist() == [0, 2]
    assert batch["data"]["a"].shape == (2, 2, 3)
    assert [each.clip for each in dataset.skipped] == ["clip1"]
    assert "clip1" in dataset.notes[0]
    alone = dataset.__getitems__([1])[0].batch
    assert (len(alone["label"]), alone["clip"], alone["data"].size(0)) == (0, [], 0)
    wrong = make(folder, returning({"a": A}), on_error="skip")
    with pytest.raises(ClipError, match="must return a mapping"):
        next(iter(DataLoader(wrong, batch_size=3)))  # a mistake in load is no broken clip


def test_mistakes(folder):
    with pytest.raises(UserError, match=r"imglist_pth\.scal is not a parameter.*Did you mean 'scale'"):
        make(folder, scal=2.0)
    with pytest.raises(UserError, match=r"m\.csv has no modality 'bb'\. Did you mean 'b'"):
        make(folder, modalities=["a", "bb"])
    with pytest.raises(UserError, match=r"line 4: label 2 is outside the 2 classes of dataset own"):
        make(folder, num_classes=2)
    with pytest.raises(NotImplementedError, match="MultimodalDataset has no method load"):
        make(folder, MultimodalDataset)[0]
    (folder / "m.csv").write_text((folder / "m.csv").read_text().replace("b4.npy", ""))
    with pytest.raises(
        UserError, match=r"clip 'clip4': b: the clip has none; its cell in the manifest is empty"
    ):
        make(folder)[4]
