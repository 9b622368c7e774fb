"""Benchmark files: the packaged ones, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from openood_multimodal.config import load_config
from openood_multimodal.datasets.benchmarks import available_benchmarks, load_benchmark
from openood_multimodal.datasets.table_splits import draw_partitions
from openood_multimodal.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = {
    "htad_4_3": (35, [4, 3]),
    "htad_4_2_1": (40, [4, 2, 1]),
    "mfeat_5_5": (40, [5, 5]),
    "mfeat_5_3_2": (40, [5, 3, 2]),
    "synthetic_far": (8, [6, 3, 2]),
}
FOLDERS = {name: name.partition("_")[0] for name in PARTITIONS}


def test_the_packaged_benchmarks() -> None:
    assert set(PARTITIONS) <= set(available_benchmarks())
    assert load_benchmark("htad_4_3") is load_benchmark("htad_4_3")


@pytest.mark.parametrize("name", PARTITIONS)
def test_partitions_are_the_seeded_draw(name: str) -> None:
    benchmark = load_benchmark(name)
    count, sizes = PARTITIONS[name]
    drawn = draw_partitions(benchmark.class_names, sizes, count, benchmark.partition_seed)
    parts = [(p.id, p.ood, p.ood_val or p.auxiliary)[: len(sizes)] for p in benchmark.partitions]
    assert parts == drawn


@pytest.mark.parametrize("name", PARTITIONS)
def test_validation_ood_is_disjoint_from_test_ood(name: str) -> None:
    benchmark = load_benchmark(name)
    for partition in benchmark.partitions:
        classes = [
            set(rows.classes_in(partition)) for sets in benchmark.ood_sets.values() for rows in sets.values()
        ]
        assert not set(partition.id) & set().union(*classes)
        assert sum(map(len, classes)) == len(set().union(*classes))


@pytest.mark.parametrize("name", PARTITIONS)
def test_states_what_a_reader_must_know(name: str) -> None:
    benchmark = load_benchmark(name)
    assert benchmark.description
    assert benchmark.caveats
    assert benchmark.split.description
    assert benchmark.source.licence
    assert benchmark.synthetic == (name == "synthetic_far")
    assert benchmark.track == ("grouped" if name.startswith("htad") else "demo")
    if not benchmark.synthetic:
        assert benchmark.source.url
        assert benchmark.source.citation
        assert all(len(digest) == 64 for digest in benchmark.source.files.values())


def test_counts_of_the_real_sets() -> None:
    htad, mfeat = load_benchmark("htad_4_3"), load_benchmark("mfeat_5_5")
    assert sum(htad.classes.values()) == 1386
    assert sum(map(len, htad.groups.values())) == 22
    assert min(map(len, htad.groups.values())) == 3
    assert htad.modalities == {"audio": 36, "accelerometer": 16}
    assert set(mfeat.classes.values()) == {200}
    assert len(mfeat.classes) == 10
    assert mfeat.modalities == {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}


@pytest.mark.parametrize("name", PARTITIONS)
def test_configs_agree_with_the_benchmark(name: str) -> None:
    benchmark = load_benchmark(name)
    base = f"configs/datasets/{FOLDERS[name]}/{name}"
    top = {"num_workers": 0, "num_gpus": 0, "num_machines": 1, "seed": 3}
    config = load_config(
        [top, str(ROOT / f"{base}.yml"), str(ROOT / f"{base}_ood.yml")], ["--dataset.partition", "2"]
    )
    dataset, ood = config["dataset"], config["ood_dataset"]
    assert dict(dataset["input_dims"]) == dict(benchmark.modalities)
    assert tuple(dataset["modalities"]) == benchmark.default_modalities
    assert dataset["num_classes"] == ood["num_classes"] == len(benchmark.partitions[0].id)
    for split in ("train", "val", "test"):
        options = dataset[split]["imglist_pth"]
        assert options["split"] == split
        assert (options["benchmark"], options["partition"], options["seed"]) == (name, 2, 3)
        assert dataset[split]["shuffle"] == (split == "train")
    groups = {
        g: set(ood[g]["datasets"]) if g != "val" else {ood[g]["imglist_pth"]["set"]}
        for g in ood["split_names"]
    }
    assert groups == {group: set(sets) for group, sets in benchmark.ood_sets.items() if group != "auxiliary"}
    if "auxiliary" in benchmark.ood_sets:
        assert dict(dataset["auxiliary"]["imglist_pth"], split="train") == dict(
            dataset["train"]["imglist_pth"]
        )
        assert dataset["auxiliary"]["imglist_pth"]["split"] == "auxiliary"


def test_regenerating_changes_nothing(htad_data: None, mfeat_data: None) -> None:
    script = ROOT / "scripts" / "make_benchmark_splits.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_benchmark() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'htad_4_3'"):
        load_benchmark("htad_4_4")
    with pytest.raises(UserError, match=r"there is no benchmark '../benchmark_splits/htad_4_3'"):
        load_benchmark("../benchmark_splits/htad_4_3")
    with pytest.raises(UserError, match=r"nowhere\.yml: there is no such file"):
        load_benchmark("nowhere.yml")


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        content = content[int(part) if part.isdigit() else part]
    if value is None:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("modalitis", {"a": 1}, "modalitis.*Did you mean 'modalities'"),
        ("version", None, "version is not set"),
        ("version", "one", "version must be a whole number"),
        ("track", "group", "track: 'group' is not allowed. Did you mean 'grouped'"),
        ("split.rule", "random", "split.rule: 'random'"),
        ("settings", ["close"], "'close' is not allowed"),
        ("default_modalities", ["audi"], "no modality 'audi'. Did you mean 'audio'"),
        ("partitions", [], "no partition"),
        ("partitions.0.id", ["run_a", "run_d"], "partition 0: there is no class 'run_d'"),
        ("partitions.0.ood", ["run_b"], "class 'run_b' is in 'id' and in 'ood'"),
        ("partitions.0.id", ["run_b", "run_a"], "in the order of 'classes'"),
        ("partitions.0.id", ["run_a"], "needs at least 2"),
        ("partitions.1.ood", [], "no classes in 'ood'"),
        ("classes", {1: 3}, "does not read the key 1 as text"),
        ("classes.run_a", "many", "run_a must be a whole number"),
        ("ood_sets.nearood.small_ood", {"partition": "odd"}, "must be one of ood, ood_val, auxiliary"),
        ("ood_sets.nearood.small_ood", {"classes": ["run_c"]}, "none of the extra_classes"),
        ("ood_sets.nearood.small_ood", {}, "either 'partition' or 'classes'"),
        ("ood_sets", {"near": {}}, "'near' is not allowed"),
        ("synthetic", True, "belongs to the track 'demo'"),
        ("groups", {"run_a": [7, 4]}, "groups.run_a adds up to 11"),
    ],
)
def test_wrong_benchmark_files(small_htad: Any, key: str, value: Any, expected: str) -> None:
    _set(small_htad.content, key, value)
    with pytest.raises(UserError, match=expected) as error:
        load_benchmark(small_htad.write())
    assert "small_htad.yml" in str(error.value)


def test_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("a: [")
    with pytest.raises(UserError, match=r"b\.yml, line 1"):
        load_benchmark(tmp_path / "b.yml")
    (tmp_path / "b.yml").write_text(yaml.safe_dump([1, 2, 3]))
    with pytest.raises(UserError, match=r"key: value"):
        load_benchmark(tmp_path / "b.yml")


def test_questions_to_a_benchmark() -> None:
    benchmark = load_benchmark("synthetic_far")
    with pytest.raises(UserError, match=r"no partition 8; it has 8, 0 to 7"):
        benchmark.partition(8)
    with pytest.raises(UserError, match=r"no partition -1"):
        benchmark.partition(-1)
    with pytest.raises(UserError, match=r"2 sets, so name one"):
        benchmark.ood_set("farood")
    with pytest.raises(UserError, match=r"no set 'synthetic_nois'. Did you mean 'synthetic_noise'"):
        benchmark.ood_set("farood", "synthetic_nois")
    with pytest.raises(UserError, match=r"no OOD group 'nearod'"):
        benchmark.ood_set("nearod")
    with pytest.raises(UserError, match=r"named twice"):
        benchmark.choose_modalities(("a", "a"))
    assert benchmark.ood_set("nearood")[0] == "synthetic_near"
