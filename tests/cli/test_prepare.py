"""``openood-mm prepare``: what users see with all there, some missing, and nothing there."""

import csv
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openood_multimodal.corpora.layout import ClipKey
from openood_multimodal.datasets.cells import flow_y
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.registry import CLIP_LAYOUTS

Cli = Callable[[list[str]], Any]

CLIPS = [
    "wave/A_wave_f_cm_np1_fr_med_0.avi",
    "wave/A_wave_f_cm_np1_fr_med_1.avi",
    "chew/B_chew_u_nm_np1_fr_goo_0.avi",
]


@pytest.fixture
def hmdb(tmp_path: Path) -> Path:
    root = tmp_path / "HMDB51"
    for clip in CLIPS:
        cells = CLIP_LAYOUTS["hmdb51"].cells(ClipKey(clip, ""))
        for path in (cells["video"], cells["flow"], flow_y(cells["flow"])):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    return root


def test_complete(cli: Cli, hmdb: Path, tmp_path: Path) -> None:
    done = cli(["prepare", "hmdb51", "--root", str(hmdb), "--out", str(tmp_path / "out")])
    assert (done.code, done.err) == (0, "")
    assert "3 of 3 clips complete" in done.out
    manifest = Manifest.read(tmp_path / "out" / "hmdb51_all.csv")
    assert set(manifest.clips) == set(CLIPS)
    assert manifest.class_counts() == {"chew": 1, "wave": 2}
    assert manifest.labels.tolist() == [0, 1, 1]
    assert os.listdir(tmp_path / "out") == ["hmdb51_all.csv"]


def test_missing(cli: Cli, hmdb: Path, tmp_path: Path) -> None:
    (hmdb / "flow" / "A_wave_f_cm_np1_fr_med_1_flow_x.mp4").unlink()
    (hmdb / "flow" / "B_chew_u_nm_np1_fr_goo_0_flow_y.mp4").rename(
        hmdb / "flow" / "B_chew_u_nm_np1_fr_goo_0_flow_y.avi"
    )
    words = ["prepare", "hmdb51", "--root", str(hmdb), "--out", str(tmp_path)]
    done = cli(words)
    assert done.code == 1
    assert "1 of 3 clips complete" in done.out
    assert "chew (1): 1 flow" in done.out
    assert "wave (2): 1 flow" in done.out
    assert "another ending" in done.out
    with open(tmp_path / "hmdb51_missing.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["modality"], row["expected"], row["nearest"]) for row in rows] == [
        (
            CLIPS[2],
            "flow",
            "flow/B_chew_u_nm_np1_fr_goo_0_flow_y.mp4",
            "flow/B_chew_u_nm_np1_fr_goo_0_flow_y.avi",
        ),
        (CLIPS[1], "flow", "flow/A_wave_f_cm_np1_fr_med_1_flow_x.mp4", ""),
    ]
    assert Manifest.read(tmp_path / "hmdb51_all.csv").clips == (CLIPS[0],)
    # what isn't needed isn't missing, and an old list doesn't stay
    assert cli([*words, "--modalities", "video"]).code == 0
    assert not (tmp_path / "hmdb51_missing.csv").exists()
    assert len(Manifest.read(tmp_path / "hmdb51_all.csv")) == 3


def test_json(cli: Cli, hmdb: Path, tmp_path: Path) -> None:
    (hmdb / "flow" / "A_wave_f_cm_np1_fr_med_1_flow_x.mp4").unlink()
    done = cli(["prepare", "hmdb51", "--root", str(hmdb), "--out", str(tmp_path), "--json"])
    report = json.loads(done.out)
    assert done.code == 1
    assert (report["complete"], report["clips"], report["clips_complete"]) == (False, 3, 2)
    assert report["modalities"]["flow"] == {"place": "flow/<stem>_flow_x.mp4", "found": 2, "missing": 1}
    assert report["missing_by_class"] == {"wave": {"clips": 2, "flow": 1}}
    assert report["manifest"] == str(tmp_path / "hmdb51_all.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = cli(["prepare", "hac", "--root", str(empty), "--json"])
    assert nothing.code == 1
    assert json.loads(nothing.out)["archives"][0]["unpack_into"]


@pytest.mark.parametrize("name", CLIP_LAYOUTS)
def test_nothing_there(cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for words, code in (
        (["prepare", name], 0),
        (["prepare", name, "--root", "none"], 1),
        (["prepare", name, "--root", "data"], 1),
    ):
        done = cli(words)
        assert done.code == code
        for archive in CLIP_LAYOUTS[name].archives:
            assert archive.published in done.out
            assert archive.file_names[0] in done.out
        assert "The expected folders" in done.out
        assert ("no folder none" in done.err) == ("none" in words)
    assert os.listdir(tmp_path) == ["data"]


def test_one_folder_too_high(cli: Cli, hmdb: Path) -> None:
    done = cli(["prepare", "hmdb51", "--root", str(hmdb.parent)])
    assert done.code == 1
    assert f"{hmdb} does: give that folder." in done.err


def test_a_folder_with_nearly_the_right_name(cli: Cli, hmdb: Path) -> None:
    (hmdb / "video").rename(hmdb / "Video")
    (hmdb / "flow").rename(hmdb / "flows")
    done = cli(["prepare", "hmdb51", "--root", str(hmdb)])
    assert done.code == 1
    assert "There is 'Video' instead of 'video'" in done.err


def test_a_modality_that_is_not_there_at_all(cli: Cli, hmdb: Path, tmp_path: Path) -> None:
    for file in (hmdb / "flow").iterdir():
        file.unlink()
    done = cli(["prepare", "hmdb51", "--root", str(hmdb), "--out", str(tmp_path)])
    assert done.code == 1
    assert "There is no flow at all" in done.out
    assert "hmdb51_flow_mp4.tar.gz" in done.out
    assert "hmdb51_org.rar" not in done.out
    assert not (tmp_path / "hmdb51_all.csv").exists()


def test_manifests_whose_folder_has_another_name(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "data dir"
    clip = "acting in play/abcdefghijk_000001_000011.mp4"
    (root / "Kinetics-600-train/acting in play").mkdir(parents=True)
    (root / "Kinetics-600-train" / clip).touch()
    Manifest.create([clip], [0], ["acting in play"], {"video": [f"video/{clip}"]}).write(
        tmp_path / "train.csv"
    )
    words = ["prepare", "kinetics600", "--root", str(root), "--out", str(tmp_path / "out")]
    words += ["--manifests", str(tmp_path / "train.csv")]
    done = cli(words)
    assert done.code == 1
    (line,) = (line for line in done.out.splitlines() if "ln -s" in line)
    _, _, target, link = shlex.split(line.partition(": ")[2])
    os.symlink(target, link)
    assert cli(words).code == 0


def test_epic(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "EPIC"
    folder = root / "rgb/train/D3/P22_05"
    folder.mkdir(parents=True)
    for number in range(10, 20):
        (folder / f"frame_{number:010d}.jpg").touch()
    done = cli(
        ["prepare", "epic_kitchens", "--root", str(root), "--modalities", "video", "--out", str(tmp_path)]
    )
    assert done.code == 1
    assert "1 of 17 recordings complete" in done.out
    assert "make manifests of" in done.out
    cells = CLIP_LAYOUTS["epic_kitchens"].cells(ClipKey("P22_05/10-20", ""))
    Manifest.create(["P22_05/10-20"], [0], ["put"], {"video": [cells["video"]]}).write(tmp_path / "train.csv")
    words = ["prepare", "epic_kitchens", "--root", str(root), "--out", str(tmp_path / "out")]
    assert cli([*words, "--manifests", str(tmp_path / "train.csv")]).code == 0


def test_links_that_leave_are_not_taken(cli: Cli, hmdb: Path, tmp_path: Path) -> None:
    (hmdb / "video").rename(tmp_path / "elsewhere")
    (hmdb / "video").symlink_to(tmp_path / "elsewhere")
    train = Manifest.create([CLIPS[0]], [0], ["wave"], {"video": [f"video/{CLIPS[0]}"]}).write(
        tmp_path / "train.csv"
    )
    words = ["prepare", "hmdb51", "--root", str(hmdb), "--out", str(tmp_path), "--manifests", str(train)]
    done = cli([*words, "--modalities", "video,flow"])
    assert done.code == 1
    with open(tmp_path / "hmdb51_missing.csv", encoding="utf-8", newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == [
            "video is a symbolic link that leaves the dataset's folder"
        ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hmdb5"], "Did you mean 'hmdb51'"),
        (["hmdb51", "--root", "FILE"], "is not a folder"),
        (["hmdb51", "--root", "HMDB", "--modalities", "vidoe"], "Did you mean 'video'"),
        (["hmdb51", "--root", "HMDB", "--modalities", ","], "--modalities is empty"),
        (
            ["hmdb51", "--root", "HMDB", "--manifests", "none.csv"],
            "none.csv, and there is no such file or folder",
        ),
        (["hmdb51", "--root", "HMDB", "--manifests", "HMDB"], "no manifest with clips of hmdb51"),
    ],
)
def test_mistakes(
    cli: Cli, hmdb: Path, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    done = cli(["prepare", *(word.replace("HMDB", str(hmdb)) if word == "HMDB" else word for word in words)])
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_help_has_examples(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli(["prepare", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    for name in ("moving_shapes", "prepare flow", "prepare audio", *CLIP_LAYOUTS):
        assert name in text


@pytest.mark.parametrize("layout", CLIP_LAYOUTS)
def test_generated_clips_are_complete(cli: Cli, layout: str, tmp_path: Path) -> None:
    from openood_multimodal.moving_shapes import generate

    root = tmp_path / "shapes"
    made = generate(root, layout, size="tiny")
    manifests = [str(path) for path in made.manifests.values()]
    words = ["prepare", layout, "--root", str(root), "--out", str(tmp_path / "out")]
    done = cli([*words, "--manifests", *manifests])
    assert (done.code, done.err) == (0, "")
    clips = sum(len(Manifest.read(path)) for path in manifests)
    assert len(Manifest.read(tmp_path / "out" / f"{layout}_all.csv")) == clips
    if layout != "epic_kitchens":
        done = cli([*words, "--check"])
        files = clips * len(CLIP_LAYOUTS[layout].modalities)
        assert (done.code, done.out.splitlines()[-1]) == (
            0,
            f"All {files} files decode from beginning to end.",
        )
        assert len(Manifest.read(tmp_path / "out" / f"{layout}_all.csv")) == clips
