"""``openood-mm splits generate``: from lists, from a card's folder, from manifests; what it prints and refuses."""

import json
from pathlib import Path

import pytest
from by_path import load

from openood_multimodal.cli import splits, splits_generate, splits_import
from openood_multimodal.datasets import benchmark_files
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard
from openood_multimodal.errors import UserError

made_lists = load(Path(__file__).parents[1] / "corpora" / "made_lists.py")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The made lists with more of HMDB51, below ``lists``; the packaged benchmark is ``made``."""
    clips = [
        f"{made_lists.hmdb(c, n, k)} {y}"
        for y, c in enumerate(("wave", "draw_sword"))
        for n in range(20)
        for k in (0, 1)
    ]
    text = {"train.txt": clips[::2], "val.txt": clips[1::4], "test.txt": clips[3::4]}
    files = made_lists.lists() | {
        name: "".join(f"{line}\n" for line in each).encode() for name, each in text.items()
    }
    monkeypatch.setattr(made_lists, "lists", lambda: files)
    path = made_lists.write(tmp_path, files)
    packaged = tmp_path / "benchmark_splits"
    packaged.mkdir()
    (packaged / "made.yml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(benchmark_files, "benchmark_splits_dir", lambda: packaged)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recordings(folder):
    card = SplitCard.read(folder)
    return {key: set(Manifest.read(folder / entry.manifest).groups) for key, entry in card.splits.items()}


def test_from_lists_and_from_a_card_is_the_same(folder, capsys):
    assert (
        splits.main(
            ["generate", "--track", "grouped", "--benchmark", "made", "--from", "lists", "--out", "a"]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "Written: a/made_grouped" in printed
    assert "within the bound" in printed
    sides = recordings(folder / "a" / "made_grouped")
    assert not sides["train"] & sides["val"]
    assert not (sides["train"] | sides["val"]) & sides["test"]
    assert set(sides) == set(made_lists.SETS)

    # the made manifests are nobody's, so their import is modified; generated splits keep saying so
    assert splits_import.main(["--from", "lists", "--accept-changed", "--out", "i"]) == 0
    assert splits_generate.main(["--from", "i/made", "--out", "b"]) == 0
    assert splits_generate.main(["--from", "i", "--benchmark", "made", "--out", "c"]) == 0
    cards = [json.loads((folder / out / "made_grouped" / "split.json").read_text()) for out in "abc"]
    assert [card["splits"] for card in cards] == [cards[0]["splits"]] * 3
    assert (cards[0]["track"], cards[0]["seed"], cards[0]["benchmark"]) == ("grouped", 0, "made_grouped")


def test_seeds_have_folders_of_their_own(folder, capsys):
    arguments = ["--benchmark", "made", "--from", "lists", "--out", "a", "--val", "20", "--test", "20"]
    assert splits_generate.main([*arguments, "--seed", "4"]) == 0
    assert (folder / "a" / "made_grouped_60_20_20_seed4" / "split.json").is_file()
    assert SplitCard.read(folder / "a" / "made_grouped_60_20_20_seed4").seed == 4
    assert "shares 60/20/20 %" in capsys.readouterr().out


def test_a_changed_manifest_is_told(folder, capsys):
    splits_import.main(["--from", "lists", "--accept-changed", "--out", "i"])
    path = folder / "i" / "made" / "train.csv"
    manifest = Manifest.read(path)
    manifest.take(range(len(manifest) - 1)).write(path)
    capsys.readouterr()
    assert splits_generate.main(["--from", "i/made", "--out", "a"]) == 0
    printed = capsys.readouterr().out
    assert "changed since its card was written: train" in printed
    assert "(modified)" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "lists"], "name the benchmark"),
        (["--from", "lists", "--benchmark", "maid"], "no benchmark of clips 'maid'.*'made'"),
        (["--from", "nowhere", "--benchmark", "made"], "no file or folder nowhere"),
        (["--from", "lists", "lists/train.txt"], "one folder with a split.json, or manifests alone"),
        (["--from", "lists", "--benchmark", "made", "--gap", "3"], "give --block as well"),
        (["--from", "lists", "--benchmark", "made", "--block", "60"], "has no start and stop"),
        (["--from", "lists", "--benchmark", "made", "--val", "60", "--test", "40"], "leave 0 % to train on"),
        (["--from", "lists", "--benchmark", "made", "--seed", "-1"], "a seed is 0 to"),
    ],
)
def test_what_is_refused_writes_nothing(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        splits_generate.main([*arguments, "--out", "a"])
    assert not (folder / "a").exists()


def test_synthetic_clips_are_no_track_grouped(folder):
    splits_import.main(["--from", "lists", "--accept-changed", "--out", "i"])
    path = folder / "i" / "made" / "split.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"synthetic": True, "track": "demo"}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="belong to the track 'demo'"):
        splits_generate.main(["--from", "i/made", "--out", "a"])
