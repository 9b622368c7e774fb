"""``openood-mm prepare frames``: the right frames, in lists and configs that OpenOOD's loaders read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from openood_multimodal.config import load_config
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.making.frame_card import CARD, FrameCard
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.video import Video

MACHINE = {"num_workers": 0, "num_gpus": 1, "num_machines": 1}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """MovingShapes of the smallest size, in the layout of HMDB51."""
    return generate(tmp_path_factory.mktemp("shapes") / "data", size="tiny", flow=False, audio=False).root


def _prepare(cli, shapes: Path, out: Path, *more: str, code: int = 0):
    words = ["prepare", "frames", "--manifest", str(shapes), "--root", str(shapes), "--out", str(out)]
    done = cli([*words, "--workers", "1", *more])
    assert done.code == code, done.err
    return done


def _lines(out: Path, name: str) -> list[list[str]]:
    return [line.split(" ") for line in (out / "lists" / f"{name}.txt").read_text().splitlines()]


def _pixels(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_every_clip_gives_its_middle_frame_and_its_label(cli, shapes, tmp_path):
    done = _prepare(cli, shapes, tmp_path)
    for path in sorted(shapes.glob("*.csv")):
        manifest = Manifest.read(path)
        lines = _lines(tmp_path, path.stem)
        assert [int(label) for _, label in lines] == manifest.labels.tolist()
        with Video(shapes / manifest.files["video"][0]) as video:
            expected = video.read([video.frames // 2])[0]
        np.testing.assert_array_equal(_pixels(tmp_path / "images" / lines[0][0]), expected)
        assert all((tmp_path / "images" / name).is_file() for name, _ in lines)
    assert f"--config {tmp_path / 'moving_shapes.yml'} {tmp_path / 'moving_shapes_ood.yml'}" in done.out


def test_several_frames_are_spread_over_training_clips_only(cli, shapes, tmp_path):
    _prepare(cli, shapes, tmp_path, "--frames", "3", "--short-side", "40")
    train, test = Manifest.read(shapes / "train.csv"), Manifest.read(shapes / "test.csv")
    lines = _lines(tmp_path, "train")
    assert [int(label) for _, label in lines] == np.repeat(train.labels, 3).tolist()
    assert len(_lines(tmp_path, "test")) == len(test)
    with Video(shapes / train.files["video"][1]) as video:
        count = video.frames
        expected = video.read([count // 6, count // 2, 5 * count // 6])
    for (name, _), frame in zip(lines[3:6], expected, strict=True):
        pixels = _pixels(tmp_path / "images" / name)
        height, width = frame.shape[:2]
        assert min(pixels.shape[:2]) == 40
        assert abs(pixels.shape[1] * height - 40 * width) <= height
    card = FrameCard.read(tmp_path / CARD)
    assert (card.sets["train"].clips, card.sets["train"].images) == (len(train), 3 * len(train))


def test_the_configs_are_those_of_the_clips(cli, shapes, tmp_path):
    _prepare(cli, shapes, tmp_path, "--image-size", "32")
    (tmp_path / "machine.yml").write_text(json.dumps(MACHINE))
    names = ("machine.yml", "moving_shapes.yml", "moving_shapes_ood.yml")
    config = load_config([tmp_path / name for name in names], [])
    assert config["dataset.num_classes"] == Manifest.read(shapes / "train.csv").labels.max() + 1
    assert config["dataset.image_size"] == 32
    assert config["dataset.train.dataset_class"] == "ImglistDataset"
    for split in ("train", "val", "test"):
        assert Path(config[f"dataset.{split}.imglist_pth"]) == tmp_path / "lists" / f"{split}.txt"
    assert set(config["ood_dataset.split_names"]) == {"val", "nearood", "farood"}
    assert config["ood_dataset.nearood.datasets"] == ["moving_shapes_near"]
    card = FrameCard.read(config["dataset.frames"])
    found = card.of_list(config["ood_dataset.farood.moving_shapes_far.imglist_pth"])
    manifest = Manifest.read(shapes / "farood_moving_shapes_far.csv")
    assert found.manifest == manifest.select(["video"]).digest()
    assert found.clips == len(manifest)
    assert (found.provenance["benchmark"], found.provenance["track"]) == ("moving_shapes", "demo")


def test_a_second_run_makes_nothing_and_the_same(cli, shapes, tmp_path):
    _prepare(cli, shapes, tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*.png")}
    texts = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.suffix in (".txt", ".yml", ".json")}
    assert "frames: 0 made" in _prepare(cli, shapes, tmp_path).out
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*.png")}
    assert texts == {p: p.read_bytes() for p in texts}


def test_images_made_otherwise_are_refused(cli, shapes, tmp_path):
    _prepare(cli, shapes, tmp_path)
    done = _prepare(cli, shapes, tmp_path, "--short-side", "20", code=2)
    assert "--overwrite" in done.err
    _prepare(cli, shapes, tmp_path, "--short-side", "20", "--overwrite")
    name = _lines(tmp_path, "val")[0][0]
    assert min(_pixels(tmp_path / "images" / name).shape[:2]) == 20


def _odd(tmp_path: Path, shapes: Path, **columns: tuple[str, ...]) -> Path:
    """A manifest test.csv of two of the clips, some of its columns replaced."""
    manifest = Manifest.read(shapes / "test.csv").take([0, 1])
    given = {"clips": manifest.clips, "video": manifest.files["video"], **columns}
    made = Manifest.create(
        given["clips"], manifest.labels, manifest.class_names, {"video": given["video"]}, manifest.groups
    )
    (tmp_path / "odd").mkdir()
    return made.write(tmp_path / "odd" / "test.csv")


def test_names_that_a_list_cannot_have(cli, shapes, tmp_path):
    path = _odd(tmp_path, shapes, clips=("a b", "a_b"))
    out = tmp_path / "out"
    done = cli(["prepare", "frames", "--manifest", str(path), "--root", str(shapes), "--out", str(out)])
    assert done.code == 0, done.err
    lines = _lines(out, "test")
    assert [len(line) for line in lines] == [2, 2]
    assert len({name for name, _ in lines}) == 2
    assert "no config is written: train.csv, val.csv" in done.out


def test_a_broken_clip_is_left_out_only_when_asked(cli, shapes, tmp_path):
    whole = Manifest.read(shapes / "test.csv").files["video"][0]
    path = _odd(tmp_path, shapes, video=(whole, "video/no/such.avi"))
    out = tmp_path / "out"
    words = ["prepare", "frames", "--manifest", str(path), "--root", str(shapes), "--out", str(out)]
    done = cli(words)
    assert done.code == 1
    assert "such.avi" in done.err
    assert "No list is written" in done.out
    assert not (out / "lists").exists()
    assert cli([*words, "--skip-broken"]).code == 1
    assert len(_lines(out, "test")) == 1
    card = FrameCard.read(out / CARD)
    assert card.sets["test"].skipped == [Manifest.read(path).clips[1]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--frames", "0"), "frames is 0"),
        (("--test-frames", "-1"), "test_frames is -1"),
        (("--image-size", "0"), "image_size is 0"),
        (("--workers", "0"), "--workers 0"),
    ],
)
def test_numbers_below_one(cli, shapes, tmp_path, more, said):
    assert said in _prepare(cli, shapes, tmp_path, *more, code=2).err


def test_manifests_that_have_no_frames(cli, shapes, tmp_path):
    (tmp_path / "sound.csv").write_text("clip,label,class_name,group,audio,start,stop\na,0,x,,a.wav,,\n")
    (tmp_path / "empty.csv").write_text("clip,label,class_name,group,video,start,stop\na,0,x,,,,\n")
    for name, said in (("sound", "no column 'video'"), ("empty", "line 2: the clip 'a' has no video")):
        words = ["prepare", "frames", "--manifest", str(tmp_path / f"{name}.csv"), "--root", str(shapes)]
        done = cli([*words, "--out", str(tmp_path / "out")])
        assert done.code == 2
        assert said in done.err


def test_a_card_that_is_none(tmp_path):
    for text, said in (("{", "not valid JSON"), ("[]", "no card"), ('{"schema_version": 9}', "no card")):
        (tmp_path / CARD).write_text(text)
        with pytest.raises(UserError, match=said):
            FrameCard.read(tmp_path / CARD)
