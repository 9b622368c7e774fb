"""Clips that would spoil a network's input, or end a command for all others."""

from __future__ import annotations

import shutil
import wave

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from openood_multimodal.datasets.clips import MultimodalClipDataset
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.clip import ClipPreprocessor


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    data = generate(tmp_path_factory.mktemp("shapes") / "shapes", size="tiny", height=32, width=40)
    manifest = Manifest.read(data.manifests["train"])
    return data.root / manifest.files["video"][0]


def _float_wav(path, samples):
    """A WAV of 32-bit floats (format 3), which Python's own writer doesn't know."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(4)
        out.setframerate(16000)
        out.writeframes(samples.astype("<f4").tobytes())
    content = bytearray(path.read_bytes())
    content[20:22] = (3).to_bytes(2, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_sound_that_is_not_finite(video, tmp_path, value):
    names = ["bad", "good"]
    for name in names:
        shutil.copy(video, tmp_path / f"{name}{video.suffix}")
        samples = np.sin(np.arange(160000) / 20)
        if name == "bad":
            samples[::100] = value
        _float_wav(tmp_path / f"{name}.wav", samples)
    files = {"video": [f"{name}{video.suffix}" for name in names], "audio": [f"{name}.wav" for name in names]}
    manifest = Manifest.create(names, [0, 0], ["a", "a"], files).write(tmp_path / "m.csv")
    section = {"video": {"frames": 4, "stride": 1, "short_side": 36, "size": 32}, "audio": {"seconds": 0.5}}

    def dataset(on_error):
        preprocessor = ClipPreprocessor({"preprocessor": {"name": "multimodal_clip", **section}}, "test")
        request = {"manifest": str(manifest), "modalities": ["video", "audio"], "on_error": on_error}
        return MultimodalClipDataset("x", request, tmp_path, 1, preprocessor)

    if value == 0.0:
        assert np.isfinite(dataset("raise")[0]["data"]["audio"].numpy()).all()
        return
    with pytest.raises(UserError, match=r"bad\.wav"):
        dataset("raise")[0]
    skipping = dataset("skip")
    batch = (
        skipping.__getitems__([0, 1]) if hasattr(skipping, "__getitems__") else [skipping[i] for i in (0, 1)]
    )
    assert batch is not None
    assert [each.clip for each in skipping.skipped] == ["bad"]


def test_one_name_too_long_fails_alone(video, tmp_path, cli):
    long = "x" * (255 - len(video.suffix))
    names = [long, "short"]
    for name in names:
        (tmp_path / "video").mkdir(exist_ok=True)
        shutil.copy(video, tmp_path / "video" / f"{name}{video.suffix}")
    files = {"video": [f"video/{name}{video.suffix}" for name in names]}
    manifest = Manifest.create(names, [0, 0], ["a", "a"], files).write(tmp_path / "m.csv")
    words = ["--manifest", str(manifest), "--root", str(tmp_path), "--workers", "1"]
    done = cli(["prepare", "flow", *words, "--method", "dis_fast"])
    assert done.code == 1
    assert "1 made" in done.out
    assert "1 failed" in done.out
    assert "shorten" in done.err
    assert (tmp_path / "flow" / "short_flow_x.mp4").is_file()
    assert long[:40] in (tmp_path / "flow_failed.txt").read_text()


def test_names_that_leave_no_room_for_a_temporary_file(video, tmp_path, cli):
    """Its derived file has a name that just fits, and the temporary one of it would not."""
    stem = "x" * (255 - len("_flow_x.mp4"))
    (tmp_path / "video").mkdir()
    shutil.copy(video, tmp_path / "video" / f"{stem}.mp4")
    manifest = Manifest.create([stem], [0], ["a"], {"video": [f"video/{stem}.mp4"]}).write(tmp_path / "m.csv")
    words = ["--manifest", str(manifest), "--root", str(tmp_path), "--workers", "1", "--method", "dis_fast"]
    done = cli(["prepare", "flow", *words])
    assert done.code == 0, done.err
    assert "1 made" in done.out
