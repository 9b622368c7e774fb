"""``splits audit --content``: clips that are copies of others under another name, with planted files."""

import json
import math

import pytest

from openood_multimodal.cli.main import main
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.splits import auditing
from openood_multimodal.splits.auditing import ContentReader, audit_split, contents, load_splits

NAN = math.nan


def write(folder, name, rows, label=0, modalities=("video",)):
    """From (clip, class, {modality: cell}[, start, stop])."""
    spans = [row[3:] or (NAN, NAN) for row in rows]
    Manifest.create(
        clips=[row[0] for row in rows],
        labels=[label] * len(rows),
        class_names=[row[1] for row in rows],
        files={modality: [row[2].get(modality, "") for row in rows] for modality in modalities},
        starts=[span[0] for span in spans],
        stops=[span[1] for span in spans],
    ).write(folder / name)


def put(folder, **files):
    for stem, content in files.items():
        (folder / f"{stem}.mp4").write_bytes(content)


def only(stem):
    return {"video": f"{stem}.mp4"}


@pytest.fixture
def copied(tmp_path):
    """``e2`` of test is ``t1`` of training, ``o1`` is ``e1``; ``v1`` is ``t2`` of another class; ``t3`` is ``t1``."""
    put(tmp_path, t1=b"one", t2=b"two", t3=b"one", v1=b"two", e1=b"three", e2=b"one", o1=b"three", o2=b"four")
    write(tmp_path, "train.csv", [(each, "golf", only(each)) for each in ("t1", "t2", "t3")])
    write(tmp_path, "val.csv", [("v1", "ride", only("v1"))])
    write(tmp_path, "test.csv", [(each, "golf", only(each)) for each in ("e1", "e2")])
    write(tmp_path, "nearood_x.csv", [(each, "swim", only(each)) for each in ("o1", "o2")], -1)
    return tmp_path


def test_copies_between_sets_on_the_terminal_and_in_the_json(copied, capsys):
    written = copied / "audit.json"
    arguments = ["splits", "audit", str(copied), "--root", str(copied), "--content", "--json", str(written)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "test: clips whose content is also in train: 1 (1 video), e.g. e2 is t1." in printed
    assert (
        "val: clips whose content is also in train: 1 (1 video; 1 with another class), e.g. v1 is t2."
        in printed
    )
    assert (
        "nearood_x: clips whose content is also in test: 1 (1 video; 1 with another class), e.g. o1 is e1."
        in printed
    )
    assert (
        "train: clips whose content is also earlier in the same set: 1 (1 video), e.g. t3 is t1." in printed
    )
    assert "nearood_x: clips whose content is also in train" not in printed
    assert "test: no clip" not in printed
    assert "unknown; their files" not in printed
    sets = json.loads(written.read_text(encoding="utf-8"))["splits"][0]["sets"]
    assert sets["test"]["in_train"]["content"] == {
        "clips": 1,
        "conflicting": 0,
        "by_modality": {"video": 1},
        "examples": [["e2", "t1"]],
    }
    assert sets["test"]["in_train"]["duplicates"]["clips"] == 0  # names tell nothing
    assert sets["test"]["in_val"]["content"]["clips"] == 0
    assert sets["nearood_x"]["in_test"]["content"]["clips"] == 1
    assert sets["train"]["content"]["hashed"] == 3


def test_what_could_not_be_read_is_noted(copied, capsys):
    for name in ("e2", "v1"):
        (copied / f"{name}.mp4").unlink()
    assert main(["splits", "audit", str(copied), "--root", str(copied), "--content"]) == 0
    printed = capsys.readouterr().out
    assert (
        "test: no clip's content is also earlier in the same set or in train or in val (1 clips read)."
        in printed
    )
    assert "test: the content of 1 of 2 clips is unknown; their files are not there." in printed
    assert "val: the content of 1 of 1 clips is unknown" in printed


def test_without_the_option_no_file_is_opened(copied, monkeypatch):
    monkeypatch.setattr(contents, "file_sha256", lambda path: pytest.fail(f"opened {path}"))
    (split,) = load_splits([copied])
    sets = audit_split(split, copied)["sets"]
    assert "content" not in sets["test"]
    assert "content" not in sets["test"]["in_train"]


def test_another_span_of_the_same_file_is_another_clip(tmp_path):
    put(tmp_path, a=b"same", b=b"same")
    write(tmp_path, "train.csv", [("t", "golf", only("a"), NAN, 5.0), ("u", "golf", only("a"), 5.0, 9.0)])
    write(
        tmp_path,
        "test.csv",
        [("e", "golf", only("b"), 0.0, 5.0), ("f", "golf", only("b"), 5.0, 8.0), ("g", "golf", only("b"))],
    )
    (split,) = load_splits([tmp_path])
    found = audit_split(split, tmp_path, content=ContentReader())["sets"]["test"]
    assert found["in_train"]["content"]["examples"] == (("e", "t"),)  # its beginning is second 0
    assert found["content"]["clips"] == 0


def test_frames_flow_pairs_and_parts_of_clips(tmp_path):
    for folder, frames in (("a", (b"1", b"2", b"3")), ("b", (b"0", b"1", b"2"))):
        (tmp_path / folder).mkdir()
        for number, frame in enumerate(frames, 1):
            (tmp_path / folder / f"frame_{number:010d}.jpg").write_bytes(frame)
    put(
        tmp_path, p_flow_x=b"x", p_flow_y=b"y", q_flow_x=b"x", q_flow_y=b"y", r_flow_x=b"x", r_flow_y=b"other"
    )
    both = ("video", "flow")
    train = {"video": "a/#frames=1,2", "flow": "p_flow_x.mp4"}
    test = [
        ("frames", "golf", {"video": "b/#frames=2,3", "flow": "r_flow_x.mp4"}),
        ("flow", "golf", {"video": "b/#frames=1,2", "flow": "q_flow_x.mp4"}),
        ("neither", "golf", {"video": "b/#frames=1,3", "flow": "r_flow_x.mp4"}),
        ("absent", "golf", {"video": "c/#frames=1,2", "flow": "s_flow_x.mp4"}),
    ]
    write(tmp_path, "train.csv", [("t", "golf", train)], modalities=both)
    write(tmp_path, "test.csv", test, modalities=both)
    (split,) = load_splits([tmp_path])
    found = audit_split(split, tmp_path, content=ContentReader())["sets"]["test"]
    assert found["in_train"]["content"]["by_modality"] == {"video": 1, "flow": 1}
    assert found["in_train"]["content"]["examples"] == (("frames", "t"), ("flow", "t"))
    assert found["content"]["hashed"] == 3


def test_each_file_is_read_once_and_each_clip_counted(copied, monkeypatch):
    read, clips = [], []
    monkeypatch.setattr(contents, "file_sha256", lambda path: read.append(path) or "00" * 32)
    write(copied, "test.csv", [("e1", "golf", only("t1"), 0.0, 1.0), ("e2", "golf", only("t1"), 1.0, 2.0)])
    reader = ContentReader(lambda: clips.append(1))
    for split in load_splits([copied]) * 2:
        audit_split(split, copied, content=reader)
    assert len(read) == len(set(read)) == 6  # t1 to t3, v1, o1, o2
    assert len(clips) == 2 * 8


def test_files_outside_the_folder_are_not_read(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    put(tmp_path, secret=b"one")
    put(root, t=b"one")
    (root / "e.mp4").symlink_to(tmp_path / "secret.mp4")
    write(root, "train.csv", [("t", "golf", only("t"))])
    write(root, "test.csv", [("e", "golf", only("e"))])
    (split,) = load_splits([root])
    found = audit_split(split, root, content=ContentReader())["sets"]["test"]
    assert found["content"]["hashed"] == 0
    assert found["in_train"]["content"]["clips"] == 0


def test_content_needs_the_folder(copied, capsys):
    assert main(["splits", "audit", str(copied), "--content"]) == 2
    assert "--root DIR" in capsys.readouterr().err
    with pytest.raises(UserError, match="give root"):
        audit_split(auditing.load_splits([copied])[0], content=ContentReader())
