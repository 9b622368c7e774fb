"""`MultimodalClipDataset`: MovingShapes in all layouts, workers, preprocessors."""

from typing import Any

import numpy as np
import pytest
import torch
from clip_sets import LAYOUTS, MODALITIES, SMALL, batches, clip_preprocessor, config, gathered, make, same
from torch.utils.data import DataLoader, Subset

from openood_multimodal.datasets import ModalityBatch, MultimodalClipDataset
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.preprocessors import ClipPreprocessor, GaussianNoise


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_splits_of_a_layout_load_through_our_host(shapes, layout):
    data = shapes(layout)
    loaders: dict[str, Any] = build_loaders(config(data), training=True)
    ood = build_ood_loaders(config(data), ("val", "nearood", "farood"))
    loaders |= {"oodval": ood["val"], "near": ood["nearood"]["near"], "far": ood["farood"]["far"]}
    for name, loader in loaders.items():
        dataset = loader.dataset
        clips: list[str] = []
        for batch in loader:
            count = len(batch["label"])
            assert isinstance(batch["data"], ModalityBatch)
            assert {m: tuple(v.shape) for m, v in batch["data"].items()} == {
                "video": (count, 3, 6, 32, 32),
                "audio": (count, 1, 257, 48),
                "flow": (count, 2, 3, 32, 32),
            }
            for modality, values in batch["data"].items():
                assert values.dtype == torch.float32
                assert torch.isfinite(values).all()
                spread = values.flatten(1).std(dim=1)  # something is to be seen or heard in every clip
                assert spread.max() > 0.01 if modality == "flow" else spread.min() > 0.1
            assert batch["label"].dtype == batch["index"].dtype == torch.int64
            np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
            clips += batch["clip"]
        assert tuple(clips) == dataset.manifest.clips
        assert (dataset.labels >= 0).all() == (name in ("train", "val", "test"))
        assert dataset.class_names == data.class_names
        assert dataset.provenance["benchmark"] == "moving_shapes"
        assert dataset.provenance["modalities"] == list(MODALITIES)
        assert dataset.track == "demo"


def test_a_sample_and_a_batch_agree(shapes):
    data = shapes("hmdb51")
    dataset = make(data, preprocessor=clip_preprocessor("train"))
    dataset.set_epoch(2)
    found = gathered(batches(dataset))
    for index in (0, 5, len(dataset) - 1):
        sample = dataset[index]
        assert sample["index"] == index
        assert sample["clip"] == dataset.manifest.clips[index]
        assert sample["label"] == dataset.labels[index]
        for modality, values in sample["data"].items():
            assert torch.equal(values, found[index][modality])
    assert torch.equal(dataset[-1]["data"]["flow"], found[len(dataset) - 1]["flow"])
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
def test_neither_workers_nor_order_nor_batches_matter(shapes, protocol):
    data = shapes("kinetics600")
    dataset = make(data, preprocessor=clip_preprocessor("train", seed=5, protocol=protocol))
    dataset.set_epoch(1)
    base = gathered(batches(dataset))
    assert same(base, gathered(batches(dataset, num_workers=2)))
    torch.manual_seed(0)
    shuffled = batches(dataset, num_workers=2, shuffle=True, batch_size=3)
    assert [int(i) for b in shuffled for i in b["index"]] != list(range(len(dataset)))
    assert same(base, gathered(shuffled))
    fresh = make(data, preprocessor=clip_preprocessor("train", seed=5, protocol=protocol))
    assert not same(base, gathered(batches(fresh)))
    fresh.set_epoch(1)
    assert same(base, gathered(batches(Subset(fresh, list(range(len(fresh)))[::-1]))))


def test_persistent_and_spawned_workers_see_the_epoch(shapes):
    dataset = make(shapes("hmdb51"), "val", clip_preprocessor("train"))
    expected = {}
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        expected[epoch] = gathered(batches(dataset))
    assert not same(expected[1], expected[2])
    for context in ("fork", "spawn"):
        loader = DataLoader(
            dataset, batch_size=4, num_workers=1, persistent_workers=True, multiprocessing_context=context
        )
        for epoch in (1, 2, 1):
            dataset.set_epoch(epoch)
            assert same(expected[epoch], gathered(list(loader)))


def test_modalities_are_those_asked_for_in_that_order(shapes):
    data = shapes("hac")
    whole = make(data)[3]["data"]
    for asked, names in (
        (["flow", "video"], ("flow", "video")),
        ("audio", ("audio",)),
        ("video, flow", ("video", "flow")),
    ):
        dataset = make(data, modalities=asked)
        assert dataset.modalities == dataset.manifest.modalities == names
        sample = dataset[3]["data"]
        assert tuple(sample) == names
        for name in set(names) & {"video", "flow"}:
            assert torch.equal(sample[name], whole[name]) == ("video" in names)  # the video's window leads
        assert dataset.provenance["modalities"] == list(names)
        assert dataset.provenance["modified"] is False


class TestPreprocessors:
    def test_without_one_of_ours_clips_are_read_as_for_a_test(self, shapes, monkeypatch):
        data = shapes("ucf101")
        expected = make(data)[2]["data"]
        plain = ClipPreprocessor.__init__
        monkeypatch.setattr(
            ClipPreprocessor,
            "__init__",
            lambda self, config, split: plain(self, {"preprocessor": SMALL, **config}, split),
        )

        class OfImages:
            def __call__(self, image):
                raise AssertionError

        for other in (OfImages(), None):
            dataset = MultimodalClipDataset("x", data.manifests["train"], data.root, 4, other)
            sample = dataset[2]["data"]
            assert all(torch.equal(sample[m], expected[m]) for m in MODALITIES)
        noisy = GaussianNoise({"seed": 1, "preprocessor": {"noise_std": 0.5}}, "train")
        dataset = MultimodalClipDataset("x", data.manifests["train"], data.root, 4, noisy)
        sample = dataset[2]["data"]
        for m in MODALITIES:
            assert (sample[m] - expected[m]).std() == pytest.approx(0.5, rel=0.1)

    def test_one_of_a_users_own(self, shapes):
        class Counting:
            """Reads nothing: a clip is its index."""

            seed = 7
            handles_modalities = True

            def clip_shapes(self, modalities):
                return {name: (2, 3) for name in modalities}

            def load_clip(self, files, seed, epoch, index, out):
                assert files.modalities.keys() == out.keys()
                for values in out.values():
                    values[:] = index + 100 * epoch + 1000 * seed

            def __call__(self, *_):
                raise AssertionError

        dataset = make(shapes("ucf101"), preprocessor=Counting())
        dataset.set_epoch(2)
        (batch,) = batches(dataset, batch_size=len(dataset), num_workers=1)
        assert torch.equal(batch["data"]["flow"][:, 1, 2], 7200.0 + batch["index"])
