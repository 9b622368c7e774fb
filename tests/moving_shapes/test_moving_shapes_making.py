from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from openood_multimodal.cli import prepare_moving_shapes
from openood_multimodal.config import load_config
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.making import encoding
from openood_multimodal.moving_shapes import SIZES, Generated, generate, recordings

Made = Callable[[str], Generated]
Small = Callable[..., Generated]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_bytes_by_one_process_and_by_two(tmp_path: Path, small: Small) -> None:
    one = small(layout="ucf101")
    two = generate(tmp_path / "two", "ucf101", workers=2, **vars(one.size))
    assert contents(one.root) == contents(two.root)


def test_another_seed_makes_other_clips(tmp_path: Path, small: Small) -> None:
    one = small(layout="hac")
    other = generate(tmp_path / "other", "hac", 9, **vars(one.size))
    ours, theirs = contents(one.root), contents(other.root)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours if name.endswith((".mp4", ".wav")))


@pytest.mark.parametrize("layout", ["kinetics600", "epic_kitchens"])
def test_what_is_missing_is_made_again_and_nothing_else(small: Small, layout: str) -> None:
    data = small(layout=layout)
    before = contents(data.root)
    times = {path: path.stat().st_mtime_ns for path in data.root.rglob("*.wav")}
    assert (data.made, data.kept) == (9, 0)
    if layout == "epic_kitchens":
        shutil.rmtree(data.root / "flow/test/D3/P22_02/v")
    else:
        next(data.root.rglob("*_flow_y.mp4")).unlink()
    again = small(layout=layout)
    assert (again.made, again.kept) == (1, 8)
    assert contents(data.root) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert small(layout=layout).made == 0


@pytest.mark.parametrize("layout", ["hmdb51", "epic_kitchens"])
def test_a_failure_leaves_no_half_file(small: Small, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    if layout == "hmdb51":
        monkeypatch.setattr(encoding.VideoWriter, "hear", half)
    else:
        monkeypatch.setattr(recordings, "encode_flow", half)
    with pytest.raises(OSError, match="No space left"):
        small(layout=layout)
    monkeypatch.undo()
    data = small(layout=layout)
    assert not [path for path in data.root.rglob("*") if path.name.endswith((".tmp", ".lock"))]
    assert data.made + data.kept == 9


def test_frames_of_a_killed_process_are_removed(small: Small) -> None:
    data = small(layout="epic_kitchens")
    frames = data.root / "rgb/test/D3/P22_01"
    half = frames.with_name(".P22_01.0123456789ab.tmp")
    frames.rename(half)
    assert small(layout="epic_kitchens").made == 1
    assert frames.is_dir()
    assert not half.exists()


def test_without_flow_and_wav_files(small: Small) -> None:
    data = small(flow=False, audio=False)
    assert not list(data.root.rglob("*_flow_*"))
    assert not list(data.root.rglob("*.wav"))
    assert Manifest.read(data.manifests["train"]).modalities == ("video", "audio", "flow")


def test_a_manifest_that_was_edited_stays(small: Small) -> None:
    path = small().manifests["train"]
    kept = Manifest.read(path).take([0])
    kept.write(path)
    small()
    assert Manifest.read(path) == kept


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'train.csv'} is not part of MovingShapes")):
        generate(tmp_path)
    assert contents(tmp_path) == {"train.csv": b"mine"}


def test_hidden_files_are_no_hindrance(tmp_path: Path, small: Small) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".DS_Store").write_text("")
    assert small().made == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "holds MovingShapes with seed 0, not 5"),
        ({"frames": 8}, "with frames 6, not 8"),
        ({"layout": "hac"}, "with layout 'hmdb51', not 'hac'"),
        ({"flow": False}, "with flow True, not False"),
    ],
)
def test_other_settings_are_refused_in_the_same_folder(
    small: Small, changes: dict[str, object], message: str
) -> None:
    before = contents(small().root)
    with pytest.raises(UserError, match=message):
        small(**changes)
    assert contents(small().root) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "hmdb"}, "no layout 'hmdb'.*hmdb51"),
        ({"size": "dmeo"}, "no size 'dmeo'.*demo"),
        ({"frame": 8}, "no number 'frame'.*frames"),
        ({"frames": 7}, "frames is 7; it must be an even number from 4 to"),
        ({"classes": 99}, "classes is 99; it must be a whole number from 2 to 8"),
        ({"clips": 0}, "clips is 0"),
        ({"frames": 2000, "height": 1080, "width": 1920}, "at most 150000000"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


def test_root_is_a_file_or_its_recipe_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        generate(tmp_path / "file")
    (tmp_path / "moving_shapes.json").write_text("{")
    with pytest.raises(UserError, match=r"moving_shapes\.json is damaged, or not the recipe of MovingShapes"):
        generate(tmp_path)


def test_sizes_have_recordings_for_every_side() -> None:
    for size in SIZES.values():
        assert min(size.train_recordings, size.val_recordings, size.test_recordings, size.ood_recordings) >= 1


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "shapes"
    words = ["--root", str(root), "--size", "tiny", "--seed", "4", "--workers", "1"]
    words += ["--frames", "6", "--clips", "1", "--train-recordings", "1", "--no-flow"]
    assert prepare_moving_shapes.main(words) == 0
    printed = capsys.readouterr().out
    assert "17 recordings made" in printed
    assert "nearood_moving_shapes_near.csv" in printed
    assert f"--data_root {root}" in printed
    assert json.loads((root / "moving_shapes.json").read_text())["seed"] == 4


def test_configs_lead_to_batches(made: Made) -> None:
    data = made("hmdb51")
    files = ["datasets/moving_shapes/moving_shapes.yml", "datasets/moving_shapes/moving_shapes_ood.yml"]
    words = ["--data_root", str(data.root), "--dataset.num_classes", "2", "--dataset.train.batch_size", "2"]
    host = {"num_workers": 0, "num_gpus": 0, "num_machines": 1, "seed": 0}
    config = load_config([host, *files], words)
    loaders = build_loaders(config, training=True)
    assert list(loaders) == ["train", "val", "test"]
    batch = next(iter(loaders["train"]))
    assert {name: tuple(part.shape) for name, part in batch["data"].items()} == {
        "video": (2, 3, 16, 64, 64),
        "audio": (2, 1, 129, 50),
        "flow": (2, 2, 8, 64, 64),
    }
    ood = build_ood_loaders(config, ("nearood", "farood", "val"))
    for loader in (ood["nearood"]["moving_shapes_near"], ood["farood"]["moving_shapes_far"], ood["val"]):
        assert set(loader.dataset.labels.tolist()) == {-1}
        assert loader.dataset.provenance["benchmark"] == "moving_shapes"
        assert loader.dataset.provenance["synthetic"] is True
