"""``openood-mm prepare flow``: optical flow of the videos that a manifest names, as the benchmark's x/y videos."""

from __future__ import annotations

from collections.abc import Sequence

from ..making.flow import make_flow
from ..making.writing import FlowSettings
from ..preprocessors.optical_flow import BOUND
from ..registry import FLOW_METHODS
from ..workers import worker_count
from .parsers import option_names, subparser
from .prepare_missing import add_options, report

EXAMPLES = """  # what a download of HMDB51 lacks, by the benchmark's method (slow: seconds a frame and core)
  openood-mm prepare flow --manifest manifests/hmdb51_25_26 --root /data/HMDB51

  # a hundred times faster, frames shrunk first, in a folder of its own
  openood-mm prepare flow --manifest mine.csv --root /data/mine --out /data/mine_dis --method dis --short-side 240
"""


def main(argv: Sequence[str]) -> int:
    """Make the flow that is missing; 1 where some videos could not be used."""
    parser = subparser(
        "prepare flow",
        "Compute the optical flow that a download lacks: for each video of the manifests a pair of 8-bit videos,\n"
        "..._flow_x.mp4 and ..._flow_y.mp4, where the manifest's column flow says. Pairs that are there are left\n"
        "alone; after an interruption the same command resumes. Several may run at once. Videos that can't be used\n"
        "are listed in flow_failed.txt (exit code 1).",
        EXAMPLES,
    )
    add_options(parser, "flow")
    parser.add_argument(
        "--method", default="tvl1", choices=FLOW_METHODS.names(), help="default: %(default)s, the benchmark's"
    )
    parser.add_argument(
        "--bound",
        type=float,
        default=BOUND,
        metavar="PIXELS",
        help="motion is clipped at ±PIXELS a frame (20)",
    )
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="shrink frames to this short side first (default: as they are)",
    )
    options = parser.parse_args(list(argv))
    with option_names():
        made = make_flow(
            options.manifest,
            options.root,
            options.out,
            FlowSettings(options.method, options.bound, options.short_side),
            overwrite=options.overwrite,
            follow_links=options.follow_links,
            workers=worker_count(options.workers),
            progress=True,
        )
    return report("flow", made)
