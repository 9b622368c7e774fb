"""``openood-mm demo``: the main job on real data and on clips, in stages, on a CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .main import main as run_command
from .parsers import subparser

EXAMPLES = """  # everything; the same command again goes on where it stopped
  openood-mm demo

  # tables only, in 8 processes
  openood-mm demo --stages htad mfeat --workers 8

  # more partitions, seeds and training methods, larger clips
  openood-mm demo --full
"""


def main(argv: Sequence[str]) -> int:
    """Run the demo's stages."""
    parser = subparser(
        "demo",
        "Train and test on two real datasets and on generated clips, in stages that each end with a table.\n"
        "A few minutes on two CPU cores. Every command that it runs is shown.",
        EXAMPLES,
    )
    parser.add_argument(
        "--stages", nargs="+", default=(), metavar="NAME", help="only these: htad, mfeat, clips"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    parser.add_argument("--output-dir", default="results/demo", metavar="DIR", help="default %(default)s")
    parser.add_argument("--full", action="store_true", help="the larger demo: stages tables and clips")
    options = parser.parse_args(list(argv))
    from ..pipelines.demo import demo_stages, run_demo

    folder = Path(options.output_dir)
    return run_demo(demo_stages(folder, options.workers, options.full), folder, run_command, options.stages)
