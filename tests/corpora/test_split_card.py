"""The split card: what is written is read; what a set of clips may claim to be."""

import json
from dataclasses import replace

import made_lists
import pytest
import yaml

from openood_multimodal.datasets import benchmark_files
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import FILE_NAME, SplitCard, clip_provenance, entry_of
from openood_multimodal.errors import UserError


def manifest(names=("a", "b"), label=0):
    return Manifest.create(
        list(names),
        [label] * len(names),
        ["wave"] * len(names),
        {m: [f"{m}/{n}" for n in names] for m in ("video", "flow")},
    )


def written(folder, **changes):
    """A folder with a train split and an OOD set, and its card."""
    train, ood = manifest(), manifest(("c",), -1)
    train.write(folder / "train.csv")
    ood.write(folder / "farood_hac.csv")
    card = SplitCard(
        benchmark="mine",
        benchmark_version=2,
        track="grouped",
        class_names=["wave"],
        splits={
            "train": entry_of(train, "train.csv", {"lists": [1]}),
            "farood_hac": entry_of(ood, "farood_hac.csv"),
        },
        seed=5,
        notes=["a note"],
    )
    card = replace(card, **changes)
    card.write(folder)
    return card


def test_what_is_written_is_read(tmp_path):
    card = written(tmp_path)
    assert SplitCard.read(tmp_path) == card
    content = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert content["splits"]["train"]["clips"] == 2
    assert content["splits"]["train"]["sha256"] == manifest().digest()


def test_provenance_is_the_cards(tmp_path):
    written(tmp_path)
    found = clip_provenance(tmp_path / "train.csv", manifest(), ["video", "flow"])
    assert found == {
        "benchmark": "mine",
        "benchmark_version": 2,
        "track": "grouped",
        "synthetic": False,
        "modified": False,
        "partition": 0,
        "seed": 5,
        "split": "train",
        "set": "",
        "modalities": ["video", "flow"],
    }
    ood = clip_provenance(tmp_path / "farood_hac.csv", manifest(("c",), -1), ["video"])
    assert (ood["split"], ood["set"], ood["modified"]) == ("farood", "hac", False)


def test_some_modalities_are_not_another_manifest(tmp_path):
    written(tmp_path)
    found = clip_provenance(tmp_path / "train.csv", manifest(), ["flow"])
    assert (found["modified"], found["modalities"]) == (False, ["flow"])


def test_another_manifest_is_modified(tmp_path):
    written(tmp_path)
    other = manifest(("a", "z"))
    assert clip_provenance(tmp_path / "train.csv", other, ["video"])["modified"]  # rows, not file
    other.write(tmp_path / "train.csv")
    found = clip_provenance(tmp_path / "train.csv", other, ["video"])
    assert found["modified"]
    assert found["benchmark"] == "mine_modified"


def test_without_a_card_it_is_nobodys_benchmark(tmp_path):
    manifest().write(tmp_path / "train.csv")
    found = clip_provenance(tmp_path / "train.csv", manifest(), ["video"])
    assert (found["benchmark"], found["track"], found["modified"]) == (None, "demo", False)


def test_a_manifest_that_the_card_does_not_name_is_nobodys(tmp_path):
    written(tmp_path)
    manifest().write(tmp_path / "mine.csv")
    assert clip_provenance(tmp_path / "mine.csv", manifest(), ["video"])["benchmark"] is None


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A packaged benchmark ``made`` whose training manifest is `manifest`."""
    folder = tmp_path / "benchmark_splits"
    folder.mkdir()
    content = made_lists.benchmark({"train": manifest().digest()})
    (folder / "made.yml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(benchmark_files, "benchmark_splits_dir", lambda: folder)
    return folder


def test_the_track_multiood_is_the_published_manifests_alone(tmp_path, packaged):
    written(tmp_path, benchmark="made", benchmark_version=1, track="multiood")
    found = clip_provenance(tmp_path / "train.csv", manifest(), ["video"])
    assert (found["track"], found["benchmark"], found["modified"]) == ("multiood", "made", False)
    # the card vouches for this one, the package doesn't
    found = clip_provenance(tmp_path / "farood_hac.csv", manifest(("c",), -1), ["video"])
    assert (found["track"], found["benchmark"], found["modified"]) == ("demo", "made_modified", True)


@pytest.mark.parametrize("changes", [{"benchmark_version": 3}, {"benchmark": "other"}, {"modified": True}])
def test_a_card_alone_does_not_make_a_track(tmp_path, packaged, changes):
    written(tmp_path, **{"benchmark": "made", "benchmark_version": 1, "track": "multiood", **changes})
    found = clip_provenance(tmp_path / "train.csv", manifest(), ["video"])
    assert (found["track"], found["modified"]) == ("demo", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(track="multiod"), "multiood"),
        (lambda c: c.update(synthetic=True), "demo"),
        (lambda c: c.update(schema_version=9), "schema_version 9"),
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c.update(class_names=["a", "a"]), "twice"),
        (lambda c: c["splits"].update(trian=c["splits"]["train"]), "trian"),
        (lambda c: c["splits"]["train"].update(manifest="../train.csv"), "file's name"),
        (lambda c: c["splits"]["train"].update(sha256="ab"), "SHA-256"),
        (lambda c: c["splits"]["train"].update(clips=-1), "count"),
        (lambda c: c["splits"].update(train=3), "splits"),
        (lambda c: c.pop("splits"), "splits"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, change, message):
    written(tmp_path)
    content = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    change(content)
    (tmp_path / FILE_NAME).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        SplitCard.read(tmp_path)


def test_a_card_that_is_no_json_is_refused(tmp_path):
    (tmp_path / FILE_NAME).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not a split card"):
        SplitCard.read(tmp_path)
    (tmp_path / FILE_NAME).write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="object"):
        SplitCard.read(tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        SplitCard.read(tmp_path / "none")
