"""Transforms of frames, against slow literal versions and against mmaction2's own."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors.transforms import (
    Box,
    View,
    apply_view,
    center_view,
    negate_x,
    normalize,
    random_view,
    short_side_size,
)

RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FLOW = (128.0, 128.0), (128.0, 128.0)


def _frames(length: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth frames with some noise, so that interpolation matters."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (length, 6, 8, channels)).astype(np.uint8)
    large = np.stack([cv2.resize(each, (width, height)).reshape(height, width, channels) for each in coarse])
    return np.clip(large + random.integers(-9, 10, large.shape), 0, 255).astype(np.uint8)


def _slowly(frames: np.ndarray, short_side: int, view: View) -> np.ndarray:
    """One plane at a time, and nothing left out."""
    length, height, width, channels = frames.shape
    scale = short_side / min(height, width)
    new = int(width * scale + 0.5), int(height * scale + 0.5)
    out = np.empty((length, view.size, view.size, channels), dtype=np.uint8)
    for t in range(length):
        for c in range(channels):
            plane = cv2.resize(np.ascontiguousarray(frames[t, :, :, c]), new)
            plane = plane[view.box.top : view.box.bottom, view.box.left : view.box.right].copy()
            plane = cv2.resize(plane, (view.size, view.size))
            out[t, :, :, c] = plane[:, ::-1] if view.mirrored else plane
    return out


@pytest.mark.parametrize("shape", [(240, 320), (90, 160), (64, 48), (256, 341), (50, 50)])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("short_side", [50, 64])
def test_views_are_those_of_the_slow_version_bit_for_bit(shape, channels, short_side):
    frames = _frames(2, *shape, channels)
    before = frames.copy()
    size = short_side_size(*shape, short_side)
    random = np.random.default_rng(3)
    views = [center_view(*size, 40), *(random_view(*size, 40, random) for _ in range(4))]
    for view in views:
        seen = apply_view(frames, short_side, view)
        assert seen.shape == (2, 40, 40, channels)
        np.testing.assert_array_equal(seen, _slowly(frames, short_side, view))
    np.testing.assert_array_equal(frames, before)


@given(
    height=st.integers(20, 700),
    width=st.integers(20, 700),
    seed=st.integers(0, 10**6),
    area=st.floats(0.05, 1.0),
)
def test_random_crops_stay_inside_the_frame_and_within_their_ranges(height, width, seed, area):
    view = random_view(height, width, 24, np.random.default_rng(seed), 0.5, (area, 1.0), (0.75, 4 / 3))
    left, top, right, bottom = view.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    if (w, h) != (min(height, width), min(height, width)):  # the square when no draft fits
        assert area * height * width - w - h - 1 <= w * h <= height * width + w + h + 1
        assert 0.75 * (1 - 1 / h) - 1 / h <= w / h <= 4 / 3 * (1 + 1 / h) + 1 / h


def test_crops_and_flips_are_distributed_as_the_reference_draws_them():
    """Against a literal version of the reference's draft-by-draft loop with its own random numbers."""
    random = np.random.default_rng(0)
    height, width, count = 256, 341, 4000
    ours = np.array(
        [[*v.box, v.mirrored] for v in (random_view(height, width, 224, random) for _ in range(count))]
    )

    def reference() -> tuple[int, int, int, int]:
        ratios = np.exp(random.uniform(math.log(3 / 4), math.log(4 / 3), 10))
        areas = random.uniform(0.08, 1.0, 10) * height * width
        for ratio, area in zip(ratios, areas, strict=True):
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h <= height and w <= width:
                left, top = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
                return left, top, left + w, top + h
        return (width - height) // 2, 0, (width + height) // 2, height

    theirs = np.array([reference() for _ in range(count)])
    for column in range(4):
        a, b = ours[:, column], theirs[:, column]
        assert abs(a.mean() - b.mean()) < 5 * math.sqrt((a.var() + b.var()) / count)
        assert a.std() == pytest.approx(b.std(), rel=0.06)
    assert ours[:, 4].mean() == pytest.approx(0.5, abs=0.04)
    assert not any(random_view(height, width, 224, random, flip_probability=0.0).mirrored for _ in range(50))
    assert all(random_view(height, width, 224, random, flip_probability=1.0).mirrored for _ in range(50))


def test_the_same_draw_shows_the_same_part_of_a_smaller_frame():
    for seed in range(30):
        large = random_view(400, 600, 224, np.random.default_rng(seed))
        small = random_view(200, 300, 224, np.random.default_rng(seed))
        assert large.mirrored == small.mirrored
        assert np.abs(np.array(large.box) / 2 - np.array(small.box)).max() <= 1.5


@pytest.mark.parametrize("stats", [RGB, FLOW])
def test_normalising_is_mmcvs_bit_for_bit(stats):
    mean, std = stats
    frames = np.arange(256, dtype=np.uint8).repeat(len(mean)).reshape(2, 8, 16, len(mean))
    frames[1] = frames[1, ::-1]
    out = np.full((len(mean), 2, 8, 16), np.nan, dtype=np.float32)
    assert normalize(frames, mean, std, out=out) is out
    slow = ((frames.astype(np.float64) - np.float32(mean)) / np.float32(std)).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(out, slow, rtol=1e-6, atol=1e-6)
    mmcv = pytest.importorskip("mmcv")
    if len(mean) == 3:
        theirs = np.stack(
            [mmcv.imnormalize(f, np.float32(mean), np.float32(std), to_rgb=False) for f in frames]
        )
    else:  # flow is not normalised by mmcv
        theirs = (frames.astype(np.float32) - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(out, theirs.transpose(3, 0, 1, 2))


def test_a_flip_turns_horizontal_flow_round():
    flow = _frames(3, 20, 30, 2)
    seen = flow.copy()
    negate_x(seen)
    np.testing.assert_array_equal(seen[..., 0], 255 - flow[..., 0])
    np.testing.assert_array_equal(seen[..., 1], flow[..., 1])


class TestAgainstMMAction2:
    """The reference's pipeline, as its successor mmaction2 1.x has it."""

    @pytest.fixture(autouse=True)
    def _transforms(self):
        self.transforms = pytest.importorskip("mmaction.datasets.transforms")

    def _results(self, frames: np.ndarray, modality: str) -> dict:
        if modality == "Flow":
            images = [np.ascontiguousarray(f[..., c]) for f in frames for c in range(2)]
        else:
            images = [f.copy() for f in frames]
        return {"imgs": images, "img_shape": frames.shape[1:3], "modality": modality}

    def _stacked(self, images: list[np.ndarray], modality: str) -> np.ndarray:
        if modality == "Flow":
            return np.stack([np.stack(images[i : i + 2], -1) for i in range(0, len(images), 2)])
        return np.stack(images)

    @pytest.mark.parametrize("modality", ["RGB", "Flow"])
    @pytest.mark.parametrize("shape", [(240, 320), (130, 90)])
    def test_training(self, modality, shape, monkeypatch):
        t = self.transforms
        frames = _frames(3, *shape, 3 if modality == "RGB" else 2)
        for seed in range(6):
            view = random_view(*short_side_size(*shape, 256), 224, np.random.default_rng(seed))
            crop = t.RandomResizedCrop()
            monkeypatch.setattr(crop, "get_crop_bbox", lambda *_, box=view.box: tuple(box))
            steps = [
                t.Resize(scale=(-1, 256)),
                crop,
                t.Resize(scale=(224, 224), keep_ratio=False),
                t.Flip(flip_ratio=float(view.mirrored)),
            ]
            results = self._results(frames, modality)
            for step in steps:
                results = step(results)
            seen = apply_view(frames, 256, view)
            if modality == "Flow" and view.mirrored:
                negate_x(seen)
            np.testing.assert_array_equal(seen, self._stacked(results["imgs"], modality))

    @pytest.mark.parametrize(("modality", "size"), [("RGB", 224), ("Flow", 224), ("Flow", 256)])
    def test_validation(self, modality, size):
        t = self.transforms
        frames = _frames(2, 120, 161, 3 if modality == "RGB" else 2)
        results = self._results(frames, modality)
        for step in (t.Resize(scale=(-1, 256)), t.CenterCrop(crop_size=size), t.Flip(flip_ratio=0)):
            results = step(results)
        seen = apply_view(frames, 256, center_view(*short_side_size(120, 161, 256), size))
        np.testing.assert_array_equal(seen, self._stacked(results["imgs"], modality))

    def test_the_crop_of_a_draft(self, monkeypatch):
        """Given the same drafts, the same crop: sizes, order, and the square when none fits."""
        t = self.transforms
        for seed in range(200):
            random = np.random.default_rng(seed)
            height, width = random.integers(30, 300, 2).tolist()
            ratios = random.uniform(math.log(0.75), math.log(4 / 3), size=10)
            areas = random.uniform(0.08, 1.0, size=10)
            drawn = iter([ratios, areas])
            monkeypatch.setattr("numpy.random.uniform", lambda *_, size, drawn=drawn: next(drawn))
            monkeypatch.setattr("random.randint", lambda low, high: low)
            left, top, right, bottom = t.RandomResizedCrop.get_crop_bbox(
                (height, width), (0.08, 1.0), (0.75, 4 / 3)
            )
            monkeypatch.undo()

            class Drafts:
                def __init__(self, ratios, areas):
                    self.uniforms = iter([ratios, areas])

                def uniform(self, *_, size):
                    return next(self.uniforms)

                def random(self, _):
                    return np.zeros(3)

            ours = random_view(height, width, 24, Drafts(ratios, areas)).box
            assert tuple(ours) == (left, top, right, bottom)


def test_what_cannot_be():
    with pytest.raises(UserError, match="30 x 50 pixels has no central square of 40"):
        center_view(30, 50, 40)
    with pytest.raises(UserError, match="3 channels, but mean and std are given for 2"):
        normalize(np.zeros((1, 4, 4, 3), np.uint8), *FLOW)
    assert center_view(41, 60, 40).box == Box(10, 0, 50, 40)
