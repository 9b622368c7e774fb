"""NaN and infinity on their way to a network: optical flow, frames, and the parameters that scale them.

Sound is in `test_clips`, tables are in ``tests/cli/test_bad_input.py``, other readers in
``tests/preprocessors/test_readers.py``.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from openood_multimodal.datasets.clips import MultimodalClipDataset
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.clip import ClipPreprocessor
from openood_multimodal.preprocessors.clip_readers import FlowReader
from openood_multimodal.registry import FLOW_METHODS, READERS


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The video and the x flow of one clip; the y flow is beside it."""
    data = generate(tmp_path_factory.mktemp("shapes") / "shapes", size="tiny", height=32, width=40)
    manifest = Manifest.read(data.manifests["train"])
    return {modality: data.root / manifest.files[modality][0] for modality in ("video", "flow")}


def estimator_of(value):
    def make():
        def estimate(before, after):
            flow = np.zeros((*before.shape, 2), dtype=np.float32)
            flow[3, 4, 1] = value
            return flow

        return estimate

    return make


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0])
def test_flow_that_is_not_finite_is_not_written(clip, tmp_path, cli, monkeypatch, value):
    monkeypatch.setitem(FLOW_METHODS._entries, "not_finite", estimator_of(value))
    shutil.copy(clip["video"], tmp_path / "a.mp4")
    manifest = Manifest.create(["a"], [0], ["a"], {"video": ["a.mp4"]}).write(tmp_path / "m.csv")
    words = ["--manifest", str(manifest), "--root", str(tmp_path), "--workers", "1"]
    done = cli(["prepare", "flow", *words, "--method", "not_finite"])
    finite = bool(np.isfinite(value))
    assert done.code == (0 if finite else 1), done.err
    assert bool(list(tmp_path.rglob("*_flow_x.mp4"))) is finite
    if not finite:
        assert "1 failed" in done.out
        assert "a.mp4: the optical flow computed holds NaN or infinity" in done.err


class _Spoilt(FlowReader):
    """A reader of one's own that divides by a range, which is 0 in one clip."""

    def open(self, place, files, stack):
        self.spoils = files.clip == "bad"
        return super().open(place, files, stack)

    def normalise(self, frames, out):
        super().normalise(frames, out)
        if self.spoils:
            out[1, 0, 2, 3] = np.inf


def test_frames_that_are_not_finite(clip, tmp_path, monkeypatch):
    names = ["bad", "good"]
    for name in names:
        for axis in "xy":
            source = str(clip["flow"]).replace("_flow_x", f"_flow_{axis}")
            shutil.copy(source, tmp_path / f"{name}_flow_{axis}.mp4")
    files = {"flow": [f"{name}_flow_x.mp4" for name in names]}
    manifest = Manifest.create(names, [0, 0], ["a", "a"], files).write(tmp_path / "m.csv")
    flow = {"reader": "spoilt", "frames": 4, "stride": 1, "short_side": 36, "size": 32}

    def dataset(on_error):
        preprocessor = ClipPreprocessor({"preprocessor": {"name": "multimodal_clip", "flow": flow}}, "test")
        request = {"manifest": str(manifest), "modalities": ["flow"], "on_error": on_error}
        return MultimodalClipDataset("x", request, tmp_path, 1, preprocessor)

    monkeypatch.setitem(READERS._entries, "spoilt", _Spoilt)
    with pytest.raises(UserError, match=r"bad_flow_x\.mp4 holds NaN or infinite values"):
        dataset("raise")[0]
    skipping = dataset("skip")
    (collated,) = skipping.__getitems__([0, 1])
    assert collated.batch["clip"] == ["good"]
    assert np.isfinite(collated.batch["data"]["flow"].numpy()).all()
    assert [each.clip for each in skipping.skipped] == ["bad"]
    assert skipping.notes == ["1 clip skipped of x: bad"]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "section",
    [
        {"video": {"std": [NAN, 1.0, 1.0]}},
        {"video": {"mean": [0.0, INF, 0.0]}},
        {"video": {"std": [1.0, 1.0, 1e-40]}},
        {"flow": {"std": [INF, 1.0]}},
        {"flow": {"mean": [NAN, 0.0]}},
        {"audio": {"noise": NAN}},
        {"audio": {"noise": INF}},
        {"audio": {"seconds": INF}},
        {"audio": {"seconds": NAN}},
    ],
)
def test_parameters_that_would_make_them(section):
    (modality,) = section
    with pytest.raises(UserError, match=rf"preprocessor\.{modality}.*(mean|std|finite)"):
        ClipPreprocessor({"preprocessor": {"name": "multimodal_clip", **section}}, "train")
