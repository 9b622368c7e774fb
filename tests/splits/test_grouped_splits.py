"""Pools → manifests and card: OOD clips of training recordings go, unknown recordings go, gaps are kept."""

import importlib.util
import json
import os
import random
from pathlib import Path

import pytest

from openood_multimodal.datasets.clip_benchmarks import available_clip_benchmarks
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard, clip_provenance
from openood_multimodal.errors import UserError
from openood_multimodal.splits.grouped import Shares
from openood_multimodal.splits.grouped_pools import pool_from
from openood_multimodal.splits.grouped_splits import Pool, join, make_grouped, relabel
from openood_multimodal.splits.time_blocks import TimeBlocks
from openood_multimodal.vocabulary import ID_SETS

LISTS = os.environ.get("MULTIOOD_LISTS", "")
EXPECTED = json.loads(
    (Path(__file__).parents[2] / "docs/results/split_audit.json").read_text(encoding="utf-8")
)["grouped"]

_path = Path(__file__).parents[1] / "corpora" / "made_lists.py"
_specification = importlib.util.spec_from_file_location("made_lists_for_grouped", _path)
made_lists = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(made_lists)


def manifest(rows, label=None):
    """From (clip, class, recording[, start, stop]); labels are the classes' in alphabetical order, or ``label``."""
    names = sorted({row[1] for row in rows})
    spans = [row[3:] if len(row) > 3 else (float("nan"),) * 2 for row in rows]
    return Manifest.create(
        clips=[row[0] for row in rows],
        labels=[names.index(row[1]) if label is None else label for row in rows],
        class_names=[row[1] for row in rows],
        files={"video": [f"{row[0]}.mp4" for row in rows]},
        groups=[row[2] for row in rows],
        starts=[span[0] for span in spans],
        stops=[span[1] for span in spans],
    )


def pool(unknown=0):
    rows = [(f"{c}{r}_{k}", c, f"rec{r}") for r in range(20) for c in "ab" for k in range(2)]
    rows += [(f"u{i}", "a", "") for i in range(unknown)]
    ood = manifest([(f"ood{r}_{k}", "z", f"rec{r}") for r in range(24) for k in range(2)], label=-1)
    return Pool("made", manifest(rows), ("a", "b"), {"nearood_made": ood})


def check_no_recording_on_two_sides(split):
    train, val = (set(split.manifests[side].groups) for side in ("train", "val"))
    assert "" not in train | val
    evaluated = {
        name for key, each in split.manifests.items() if key not in ("train", "val") for name in each.groups
    }
    assert not train & val
    assert not (train | val) & evaluated


def test_no_recording_is_on_two_sides_and_ood_clips_of_training_are_gone():
    source = pool()
    split = make_grouped(source, seed=3)
    check_no_recording_on_two_sides(split)
    kept, whole = split.manifests["nearood_made"], source.ood["nearood_made"]
    assert len(kept) + split.dropped["nearood_made"] == len(whole)
    free = {f"rec{r}" for r in range(20, 24)}
    assert set(kept.groups) == free | set(split.manifests["test"].groups)
    assert sum(len(split.manifests[side]) for side in ID_SETS) == len(source.clips)
    assert any("are of recordings in train or val" in note for note in split.card.notes)
    assert any("share a recording with test clips" in note for note in split.card.notes)


def test_clips_of_unknown_recording_are_left_out():
    split = make_grouped(pool(unknown=5))
    check_no_recording_on_two_sides(split)
    assert split.dropped["train"] == 5
    assert any("5 clips whose recording is unknown" in note for note in split.card.notes)
    lost = Pool("lost", manifest([("x", "a", ""), ("y", "b", "")]), ("a", "b"), {})
    with pytest.raises(UserError, match="the recording of no clip is known"):
        make_grouped(lost)


def test_a_class_that_cannot_be_split_is_named():
    rows = [(f"a{r}_{k}", "a", f"rec{r}") for r in range(9) for k in range(3)]
    rows += [(f"b{k}", "b", "one") for k in range(6)]
    split = make_grouped(Pool("made", manifest(rows), ("a", "b"), {}))
    assert any(
        "class 'b' can't be split" in note and "none in val and test" in note for note in split.card.notes
    )


def test_an_ood_set_is_never_left_empty():
    rows = [(f"a{r}_{k}", "a", f"rec{r}") for r in range(3) for k in range(3 if r else 300)]
    ood = manifest([("o", "z", "rec0")], label=-1)
    with pytest.raises(UserError, match="every clip of nearood_x"):
        make_grouped(Pool("made", manifest(rows), ("a",), {"nearood_x": ood}))


def test_blocks_keep_their_gap():
    rows = [
        (f"{c}{r}_{k}", c, f"rec{r}", 7.0 * k, 7.0 * k + 5) for r in range(3) for k in range(80) for c in "ab"
    ]
    ood = manifest(
        [(f"o{r}_{k}", "z", f"rec{r}", 3.0 * k, 3.0 * k + 4) for r in range(3) for k in range(180)], -1
    )
    source = Pool("made", manifest(rows), ("a", "b"), {"nearood_made": ood})
    blocks = TimeBlocks(60, 10)
    split = make_grouped(source, seed=1, blocks=blocks)
    side_of = {"nearood_made": "evaluated", "test": "evaluated"}
    spans = [
        (side_of.get(key, key), name, start, stop)
        for key, each in split.manifests.items()
        for name, start, stop in zip(each.groups, each.starts, each.stops, strict=True)
    ]
    nearest = min(
        max(other[2] - one[3], one[2] - other[3])
        for one in spans
        for other in spans
        if one[0] != other[0] and one[1] == other[1]
    )
    assert nearest >= 10
    assert all(len(split.manifests[key]) for key in (*ID_SETS, "nearood_made"))
    assert split.dropped["train"] > 0
    assert any("at least 10 s apart" in note for note in split.card.notes)
    assert split.card.benchmark == "made_grouped_blocks60_gap10"
    with pytest.raises(UserError, match="has no start and stop"):
        make_grouped(pool(), blocks=blocks)
    with pytest.raises(UserError, match="shorter than a block"):
        TimeBlocks(10, 10)
    for seconds in (0.001, 1e300, float("nan")):
        with pytest.raises(UserError, match="a block has 1 to 86400 s"):
            TimeBlocks(seconds, 0)


@pytest.mark.parametrize(("seconds", "gap"), [(5, 0), (5, 2), (10, 8), (20, 15), (60, 10)])
def test_blocks_keep_their_gap_where_some_hold_ood_clips_alone_or_none(seconds, gap):
    draw = random.Random(seconds)
    spans = []
    for recording in range(6):
        end = 0.0
        for number in range(60):
            start = end + draw.choice((-3, 0, 0.5, 4, 25))
            end = max(start, 0) + draw.choice((1, 2, 9))
            spans.append((f"{recording}_{number}", draw.choice("abz"), f"rec{recording}", max(start, 0), end))
    own = manifest([row for row in spans if row[1] != "z"])
    ood = manifest([row for row in spans if row[1] == "z"], -1)
    for seed in range(3):
        source = Pool("made", own, ("a", "b"), {"nearood_made": ood})
        split = make_grouped(source, seed=seed, blocks=TimeBlocks(seconds, gap))
        placed = [
            ("test" if key == "nearood_made" else key, name, start, stop)
            for key, each in split.manifests.items()
            for name, start, stop in zip(each.groups, each.starts, each.stops, strict=True)
        ]
        apart = [
            max(one[2], other[2]) - min(one[3], other[3])
            for one in placed
            for other in placed
            if one[0] < other[0] and one[1] == other[1]
        ]
        assert apart
        assert min(apart) >= gap - 1e-9
        assert any("in, or too close to, blocks in train or val" in note for note in split.card.notes)


def test_the_card_says_what_it_is(tmp_path):
    split = make_grouped(pool(), seed=2)
    folder = split.write(tmp_path)
    assert folder.name == "made_grouped_seed2"
    card = SplitCard.read(folder)
    assert (card.benchmark, card.track, card.seed, card.modified) == ("made_grouped", "grouped", 2, False)
    for key, entry in card.splits.items():
        path = folder / entry.manifest
        provenance = clip_provenance(path, Manifest.read(path), ["video"])
        assert (provenance["track"], provenance["benchmark"]) == ("grouped", "made_grouped")
        assert not provenance["modified"], key
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    make_grouped(pool(), seed=2).write(tmp_path)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_join_and_relabel():
    one, two = manifest([("a", "x", "r")], -1), manifest([("b", "y", "s")], -1)
    both = relabel(join([one, two]), {"x": 0, "y": 1})
    assert both.clips == ("a", "b")
    assert both.labels.tolist() == [0, 1]
    assert relabel(both, {}).labels.tolist() == [-1, -1]
    with pytest.raises(UserError, match="also on line"):
        join([one, one])


def test_manifests_alone_make_all_their_classes_known(tmp_path):
    rows = [(f"{c}{r}", c, f"rec{r}") for r in range(9) for c in ("y", "x")]
    path = manifest(rows, label=-1).write(tmp_path / "mine_all.csv")
    more = manifest([("z0", "z", "rec3")]).write(tmp_path / "more.csv")  # its label 0 is another class
    assert pool_from([path, more], None).class_names == ("x", "y", "z")
    found = pool_from([path], None)
    assert (found.name, found.class_names, found.ood) == ("mine", ("x", "y"), {})
    assert set(found.clips.labels.tolist()) == {0, 1}


def test_clips_on_disk_of_a_benchmark_are_chosen_by_class(tmp_path):
    names = ["brush_hair", "golf", "wave", "pick"]
    rows = [
        (f"{c}/Film{r}_{c}_u_cm_np1_fr_med_{k}.avi", c, f"Film{r}")
        for c in names
        for r in range(6)
        for k in (0, 1)
    ]
    path = manifest(rows).write(tmp_path / "hmdb51_all.csv")
    found = pool_from([path], "hmdb51_25_26")
    assert set(found.clips.class_names) == {"brush_hair", "golf", "pick"}
    assert dict(zip(found.clips.class_names, found.clips.labels.tolist(), strict=True))["golf"] == 15
    assert set(found.ood["nearood_hmdb51"].class_names) == {"wave"}
    assert found.modified  # not all of the authors' clips
    assert any("36 clips on disk, 2978" in note for note in found.notes)
    with pytest.raises(UserError, match="no clip of the classes of ucf101_50_51"):
        pool_from([path], "ucf101_50_51")


def test_a_folder_needs_a_card_or_a_name(tmp_path):
    with pytest.raises(UserError, match="name the benchmark"):
        pool_from([tmp_path], None)
    with pytest.raises(UserError, match="no file or folder"):
        pool_from([tmp_path / "nowhere"], None)


@pytest.mark.skipif(not LISTS, reason="MULTIOOD_LISTS names no folder with the authors' lists")
@pytest.mark.parametrize("name", [*sorted(EXPECTED)])
def test_the_authors_lists_give_these_splits(name, tmp_path):
    assert set(EXPECTED) == {*available_clip_benchmarks(), "hac"}
    source = pool_from([Path(LISTS)], "far_hmdb51" if name == "hac" else name)
    if name == "hac":
        source = pool_from([source.ood["farood_hac"].write(tmp_path / "farood_hac.csv")], None)
    split = make_grouped(source, Shares(), 0)
    digests = {key: each.digest() for key, each in split.manifests.items()}
    assert digests == {key: each["sha256"] for key, each in EXPECTED[name]["sets"].items()}
    check_no_recording_on_two_sides_of_known(split)
    for each in split.balance:
        assert each.within, each
        assert not each.missing
        assert each.deviation / each.clips < 0.05
    assert all(len(manifest) for manifest in split.manifests.values())


def check_no_recording_on_two_sides_of_known(split):
    """As above, but that OOD clips may be of an unknown recording (HAC's, where another dataset trains)."""
    train, val = (set(split.manifests[side].groups) for side in ("train", "val"))
    assert "" not in train | val | set(split.manifests["test"].groups)
    assert not train & val
    for key, each in split.manifests.items():
        assert key in ("train", "val") or not (train | val) & set(each.groups)
