"""The packaged benchmarks: what their files say, and, where the authors' lists are at hand, that it is so.

Set MULTIOOD_LISTS to a checkout of MultiOOD, or to a folder of its lists, to run the second half.
"""

import csv
import hashlib
import os
import pickle
from collections import Counter
from pathlib import Path

import pytest
from by_path import SCRIPTS, load

from openood_multimodal.corpora.lists import find_lists, import_benchmark, read_list
from openood_multimodal.datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.pipelines.digest import split_digest
from openood_multimodal.reporting.claims import known_manifest_digests

# clips (train, val, test, OOD sets ...) as counted in the authors' lists
COUNTS = {
    "hmdb51_25_26": {"train": 2074, "val": 445, "test": 459, "nearood_hmdb51": 3744},
    "ucf101_50_51": {"train": 4669, "val": 1005, "test": 1030, "nearood_ucf101": 6616},
    "epic_kitchens_4_4": {"train": 2484, "val": 531, "test": 536, "nearood_epic_kitchens": 1320},
    "kinetics600_129_100": {"train": 22549, "val": 4773, "test": 4902, "nearood_kinetics600": 10000},
    "far_hmdb51": {
        **{"train": 3953, "val": 843, "test": 877, "farood_kinetics600": 8694},
        **{"farood_ucf101": 1351, "farood_epic_kitchens": 4871, "farood_hac": 3381},
    },
    "far_kinetics600": {
        **{"train": 40048, "val": 8463, "test": 8694, "farood_hmdb51": 5673},
        **{"farood_ucf101": 1810, "farood_epic_kitchens": 4871, "farood_hac": 3381},
    },
}
CLASSES = {
    "hmdb51_25_26": (25, 26),
    "ucf101_50_51": (50, 51),
    "epic_kitchens_4_4": (4, 4),
    "kinetics600_129_100": (129, 100),
    "far_hmdb51": (43, 229, 67, 8, 7),
    "far_kinetics600": (229, 43, 90, 8, 7),
}
# share of test clips whose recording is in train as well, percent
LEAKED = {
    **{"hmdb51_25_26": 87.8, "ucf101_50_51": 99.2, "epic_kitchens_4_4": 100.0, "kinetics600_129_100": 0.2},
    **{"far_hmdb51": 90.9, "far_kinetics600": 0.2},
}
# the same, where only clips of the same class count: a film of HMDB51 may show several actions, and a video of
# Kinetics-600 never has two clips of one class
LEAKED_IN_CLASS = LEAKED | {
    **{"hmdb51_25_26": 79.3, "far_hmdb51": 80.6, "kinetics600_129_100": 0.0, "far_kinetics600": 0.0},
}
# OOD clips whose recording is in train, percent
OOD_SEEN = {"hmdb51_25_26": 44.1, "ucf101_50_51": 0.0, "epic_kitchens_4_4": 100.0, "kinetics600_129_100": 0.1}
REPAIRED = {"ucf101_50_51": 128, "far_kinetics600": 20}
PATHS = [f"HMDB-rgb-flow/splits/{name}_near_ood.txt" for name in ("HMDB_train", "UCF_eval", "Kinetics_test")]


def test_the_benchmarks_are_the_papers():
    assert available_clip_benchmarks() == sorted(COUNTS)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts_classes_and_digests(name):
    benchmark = load_clip_benchmark(name)
    assert benchmark.name == name
    assert benchmark.track == "multiood"
    assert benchmark.settings == (("far",) if name.startswith("far") else ("near",))
    assert {key: part.clips for key, part in benchmark.sets.items()} == COUNTS[name]
    sizes = [len(benchmark.classes), *(len(part.classes) for part in benchmark.sets.values() if part.classes)]
    assert tuple(sizes) == CLASSES[name]
    digests = [part.sha256 for part in benchmark.sets.values()]
    digests += [each.sha256 for each in benchmark.lists().values()]
    assert all(len(each) == 64 for each in digests)
    assert "0" * 64 not in digests
    assert benchmark.fit_on == ("val" if "kinetics" in name else "train")
    assert benchmark.modalities == (
        ("video", "audio", "flow") if "epic" in name or name.startswith("kinetics") else ("video", "flow")
    )
    assert known_manifest_digests()[name] == frozenset(benchmark.manifest_digests)
    assert benchmark.manifest_digests


def test_they_are_no_tabular_benchmarks():
    from openood_multimodal.datasets.benchmarks import available_benchmarks

    assert not set(available_benchmarks()) & set(COUNTS)
    with pytest.raises(UserError, match="no benchmark of clips 'htad_4_3'"):
        load_clip_benchmark("htad_4_3")
    with pytest.raises(UserError, match="Did you mean 'far_hmdb51'"):
        load_clip_benchmark("far_hmdb")


def test_near_and_far_name_the_authors_files():
    files = {each.file for name in COUNTS for each in load_clip_benchmark(name).lists().values()}
    assert set(PATHS) <= files
    others = {each.file for name in COUNTS for each in load_clip_benchmark(name).other_lists}
    assert len(files | others) == 38


LISTS = os.environ.get("MULTIOOD_LISTS", "")
real = pytest.mark.skipif(not LISTS, reason="MULTIOOD_LISTS names no folder with the authors' lists")


def imported(name):
    benchmark = load_clip_benchmark(name)
    return import_benchmark(benchmark, find_lists([Path(LISTS)], benchmark.lists().values()))


def literal(path):
    """(name, label) of a list, read in the plainest way: as the authors' code does."""
    if path.suffix == ".pkl":
        rows = pickle.loads(path.read_bytes())  # the digest was checked
        return [(f"{row[0]}/{row[1]}-{row[2]}", row[5]) for row in rows]
    if path.suffix == ".csv":
        domain = path.stem.rpartition("_")[2]
        with path.open(newline="") as file:
            return [(f"{domain}/{row[0]}", int(row[1])) for row in csv.reader(file)]
    pairs = [line.strip().rsplit(" ", 1) for line in path.read_text().splitlines()]
    return [(name, int(label)) for name, label in pairs]


@real
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_manifests_are_the_lists_bit_for_bit(name):
    result = imported(name)
    benchmark = result.benchmark
    assert (result.card.track, result.card.modified) == ("multiood", False)
    found = find_lists([Path(LISTS)], benchmark.lists().values())
    for key, manifest in result.manifests.items():
        part = benchmark.sets[key]
        rows = [row for each in part.lists for row in literal(found[each.name].path)]
        by_label = {label: class_name for class_name, label in benchmark.classes_of(key).items()}
        names = [clip.removesuffix(".2") for clip in manifest.clips]
        names = [clip.replace("v_HandStandPushups_", "v_HandstandPushups_") for clip in names]
        assert names == [clip for clip, _ in rows]
        assert list(manifest.class_names) == [by_label[label] for _, label in rows]
        is_id = key in ("train", "val", "test")
        assert manifest.labels.tolist() == [label if is_id else -1 for _, label in rows]
        assert sorted(part.repeated) == sorted(c for c, n in Counter(c for c, _ in rows).items() if n > 1)
        assert manifest.digest() == part.sha256
        assert len(set(manifest.groups) - {""}) == part.recordings
        assert part.dataset == "hac" or "" not in manifest.groups
    assert sum(result.repaired.values()) == REPAIRED.get(name, 0)


@real
def test_times_of_epic_kitchens_are_the_lists():
    benchmark = load_clip_benchmark("epic_kitchens_4_4")
    found = find_lists([Path(LISTS)], benchmark.lists().values())
    for key, manifest in imported("epic_kitchens_4_4").manifests.items():
        rows = pickle.loads(found[benchmark.sets[key].lists[0].name].path.read_bytes())
        for row, start, stop in zip(rows, manifest.starts, manifest.stops, strict=True):
            for text, seconds in ((row[3], start), (row[4], stop)):
                hours, minutes, rest = text.split(":")
                assert seconds == pytest.approx(int(hours) * 3600 + int(minutes) * 60 + float(rest), abs=1e-9)
            assert start == pytest.approx(row[1] / 60, abs=0.02)  # 60 frames a second
            assert stop == pytest.approx(row[2] / 60, abs=0.02)


@real
@pytest.mark.parametrize("name", sorted(LEAKED))
def test_the_authors_splits_leak_as_is_said(name):
    result = imported(name)
    train, test = result.manifests["train"], result.manifests["test"]

    def percent(known, asked):
        return round(100 * sum(each in known for each in asked) / len(asked), 1)

    assert percent(set(train.groups), test.groups) == LEAKED[name]
    pairs = [list(zip(each.groups, each.class_names, strict=True)) for each in (train, test)]
    assert percent(set(pairs[0]), pairs[1]) == LEAKED_IN_CLASS[name]
    assert f" {LEAKED[name]:.1f} % " in result.benchmark.caveats[0]
    for key in (key for key in result.manifests if "ood_" in key):
        assert percent(set(train.groups) - {""}, result.manifests[key].groups) == OOD_SEEN.get(name, 0.0)


@real
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_other_lists_are_the_benchmarks_clips(name):
    benchmark = load_clip_benchmark(name)
    every = dict(benchmark.classes)
    for part in benchmark.sets.values():
        if part.dataset == benchmark.dataset:
            every |= part.classes
    for other in benchmark.other_lists:
        path = next(p for p in (Path(LISTS) / other.file, Path(LISTS) / Path(other.file).name) if p.is_file())
        assert hashlib.sha256(path.read_bytes()).hexdigest() == other.sha256
        parsed = read_list(path, other.dataset, every)
        assert [(e.clip, e.label) for e in parsed.entries] == [
            (clip.replace("v_HandstandPushups_", "v_HandStandPushups_"), label)
            for clip, label in literal(path)
        ]
        assert len(parsed.entries) == other.clips
        own = [
            m for key, m in imported(name).manifests.items() if benchmark.sets[key].dataset == other.dataset
        ]
        assert {entry.clip for entry in parsed.entries} == {clip for m in own for clip in m.clips}


class _Set:
    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest


@real
def test_a_run_on_the_authors_lists_may_name_the_benchmark():
    benchmark = load_clip_benchmark("far_hmdb51")
    manifests = imported("far_hmdb51").manifests
    for names in (("train", "val", "test"), ("val", "test")):
        for key in ("farood_hac", "farood_ucf101"):
            for modalities in (("video", "flow"), ("flow",), None):
                used = {name: manifests[name] for name in names} | {"ood": manifests[key]}
                if modalities:
                    used = {name: each.select(modalities) for name, each in used.items()}
                digest = split_digest({name: _Set(each) for name, each in used.items()})
                assert digest in benchmark.manifest_digests
    few = {name: _Set(manifests[name].take(range(9))) for name in ("train", "val", "test")}
    assert split_digest(few | {"ood": _Set(manifests["farood_hac"])}) not in benchmark.manifest_digests


@real
def test_the_committed_files_are_what_the_script_writes(capsys):
    script = load(SCRIPTS / "make_multiood_benchmarks.py")
    assert script.main([LISTS, "--check"]) == 0, capsys.readouterr().out
