"""``openood-mm splits import``: MultiOOD's split lists → manifests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import option_names, subparser

if TYPE_CHECKING:
    from ..corpora.lists import FoundList, ImportedBenchmark
    from ..datasets.clip_benchmarks import ClipBenchmark

EXAMPLES = """  git clone https://github.com/donghao51/MultiOOD
  openood-mm splits import --from MultiOOD --out splits
  openood-mm splits import --from MultiOOD --benchmark hmdb51_25_26 far_hmdb51 --out splits

  # your own lists under the authors' names: marked as modified, never ranked with the published results
  openood-mm splits import --from my_lists --accept-changed --out splits
"""


@option_names()
def main(argv: Sequence[str]) -> int:
    """Read and check the lists of every benchmark asked for, then write their manifests; print a table."""
    options = _parser().parse_args(list(argv))

    from ..corpora.lists import find_lists, import_benchmark
    from ..progress import progress_bar

    benchmarks = _benchmarks(options.benchmark)
    wanted = {each.name: each for benchmark in benchmarks for each in benchmark.lists().values()}
    found = find_lists([Path(folder) for folder in options.folders], wanted.values())
    if options.benchmark is None:
        benchmarks = _complete(benchmarks, found)
    # all are read before the first is written: a mistake in one list leaves every folder as it was
    imported = [
        import_benchmark(benchmark, found, options.accept_changed)
        for benchmark in progress_bar(benchmarks, desc="Read", unit="benchmark", leave=False)
    ]
    out = Path(options.out)
    for each in imported:
        each.write(out)
    _report(imported, out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "splits import",
        "Read MultiOOD's split lists (.txt, .csv, .pkl), check them against the digests in benchmark_splits/, and\n"
        "write one manifest per split into OUT/<benchmark>/, with the recording of every clip.",
        EXAMPLES,
    )
    parser.add_argument(
        "--from",
        dest="folders",
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="a checkout of MultiOOD, or a folder with its lists",
    )
    parser.add_argument("--out", default="splits", metavar="DIR", help="default %(default)s")
    parser.add_argument(
        "--benchmark", nargs="+", metavar="NAME", help="default: all whose lists are in the folder"
    )
    parser.add_argument(
        "--accept-changed",
        action="store_true",
        help="accept lists that are not the authors'; the split is marked as modified",
    )
    return parser


def _benchmarks(names: Sequence[str] | None) -> list[ClipBenchmark]:
    from ..datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark

    chosen = available_clip_benchmarks() if names is None else list(dict.fromkeys(names))
    return [load_clip_benchmark(name) for name in chosen]


def _complete(benchmarks: Sequence[ClipBenchmark], found: dict[str, FoundList]) -> list[ClipBenchmark]:
    from ..corpora.lists import missing_lists
    from ..errors import UserError

    complete = []
    for benchmark in benchmarks:
        missing = [each.name for each in missing_lists(benchmark, found)]
        if not missing:
            complete.append(benchmark)
        elif len(missing) < len(benchmark.lists()):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            print(f"openood-mm: note: {benchmark.name} is left out: no {missing[0]}{more}.", file=sys.stderr)
    if not complete:
        names = ", ".join(f"{each.name} ({next(iter(each.lists()))}, ...)" for each in benchmarks)
        raise UserError(f"the folder has the lists of no benchmark; known: {names}.")
    return complete


def _report(imported: Sequence[ImportedBenchmark], out: Path) -> None:
    from tabulate import tabulate

    rows = []
    for each in imported:
        for key, manifest in each.manifests.items():
            rows.append(
                {
                    "benchmark": each.benchmark.name,
                    "split": key,
                    "clips": len(manifest),
                    "classes": len(manifest.class_counts()),
                    "recordings": len(set(manifest.groups) - {""}),
                    "repaired": each.repaired[key],
                    "the authors'": "yes" if _exact(each, key) else "MODIFIED",
                }
            )
    print(tabulate(rows, headers="keys", tablefmt="simple"))
    for each in imported:
        print(f"Written: {out / each.benchmark.name}{'  (modified)' if each.card.modified else ''}")
    for note in dict.fromkeys(
        note for each in imported for note in each.card.notes if note.startswith("not ")
    ):
        print(f"Note: {note}.")


def _exact(each: ImportedBenchmark, key: str) -> bool:
    return each.manifests[key].digest() == each.benchmark.sets[key].sha256
