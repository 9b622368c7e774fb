"""The audit's counts against literal ones, on small splits in which every leak is planted."""

import math

import pytest
import yaml

from openood_multimodal.datasets.benchmarks import available_benchmarks
from openood_multimodal.datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.splits.auditing import audit_split, load_class_overlaps, load_splits
from openood_multimodal.splits.auditing.class_names import collisions, plain
from openood_multimodal.splits.auditing.leaks import overlaps
from openood_multimodal.splits.auditing.loading import LoadedSplit, dataset_of
from openood_multimodal.splits.report import audit_text


def manifest(rows, label=None):
    """From (clip, class, recording[, start, stop])."""
    names = sorted({row[1] for row in rows})
    spans = [row[3:] if len(row) > 3 else (math.nan, math.nan) for row in rows]
    return Manifest.create(
        clips=[row[0] for row in rows],
        labels=[names.index(row[1]) if label is None else label for row in rows],
        class_names=[row[1] for row in rows],
        files={"video": [f"v/{row[0]}" for row in rows]},
        groups=[row[2] for row in rows],
        starts=[span[0] for span in spans],
        stops=[span[1] for span in spans],
    )


@pytest.fixture
def audit():
    train = [("t1", "walk", "A", 0.0, 5.0), ("t2", "golf", "A", 5.0, 9.0), ("t3", "golf", "B", 20.0, 30.0)]
    test = [
        ("e1", "walk", "A", 4.0, 6.0),  # recording and class, overlaps
        ("e2", "golf", "A", 9.5, 11.0),  # recording and class, near
        ("e3", "walk", "B", 50.0, 60.0),  # recording, another class
        ("e4", "walk", "C", 0.0, 5.0),
        ("e5", "golf", ""),
    ]
    ood = [("o1", "Golf", "A", 6.0, 7.0), ("o1.2", "Golf", "A", 6.0, 7.0), ("o2", "run", "C", 1.0, 2.0)]
    manifests = {"train": manifest(train), "test": manifest(test), "nearood_x": manifest(ood, -1)}
    return audit_split(LoadedSplit("made", "here", manifests))


def test_recordings_on_both_sides(audit):
    assert audit["sets"]["test"]["in_train"]["recordings"] == {
        "clips": 5,
        "unknown": 1,
        "any_class": 3,
        "same_class": 2,
    }
    assert audit["sets"]["nearood_x"]["in_train"]["recordings"]["any_class"] == 2
    assert audit["sets"]["nearood_x"]["in_test"]["recordings"]["any_class"] == 3
    assert "in_train" not in audit["sets"]["train"]


def test_overlapping_segments(audit):
    assert audit["sets"]["test"]["in_train"]["segments"] == {"timed": 4, "overlapping": 1, "neighbouring": 2}
    assert audit["sets"]["nearood_x"]["in_train"]["segments"] == {
        "timed": 3,
        "overlapping": 2,
        "neighbouring": 2,
    }


def test_overlaps_against_every_pair():
    spans = [("A", 3.0 * i % 40, 3.0 * i % 40 + 1 + i % 7) for i in range(40)]
    one = manifest([(f"a{i}", "x", *span) for i, span in enumerate(spans[::2])])
    two = manifest([(f"b{i}", "x", *span) for i, span in enumerate(spans[1:9:2])])
    pairs = [list(zip(m.starts.tolist(), m.stops.tolist(), strict=True)) for m in (one, two)]
    literal = sum(any(a < d and c < b for c, d in pairs[1]) for a, b in pairs[0])
    near = sum(any(a - 1 < d and c < b + 1 for c, d in pairs[1]) for a, b in pairs[0])
    found = overlaps(one, pairs[0], two, pairs[1])
    assert (found.timed, found.overlapping, found.neighbouring) == (20, literal, near)
    assert 0 < literal < 20


def test_duplicates_and_conflicts():
    train = manifest([("a.mp4", "x", "r"), ("a.mp4.2", "y", "r"), ("b.mp4", "x", "r")])
    test = manifest([("b.mp4", "y", "s"), ("c.mp4", "x", "s")])
    found = audit_split(LoadedSplit("made", "here", {"train": train, "test": test}))["sets"]
    assert found["train"]["duplicates"] == {"clips": 1, "conflicting": 1, "examples": ("a.mp4.2",)}
    assert found["test"]["in_train"]["duplicates"] == {"clips": 1, "conflicting": 1, "examples": ("b.mp4",)}


def test_balance(audit):
    balance = audit["sets"]["test"]["balance"]
    assert (balance["smallest"], balance["largest"]) == (2, 3)
    assert balance["entropy"] == pytest.approx(
        -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) / math.log(2), abs=1e-4
    )
    assert balance["per_class"] == {"walk": 3, "golf": 2}


def test_names_alike_but_for_spelling_collide(audit):
    (found,) = audit["classes"]
    assert found["pairs"] == [{"id_class": "golf", "ood_class": "Golf", "relation": "same name"}]
    assert plain("Ride_bike") == plain("RideBike") == "ridebike"


def test_labels_of_ood_classes_that_are_known_ones():
    train = manifest([("a", "x", "r"), ("b", "y", "s")])
    ood = manifest([("c", "z", "t"), ("d", "w", "t")])  # labels 0 and 1, where -1 would do
    found = audit_split(LoadedSplit("made", "here", {"train": train, "nearood_q": ood}))
    assert found["classes"][0]["colliding_labels"] == 2


def test_the_reviewed_pairs_and_pretrained_classes():
    reviewed = load_class_overlaps()
    far = collisions(
        "hmdb51", ["golf", "handstand"], "ucf101", ["GolfSwing", "Archery", "HandstandPushups"], reviewed
    )
    assert [(each.id_class, each.ood_class, each.relation) for each in far] == [
        ("golf", "GolfSwing", "same"),
        ("handstand", "HandstandPushups", "part"),
    ]
    assert collisions("ucf101", ["GolfSwing"], "hmdb51", ["golf"], reviewed)[0].relation == "same"
    kinetics = reviewed.pretraining["kinetics400"]
    assert len(kinetics.classes) == len(set(map(plain, kinetics.classes))) == 400
    assert kinetics.names_of("ucf101", "Archery") == ("archery",)
    assert kinetics.names_of("kinetics600", "dyeing hair") == ("dying hair",)
    assert kinetics.names_of("hmdb51", "handstand") == ()
    for classes in kinetics.known.values():
        assert {name for names in classes.values() for name in names} <= set(kinetics.classes)


def test_every_reviewed_class_exists():
    known = {}
    for name in available_clip_benchmarks():
        benchmark = load_clip_benchmark(name)
        for key, part in benchmark.sets.items():
            known.setdefault(part.dataset, set()).update(benchmark.classes_of(key))
    reviewed = load_class_overlaps()
    for entry in reviewed.near:
        for each in (*entry.one, *entry.other):
            dataset, _, name = each.partition("/")
            assert name in known[dataset], each
    for dataset, classes in reviewed.pretraining["kinetics400"].known.items():
        assert set(classes) <= known[dataset]


def test_the_list_is_no_benchmark():
    assert "class_overlaps" not in {*available_benchmarks(), *available_clip_benchmarks()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"near": [{"relation": "likely", "one": ["a/b"], "other": ["c/d"]}]}, "'likely' is no relation"),
        ({"near": [{"relation": "same", "one": ["b"], "other": ["c/d"]}]}, "'b' is not of the form"),
        ({"near": "x"}, "near"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, change, message):
    content = {"name": "n", "version": 1, "near": [], "pretraining": {}} | change
    path = tmp_path / "overlaps.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_class_overlaps(path)


def test_missing_files(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a").write_bytes(b"")
    split = LoadedSplit("made", "here", {"test": manifest([("a", "x", "r"), ("b", "y", "s")])})
    missing = audit_split(split, tmp_path)["sets"]["test"]["missing_files"]
    assert missing["incomplete_clips"] == 1
    assert missing["by_modality"] == {"video": 1}
    assert missing["examples"] == ["v/b: missing"]
    assert audit_split(split)["sets"]["test"]["missing_files"] is None


def test_manifests_named_together_are_one_split(tmp_path):
    rows = [("P22_01/10-100", "take", ""), ("P22_01/60-160", "put", "")]
    manifest(rows[:1]).write(tmp_path / "train.csv")
    manifest(rows[1:]).write(tmp_path / "test.csv")
    for given in ([tmp_path / "train.csv", tmp_path / "test.csv"], [tmp_path]):
        (split,) = load_splits(given)
        assert set(split.manifests) == {"train", "test"}
        entry = audit_split(split)["sets"]["test"]  # recording and time come from the name
        assert entry["dataset"] == "epic_kitchens"
        assert entry["in_train"]["recordings"]["any_class"] == 1
        assert entry["in_train"]["segments"]["overlapping"] == 1
    (single,) = load_splits([tmp_path / "train.csv"])
    assert single.name == "train"
    assert len(load_splits([tmp_path, tmp_path])) == 1


def test_data_sets_are_told_from_names():
    names = {
        "hac": "human/DWiz5LG9Tnc_000020_000030.mp4",
        "kinetics600": "zumba/-rZEuFU9bks_000038_000048.mp4",
        "ucf101": "v_Archery_g02_c01.avi",
        "": "anything.mp4",
    }
    for dataset, name in names.items():
        assert dataset_of(manifest([(name, "x", "")])) == dataset


def test_what_is_nothing_to_audit(tmp_path):
    with pytest.raises(UserError, match="neither a split card"):
        load_splits([tmp_path])
    with pytest.raises(UserError, match="no file or folder"):
        load_splits([tmp_path / "nowhere"])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        manifest([("a", "x", "r")]).write(tmp_path / folder / "test.csv")
    with pytest.raises(UserError, match="have one name"):
        load_splits([tmp_path / "a" / "test.csv", tmp_path / "b" / "test.csv"])


def test_single_lists_of_the_authors_are_audited_together(tmp_path):
    name = "{c}/Film_{n}_{c}_u_cm_np1_fr_med_{k}.avi {label}\n"
    train = "".join(name.format(c="brush_hair", n=n, k=0, label=0) for n in range(3))
    test = "".join(name.format(c="brush_hair", n=n, k=1, label=0) for n in (1, 2, 8, 9))
    (tmp_path / "HMDB_train_near_ood.txt").write_text(train, encoding="ascii")
    (tmp_path / "HMDB_test_near_ood.txt").write_text(test, encoding="ascii")
    paths = [tmp_path / "HMDB_train_near_ood.txt", tmp_path / "HMDB_test_near_ood.txt"]
    (split,) = load_splits(paths)
    assert (split.name, split.track, split.modified) == ("hmdb51_25_26", "demo", True)
    found = audit_split(split)["sets"]
    assert list(found) == ["train", "test"]
    assert found["test"]["in_train"]["recordings"]["same_class"] == 2
    alone = audit_text([audit_split(each) for each in load_splits(paths[1:])])
    assert "nothing is compared with training" in alone
    (tmp_path / "UCF_train_near_ood.txt").write_text("x", encoding="ascii")
    with pytest.raises(UserError, match=r"has all of HMDB_train_near_ood\.txt, UCF_train_near_ood\.txt"):
        load_splits([paths[0], tmp_path / "UCF_train_near_ood.txt"])
    other = tmp_path / "HMDB_all.txt"
    other.write_text(train, encoding="ascii")
    with pytest.raises(UserError, match="is no manifest"):
        load_splits([other])
