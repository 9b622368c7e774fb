"""Lists → manifests and card: labels, order, recordings, digests, repairs, and what is refused."""

import json
import shutil
from pathlib import Path

import made_lists
import numpy as np
import pytest
import yaml

from openood_multimodal.corpora.lists import find_lists, import_benchmark
from openood_multimodal.datasets.clip_benchmarks import load_clip_benchmark
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard, clip_provenance
from openood_multimodal.errors import UserError


def imported(folder, accept_changed=False, **changes):
    """The made benchmark, imported from lists of which ``changes`` replaces some (None: leaves out)."""
    files = made_lists.lists() | {name.replace("__", "."): data for name, data in changes.items()}
    path = made_lists.write(folder, {name: data for name, data in files.items() if data is not None})
    benchmark = load_clip_benchmark(path)
    found = find_lists([folder / "lists"], benchmark.lists().values())
    return import_benchmark(benchmark, found, accept_changed)


def test_labels_and_order_are_the_lists(tmp_path):
    result = imported(tmp_path)
    for key in ("train", "val", "test"):
        lines = made_lists.lists()[f"{key}.txt"].decode().splitlines()
        manifest = result.manifests[key]
        assert [
            f"{clip} {label}" for clip, label in zip(manifest.clips, manifest.labels, strict=True)
        ] == lines
    assert list(result.manifests) == list(made_lists.SETS)
    assert result.card.class_names == ["wave", "draw_sword"]


def test_ood_sets_have_the_label_minus_one_and_their_class(tmp_path):
    result = imported(tmp_path)
    for key, manifest in result.manifests.items():
        if key.startswith("farood"):
            assert (manifest.labels == -1).all()
    assert result.manifests["farood_ucf101"].class_names == ("Archery", "HandstandPushups", "Archery")
    assert result.manifests["farood_hac"].class_names == (
        *("sleeping", "opening door", "opening door", "sleeping", "opening door", "sleeping"),
    )


def test_recordings_are_the_groups(tmp_path):
    groups = {key: manifest.groups for key, manifest in imported(tmp_path).manifests.items()}
    assert groups["train"] == ("Film_3", "Film_1", "Film_2", "Film_1")
    assert groups["farood_ucf101"] == ("Archery_g02", "HandstandPushups_g01", "Archery_g01")
    assert groups["farood_kinetics600"] == ("Vin8Vavj9Wc", "-rZEuFU9bks")
    assert groups["farood_epic_kitchens"] == ("P22_17", "P22_01", "P22_17")
    assert groups["farood_hac"] == ("DWiz5LG9Tnc", "Cu0CYm55FT8", "Cu0CYm55FT8", "6idNeaLb_lo", "", "")


def test_clips_that_stand_twice_are_both_kept(tmp_path):
    manifests = imported(tmp_path).manifests
    assert manifests["farood_epic_kitchens"].clips == (
        "P22_17/19458-19533",
        "P22_01/12-90",
        "P22_17/19458-19533.2",
    )
    hac = manifests["farood_hac"]
    assert hac.clips[1:3] == ("human/Cu0CYm55FT8_000000_000010.mp4", "human/Cu0CYm55FT8_000000_000010.mp4.2")
    for manifest, rows in ((hac, (1, 2)), (manifests["farood_epic_kitchens"], (0, 2))):
        for cells in manifest.files.values():
            assert cells[rows[0]] == cells[rows[1]]


def test_start_and_stop_are_epics_alone(tmp_path):
    manifests = imported(tmp_path).manifests
    epic = manifests["farood_epic_kitchens"]
    np.testing.assert_array_equal(epic.starts, [324.3, 3600.2, 324.3])
    np.testing.assert_array_equal(epic.stops, [325.56, 3601.5, 325.55])
    assert all(np.isnan(m.starts).all() for key, m in manifests.items() if "epic" not in key)


def test_all_modalities_of_the_data_set_have_cells(tmp_path):
    for key, manifest in imported(tmp_path).manifests.items():
        three = any(name in key for name in ("kinetics", "epic", "hac"))
        assert manifest.modalities == (("video", "audio", "flow") if three else ("video", "flow"))
        assert all(cell for cells in manifest.files.values() for cell in cells)


def test_the_card_says_where_rows_come_from(tmp_path):
    result = imported(tmp_path)
    entry = result.card.splits["farood_ucf101"]
    assert entry.sha256 == result.manifests["farood_ucf101"].digest()
    assert entry.source["repaired"] == 1
    benchmark_list = result.benchmark.sets["farood_ucf101"].lists[0]
    assert entry.source["lists"] == [
        {"file": "HMDB-rgb-flow/splits/ucf.txt", "sha256": benchmark_list.sha256, "clips": 3}
    ]
    assert any("1 names spelled" in note for note in result.card.notes)


def known(folder):
    """The made benchmark with its manifests' digests, so that it counts as published; returns its YAML's path."""
    digests = {key: manifest.digest() for key, manifest in imported(folder).manifests.items()}
    return made_lists.write(folder, content=made_lists.benchmark(digests))


def test_the_authors_lists_are_not_modified(tmp_path, monkeypatch):
    path = known(tmp_path)
    benchmark = load_clip_benchmark(path)
    found = find_lists([tmp_path / "lists"], benchmark.lists().values())
    result = import_benchmark(benchmark, found)
    assert (result.card.track, result.card.modified) == ("multiood", False)

    monkeypatch.setattr("openood_multimodal.datasets.benchmark_files.benchmark_splits_dir", lambda: tmp_path)
    folder = result.write(tmp_path / "out")
    for key, entry in SplitCard.read(folder).splits.items():
        manifest = Manifest.read(folder / entry.manifest)
        assert manifest == result.manifests[key]
        provenance = clip_provenance(folder / entry.manifest, manifest, manifest.modalities)
        assert (provenance["track"], provenance["benchmark"]) == ("multiood", "made")


def test_a_digest_that_differs_is_refused(tmp_path):
    lines = made_lists.lists()["train.txt"].splitlines(keepends=True)
    swapped = b"".join([lines[1], lines[0], *lines[2:]])
    with pytest.raises(UserError, match=r"train\.txt is not the list .*SHA-256 is [0-9a-f]{64}, expected"):
        imported(tmp_path, train__txt=swapped)
    with pytest.raises(UserError, match="It has 3 clips, the authors' 4"):
        imported(tmp_path, train__txt=b"".join(lines[:3]))


def test_accept_changed_proceeds_and_the_card_says_modified(tmp_path):
    known(tmp_path)
    lines = made_lists.lists()["train.txt"].splitlines(keepends=True)
    result = imported(tmp_path, accept_changed=True, train__txt=b"".join(lines[:3]))
    assert len(result.manifests["train"]) == 3
    assert (result.card.track, result.card.modified) == ("demo", True)
    assert any("train.txt" in note and "3 clips" in note for note in result.card.notes)
    folder = result.write(tmp_path / "out")
    provenance = clip_provenance(folder / "train.csv", result.manifests["train"], ["video"])
    assert provenance["modified"]
    assert provenance["benchmark"] == "made_modified"
    assert provenance["track"] == "demo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test__txt": made_lists.lists()["val.txt"]}, r"test\.txt, line 1: .*is also in .*val\.txt, line 1"),
        (
            {"HAC_train_only_human__csv": b"DWiz5LG9Tnc_000020_000030.mp4,0\r\n"},
            r"HAC_train_only_human\.csv, line 1: .*is also in .*HAC_test_only_human\.csv, line 1",
        ),
        ({"train__txt": b"../x.avi 0\n"}, r"train\.txt, line 1: .*leaves the data folder"),
        ({"epic__pkl": made_lists.lists()["epic.pkl"][:-9]}, r"epic\.pkl, entry \d+: truncated"),
    ],
)
def test_what_is_wrong_is_refused_also_with_accept_changed(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        imported(tmp_path, accept_changed=True, **changes)


def test_a_third_of_a_name_is_refused(tmp_path):
    line = b"Cu0CYm55FT8_000000_000010.mp4,6\r\n"
    with pytest.raises(UserError, match=r"line 2: .*is also"):
        imported(tmp_path, accept_changed=True, HAC_train_only_human__csv=line + line)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(UserError, match=r"made needs HMDB-rgb-flow/splits/ucf\.txt, and the folder lacks it"):
        imported(tmp_path, ucf__txt=None)


def test_lists_are_found_in_a_checkout_and_flat(tmp_path):
    benchmark = load_clip_benchmark(made_lists.write(tmp_path))
    wanted = list(benchmark.lists().values())
    checkout = tmp_path / "MultiOOD" / "HMDB-rgb-flow" / "splits"
    shutil.copytree(tmp_path / "lists", checkout)
    for folder in (tmp_path / "lists", tmp_path / "MultiOOD", checkout.parent, checkout):
        assert len(find_lists([folder], wanted)) == len(wanted)
    (tmp_path / "MultiOOD" / "ucf.txt").write_bytes(b"other")
    with pytest.raises(UserError, match=r"ucf\.txt have one name and differ"):
        find_lists([tmp_path / "MultiOOD"], wanted)
    with pytest.raises(UserError, match="there is no folder"):
        find_lists([tmp_path / "none"], wanted)


def test_writing_again_replaces_what_the_old_card_named(tmp_path):
    result = imported(tmp_path)
    folder = result.write(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    card = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    card["splits"]["farood_old"] = card["splits"]["train"] | {"manifest": "farood_old.csv"}
    (folder / "split.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "farood_old.csv").write_bytes(before["train.csv"])
    result.write(tmp_path / "out")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before | {"notes.txt": b"mine"}


def test_an_import_cut_short_leaves_the_old_split_whole(tmp_path, monkeypatch):
    result = imported(tmp_path)
    folder = result.write(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write, done = Manifest.write, []

    def failing(self, path):
        done.append(Path(path).name)
        if len(done) == 3:
            raise OSError(28, "No space left on device")
        return write(self, path)

    monkeypatch.setattr(Manifest, "write", failing)
    with pytest.raises(OSError, match="No space"):
        result.write(tmp_path / "out")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(track="multi"), "track"),
        (lambda c: c["classes"].update(wave=3), "0, 1"),
        (lambda c: c["sets"].pop("val"), "no 'val'"),
        (lambda c: c["sets"].update(trial=c["sets"]["train"]), "trial"),
        (lambda c: c["sets"]["train"].update(clips=9), "add up"),
        (lambda c: c["sets"]["train"].update(dataset="ucf101"), "own classes"),
        (lambda c: c["sets"]["farood_hac"].pop("classes"), "no classes"),
        (
            lambda c: c["sets"]["farood_ucf101"].update(dataset="hmdb51", classes={"wave": 2}),
            "in-distribution as well",
        ),
        (lambda c: c["sets"]["farood_ucf101"].update(classes={"a": 2, "b": 2}), "same label"),
        (lambda c: c.update(colour="red"), "colour"),
    ],
)
def test_a_wrong_benchmark_file_is_refused(tmp_path, change, message):
    content = made_lists.benchmark()
    change(content)
    path = tmp_path / "made.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_clip_benchmark(path)
