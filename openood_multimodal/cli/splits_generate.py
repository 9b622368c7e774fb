"""``openood-mm splits generate``: clips → a split with no recording on two sides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import named_files, option_names, subparser

if TYPE_CHECKING:
    from ..splits.grouped_splits import GroupedSplit, Pool

SHOWN = 5  # classes that are farthest from their share
DEFAULT_GAP = 10.0
SEED_LIMIT = 2**32

EXAMPLES = """  # from the authors' lists: <out>/hmdb51_25_26_grouped/
  openood-mm splits generate --track grouped --benchmark hmdb51_25_26 --from MultiOOD --out splits

  # another of the possible splits, with a larger test set: <out>/hmdb51_25_26_grouped_65_15_20_seed1/
  openood-mm splits generate --track grouped --benchmark hmdb51_25_26 --from MultiOOD --seed 1 --test 20 --out splits

  # from imported manifests, or from the clips on disk (openood-mm prepare writes <dataset>_all.csv)
  openood-mm splits generate --track grouped --from splits/ucf101_50_51 --out splits
  openood-mm splits generate --track grouped --benchmark ucf101_50_51 --from splits/ucf101_all.csv --out splits

  # EPIC-Kitchens' recordings cut into blocks of three minutes, sides 20 seconds apart
  openood-mm splits generate --track grouped --benchmark epic_kitchens_4_4 --from MultiOOD --block 180 --gap 20

  # HAC: train on human clips; animal and cartoon clips are covariate-shifted ID sets: <out>/hac_human_grouped/
  openood-mm splits generate --from splits/far_hmdb51/farood_hac.csv --domain human \\
      --farood hmdb51=splits/far_hmdb51/test.csv --out splits
"""


@option_names()
def main(argv: Sequence[str]) -> int:
    """Make the split, write it, and say how even it is and what was left out."""
    options = _parser().parse_args(list(argv))

    from ..datasets.manifest import Manifest
    from ..errors import UserError
    from ..splits.grouped import Shares
    from ..splits.grouped_pools import of_domain, pool_from
    from ..splits.grouped_splits import make_grouped
    from ..splits.time_blocks import TimeBlocks

    if options.block is None and options.gap is not None:
        raise UserError("--gap is the time between blocks; give --block as well.")
    if not 0 <= options.seed < SEED_LIMIT:
        raise UserError(f"--seed {options.seed}: a seed is 0 to {SEED_LIMIT - 1}.")
    shares = Shares.of(options.val, options.test)
    gap = DEFAULT_GAP if options.gap is None else options.gap
    blocks = None if options.block is None else TimeBlocks(options.block, gap)
    pool = pool_from([Path(path) for path in options.sources], options.benchmark, options.accept_changed)
    if options.domain is not None:
        far = {name: Manifest.read(path) for name, path in named_files(options.farood, "--farood").items()}
        pool = of_domain(pool, options.domain, far, options.own_recordings)
    elif options.farood or options.own_recordings:
        raise UserError("--farood and --own-recordings go with --domain.")
    split = make_grouped(pool, shares, options.seed, blocks)
    folder = split.write(Path(options.out))
    _report(pool, split, folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "splits generate",
        "Generate a split that keeps recordings apart (train, val, and test with the OOD sets), classes as balanced\n"
        "as the recordings allow, and write manifests and card into OUT/<benchmark>_grouped[...]/. The same clips\n"
        "and seed give the same split on any machine.",
        EXAMPLES,
    )
    parser.add_argument("--track", choices=("grouped",), default="grouped", help="default %(default)s")
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        required=True,
        metavar="PATH",
        help="a checkout of MultiOOD or a folder of its lists; a folder of imported manifests; or manifests",
    )
    parser.add_argument(
        "--benchmark",
        metavar="NAME",
        help="whose classes are in-distribution (default: the folder's; of bare manifests, all classes are)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default %(default)s")
    parser.add_argument("--val", type=int, default=15, metavar="PERCENT", help="default %(default)s")
    parser.add_argument("--test", type=int, default=15, metavar="PERCENT", help="default %(default)s")
    parser.add_argument(
        "--block",
        type=float,
        metavar="SECONDS",
        help="cut recordings into blocks of this length, and split the blocks (clips need start and stop)",
    )
    parser.add_argument(
        "--gap",
        type=float,
        metavar="SECONDS",
        help=f"minimum time between clips of two sets in one recording, with --block (default {DEFAULT_GAP:g})",
    )
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="accept lists that are not the authors'; marked as modified",
    )
    parser.add_argument(
        "--domain",
        metavar="NAME",
        help="train on the clips below this folder; those below other folders become covariate-shifted ID sets",
    )
    parser.add_argument(
        "--farood",
        metavar="NAME=FILE.csv",
        nargs="+",
        action="extend",
        default=[],
        help="with --domain: manifests of other datasets, as far-OOD sets",
    )
    parser.add_argument(
        "--own-recordings",
        action="store_true",
        help="with --domain: a clip of unknown recording counts as a recording of its own, and is kept",
    )
    parser.add_argument("--out", default="splits", metavar="DIR", help="default %(default)s")
    return parser


def _report(pool: Pool, split: GroupedSplit, folder: Path) -> None:
    from tabulate import tabulate

    total = sum(len(each) for key, each in split.manifests.items() if key not in pool.ood)
    rows = []
    for key, manifest in split.manifests.items():
        in_distribution = key not in pool.ood
        rows.append(
            {
                "split": key,
                "clips": len(manifest),
                "share": f"{100 * len(manifest) / total:.1f} %" if in_distribution else "",
                "classes": len(manifest.class_counts()),
                "recordings": len(set(manifest.groups) - {""}),
                "left out": "" if in_distribution else split.dropped[key],
            }
        )
    print(tabulate(rows, headers="keys", tablefmt="simple"))
    uneven = sorted(split.balance, key=lambda each: -each.deviation / each.clips)
    beyond = sum(not each.within for each in split.balance)
    worst = uneven[0]
    print(
        f"Classes: {len(split.balance)}; farthest from its share: {worst.class_name}, "
        f"{100 * worst.deviation / worst.clips:.1f} points ({worst.deviation:.1f} of {worst.clips} clips)."
    )
    if beyond:
        print(f"Beyond the bound (half of a class's largest recording, at least one clip): {beyond} classes.")
    else:
        print("All classes are within the bound: half of a class's largest recording, at least one clip.")
    for note in split.card.notes:
        print(f"Note: {note}.")
    print(f"Written: {folder}{'  (modified)' if split.card.modified else ''}")
