"""``openood-mm show``: the sheet holds what the network gets."""

import colorsys
import math
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from openood_multimodal.cli import show
from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles, files_of
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.making.clip_sheet import make_sheet
from openood_multimodal.making.contact_sheet import Sheet, draw, flow_colours, flow_scale
from openood_multimodal.making.writing import FlowSettings, write_flow
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.clip import ClipPreprocessor
from openood_multimodal.preprocessors.optical_flow import dis
from openood_multimodal.preprocessors.video import count_frames
from openood_multimodal.registry import FLOW_METHODS


@pytest.fixture(scope="module", params=["hac", "epic_kitchens"])
def data(request, tmp_path_factory):
    return generate(tmp_path_factory.mktemp(request.param), request.param, size="tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("whole"), "hac", size="tiny")


@pytest.fixture
def hac(whole, tmp_path):
    """A copy to break."""
    root = tmp_path / "hac"
    shutil.copytree(whole.root, root)
    manifests = {name: root / path.relative_to(whole.root) for name, path in whole.manifests.items()}
    return replace(whole, root=root, manifests=manifests)


def sheet_of(data, split, row=0, epoch=1, **parameters):
    manifest = Manifest.read(data.manifests["train"])
    preprocessor = ClipPreprocessor({"seed": 3, "preprocessor": parameters}, split)
    files = files_of(manifest, row, data.root, preprocessor.companion)
    return preprocessor, files, make_sheet(preprocessor, files, epoch, row, data.root)


def run(*words):
    assert show.main([str(word) for word in words]) == 0


def picture(path):
    image = cv2.imread(str(path))
    assert image is not None
    return image


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_sheet_is_what_the_network_gets(split, data):
    preprocessor, files, sheet = sheet_of(data, split, row=1, epoch=2)
    shapes = preprocessor.clip_shapes(("video", "flow", "audio"))
    got = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
    preprocessor.load_clip(files, preprocessor.seed, 2, 1, got)

    scale = preprocessor.reader("video").params
    video = (sheet.video.frames - np.array(scale.mean)) / scale.std
    assert np.allclose(video.transpose(3, 0, 1, 2), got["video"], atol=1e-4)
    # 8-bit levels, 128 for rest, in units of 128 -> pixels a frame
    flow = (got["flow"] * 128 + 128) * 40 / 255 - 20
    assert np.allclose(sheet.flow.frames.transpose(3, 0, 1, 2), flow, atol=1e-4)
    assert np.array_equal(sheet.sound.spectrogram, got["audio"][0])

    assert len(sheet.video.captions) == len(sheet.video.spans) == 32
    begin, end = sheet.clock
    assert sheet.unit == "seconds"
    assert begin < end
    for strip in (sheet.video, sheet.flow):
        assert all(begin <= start < stop <= end + 1e-6 for start, stop in strip.spans)
    assert ("random" if split == "train" else "central") in sheet.video.heading


def test_files_are_named(data):
    _, files, sheet = sheet_of(data, "val")
    assert sheet.title == files.clip
    for modality, place in files.modalities.items():
        assert place.path.name in sheet.facts[modality]


def test_command(hac, tmp_path, capsys):
    manifest = Manifest.read(hac.manifests["test"])
    out = tmp_path / "sheet.png"
    run(manifest.clips[0], "--manifest", hac.manifests["test"], "--out", out)
    assert capsys.readouterr().out.splitlines() == [str(out)]
    image = picture(out)
    assert image.shape[1] == 1320
    assert image.shape[0] > 1000
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 1000  # pictures, not blank axes

    first = out.read_bytes()
    run(
        manifest.clips[0], "--manifest", hac.root, "--root", hac.root, "--out", out
    )  # any manifest of the folder
    assert out.read_bytes() == first
    run(
        manifest.clips[0],
        "--manifest",
        hac.manifests["test"],
        "--split",
        "train",
        "--epoch",
        "4",
        "--out",
        out,
    )
    assert out.read_bytes() != first


def test_part_of_a_name_is_enough_if_it_tells(hac, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = Manifest.read(hac.manifests["test"]).clips[0]
    run(clip.rpartition("/")[2], "--manifest", hac.manifests["test"])
    assert len(list(tmp_path.glob("*.png"))) == 1
    with pytest.raises(UserError, match=r"'MShapes' could be \d+ clips: "):
        run("MShapes", "--manifest", hac.manifests["test"])
    with pytest.raises(UserError, match="no clip 'human/MShopes"):
        run("human/MShopes0000_000000_000002.mp4", "--manifest", hac.manifests["test"])


def test_what_is_broken_is_said_and_the_rest_shown(hac, tmp_path, capsys):
    manifest = Manifest.read(hac.manifests["test"])
    (hac.root / manifest.files["flow"][0]).write_bytes(b"nonsense")
    out = tmp_path / "sheet.png"
    run(manifest.clips[0], "--manifest", hac.manifests["test"], "--out", out)
    said = capsys.readouterr().out
    assert said.startswith("flow: ")
    assert "not a video" in said
    picture(out)

    for modality in ("video", "audio"):
        (hac.root / manifest.files[modality][0]).unlink()
    with pytest.raises(UserError, match=r"video: .*no such file"):
        run(manifest.clips[0], "--manifest", hac.manifests["test"], "--out", out)


def test_a_lone_video(hac, tmp_path, capsys):
    video = hac.root / Manifest.read(hac.manifests["test"]).files["video"][0]
    out = tmp_path / "sheet.png"
    run(video, "--out", out)
    picture(out)
    assert len(np.unique(picture(out).reshape(-1, 3), axis=0)) > 1000
    with pytest.raises(UserError, match=r"there is no file none.mp4.*name its manifest"):
        run("none.mp4")
    with pytest.raises(UserError, match="unknown option --flipp"):
        run(video, "--flipp", "1")


def test_flow_of_a_lone_video_is_computed_for_the_frames_shown(hac, tmp_path, monkeypatch):
    video = hac.root / Manifest.read(hac.manifests["test"]).files["video"][0]
    pairs = []
    monkeypatch.setattr(FLOW_METHODS, "get", lambda name: lambda: lambda a, b: pairs.append(a) or DIS(a, b))
    DIS = dis()
    with ClipPreprocessor({}, "test").open(ClipFiles("x", {"flow": ModalityFiles(video)}), ("flow",)) as clip:
        source = clip.frames["flow"]
        found = source.read(np.array([5, 1, 5]))
        assert len(pairs) == 2
        assert source.count == source.listed == count_frames(video) - 1
        assert source.seconds(1, 3) == pytest.approx((1 / 12, 3 / 12), abs=1e-3)
    x, y = tmp_path / "a_flow_x.mp4", tmp_path / "a_flow_y.mp4"
    with open(x, "wb") as x_file, open(y, "wb") as y_file:
        write_flow(video, x_file, y_file, FlowSettings("dis", short_side=256))
    with ClipPreprocessor({}, "test").open(ClipFiles("x", {"flow": ModalityFiles(x, y)}), ("flow",)) as clip:
        made = clip.frames["flow"].read(np.array([5, 1, 5]))
    assert np.abs(found.astype(int) - made).mean() < 1  # the files are encoded
    assert found.std() > 1


def test_the_documented_command_with_a_dataset_config(hac, tmp_path, monkeypatch):
    """As --help has it: configs of datasets refer to keys that pipelines' configs set."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val", "test"):
        (tmp_path / "splits" / "hmdb51_25_26").mkdir(parents=True, exist_ok=True)
        shutil.copy(hac.manifests[name], tmp_path / "splits" / "hmdb51_25_26" / f"{name}.csv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "HMDB51").symlink_to(hac.root)
    clip = Manifest.read(hac.manifests["train"]).clips[0]
    run(clip, "--config", "datasets/hmdb51/hmdb51_25_26.yml", "--split", "train", "--epoch", "3")
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_settings_of_a_config(hac, tmp_path):
    clip = Manifest.read(hac.manifests["train"]).clips[0]
    config = tmp_path / "c.yml"
    config.write_text(
        f"dataset:\n  train:\n    imglist_pth: {hac.manifests['train']}\n    data_dir: {hac.root}\n"
        "preprocessor:\n  name: multimodal_clip\n  video:\n    frames: 8\n"
    )
    out = tmp_path / "sheet.png"
    run(clip, "--config", config, "--out", out)
    few = picture(out).shape[0]
    run(clip, "--config", config, "--preprocessor.video.frames", "16", "--out", out)
    assert picture(out).shape[0] > few
    run(clip, "--manifest", hac.manifests["train"], "--out", out)
    assert picture(out).shape[0] > few


def test_colours():
    angles = np.linspace(0, 2 * math.pi, 37)[:-1]
    for share in (0.0, 0.3, 1.0, 2.0):
        flow = 5 * share * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        expected = [colorsys.hsv_to_rgb(a / (2 * math.pi), min(share, 1), 1) for a in angles]
        assert np.allclose(flow_colours(flow, 5.0), expected, atol=1e-5)
    assert np.allclose(flow_colours(np.array([1.0, 0.0]), 1.0), (1, 0, 0))  # to the right
    assert flow_scale(np.zeros((2, 4, 4, 2))) == 1.0
    assert flow_scale(np.full((2, 4, 4, 2), 3.0)) == pytest.approx(3 * math.sqrt(2))


def test_odd_names_and_missing_parts(tmp_path):
    sheet = Sheet("a$b_$^{ü中" + "x" * 300 + "\x07", "c", {"f": "$x$" * 100}, faults=("$ no $",))
    draw(sheet, tmp_path / "a.png")
    draw(replace(sheet, facts={}, faults=()), tmp_path / "b.png")
    assert picture(tmp_path / "a.png").shape[0] > picture(tmp_path / "b.png").shape[0]


def test_a_name_that_begins_with_a_dash_is_a_clip(hac, tmp_path, monkeypatch, capsys):
    from openood_multimodal.cli import main

    video = hac.root / Manifest.read(hac.manifests["test"]).files["video"][0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-0Qj.mp4").write_bytes(video.read_bytes())
    assert main(["show", "-0Qj.mp4", "--out", "sheet.png"]) == 0
    picture(tmp_path / "sheet.png")
    assert main(["show", "-1Qj", "--out", "sheet.png"]) == 2
    assert "there is no file -1Qj" in capsys.readouterr().err
