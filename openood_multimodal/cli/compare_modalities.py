"""``openood-mm compare-modalities``: every score on each modality, each pair, and all together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from ..vocabulary import EVALUATOR_GROUPS
from .benchmark import run_and_report
from .parsers import option_names, subparser

EXAMPLES = """  openood-mm compare-modalities --benchmark htad/htad_4_3
  openood-mm compare-modalities --benchmark mfeat/mfeat_5_5 --modalities fou,kar,zer --partitions 8 \\
      --postprocessors msp ebo knn vim

  # OpenOOD's own classes beside them (OPENOOD_ROOT names a checkout); clips with an encoder for each modality
  openood-mm compare-modalities --benchmark htad/htad_4_3 --postprocessors msp knn openood/knn openood/gram
  openood-mm compare-modalities --benchmark moving_shapes/moving_shapes --modalities video,audio,flow \\
      --network clip_fusion_demo --evaluator near_ood far_ood --partitions 1 --dataset.num_classes 4 --data_root CLIPS
"""


@option_names("postprocessors", "device")
def main(argv: Sequence[str]) -> int:
    """Train alike on every single modality, every pair and all; print the scores and paired differences."""
    parser = subparser(
        "compare-modalities",
        "Compare what image OOD methods reach on one modality with what they reach on several: the same network\n"
        "and training on each single modality, each pair and all together, paired over class partitions. Ends with\n"
        "the tables, and the leaderboard's page of all rows.\n"
        "Other --key value pairs override the training config.",
        EXAMPLES,
    )
    parser.add_argument(
        "--benchmark", required=True, metavar="NAME", help="config below datasets/, e.g. htad/htad_4_3"
    )
    parser.add_argument(
        "--modalities", metavar="A,B,C", help="those to combine (default: the benchmark's choice)"
    )
    parser.add_argument(
        "--training", default="multimodal_baseline", metavar="NAME", help="config below pipelines/train/"
    )
    parser.add_argument(
        "--network",
        default="mlp_fusion",
        metavar="NAME",
        help="config below networks/ (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluator", nargs="+", choices=[*EVALUATOR_GROUPS], help="one or both (default near_ood)"
    )
    parser.add_argument(
        "--postprocessors",
        nargs="+",
        metavar="NAME",
        help="scores, openood/NAME for OpenOOD's own class (default: nine)",
    )
    parser.add_argument(
        "--partitions", type=int, default=4, metavar="N", help="class partitions 0 to N-1 (default 4)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 (default 3)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    parser.add_argument(
        "--output-dir", default="results/modalities", metavar="DIR", help="default %(default)s"
    )
    options, rest = parser.parse_known_args(list(argv))

    from ..config import load_config
    from ..errors import UserError

    benchmark = options.benchmark.removesuffix(".yml")
    if options.modalities:
        modalities = [name.strip() for name in options.modalities.split(",")]
    else:  # all three: a dataset's file refers to keys of the others
        files = [
            f"datasets/{benchmark}.yml",
            f"networks/{options.network}.yml",
            f"pipelines/train/{options.training}.yml",
        ]
        modalities = list(load_config(files)["dataset.modalities"])
    if len(modalities) < 2:
        raise UserError(
            f"comparing modalities takes at least two; --modalities names {', '.join(modalities)}."
        )
    sizes = dict.fromkeys((1, 2, len(modalities)))
    suite = {
        "runs": [
            {
                "benchmark": benchmark,
                "modalities": [
                    list(chosen) for size in sizes for chosen in itertools.combinations(modalities, size)
                ],
                "trainings": [options.training],
            }
        ],
        "partitions": options.partitions,
        "seeds": options.seeds,
        "network": options.network,
        "evaluator": options.evaluator or "near_ood",
        "postprocessors": options.postprocessors
        or ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"],
    }
    run_and_report(suite, rest, options)
    page = _page(options.output_dir)
    print(f"  {page}" if page else "  no leaderboard: it is of measured data, and these are generated")
    return 0


def _page(folder: str) -> Path | None:
    """Build the leaderboard of the records below ``folder``, and return its page, or its folder where there is none."""
    from ..reporting.leaderboard import build, collect

    if not collect([folder], published=False).records:
        return None
    out = Path(folder, "leaderboard")
    return out if build(out, [folder], published=False).no_page else out / "index.html"
