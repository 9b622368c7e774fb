"""Clips of one's own: class folders → split, configs that train, and the list of what can't be decoded."""

import json
import shutil

import pytest
import torch

from openood_multimodal.config import load_config
from openood_multimodal.datasets import Manifest
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.datasets.split_card import SplitCard
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.checking import check_clips
from openood_multimodal.splits.own_clip_configs import arguments_for_few, choose, write_folder
from openood_multimodal.splits.own_clips import OwnClip, split_folder, survey_folder

RECORDING = r"/([^/]+?)_[a-z]+_f_"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Class folders of videos with sound."""
    made = generate(tmp_path_factory.mktemp("shapes"), "hmdb51", size="tiny", flow=False, audio=False)
    return made.root / "video"


@pytest.fixture
def own(shapes, tmp_path):
    root = tmp_path / "my 'own' clips"
    shutil.copytree(shapes, root)
    return root


@pytest.fixture(scope="module")
def names(shapes):
    return sorted(survey_folder(shapes).classes)


def parts(names):
    return ["--ood", ",".join(names[-2:]), "--id", ",".join(names[:3])]


def test_from_class_folders_to_batches(cli, own, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (own / names[0] / "notes.txt").write_text("x")
    (own / names[0] / "._a.avi").write_text("x")
    listed = cli(["prepare", "folder", "mine", "--root", str(own)])
    assert (listed.code, [name for name in names if name in listed.out]) == (0, names)
    done = cli(
        ["prepare", "folder", "mine", "--root", str(own), *parts(names), "--recording", RECORDING, "--check"]
    )
    assert done.code == 0, done.err + done.out
    assert "decode from beginning to end" in done.out
    assert "1 files that are no videos" in done.out
    folder = tmp_path / "splits" / "mine"
    card = SplitCard.read(folder)
    assert (card.benchmark, card.track, card.class_names) == ("mine", "grouped", names[:3])
    sets = {key: Manifest.read(folder / f"{key}.csv") for key in ("train", "val", "test", "nearood_mine")}
    sides = [set(sets[key].groups) for key in ("train", "val", "test")]
    assert all(a.isdisjoint(b) for a in sides for b in sides if a is not b)
    assert set(sets["train"].labels) == {0, 1, 2}
    assert set(sets["nearood_mine"].labels) == {-1}
    assert set(sets["nearood_mine"].class_names) == set(names[-2:])

    config = load_config(
        [
            *("splits/mine/mine.yml", "splits/mine/mine_ood.yml", "networks/clip_fusion_small.yml"),
            *("pipelines/train/a2d_npmix.yml", "splits/mine/mine_npmix.yml"),
        ],
        ["--num_workers", "0"],
    )
    assert config["dataset.num_classes"] == 3
    video = config["preprocessor"]["video"]
    loaders = build_loaders(config, training=True) | build_ood_loaders(config, ("nearood",))["nearood"]
    batch = next(iter(loaders["mine"]))
    assert batch["data"]["video"].shape[1:] == (3, video["frames"], video["size"], video["size"])
    assert torch.isfinite(batch["data"]["audio"]).all()
    [words] = [line for line in done.out.splitlines() if "pipelines/test/near_ood.yml" in line]
    assert json.dumps(arguments_for_few(sets["train"])) in words


def test_a_far_set_alone(cli, own, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli(["prepare", "folder", "far", "--root", str(own), "--far", names[0], "--recording", RECORDING])
    assert done.code == 0, done.err
    assert "pipelines/test/far_ood.yml" in done.out
    config = load_config(
        [
            "splits/far/far.yml",
            "splits/far/far_ood.yml",
            "networks/clip_fusion_small.yml",
            "pipelines/test/far_ood.yml",
        ],
        ["--network.checkpoint", "x", "--num_workers", "0"],
    )
    assert list(build_ood_loaders(config, ("farood",))["farood"]) == ["far"]


def test_recordings(shapes, own, names):
    by_name = survey_folder(shapes, RECORDING)
    assert not by_name.own_recordings
    assert len({each.recording for each in by_name.clips}) < len(by_name.clips)
    alone = survey_folder(shapes)
    assert alone.own_recordings
    assert len({each.recording for each in alone.clips}) == len(alone.clips)
    (own / names[0] / "cam").mkdir()
    first = next((own / names[0]).glob("*.avi"))
    first.rename(own / names[0] / "cam" / first.name)
    found = survey_folder(own)
    assert [each.recording for each in found.clips].count("cam") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ood", "flyy"], "has no class 'flyy'"),
        (["--ood", "{0}", "--id", "{0},{1}"], "named twice"),
        (["--ood", "{0}", "--id", "{1}"], "needs at least 2"),
        (["--ood", "{0}", "--recording", "("], "is no regular expression"),
        (["--ood", "{0}", "--recording", "a"], "has 0 groups"),
        (["--ood", "{0}", "--recording", "(nowhere)"], "finds nothing in"),
        (["--ood", "{0}", "--modalities", "video,flow"], "have no flow"),
        (["--ood", "{0}", "--frames", "9"], "multiples of 8"),
        (["--ood", "{0}", "--size", "50"], "multiple of 32"),
        (["--ood", "{0}", "--val", "60", "--test", "45"], "to train on"),
    ],
)
def test_mistakes(cli, shapes, names, tmp_path, words, message):
    words = [word.format(*names) for word in words]
    done = cli(["prepare", "folder", "mine", "--root", str(shapes), "--out", str(tmp_path / "out"), *words])
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "out").exists()


def test_folders_without_clips_and_names_that_are_none(cli, shapes, names, tmp_path):
    for root in (tmp_path / "none", tmp_path):
        assert cli(["prepare", "folder", "x", "--root", str(root), "--ood", "a"]).code == 2
    assert (
        "letters, digits" in cli(["prepare", "folder", "../x", "--root", str(shapes), "--ood", names[0]]).err
    )


def test_what_is_broken_is_left_out_and_listed(cli, own, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    victims = sorted((own / names[0]).glob("*.avi"))
    victims[0].write_bytes(b"no video")
    whole = victims[1].read_bytes()
    middle = len(whole) // 2
    victims[1].write_bytes(whole[:middle] + bytes(4000) + whole[middle + 4000 :])
    command = ["prepare", "folder", "mine", "--root", str(own), *parts(names), "--check", "--workers", "1"]
    done = cli(command)
    assert done.code == 1
    assert f"left out: {names[0]}/{victims[0].name}" in done.out
    manifests = [
        Manifest.read(tmp_path / "splits" / "mine" / f"{key}.csv") for key in ("train", "val", "test")
    ]
    clips = [clip for manifest in manifests for clip in manifest.clips]
    assert not any(victims[0].name in clip for clip in clips)


def test_check_finds_what_a_window_does_not_show(cli, own, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = next((own / names[0]).glob("*.avi"))
    manifest = Manifest.create(
        ["a", "b"], [0, 0], ["x", "x"], {"video": [f"{names[0]}/{clip.name}", f"{names[0]}/gone.avi"]}
    )
    manifest.write(tmp_path / "some.csv")
    found = list(check_clips([manifest], own))
    assert [each and (each.clip, each.modality) for each in found] == [None, ("b", "video")]
    command = ["prepare", "check", "--manifest", "some.csv", "--root", str(own), "--workers", "1"]
    done = cli(command)
    assert done.code == 1
    assert "1 of 2 files can't be decoded" in done.out
    assert "gone.avi" in (tmp_path / "broken_files.csv").read_text()
    shutil.copy(clip, own / names[0] / "gone.avi")
    again = cli([*command[:-1], "2"])
    assert (again.code, "All 2 files" in again.out) == (0, True), again.err
    assert not (tmp_path / "broken_files.csv").exists()


def test_class_folders_that_are_links_to_another_disk(cli, own, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.move(own / names[0], tmp_path / "disk")
    (own / names[0]).symlink_to(tmp_path / "disk")
    command = ["prepare", "folder", "mine", "--root", str(own), *parts(names), "--recording", RECORDING]
    refused = cli(command)
    assert (refused.code, "--follow-links" in refused.err) == (2, True)
    done = cli([*command, "--follow-links"])
    assert done.code == 0, done.err
    files = ["splits/mine/mine.yml", "networks/clip_fusion_small.yml", "pipelines/train/a2d.yml"]
    config = load_config(files, ["--num_workers", "0"])
    dataset = build_loaders(config, training=False)["train"].dataset
    row = dataset.manifest.class_names.index(names[0])
    assert torch.isfinite(dataset[row]["data"]["video"]).all()
    config = load_config(files, ["--num_workers", "0", "--dataset.train.imglist_pth.follow_links", "False"])
    with pytest.raises(UserError, match="symbolic link"):
        build_loaders(config, training=False)["train"].dataset[row]


def clip(frames=100, fps=25.0, side=240, name="a"):
    return OwnClip("a/b.mp4", name, "b", frames, fps, side, {"video": "a/b.mp4"})


def manifest(*counts):
    rows = [(f"{c}{i}", c) for c, count in enumerate(counts) for i in range(count)]
    return Manifest.create(
        [name for name, _ in rows],
        [c for _, c in rows],
        [f"c{c}" for _, c in rows],
        {"video": ["x"] * len(rows)},
    )


@pytest.mark.parametrize(
    ("clips", "train", "expected"),
    [
        ([clip(300, 30.0, 480)] * 20, (200, 200), (32, 2, 224, 2.1, 16, 65)),
        ([clip(50, 25.0, 120)] * 20, (4, 4, 4, 4), (32, 1, 96, 1.3, 16, 40)),
        ([clip(40, 25.0, 80)] * 20, (9, 9, 9), (32, 1, 64, 1.3, 9, 65)),
        ([clip(30, 10.0, 20)] * 20, (2, 3), (16, 1, 32, 1.6, 5, 20)),
        ([clip(4, 25.0, 240)] * 20, (2, 2), (8, 1, 192, 0.5, 4, 20)),
        ([clip(10, 25.0, 240)] + [clip()] * 19, (20, 20), (32, 2, 192, 2.6, 10, 65)),
    ],
)
def test_choices(clips, train, expected):
    found = choose(clips, manifest(*train))
    seen = (found.frames, found.stride, found.size, found.seconds, found.batch_size, found.bank_size)
    assert seen == expected


def test_given_settings_are_kept(shapes, names, tmp_path):
    found = survey_folder(shapes, RECORDING)
    split = split_folder("mine", found, ood=[names[-1]], known=names[:2], modalities=["video"])
    choice = choose(found.clips, split.manifests["train"], frames=8, size=32)
    first, *_ = write_folder(tmp_path, "mine", shapes, split, choice)
    config = load_config([first, "networks/clip_fusion_small.yml", "pipelines/train/a2d.yml"])
    assert list(config["dataset.modalities"]) == ["video"]
    assert (config["preprocessor.video.frames"], config["preprocessor.video.size"]) == (8, 32)
    assert not arguments_for_few(manifest(200, 100))
