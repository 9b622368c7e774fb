"""Write MultiOOD's ``benchmark_splits/*.yml`` anew from the authors' split lists.

    python scripts/make_multiood_benchmarks.py LISTS              # a checkout of MultiOOD, or a folder of its lists
    python scripts/make_multiood_benchmarks.py LISTS --check      # only tell whether the files are as this script
                                                                  # writes them
    python scripts/make_multiood_benchmarks.py LISTS --classes class_lists.json    # compare the classes with these

The output is a function of this file, the package and the lists alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from openood_multimodal.corpora.lists import FoundList, import_benchmark
from openood_multimodal.datasets.clip_benchmarks import AuthorsList, ClipBenchmark
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text
from openood_multimodal.registry import CLIP_LAYOUTS

FOLDER = Path(__file__).resolve().parents[1] / "benchmark_splits"
SOURCE = {
    "url": "https://github.com/donghao51/MultiOOD",
    "commit": "ab7b221e42a598dada7fb702c08dcb4292610d8e",
    "licence": "The repository states none. The videos have the terms of their own datasets.",
    "citation": (
        "H. Dong, Y. Zhao, E. Chatzi, O. Fink. MultiOOD: Scaling Out-of-Distribution Detection for Multiple "
        "Modalities. NeurIPS 2024, arXiv:2405.17419."
    ),
}
# what the lists give as numbers only
EPIC = ("take", "put", "open", "close", "wash", "cut", "mix", "pour")
HAC = ("sleeping", "watching tv", "eating", "drinking", "swimming", "running", "opening door")
# in the order in which the authors' code reads them
HAC_FILES = tuple(
    f"HAC_{split}_only_{domain}.csv"
    for domain in ("human", "animal", "cartoon")
    for split in ("test", "train")
)
EPIC_FILES = tuple(f"D3_{split}.pkl" for split in ("train", "val", "test"))

SPELLING = (
    "UCF101: {count} names are spelled v_HandstandPushups_..., the files v_HandStandPushups_...; the import spells "
    "them as the files are. The class stays HandstandPushups, as in UCF101's own list of classes."
)
EPIC_FRAMES = (
    "EPIC-Kitchens: two pairs of annotations have the same frames, P22_08/17280-17853 (both wash, time "
    "stamps 10 ms apart) and P22_17/19458-19533 (put and open: one clip with two labels, in the training list). All "
    "four are kept; the second of a pair is named with .2 at its end."
)
HAC_TWICE = (
    "HAC: 24 clips of the domain human stand in HAC_test_only_human.csv and in HAC_train_only_human.csv, and the OOD "
    "set is both: 3381 rows, 3357 clips. All rows are kept, the second of a pair named with .2 at its end."
)
HAC_BLANK = (
    "HAC: HAC_train_only_cartoon.csv names 'drinking_54 .mp4', with a blank before the dot; kept as it is."
)
UCF_LABELS = (
    "UCF101: labels in {file} count 95 classes and leave gaps; the manifest's labels are -1, so nothing "
    "depends on them."
)
LEAK = (
    "The split is drawn by clip, not by recording: {share} % of the test clips are of a recording that is in "
    "train, too; see docs/what-the-numbers-depend-on.md."
)
PRETRAINED = (
    "The encoders were pretrained on Kinetics-400, which knows many of these classes, OOD ones included."
)

BENCHMARKS: tuple[dict[str, Any], ...] = (
    {
        "name": "hmdb51_25_26",
        "settings": ["near"],
        "description": (
            "HMDB51, video and optical flow: the first 25 classes are in-distribution, the other 26 near-OOD."
        ),
        "dataset": "hmdb51",
        "fit_on": "train",
        "sets": {
            "train": ("hmdb51", ["HMDB_train_near_ood.txt"]),
            "val": ("hmdb51", ["HMDB_val_near_ood.txt"]),
            "test": ("hmdb51", ["HMDB_test_near_ood.txt"]),
            "nearood_hmdb51": ("hmdb51", ["HMDB_eval_near_ood.txt"]),
        },
        "faults": [],
        "paper_differs": [{"what": "clips in all", "paper": 6766}],
        "caveats": [PRETRAINED],
    },
    {
        "name": "ucf101_50_51",
        "settings": ["near"],
        "description": (
            "UCF101, video and optical flow: the first 50 classes are in-distribution, the other 51 near-OOD."
        ),
        "dataset": "ucf101",
        "fit_on": "train",
        "sets": {
            "train": ("ucf101", ["UCF_train_near_ood.txt"]),
            "val": ("ucf101", ["UCF_val_near_ood.txt"]),
            "test": ("ucf101", ["UCF_test_near_ood.txt"]),
            "nearood_ucf101": ("ucf101", ["UCF_eval_near_ood.txt"]),
        },
        "other_lists": [("ucf101", "UCF_all.txt", "all 101 classes; the benchmark's four lists together")],
        "faults": [SPELLING],
        "paper_differs": [],
        "caveats": [PRETRAINED],
    },
    {
        "name": "epic_kitchens_4_4",
        "settings": ["near"],
        "description": (
            "EPIC-Kitchens, kitchen P22, video, audio and optical flow: take, put, open and close are "
            "in-distribution; wash, cut, mix and pour near-OOD."
        ),
        "dataset": "epic_kitchens",
        "fit_on": "train",
        "classes": EPIC[:4],
        "sets": {
            "train": ("epic_kitchens", ["D3_train_near_ood.pkl"]),
            "val": ("epic_kitchens", ["D3_val_near_ood.pkl"]),
            "test": ("epic_kitchens", ["D3_test_near_ood.pkl"]),
            "nearood_epic_kitchens": ("epic_kitchens", ["D3_eval_near_ood.pkl"], EPIC[4:]),
        },
        "faults": [EPIC_FRAMES],
        "paper_differs": [],
        "caveats": [
            "All clips are of one kitchen and 17 recordings; every recording is on both sides, OOD clips included.",
        ],
    },
    {
        "name": "kinetics600_129_100",
        "settings": ["near"],
        "description": (
            "Kinetics-600, 229 of its classes, video, audio and optical flow: 129 are in-distribution, the other 100 "
            "near-OOD."
        ),
        "dataset": "kinetics600",
        "fit_on": "val",
        "sets": {
            "train": ("kinetics600", ["Kinetics_train_near_ood.txt"]),
            "val": ("kinetics600", ["Kinetics_val_near_ood.txt"]),
            "test": ("kinetics600", ["Kinetics_test_near_ood.txt"]),
            "nearood_kinetics600": ("kinetics600", ["Kinetics_eval_near_ood.txt"]),
        },
        "faults": [],
        "paper_differs": [{"what": "clips in all", "paper": 57205}],
        "caveats": [
            "The authors fit scores (KNN, Mahalanobis, ViM) to the validation split here, not to the training split.",
            "The OOD list has 100 clips of each of its 100 classes: 10000 of the 24981 that the far-OOD lists have of "
            "them.",
            PRETRAINED,
        ],
    },
    {
        "name": "far_hmdb51",
        "settings": ["far"],
        "description": (
            "HMDB51 without eight classes that other datasets know, in-distribution; Kinetics-600, UCF101, "
            "EPIC-Kitchens and HAC far-OOD; video and optical flow."
        ),
        "dataset": "hmdb51",
        "fit_on": "train",
        "sets": {
            "train": ("hmdb51", ["HMDB_train.txt"]),
            "val": ("hmdb51", ["HMDB_val.txt"]),
            "test": ("hmdb51", ["HMDB_test.txt"]),
            "farood_kinetics600": ("kinetics600", ["ID_HMDB_OOD_Kinetics.txt"]),
            "farood_ucf101": ("ucf101", ["ID_HMDB_OOD_UCF.txt"]),
            "farood_epic_kitchens": ("epic_kitchens", EPIC_FILES, EPIC),
            "farood_hac": ("hac", HAC_FILES, HAC),
        },
        "other_lists": [("hmdb51", "HMDB_all.txt", "the in-distribution lists together")],
        "faults": [EPIC_FRAMES, HAC_TWICE, HAC_BLANK, UCF_LABELS.format(file="ID_HMDB_OOD_UCF.txt")],
        "paper_differs": [
            {"what": "classes of UCF101 as OOD", "paper": 70, "of": "farood_ucf101"},
            {"what": "classes of UCF101 left out", "paper": 31, "lists": 34},
        ],
        "caveats": [
            "The Kinetics-600 set is the test split of far_kinetics600, byte for byte.",
            PRETRAINED,
        ],
    },
    {
        "name": "far_kinetics600",
        "settings": ["far"],
        "description": (
            "229 classes of Kinetics-600 in-distribution; HMDB51, UCF101, EPIC-Kitchens and HAC far-OOD; video and "
            "optical flow."
        ),
        "dataset": "kinetics600",
        "fit_on": "val",
        "sets": {
            "train": ("kinetics600", ["Kinetics_train.txt"]),
            "val": ("kinetics600", ["Kinetics_val.txt"]),
            "test": ("kinetics600", ["Kinetics_test.txt"]),
            "farood_hmdb51": ("hmdb51", ["ID_Kinetics_OOD_HMDB.txt"]),
            "farood_ucf101": ("ucf101", ["ID_Kinetics_OOD_UCF.txt"]),
            "farood_epic_kitchens": ("epic_kitchens", EPIC_FILES, EPIC),
            "farood_hac": ("hac", HAC_FILES, HAC),
        },
        "other_lists": [("kinetics600", "Kinetics_all.txt", "the in-distribution lists together")],
        "faults": [
            SPELLING,
            EPIC_FRAMES,
            HAC_TWICE,
            HAC_BLANK,
            UCF_LABELS.format(file="ID_Kinetics_OOD_UCF.txt"),
        ],
        "paper_differs": [{"what": "classes of HMDB51 as OOD", "paper": 51, "of": "farood_hmdb51"}],
        "caveats": [
            "The authors fit scores (KNN, Mahalanobis, ViM) to the validation split here, not to the training split.",
            "The HMDB51 set holds the 43 classes that far_hmdb51 knows, not the 51 of the dataset.",
            PRETRAINED,
        ],
    },
)


def build(lists: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of every benchmark file, in the order of its keys.

    Raises:
        UserError: when a list is missing or wrong.
    """
    for template in BENCHMARKS:
        yield template["name"], _finished(template, lists)


def _finished(template: Mapping[str, Any], lists: Path) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    found: dict[str, FoundList] = {}
    classes: dict[str, int] = {}
    for key, (dataset, files, *names) in template["sets"].items():
        is_id = key in ("train", "val", "test")
        parts = [_list(lists, dataset, name, found) for name in files]
        seen = _classes(found, files, dataset, names[0] if names else template.get("classes", ()), is_id)
        sets[key] = {
            "dataset": dataset,
            "clips": sum(part["clips"] for part in parts),
            "recordings": 0,
            "sha256": "",
            "lists": parts,
            **({} if is_id else {"classes": seen}),
            **({"repeated": twice} if (twice := _repeated(found, files, dataset)) else {}),
        }
        if is_id and classes not in ({}, seen):
            raise UserError(f"{template['name']}: train, val and test differ in their classes.")
        classes = seen if is_id else classes
    datasets = {part["dataset"] for part in sets.values()}
    modalities = [
        name
        for name in CLIP_LAYOUTS[template["dataset"]].modalities
        if all(name in CLIP_LAYOUTS[dataset].modalities for dataset in datasets)
    ]
    content = {
        "name": template["name"],
        "version": 1,
        "track": "multiood",
        "settings": template["settings"],
        "synthetic": False,
        "description": template["description"],
        "source": SOURCE,
        "dataset": template["dataset"],
        "modalities": modalities,
        "fit_on": template["fit_on"],
        "classes": classes,
        "sets": sets,
        "other_lists": [
            {"dataset": dataset, **_list(lists, dataset, name, {}), "about": about}
            for dataset, name, about in template.get("other_lists", ())
        ],
    }
    imported = import_benchmark(_benchmark(content), found)
    for key, manifest in imported.manifests.items():
        sets[key]["sha256"] = manifest.digest()
        sets[key]["recordings"] = len(set(manifest.groups) - {""})
    repaired = sum(imported.repaired.values())
    content["faults"] = [fault.format(count=repaired) for fault in template["faults"]]
    content["paper_differs"] = [_difference(each, sets) for each in template["paper_differs"]]
    content["caveats"] = [LEAK.format(share=_leaked(imported.manifests)), *template["caveats"]]
    content["manifest_digests"] = sorted(_record_digests(imported.manifests, modalities))
    return content


def _leaked(manifests: Mapping[str, Manifest]) -> str:
    """Return the share of test clips whose recording is in train, in percent, with one decimal."""
    known = set(manifests["train"].groups) - {""}
    groups = manifests["test"].groups
    return f"{100 * sum(group in known for group in groups) / len(groups):.1f}"


def _list(folder: Path, dataset: str, name: str, found: dict[str, FoundList]) -> dict[str, Any]:
    home = "EPIC-rgb-flow/splits" if dataset == "epic_kitchens" else "HMDB-rgb-flow/splits"
    path = next((each for each in (folder / home / name, folder / name) if each.is_file()), None)
    if path is None:
        raise UserError(f"{folder} has neither {home}/{name} nor {name}.")
    data = path.read_bytes()
    content = {
        "file": f"{home}/{name}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "clips": len(_rows(data, name)),
    }
    found[name] = FoundList(AuthorsList(**content), path)
    return content


def _rows(data: bytes, name: str) -> list[Any]:
    if name.endswith(".pkl"):
        from openood_multimodal.files.safe_pickle import load_plain

        return load_plain(data, name)
    return [line for line in data.decode("ascii").splitlines() if line]


def _repeated(found: Mapping[str, FoundList], files: Sequence[str], dataset: str) -> list[str]:
    """Return the clips that stand twice in the lists of one set."""
    count: Counter[str] = Counter()
    for file in files:
        for row in _rows(found[file].path.read_bytes(), file):
            if dataset == "epic_kitchens":
                count[f"{row[0]}/{row[1]}-{row[2]}"] += 1
            elif dataset == "hac":
                count[f"{file.removesuffix('.csv').rpartition('_')[2]}/{row.rpartition(',')[0]}"] += 1
            else:
                count[row.rpartition(" ")[0]] += 1
    return [clip for clip, times in count.items() if times > 1]


def _classes(
    found: Mapping[str, FoundList], files: Sequence[str], dataset: str, names: tuple[str, ...], is_id: bool
) -> dict[str, int]:
    """Return class → label, by label: as the names of these lists say, or in the order given."""
    if names:
        first = 0 if is_id or len(names) != len(EPIC[4:]) else 4
        return {name: first + place for place, name in enumerate(names)}
    labels: dict[str, int] = {}
    for file in files:
        for line in _rows(found[file].path.read_bytes(), file):
            path, _, label = line.rpartition(" ")
            name = path.split("_")[1] if dataset == "ucf101" else path.split("/")[0]
            if labels.setdefault(name, int(label)) != int(label):
                raise UserError(f"{file}: class {name} has two labels.")
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _benchmark(content: Mapping[str, Any]) -> ClipBenchmark:
    from openood_multimodal.config import bind

    return bind(content, ClipBenchmark, str(content["name"]), ignore=())


def _difference(each: Mapping[str, Any], sets: Mapping[str, Any]) -> dict[str, Any]:
    lists = each.get("lists")
    if lists is None:
        lists = (
            len(sets[each["of"]]["classes"]) if "of" in each else sum(part["clips"] for part in sets.values())
        )
    return {"what": each["what"], "paper": each["paper"], "lists": lists}


def _record_digests(manifests: Mapping[str, Manifest], modalities: list[str]) -> set[str]:
    """Return what ``digests.manifest`` of a record can be: see `pipelines.digest.split_digest`.

    It covers the in-distribution sets in use (with training clips or without them, where scores are fitted to the
    validation split) and one OOD set, whole or with some modalities only.
    """
    digests = set()
    choices = [part for size in range(1, len(modalities) + 1) for part in combinations(modalities, size)]
    for key in (key for key in manifests if key not in ("train", "val", "test")):
        for names in (("train", "val", "test"), ("val", "test")):
            used = {name: manifests[name] for name in names} | {"ood": manifests[key]}
            for choice in (None, *choices):
                lines = (
                    f"{name} {(each if choice is None else each.select(choice)).digest()}\n"
                    for name, each in sorted(used.items())
                )
                digests.add(hashlib.sha256("".join(lines).encode()).hexdigest())
    return digests


def render(content: Mapping[str, Any]) -> str:
    """Return the YAML text of one benchmark: a line a list item of prose, flowing maps of classes."""
    flowing = ("classes", "sets", "other_lists", "paper_differs", "modalities", "settings")
    parts = [
        yaml.safe_dump(
            {key: value},
            sort_keys=False,
            allow_unicode=True,
            width=110,
            default_flow_style=None if key in flowing else False,
        )
        for key, value in content.items()
    ]
    head = "# Written by scripts/make_multiood_benchmarks.py; the fields are explained in docs/splits.md.\n"
    return head + "".join(parts)


def compare_classes(contents: Mapping[str, Mapping[str, Any]], transcript: Mapping[str, Any]) -> list[str]:
    """Return the names of lists of classes in ``transcript`` that differ from the benchmarks' ones."""

    def ood(name: str, key: str) -> list[str]:
        return list(contents[name]["sets"][key]["classes"])

    ours = {
        "near_hmdb51_id": list(contents["hmdb51_25_26"]["classes"]),
        "near_hmdb51_ood": ood("hmdb51_25_26", "nearood_hmdb51"),
        "near_ucf101_id": list(contents["ucf101_50_51"]["classes"]),
        "near_ucf101_ood": ood("ucf101_50_51", "nearood_ucf101"),
        "near_epic_id": list(contents["epic_kitchens_4_4"]["classes"]),
        "near_epic_ood": ood("epic_kitchens_4_4", "nearood_epic_kitchens"),
        "near_kinetics600_id": list(contents["kinetics600_129_100"]["classes"]),
        "near_kinetics600_ood": ood("kinetics600_129_100", "nearood_kinetics600"),
        "far_hmdb51_id": list(contents["far_hmdb51"]["classes"]),
        "far_hmdb51_ood_for_kinetics": ood("far_kinetics600", "farood_hmdb51"),
        "far_ucf101_ood_for_hmdb": ood("far_hmdb51", "farood_ucf101"),
        "far_ucf101_ood_for_kinetics": sorted(ood("far_kinetics600", "farood_ucf101")),
        "kinetics229": list(contents["far_kinetics600"]["classes"]),
        "hac": ood("far_hmdb51", "farood_hac"),
        "epic": ood("far_hmdb51", "farood_epic_kitchens"),
    }
    return [
        name
        for name, classes in ours.items()
        if classes
        != (sorted(transcript[name]) if name == "far_ucf101_ood_for_kinetics" else transcript[name])
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lists", type=Path, help="a checkout of MultiOOD, or a folder of its lists")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a file differs")
    parser.add_argument("--classes", type=Path, help="JSON file: name → list of classes, to compare with")
    options = parser.parse_args(arguments)
    try:
        contents = dict(build(options.lists))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    differing = 0
    if options.classes:
        for name in compare_classes(contents, json.loads(options.classes.read_text(encoding="utf-8"))):
            print(f"classes differ: {name}", file=sys.stderr)
            differing += 1
    for name, content in contents.items():
        path, text = FOLDER / f"{name}.yml", render(content)
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        differing += not same and options.check
        if not same and not options.check:
            write_text(path, text)
        print(f"{path.name}: {'as it was' if same else 'differs' if options.check else 'written'}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
