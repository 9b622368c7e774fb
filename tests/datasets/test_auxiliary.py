"""Auxiliary outliers: their order, and what they must not share with any other data."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from openood_multimodal.config import load_config
from openood_multimodal.datasets.auxiliary import AuxiliaryOutliers, build_auxiliary
from openood_multimodal.datasets.clips import MultimodalClipDataset
from openood_multimodal.errors import UserError


def rows_of(outliers, taken, count):
    return [batch[0].tolist() for batch in islice(outliers.batches(taken, 1), count)]


@pytest.mark.parametrize(("rows", "size"), [(10, 4), (3, 8), (6, 6)])
def test_each_row_once_before_any_again_and_resumable(rows, size):
    outliers = AuxiliaryOutliers(TensorDataset(torch.arange(rows)), size, seed=3)
    state = torch.get_rng_state()
    whole = rows_of(outliers, 0, 9)
    assert torch.equal(torch.get_rng_state(), state)
    drawn = [row for batch in whole for row in batch]
    for start in range(0, len(drawn) - rows + 1, rows):
        assert sorted(drawn[start : start + rows]) == list(range(rows))
    for taken in (1, 4, 8):
        assert rows_of(outliers, taken, 9 - taken) == whole[taken:]
    assert rows_of(AuxiliaryOutliers(outliers.dataset, size, seed=4), 0, 9) != whole


def test_nothing_to_draw():
    with pytest.raises(UserError, match=r"dataset.auxiliary has no row"):
        AuxiliaryOutliers(TensorDataset(torch.empty(0)), 2)
    with pytest.raises(
        UserError, match=r"dataset.auxiliary.batch_size is 0; it must be a whole number, at least 1"
    ):
        AuxiliaryOutliers(TensorDataset(torch.arange(3)), 0)


def tables(tmp_path, auxiliary):
    """A config of small tables: cats and dogs are known, fish the OOD set; ``auxiliary`` has classes, and values."""
    rng = np.random.default_rng(0)

    def write(name, rows):
        values = [row[1] if len(row) > 1 else rng.normal(size=2).tolist() for row in rows]
        text = "".join(f"{a},{b}\n" for a, b in values)
        (tmp_path / f"{name}_values.csv").write_text(f"x,y\n{text}")
        labels = {"cat": 0, "dog": 1}
        lines = [
            f"{name}{i},{labels.get(row[0], -1) if name != 'auxiliary' else -1},{row[0]},,{name}_values.csv#{i},,\n"
            for i, row in enumerate(rows)
        ]
        (tmp_path / f"{name}.csv").write_text(f"clip,label,class_name,group,a,start,stop\n{''.join(lines)}")

    for name in ("train", "val", "test"):
        write(name, [("cat",), ("dog",)] * 2)
    write("near", [("fish", (1.5, 2.5)), ("fish", (3.5, 4.5))])
    write("auxiliary", auxiliary)

    def part(name):
        return {
            "dataset_class": "MultimodalTabularDataset",
            "imglist_pth": str(tmp_path / f"{name}.csv"),
            "data_dir": "",
            "batch_size": 2,
        }

    names = ("train", "val", "test")
    dataset = {"name": "pets", "num_classes": 2, "split_names": list(names), "num_workers": 0}
    ood = {"name": "pets", "num_classes": 2, "num_workers": 0, "split_names": ["nearood"], **part("near")}
    return {
        "dataset": {**dataset, **{name: part(name) for name in (*names, "auxiliary")}},
        "ood_dataset": {**ood, "nearood": {"datasets": ["fish_set"], "fish_set": part("near")}},
    }


def test_what_is_apart_is_taken(tmp_path):
    outliers = build_auxiliary(tables(tmp_path, [("bird", (9, 9)), ("newt", (8, 8)), ("bird", (7, 7))]))
    said = outliers.describe()
    assert (said["name"], said["rows"], said["classes"]) == ("pets_auxiliary", 3, ["bird", "newt"])
    assert said["digest"] == outliers.dataset.manifest.digest()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("bird",), ("Fi sh",)], "it shares with fish_set class Fi sh. Leave these"),
        (
            [("dog", (1, 1))],
            "with train class dog; it shares with val class dog; it shares with test class dog",
        ),
        ([("bird", (3.5, 4.5)), ("bird", (1, 1))], r"it shares with fish_set 1 rows \(auxiliary0\)"),
        ([("fish", (1.5, 2.5))], r"fish_set class fish and 1 rows \(auxiliary0\)"),
    ],
)
def test_shared_classes_and_rows_are_one_error(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        build_auxiliary(tables(tmp_path, rows))


def test_without_the_sections(tmp_path):
    config = tables(tmp_path, [("bird",)])
    with pytest.raises(
        UserError, match=r"before training, and this config names none: add the benchmark's second"
    ):
        build_auxiliary({**config, "ood_dataset": None})
    for section in (None, {"batch_size": 384}):
        with pytest.raises(
            UserError, match=r"needs auxiliary outliers, and the config has no section dataset.aux"
        ):
            build_auxiliary({**config, "dataset": {**config["dataset"], "auxiliary": section}})


def test_the_validation_ood_set_counts_too():
    files = ["datasets/synthetic/synthetic_far.yml", "datasets/synthetic/synthetic_far_ood.yml"]
    request = {"benchmark": "synthetic_far", "split": "ood_val", "set": "synthetic_val"}
    section = {"dataset_class": "MultimodalTabularDataset", "imglist_pth": request, "batch_size": 4}
    top = {"num_gpus": 0, "num_workers": 0, "num_machines": 1, "seed": 0}
    config = load_config([*files, {"dataset": {"auxiliary": section}, **top}])
    with pytest.raises(UserError, match=r"it shares with ood_dataset.val class .* and 200 rows"):
        build_auxiliary(config)


def test_clips_are_the_same_where_their_bytes_and_spans_are(tmp_path):
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"longer")):
        (tmp_path / f"{name}.mp4").write_bytes(content)
    rows = [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("a", "1")]
    lines = [f"clip{i},-1,x,,{file}.mp4,{start and 0},{start}\n" for i, (file, start) in enumerate(rows)]
    (tmp_path / "m.csv").write_text(f"clip,label,class_name,group,video,start,stop\n{''.join(lines)}")
    dataset = MultimodalClipDataset("clips", str(tmp_path / "m.csv"), "", 2)
    digests = [dataset.content_digest(row) for row in range(5)]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 4
    hints = [dataset.content_hint(row) for row in range(5)]
    assert hints[0] == hints[1] == hints[2]
    assert len(set(hints)) == 3
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(UserError, match=r"clip 'clip1': there is no file .*b.mp4"):
        dataset.content_digest(1)
