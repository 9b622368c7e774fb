"""``openood-mm prepare``: which files of a data set are there, which are missing, and where they are published."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files.paths import remove
from ..naming import did_you_mean
from .main import subparser

if TYPE_CHECKING:
    from ..corpora.clip_survey import Survey
    from ..corpora.layout import ClipLayout
    from ..datasets.inventory import Inventory
    from ..datasets.manifest import Manifest

DATASETS = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")
OTHERS = {  # what is no known dataset to look through
    "folder": ("prepare_folder", "class folders of your own videos -> split and configs"),
    "check": ("prepare_check", "decode every file of some clips once, and list what fails"),
    "flow": ("prepare_flow", "make optical flow from videos"),
    "audio": ("prepare_audio", "make WAV files from the videos' sound"),
    "frames": ("prepare_frames", "write frames of clips as an image dataset for OpenOOD"),
    "moving_shapes": ("prepare_moving_shapes", "generate small labelled clips in the layout of any data set"),
}
INCOMPLETE = 1
SHOWN = 20  # classes, and examples of names that differ; the lists on disk have all

EXAMPLES = """  # where the parts are published, and how they have to lie
  openood-mm prepare hmdb51

  # what is there, what is missing; a manifest of the clips that are whole
  openood-mm prepare hmdb51 --root /data/HMDB51 --out splits

  # the clips of a benchmark (made by openood-mm splits import), video and flow alone
  openood-mm prepare kinetics600 --root /data/Kinetics-600 --manifests splits/kinetics600_129_100 \\
      --modalities video,flow

  # your own videos; is every file whole?
  openood-mm prepare folder --help
  openood-mm prepare check --help

  # make what a download lacks; generate data to try everything on
  openood-mm prepare flow --help
  openood-mm prepare audio --help
  openood-mm prepare frames --help
  openood-mm prepare moving_shapes --help
"""


def main(argv: Sequence[str]) -> int:
    """Look through a data set's folder, or hand over to one of `OTHERS`.

    Returns 0 when everything is there (or nothing was to be looked for), 1 when something is missing.
    """
    arguments = list(argv)
    if arguments and arguments[0] in OTHERS:
        return _other(arguments[0], arguments[1:])
    options = _parser().parse_args(arguments)
    if options.dataset in OTHERS:
        raise UserError(f"name '{options.dataset}' first: openood-mm prepare {options.dataset} ...")
    if options.dataset not in DATASETS:
        raise UserError(
            f"there is no data set '{options.dataset}' to prepare.{did_you_mean(options.dataset, [*DATASETS, *OTHERS])}"
        )

    from ..corpora.clip_survey import read_manifests
    from ..registry import CLIP_LAYOUTS

    layout = CLIP_LAYOUTS[options.dataset]
    modalities = _split(options.modalities)
    if options.root is None:
        if options.json:
            print(json.dumps(_guide_json(layout), indent=2, ensure_ascii=False))
        else:
            print(guide(layout))
            print(f"Then: openood-mm prepare {layout.name} --root DIR")
        return 0
    root = Path(options.root)
    manifests = read_manifests(layout, options.manifests) if options.manifests else []
    if not root.is_dir():
        if root.exists():
            raise UserError(f"--root {root} is not a folder.")
        return _nothing(layout, root, options.json, f"There is no folder {root}.")
    if options.check and options.json:
        raise UserError("--check prints text; leave out --json.")
    return _look(layout, root, manifests, modalities, Path(options.out), options.json, options.check)


def _look(
    layout: ClipLayout,
    root: Path,
    manifests: list[Manifest],
    modalities: list[str] | None,
    out: Path,
    as_json: bool,
    check: bool = False,
) -> int:
    from tqdm import tqdm

    from ..corpora.clip_survey import survey
    from ..datasets.inventory import Inventory

    with tqdm(desc="Looking", unit=" folders", leave=False, disable=None, file=sys.stderr) as bar:
        inventory = Inventory(root, lambda folder: bar.update())
        found = survey(layout, inventory, manifests, modalities)
    if found.nothing_there:
        return _nothing(
            layout, root, as_json, f"{root} holds no files of {layout.name}.{_hint(layout, inventory)}"
        )
    written = _write(found, out)
    complete = not found.checked.missing
    if as_json:
        report = _report(found, inventory, written)
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(found, inventory, written)
    if check and written["manifest"] is not None:
        from .prepare_check import check as check_files
        from .preparing import number_of_workers

        complete &= not check_files(
            [Manifest.read(written["manifest"])],
            root,
            out / f"{layout.name}_broken.csv",
            workers=number_of_workers(None),
        )
    return 0 if complete else INCOMPLETE


def _other(name: str, arguments: list[str]) -> int:
    module = OTHERS[name][0]
    try:
        command = importlib.import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{module}":
            raise
        raise UserError(f"prepare {name} is not part of this installation.") from error
    return command.main(arguments) or 0


def _parser() -> argparse.ArgumentParser:
    others = "; ".join(f"{name}: {summary}" for name, (_, summary) in OTHERS.items())
    parser = subparser(
        "prepare",
        f"Look for the files of a data set ({', '.join(DATASETS)}): print what is there and what is\n"
        "missing, list each missing file in <out>/<dataset>_missing.csv, and write <out>/<dataset>_all.csv, a\n"
        "manifest of the clips that have all their files. No file is changed. Without --root, or with\n"
        "nothing there, print where the parts are published and how they have to lie. Exit code 1 when something is\n"
        "missing.\n"
        f"Other things to prepare, with options of their own: {others}.",
        EXAMPLES,
    )
    parser.add_argument("dataset", metavar="DATASET", help=f"{', '.join(DATASETS)}; or {', '.join(OTHERS)}")
    parser.add_argument("--root", metavar="DIR", help="the data set's folder")
    parser.add_argument(
        "--manifests",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="look for the clips of these manifests (CSV files, or folders of them; clips of other data sets are "
        "passed over); default: every clip whose video is on disk",
    )
    parser.add_argument(
        "--modalities", metavar="A,B", help="those needed (default: all published, or the manifests')"
    )
    parser.add_argument("--out", default="splits", metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--check",
        action="store_true",
        help="also decode every file of the complete clips, and list what fails",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def guide(layout: ClipLayout, modalities: Sequence[str] | None = None) -> str:
    """Return where the parts of a data set are published, and the folders to unpack them into."""
    lines = [f"{layout.name}: where its parts are published (see also https://github.com/donghao51/MultiOOD)"]
    for archive in layout.archives:
        if modalities is not None and not set(modalities) & set(archive.modalities):
            continue
        lines.append(f"\n  {archive.what}: {archive.published}")
        lines += [f"    {name}" for name in archive.file_names]
        lines.append(f"    -> {archive.unpack_into}")
    lines.append("\nThe folders as they have to lie:\n")
    lines += [f"  {line}" for line in layout.tree.splitlines()]
    return "\n".join(lines) + "\n"


def _guide_json(layout: ClipLayout) -> dict[str, Any]:
    return {
        "dataset": layout.name,
        "archives": [
            {
                "what": archive.what,
                "published": archive.published,
                "files": list(archive.file_names),
                "unpack_into": archive.unpack_into,
                "modalities": list(archive.modalities),
            }
            for archive in layout.archives
        ],
        "tree": layout.tree,
    }


def _nothing(layout: ClipLayout, root: Path, as_json: bool, reason: str) -> int:
    if as_json:
        said = {"complete": False, "root": str(root), "reason": reason, **_guide_json(layout)}
        print(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        print(reason, file=sys.stderr)
        print(guide(layout))
    return INCOMPLETE


def _hint(layout: ClipLayout, inventory: Inventory) -> str:
    """Return a sentence that tells what is nearly right: a folder's name, or the folder one further down; or ""."""
    from ..corpora.clip_survey import matching
    from ..datasets.inventory import FOLDER, Inventory

    places = [place for each in layout.places.values() for place in each]
    for name in dict.fromkeys(place.parts[0] for place in places):
        nearest, difference = inventory.nearest(name) if isinstance(name, str) else ("", "")
        if difference:
            return f" There is '{nearest}' instead of '{name}' ({difference}): rename it."
    root = inventory.root
    folders = sorted(name for name, kind in inventory.entries().items() if kind == FOLDER)
    for folder in folders[:SHOWN]:
        below = Inventory(root / folder)
        if any(True for place in places for _ in matching(below, place)):
            return f" But {root / folder} does: give that as --root."
    return ""


def _write(found: Survey, out: Path) -> dict[str, Path | None]:
    from ..corpora.clip_check import Missing
    from ..files.atomic import write_csv

    name, missing = found.layout.name, found.checked.missing
    path = out / f"{name}_missing.csv"
    if missing:
        write_csv(path, Missing._fields, (each._asdict() for each in missing))
    else:
        remove(out, path.name)
    manifest = found.manifest()
    return {
        "missing": path if missing else None,
        "manifest": manifest.write(out / f"{name}_all.csv") if manifest is not None else None,
    }


def _report(found: Survey, inventory: Inventory, written: dict[str, Path | None]) -> dict[str, Any]:
    checked = found.checked
    report: dict[str, Any] = {
        "dataset": found.layout.name,
        "root": str(inventory.root),
        "complete": not checked.missing,
        "clips": len(checked.wanted),
        "clips_complete": sum(checked.complete),
        "modalities": {
            modality: {
                "place": found.layout.places[modality][0].shown,
                "found": checked.found(modality),
                "missing": len(checked.wanted) - checked.found(modality),
            }
            for modality in checked.modalities
        },
        "missing_by_class": {
            name: {"clips": counts[""], **{m: counts[m] for m in checked.modalities if counts[m]}}
            for name, counts in checked.by_class().items()
        },
        "manifests": list(found.sources),
    }
    return report | {key: str(path) if path else None for key, path in written.items()}


def _print(found: Survey, inventory: Inventory, written: dict[str, Path | None]) -> None:
    checked, layout = found.checked, found.layout
    noun = "recordings" if not found.rows else "clips"
    print(
        f"{layout.name} in {inventory.root}: {sum(checked.complete)} of {len(checked.wanted)} {noun} complete"
    )
    for modality in checked.modalities:
        place = "as the manifests say" if found.sources else layout.places[modality][0].shown
        there = checked.found(modality)
        lacking = f", {len(checked.wanted) - there} missing" if there < len(checked.wanted) else ""
        print(f"  {modality}: {there} of {len(checked.wanted)}{lacking}  ({place})")
    if checked.missing:
        _print_missing(found, inventory)
        print(f"All that is missing: {written['missing']}")
    if written["manifest"] is not None:
        print(f"Manifest of the complete clips: {written['manifest']}")
    elif not found.rows:
        print(
            f"No manifest: the clips of {layout.name} are spans of recordings that the lists name; make manifests of "
            "the lists (openood-mm splits import) and name them as --manifests."
        )
    absent = [modality for modality in checked.modalities if not checked.found(modality)]
    if absent:
        print(f"\nThere is no {' and no '.join(absent)} at all.\n{guide(layout, absent)}")


def _print_missing(found: Survey, inventory: Inventory) -> None:
    from ..corpora.clip_check import ELSEWHERE

    checked = found.checked
    classes = checked.by_class()
    print("Missing, by class:" if found.rows else "Missing, by recording:")
    for name, counts in list(classes.items())[:SHOWN]:
        parts = ", ".join(
            f"{counts[modality]} {modality}" for modality in checked.modalities if counts[modality]
        )
        print(f"  {name} ({counts['']}): {parts}")
    if len(classes) > SHOWN:
        print(f"  ... and {len(classes) - SHOWN} more")
    examples: dict[tuple[str, str], list[Any]] = {}
    for each in checked.missing:
        if each.nearest:
            examples.setdefault((each.modality, each.reason), []).append(each)
    for (modality, reason), cases in list(examples.items())[:SHOWN]:
        first = cases[0]
        print(f"{modality}, {reason}: {len(cases)}, for instance")
        print(f"  expected {first.expected}\n  there is {first.nearest}")
        expected, found_there = first.expected.partition("/"), first.nearest.partition("/")
        if reason == ELSEWHERE and expected[2] == found_there[2] and expected[0] not in inventory.entries():
            link = shlex.join(["ln", "-s", found_there[0], str(inventory.root / expected[0])])
            print(f"  link the folder, so that the manifests hold: {link}")
