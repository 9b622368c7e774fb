"""``openood-mm verify``: nothing differs in what a run wrote, and each change is found, with its file."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard, entry_of, write_split


@pytest.fixture
def results(tiny, trained, cli):
    """A training, a test of it, a leaderboard and a split."""
    shutil.copytree(trained, tiny.folder / "run")
    assert cli(tiny.test()).code == 0
    assert cli(["leaderboard", "build", "--out", str(tiny.folder / "board")]).code == 0
    rows = {
        "clips": ["a"],
        "labels": [0],
        "class_names": ["x"],
        "groups": [""],
        "files": {"video": ["a.mp4"]},
    }
    manifest = Manifest.create(**rows)
    write_split(
        tiny.folder / "split",
        {"train": manifest},
        SplitCard("b", 1, "demo", ["x"], {"train": entry_of(manifest, "train.csv")}),
    )
    return tiny.folder


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _scores(path):
    with np.load(path) as archive:
        values = dict(archive)
    values["conf"] = values["conf"][::-1]
    np.savez(path, **values)


def _text(path):
    path.write_text(path.read_text().replace("a.mp4", "b.mp4") + "\n")


def _card(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "seed": 99}))


CHANGES = {
    "run/state.pt": _flip,
    "run/best.ckpt": _flip,
    "run/last.ckpt": _flip,
    "run/best.json": _card,
    "test/embeddings/test/labels.npy": _flip,
    "test/embeddings/train/features.npy": _flip,
    "test/embeddings/ood_val/clips.txt": _text,
    "test/embeddings/test/meta.json": lambda path: path.write_text("{}"),
    "test/scores/msp/synthetic_near.npz": _scores,
    "test/scores/msp/id.npz": _scores,
    "test/records/msp@synthetic_near.record.json": lambda path: path.write_text("{}"),
    "board/hmdb51_25_26.csv": _text,
    "board/hmdb51_25_26.md": lambda path: path.unlink(),
    "split/train.csv": _text,
}


def test_nothing_differs(results, cli):
    done = cli(["verify", str(results)])
    assert done.code == 0, done.out
    assert "0 differ" in done.out
    for part in ("1 training states", "2 checkpoints", "stores", "3 records", "2 splits", "1 leaderboards"):
        assert part in done.out


def test_each_change_is_found(results, cli):
    for name, change in CHANGES.items():
        path = results / name
        whole = path.read_bytes()
        change(path)
        done = cli(["verify", str(results)])
        path.write_bytes(whole)
        assert done.code == 1, name
        assert name.rpartition("/")[2] in done.out, done.out
        assert "Traceback" not in done.err
    assert cli(["verify", str(results)]).code == 0


def test_no_folder(tmp_path, cli):
    done = cli(["verify", str(tmp_path / "none")])
    assert done.code == 2
    assert "no such folder" in done.err
