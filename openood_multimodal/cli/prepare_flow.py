"""``openood-mm prepare flow``: optical flow of the videos that a manifest names, as the benchmark's x/y videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..datasets.cells import flow_y
from ..errors import UserError
from ..files import read_json
from ..files.atomic import replacing, write_json
from ..files.paths import remove
from ..making.derive import Job, waiting_claim
from ..making.writing import FlowSettings, read_comment, write_flow
from ..preprocessors.optical_flow import BOUND, make_estimator
from ..registry import FLOW_METHODS
from ..version import __version__
from .main import subparser
from .preparing import (
    add_arguments,
    make_all,
    moved_cell,
    number_of_workers,
    plan,
    read_manifests,
    write_manifests,
)

RECORD = "flow.json"
OURS = "openood-multimodal optical flow"

EXAMPLES = """  # what a download of HMDB51 lacks, by the benchmark's method (slow: seconds a frame and core)
  openood-mm prepare flow --manifest manifests/hmdb51_25_26 --root /data/HMDB51

  # a hundred times faster, frames shrunk first, in a folder of its own
  openood-mm prepare flow --manifest mine.csv --root /data/mine --out /data/mine_dis --method dis --short-side 240
"""


def main(argv: Sequence[str]) -> int:
    """Make the flow that is missing; 1 where some videos could not be used."""
    options = _parser().parse_args(list(argv))
    settings = FlowSettings(options.method, options.bound, options.short_side)
    _check(settings)
    workers = number_of_workers(options.workers)
    root, out = Path(options.root), Path(options.out or options.root)
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder.")
    manifests = read_manifests(options.manifest, "flow")
    planned = plan(
        manifests,
        "flow",
        root,
        out,
        lambda video: moved_cell(video, "flow", "_flow_x.mp4"),
        _pair,
        options.follow_links,
    )
    if planned.jobs:
        make_estimator(settings.method)  # a missing package is told here, once
        keep_record(out / RECORD, settings, options.overwrite)
    failures = make_all(
        "flow",
        planned,
        MakeFlow(settings),
        FlowFinished(settings),
        out,
        overwrite=options.overwrite,
        workers=workers,
        prepare_worker=use_one_thread,
    )
    write_manifests(manifests, "flow", planned, out)
    return 1 if failures else 0


@dataclass(frozen=True)
class MakeFlow:
    """Writes a job's x and y videos; each appears whole, x before y."""

    settings: FlowSettings

    def __call__(self, job: Job) -> None:
        """Make them.  Raises as `write_flow`."""
        x, y = job.targets
        with replacing(y) as y_file, replacing(x) as x_file:
            write_flow(job.source, x_file, y_file, self.settings)
            # Old y never stands beside new x: whoever is killed here leaves a pair that is seen to be unfinished.
            remove(y.parent, y.name)


@dataclass(frozen=True)
class FlowFinished:
    """Tells whether a pair is there: downloaded, or made by these settings and not by others before an overwrite."""

    settings: FlowSettings

    def __call__(self, job: Job) -> bool:
        """Look at the pair."""
        if not job.exists():
            return False
        comment = read_comment(job.targets[0])
        return not comment.startswith(OURS) or comment == self.settings.tag()


def use_one_thread() -> None:
    """Keep OpenCV to one thread: the clips are what runs side by side."""
    import cv2

    cv2.setNumThreads(1)


def keep_record(path: Path, settings: FlowSettings, overwrite: bool) -> None:
    """Write down how the folder's flow is made, or check it against what is written there.

    Raises:
        UserError: when the folder's flow was made otherwise, and it isn't to be made again.
    """
    import av
    import cv2

    record = {
        "schema_version": 1,
        **asdict(settings),
        "levels": "round((clip(flow, ±bound) + bound) * 255 / (2 bound)), halves to even",
        "encoding": "H.264, 8-bit luma at full range, lossless (x264 qp 0), a keyframe every 12 frames",
        "made_by": {"openood-multimodal": __version__, "opencv": cv2.__version__, "pyav": av.__version__},
        "note": "Files made here carry these settings in their comment; files without it were there before.",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with waiting_claim(path):
        old = _read_record(path)
        different = [key for key in asdict(settings) if old is not None and old.get(key) != record[key]]
        if old is not None and not different:
            return
        if different and not overwrite:
            assert old is not None
            was = ", ".join(f"{key} {old.get(key)} (now {record[key]})" for key in different)
            raise UserError(
                f"{path}: the flow in this folder was made with {was}. Flow made in two ways must not mix: use the "
                "same settings, another --out, or --overwrite to make all of it again."
            )
        write_json(path, record)


def _read_record(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    record = read_json(path, "the record that prepare flow writes", "Move it away.")
    if not isinstance(record, dict):
        raise UserError(f"{path} is not the record that prepare flow writes; move it away.")
    return record


def _pair(cell: str, where: str) -> tuple[str, str]:
    if "_flow_x" not in Path(cell).name:
        raise UserError(
            f"{where}, column flow: '{cell}' must name an x video, '..._flow_x.mp4', beside its y video."
        )
    return cell, flow_y(cell)


def _check(settings: FlowSettings) -> None:
    if not 0 < settings.bound < float("inf"):
        raise UserError(f"--bound {settings.bound:g} must be greater than 0.")
    if settings.short_side is not None and settings.short_side < 16:
        raise UserError(f"--short-side {settings.short_side} is too small; use 16 or more.")


def _parser() -> Any:
    parser = subparser(
        "prepare flow",
        "Make the optical flow that a download lacks: for each video of the manifests a pair of 8-bit videos,\n"
        "..._flow_x.mp4 and ..._flow_y.mp4, where the manifest's column flow says. Pairs that are there are left\n"
        "alone; after an interruption the same command goes on. Several may run at once. Videos that can't be used\n"
        "are listed in flow_failed.txt (exit code 1).",
        EXAMPLES,
    )
    add_arguments(parser, "flow")
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
    return parser
