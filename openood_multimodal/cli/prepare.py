"""``openood-mm prepare``: which files of a dataset are there, which are missing, and where they are published."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .parsers import Command, add_commands, names_in, option_names, subparser

if TYPE_CHECKING:
    from ..corpora.layout import ClipLayout
    from ..corpora.looking import Looked

DATASETS = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")
OTHERS = {  # what is no known dataset to look through
    "folder": Command("prepare_folder", "class folders of your own videos -> split and configs"),
    "check": Command("prepare_check", "decode every file of some clips once, and list what fails"),
    "flow": Command("prepare_flow", "make optical flow from videos"),
    "audio": Command("prepare_audio", "make WAV files from the videos' sound"),
    "frames": Command("prepare_frames", "write frames of clips as an image dataset for OpenOOD"),
    "moving_shapes": Command(
        "prepare_moving_shapes", "generate small labelled clips in the layout of any dataset"
    ),
}
INCOMPLETE = 1
SHOWN = 20  # classes, and examples of names that differ; the lists on disk have all

EXAMPLES = """  # where the parts are published, and the folder layout
  openood-mm prepare hmdb51

  # what is there, what is missing; a manifest of the complete clips
  openood-mm prepare hmdb51 --root /data/HMDB51 --out splits

  # the clips of a benchmark (made by openood-mm splits import), video and flow only
  openood-mm prepare kinetics600 --root /data/Kinetics-600 --manifests splits/kinetics600_129_100 \\
      --modalities video,flow

  # your own videos; is every file intact?
  openood-mm prepare folder --help
  openood-mm prepare check --help

  # compute what a download lacks; generate data for trying everything out
  openood-mm prepare flow --help
  openood-mm prepare audio --help
  openood-mm prepare frames --help
  openood-mm prepare moving_shapes --help
"""


DESCRIPTION = f"""Look for the files of a dataset ({", ".join(DATASETS)}): print what is there and what is
missing, list each missing file in <out>/<dataset>_missing.csv, and write <out>/<dataset>_all.csv, a
manifest of the clips that have all their files. No file is changed. Without --root, or with
nothing there, print where the parts are published and the folder layout. Exit code 1 when something is
missing."""


def main(argv: Sequence[str]) -> int:
    """Look through a dataset's folder, or hand over to one of `OTHERS`.

    Returns 0 when everything is there (or nothing was to be looked for), 1 when something is missing.
    """
    parser = subparser(
        "prepare",
        DESCRIPTION,
        EXAMPLES,
        unknown="there is no dataset '{}' to prepare.",
        argument_default=argparse.SUPPRESS,
    )
    _add_options(parser)
    datasets = add_commands(parser, {}, "DATASET", "datasets, and other things to prepare (each has --help)")
    for name in DATASETS:
        dataset = datasets.add_parser(
            name, help="which files are there", description=DESCRIPTION, argument_default=argparse.SUPPRESS
        )
        _add_options(dataset)
        dataset.set_defaults(command=name)
    for name, other in OTHERS.items():
        datasets.add_parser(name, help=other.summary, module=other.module)
    given = vars(parser.parse_args(list(argv)))
    command, run = given.pop("command"), given.pop("run", None)
    if run is None:
        return _prepare(command, **given)
    if given:
        raise UserError(f"name '{command}' first: openood-mm prepare {command} ...")
    return run() or 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", metavar="DIR", help="the dataset's folder")
    parser.add_argument(
        "--manifests",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="look for the clips of these manifests (CSV files, or folders of them; clips of other datasets are "
        "passed over); default: every clip whose video is on disk",
    )
    parser.add_argument(
        "--modalities", metavar="A,B", help="those needed (default: all published, or the manifests')"
    )
    parser.add_argument("--out", metavar="DIR", help="default: splits")
    parser.add_argument(
        "--check",
        action="store_true",
        help="also decode every file of the complete clips, and list what fails",
    )
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="print one JSON object instead of text"
    )


@option_names()
def _prepare(
    name: str,
    root: str | None = None,
    manifests: Sequence[str] = (),
    modalities: str | None = None,
    out: str = "splits",
    check: bool = False,
    as_json: bool = False,
) -> int:
    from ..corpora.clip_survey import read_manifests
    from ..corpora.looking import guide, guide_document, look
    from ..progress import progress_bar
    from ..registry import CLIP_LAYOUTS

    layout = CLIP_LAYOUTS[name]
    if root is None:
        if as_json:
            _print_json(guide_document(layout))
        else:
            print(guide(layout))
            print(f"Then: openood-mm prepare {layout.name} --root DIR")
        return 0
    read = read_manifests(layout, manifests) if manifests else []
    folder = Path(root)
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"--root {root} is not a folder.")
        return _nothing(layout, folder, as_json, f"There is no folder {folder}.")
    if check and as_json:
        raise UserError("--check prints text; leave out --json.")
    wanted = None if modalities is None else names_in(modalities)
    with progress_bar(desc="Looking", unit=" folders", leave=False) as bar:
        found = look(layout, folder, out, read, wanted, lambda: bar.update())
    if found.survey.nothing_there:
        return _nothing(layout, folder, as_json, f"{folder} holds no files of {layout.name}.{found.hint}")
    complete = found.complete
    if as_json:
        _print_json(found.document())
    else:
        _print(found)
    if check and found.manifest is not None:
        from ..datasets.manifest import Manifest
        from ..preprocessors.checking import check_files
        from ..workers import worker_count
        from .prepare_check import report

        broken = Path(out) / f"{layout.name}_broken.csv"
        checked = check_files(
            [Manifest.read(found.manifest)], folder, broken, workers=worker_count(None), progress=True
        )
        complete &= not report(checked, broken)
    return 0 if complete else INCOMPLETE


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _nothing(layout: ClipLayout, root: Path, as_json: bool, reason: str) -> int:
    from ..corpora.looking import guide, guide_document

    if as_json:
        _print_json({"complete": False, "root": str(root), "reason": reason, **guide_document(layout)})
    else:
        print(reason, file=sys.stderr)
        print(guide(layout))
    return INCOMPLETE


def _print(looked: Looked) -> None:
    from ..corpora.looking import guide

    found, inventory = looked.survey, looked.inventory
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
        _print_missing(looked)
        print(f"All that is missing: {looked.missing}")
    if looked.manifest is not None:
        print(f"Manifest of the complete clips: {looked.manifest}")
    elif not found.rows:
        print(
            f"No manifest: the clips of {layout.name} are spans of recordings that the lists name; make manifests of "
            "the lists (openood-mm splits import) and name them as --manifests."
        )
    absent = [modality for modality in checked.modalities if not checked.found(modality)]
    if absent:
        print(f"\nThere is no {' and no '.join(absent)} at all.\n{guide(layout, absent)}")


def _print_missing(looked: Looked) -> None:
    from ..corpora.clip_check import ELSEWHERE

    found, inventory = looked.survey, looked.inventory
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
