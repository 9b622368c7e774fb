"""``openood-mm benchmark``: training methods x partitions x seeds, in parallel, resumable, with a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..vocabulary import EVALUATOR_GROUPS, PRESETS
from .parsers import add_scheduler, option_names, resources_of, subparser

if TYPE_CHECKING:
    from ..pipelines.suites import SuiteRun

EXAMPLES = """  # the demo: two real datasets, four training methods, one to six modalities, on a CPU
  openood-mm benchmark --suite demo

  # your own choice; the same command resumes
  openood-mm benchmark --benchmark htad/htad_4_3 --trainings multimodal_multihead a2d \\
      --partitions 8 --seeds 3 --output-dir results/htad

  # one, two and three modalities; fewer epochs
  openood-mm benchmark --benchmark mfeat/mfeat_5_5 --trainings a2d --modalities fou,kar fou,kar,zer \\
      --optimizer.num_epochs 20

  # on a cluster: a Dask scheduler and its workers, or SLURM's jobs (docs/several-gpus.md)
  openood-mm benchmark --suite docs --scheduler tcp://host1:8786
  openood-mm benchmark --suite docs --scheduler slurm --workers 16 --resources GPU=1
"""


@option_names("postprocessors", "device")
def main(argv: Sequence[str]) -> int:
    """Plan the runs, do those that are not done, print the table and the paths of what was written."""
    parser = _parser()
    options, rest = parser.parse_known_args(list(argv))
    run_and_report(_suite(options), rest, options)
    return 0


def run_and_report(suite: dict[str, Any], overrides: list[str], options: argparse.Namespace) -> None:
    """Do a suite's runs, print the report and the paths of what was written.

    Args:
        suite: see `pipelines.suites.Suite`.
        overrides: words of the command line that are none of its options.
        options: with ``output_dir``, ``workers`` and perhaps ``keep_checkpoints`` and ``dry_run``.
    """
    from ..pipelines.benchmark import run_in_parallel
    from ..pipelines.run import check_runs
    from ..pipelines.suites import plan_suite, settings_of

    suite["settings"] = {**(suite.get("settings") or {}), **settings_of(overrides)}
    runs = plan_suite(suite, options.output_dir, getattr(options, "keep_checkpoints", False))
    check_runs(runs)
    if getattr(options, "dry_run", False):
        print("\n".join(run.plan() for run in runs))
        return
    count = len({(run.benchmark, run.modalities, run.method) for run in runs})
    scheduler = getattr(options, "scheduler", None)
    where = f"on {scheduler}" if scheduler else f"in {options.workers} processes"
    print(
        f"{len(runs)} training runs ({count} settings x partitions x seeds) {where}, into {options.output_dir}",
        flush=True,
    )
    run_in_parallel(runs, options.workers, scheduler, resources_of(options))
    _report(runs, Path(options.output_dir))


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "benchmark",
        "Train and test every combination of training method, class partition and seed; print one table:\n"
        "seeds averaged within a partition, mean ± std and paired differences over partitions.\n"
        "The same command keeps finished runs and resumes unfinished ones. Other --key value pairs\n"
        "override the training config.",
        EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--suite", metavar="NAME", help="a packaged suite (demo, docs) or a YAML file")
    what.add_argument(
        "--benchmark", nargs="+", metavar="NAME", help="configs below datasets/, e.g. htad/htad_4_3"
    )
    parser.add_argument("--trainings", nargs="+", metavar="NAME", help="configs below pipelines/train/")
    parser.add_argument(
        "--modalities",
        nargs="+",
        metavar="A,B",
        help="one or more sets, each a comma list (default: the benchmark's)",
    )
    parser.add_argument("--partitions", type=int, metavar="N", help="class partitions 0 to N-1 (default 4)")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1 (default 3)")
    parser.add_argument(
        "--evaluator", nargs="+", choices=[*EVALUATOR_GROUPS], help="one or both (default near_ood)"
    )
    parser.add_argument(
        "--postprocessors", nargs="+", metavar="NAME", help="scores (openood-mm list postprocessors)"
    )
    parser.add_argument("--preset", choices=PRESETS, help="parameters of the scores")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    add_scheduler(parser)
    parser.add_argument(
        "--output-dir", default="results/benchmark", metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--keep-checkpoints",
        action="store_true",
        help="keep the trained networks: other scores, metrics or evaluators later need no training",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the runs and their commands, run nothing"
    )
    return parser


def _suite(options: argparse.Namespace) -> dict[str, Any]:
    from ..config import find_config, read_config
    from ..errors import UserError

    if options.suite:
        name = options.suite if options.suite.endswith((".yml", ".yaml")) else f"suites/{options.suite}.yml"
        suite = dict(read_config(find_config(name)))
    else:
        sets = [text.split(",") for text in options.modalities or []]
        trainings = options.trainings or ["multimodal_baseline", "multimodal_multihead", "a2d", "a2d_npmix"]
        suite = {
            "runs": [
                {"benchmark": name.removesuffix(".yml"), "modalities": sets, "trainings": trainings}
                for name in options.benchmark
            ],
            "partitions": 4,
            "seeds": 3,
        }
    if options.suite and (options.trainings or options.modalities):
        raise UserError(
            "--suite defines training methods and modalities; leave --trainings and --modalities out."
        )
    for key in ("partitions", "seeds", "evaluator", "postprocessors", "preset"):
        value = getattr(options, key)
        if value is not None:
            suite[key] = value
            if key in ("partitions", "seeds", "evaluator"):  # hold for every entry
                entries = [each for each in suite.get("runs") or () if isinstance(each, dict)]
                for entry in entries:
                    entry.pop(key, None)
    return suite


def _report(runs: Sequence[SuiteRun], output_dir: Path) -> None:
    from ..reporting.benchmark import write_report

    report = write_report({run.folder: run.variant for run in runs}, output_dir)
    print(f"\n{report.text}\n")
    print("Written:")
    for path in report.files:
        print(f"  {path}")
    for run in runs:
        for line in _outputs(run):
            print(f"  {line}")


def _outputs(run: SuiteRun) -> list[str]:
    """Return what is worth naming of a run that keeps its embedding stores, one line each; else nothing."""
    if not run.embeddings.is_dir():
        return []
    names = sorted(path.parent.name for path in run.embeddings.glob("*/meta.json"))
    tests = [run.folder / name / "results.csv" for name in run.tests]
    return [
        f"{run.embeddings} (stores of {', '.join(names)})",
        *(f"{each}, and records/ beside it" for each in tests),
    ]
