"""``openood-mm prepare folder``: class folders of your own videos → split, configs, and the commands that use them."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import (
    add_follow_links,
    add_root,
    add_workers,
    names_in,
    option_names,
    print_some,
    subparser,
)

if TYPE_CHECKING:
    from ..splits.own_clip_configs import OwnDataset
    from ..splits.own_clips import OwnClips

EXAMPLES = """  # one folder per class; two of the classes are out-of-distribution
  openood-mm prepare folder tricks --root /data/tricks --ood flip,spin

  # recordings in the file names: jump/cam2_0017.mp4 is from cam2
  openood-mm prepare folder tricks --root /data/tricks --ood flip,spin --recording '/([a-z0-9]+)_[0-9]+\\.mp4$'

  # decode every file once, too
  openood-mm prepare folder tricks --root /data/tricks --ood flip,spin --check
"""


def main(argv: Sequence[str]) -> int:
    """Write the split and its configs; 1 where videos can't be read."""
    options = _parser().parse_args(list(argv))

    from ..progress import progress_bar
    from ..splits.grouped import Shares
    from ..splits.own_clip_configs import make_own_dataset
    from ..splits.own_clips import survey_folder
    from ..workers import worker_count

    with progress_bar(desc="Looking", unit=" videos", leave=False) as bar:
        found = survey_folder(
            options.root, options.recording, follow_links=options.follow_links, looked=lambda: bar.update()
        )
    if not options.ood and not options.far:
        _print_classes(found)
        print("Now choose the out-of-distribution classes: --ood A,B (near), --far C (far).")
        return 0
    with option_names():
        workers = worker_count(options.workers) if options.check else 1
    made = make_own_dataset(
        options.name,
        found,
        options.out,
        ood=names_in(options.ood),
        far=names_in(options.far),
        known=names_in(options.id),
        shares=Shares.of(options.val, options.test),
        seed=options.seed,
        modalities=names_in(options.modalities),
        frames=options.frames,
        size=options.size,
        follow_links=options.follow_links,
    )
    _print_split(made)
    failed = bool(found.broken)
    if options.check:
        from ..preprocessors.checking import check_files
        from .prepare_check import report

        broken = Path(options.out) / f"{options.name}_broken.csv"
        manifests = made.split.manifests.values()
        checked = check_files(
            manifests, options.root, broken, workers=workers, follow_links=options.follow_links, progress=True
        )
        failed |= bool(report(checked, broken))
    _print_commands(made, options.name)
    return 1 if failed else 0


def _print_classes(found: OwnClips) -> None:
    print(f"{found.root}: {len(found.clips)} videos")
    for name, count in sorted(found.classes.items()):
        recordings = len({each.recording for each in found.clips if each.class_name == name})
        print(f"  {name}: {count} clips, {recordings} recordings")


def _print_split(made: OwnDataset) -> None:
    from tabulate import tabulate

    found, split, choice = made.found, made.split, made.choice

    print(f"{found.root}: {len(found.clips)} videos of {len(found.classes)} classes")
    print_some([f"left out: {clip}: {fault}" for clip, fault in found.broken.items()])
    if found.passed_over:
        print(f"  {found.passed_over} files that are no videos were passed over")
    rows = [[key, len(each), len(set(each.groups))] for key, each in split.manifests.items()]
    print(tabulate(rows, headers=["set", "clips", "recordings"], tablefmt="simple"))
    if found.own_recordings:
        print(
            "Each clip counts as a separate recording. If several are cut from one, give --recording, or put them into "
            "<class>/<recording>/; otherwise test results are too optimistic."
        )
    for each in split.balance:
        if each.missing:
            print(
                f"Note: no clip of '{each.class_name}' in {', '.join(each.missing)}: its recordings are too few."
            )
    for key, count in split.dropped.items():
        if count:
            print(f"Note: {count} clips of {key} left out: their recordings are on other sides.")
    modalities = split.manifests["train"].modalities
    print(
        f"Modalities: {', '.join(modalities)}. A network gets {choice.frames} frames, {choice.stride} apart, "
        f"{choice.size} x {choice.size} pixels"
        + (f", and {choice.seconds:g} s of sound" if "audio" in modalities else "")
        + f"; batches of {choice.batch_size}; NP-Mix keeps {choice.bank_size} embeddings a class."
    )
    silent = sum("audio" not in each.modalities for each in found.clips)
    if "audio" not in modalities and silent < len(found.clips):
        print(f"Note: {silent} of {len(found.clips)} clips have no sound, so none is used.")
    if "flow" not in modalities:
        manifests = shlex.quote(str(made.folder))
        print(
            f"No optical flow. To have it: openood-mm prepare flow --manifest {manifests} --root "
            f"{shlex.quote(str(found.root))} --method dis, then this command again."
        )


def _print_commands(made: OwnDataset, name: str) -> None:
    from ..splits.own_clip_configs import arguments_for_few

    dataset, ood, npmix = (shlex.quote(str(each)) for each in made.configs)
    near = "near" if f"nearood_{name}" in made.split.manifests else "far"
    arguments = arguments_for_few(made.split.manifests["train"])
    few = f" --postprocessor_args {shlex.quote(json.dumps(arguments))}" if arguments else ""
    print(
        f"Written: {made.folder}/ (manifests, split.json, configs)\n"
        "Train, on a CPU with small networks (on a GPU: networks/clip_fusion.yml, and openood-mm weights):\n"
        f"  openood-mm run --config {dataset} networks/clip_fusion_small.yml pipelines/train/a2d_npmix.yml {npmix} "
        f"--exp_name {name}\n"
        "Test:\n"
        f"  openood-mm run --config {dataset} {ood} networks/clip_fusion_small.yml pipelines/test/{near}_ood.yml "
        f"--network.checkpoint results/{name}/best.ckpt --postprocessors msp ebo mls gen react ash mds knn vim{few}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "prepare folder",
        "Make a dataset from your own videos, ROOT/<class>/.../<clip>.mp4: train, validation and test sets with no\n"
        "recording in two sets, OOD sets, and configs with settings that suit the clips, in OUT/NAME/. Print the\n"
        "commands that train and test on it. No video is changed. Without --ood, print the classes.",
        EXAMPLES,
    )
    parser.add_argument("name", metavar="NAME", help="what to call the dataset: letters, digits, _ and -")
    add_root(parser, "contains one folder per class")
    parser.add_argument("--ood", default="", metavar="A,B", help="classes of the near-OOD set")
    parser.add_argument("--far", default="", metavar="A,B", help="classes of the far-OOD set")
    parser.add_argument(
        "--id", default="", metavar="A,B", help="in-distribution classes (default: all others)"
    )
    parser.add_argument(
        "--recording",
        default="",
        metavar="REGEX",
        help="its one group, searched in a clip's path below ROOT, names the recording (default: the folder below "
        "the class, or each clip for itself)",
    )
    parser.add_argument("--modalities", default="", metavar="A,B", help="default: those that all clips have")
    parser.add_argument("--val", type=int, default=15, metavar="PERCENT", help="default %(default)s")
    parser.add_argument("--test", type=int, default=15, metavar="PERCENT", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the split (%(default)s)")
    parser.add_argument(
        "--frames", type=int, metavar="N", help="of video (default: 32, or what fits the clips)"
    )
    parser.add_argument("--size", type=int, metavar="N", help="pixels (default: 224, or what fits the clips)")
    parser.add_argument("--check", action="store_true", help="decode every file once, and list what fails")
    add_workers(parser, "processes of --check")
    parser.add_argument("--out", default="splits", metavar="DIR", help="default %(default)s")
    add_follow_links(parser)
    return parser
