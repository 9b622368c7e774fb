"""`ModalityBatch` behaves as one tensor where code asks a tensor's questions."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError


def batch():
    return ModalityBatch(
        {"video": torch.arange(12.0).reshape(3, 4), "audio": torch.ones(3, 2, dtype=torch.float64)}
    )


def same(a, b):
    assert type(a) is type(b) is ModalityBatch
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_it_answers_as_a_tensor():
    each = batch()
    assert (len(each), each.size(0), each.size(), each.shape, each.dim()) == (3, 3, (3, 4), (3, 4), 2)
    assert each.num_modalities == 2
    assert (each.device.type, each.dtype) == ("cpu", torch.float32)
    assert {tensor.dtype for tensor in each.float().values()} == {torch.float32}
    assert {tensor.dtype for tensor in each.to(torch.float16).values()} == {torch.float16}
    same(each.to("cpu", non_blocking=True), each)
    same(each.cpu(), each)
    trained = each.map(lambda tensor: tensor.requires_grad_())
    assert not any(tensor.requires_grad for tensor in trained.detach().values())


def test_it_is_a_mapping():
    each = batch()
    assert list(each) == ["video", "audio"]
    assert "audio" in each
    assert "flow" not in each
    assert list(each.select(["audio", "video"])) == ["audio", "video"]
    with pytest.raises(UserError, match="missing: flow"):
        each.select(["flow"])
    same(ModalityBatch(each.items()), each)


def test_an_empty_one():
    empty = ModalityBatch()
    assert (len(empty), empty.num_modalities) == (0, 0)
    with pytest.raises(UserError, match="no modality"):
        empty.size(0)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies(copied):
    same(copied(batch()), batch())
    deep = copy.deepcopy(batch())
    deep["video"].zero_()
    assert batch()["video"].sum() > 0


class Samples(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        data = ModalityBatch(
            {"video": torch.full((4,), float(index)), "audio": torch.full((2,), -1.0 * index)}
        )
        return {"data": data, "label": index, "index": index, "clip": f"clip {index}"}


def test_default_collate():
    """OpenOOD passes no collate_fn."""
    found = default_collate([Samples()[index] for index in (0, 3)])
    assert type(found["data"]) is ModalityBatch
    assert list(found["data"]) == ["video", "audio"]
    assert found["data"]["video"][:, 0].tolist() == [0, 3]
    assert found["label"].tolist() == [0, 3]
    assert found["clip"] == ["clip 0", "clip 3"]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_and_their_workers(workers):
    sizes = []
    for found in DataLoader(Samples(), batch_size=2, num_workers=workers):
        assert type(found["data"]) is ModalityBatch
        assert found["data"]["audio"][:, 1].tolist() == [-1.0 * index for index in found["index"].tolist()]
        sizes.append(len(found["data"]))
    assert sizes == [2, 2, 1]


@pytest.mark.cuda
def test_pinning_and_moving():
    pinned = batch().pin_memory()
    assert all(tensor.is_pinned() for tensor in pinned.values())
    found = next(iter(DataLoader(Samples(), batch_size=2, pin_memory=True)))["data"]
    assert type(found) is ModalityBatch
    assert found["video"].is_pinned()
    assert batch().cuda().device.type == "cuda"
    same(batch().cuda().cpu(), batch())
