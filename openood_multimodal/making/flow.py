"""Optical flow of videos, made where a dataset lacks it: what ``openood-mm prepare flow`` calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..datasets.cells import flow_y
from ..datasets.manifest import Manifest
from ..errors import UserError
from ..files import read_json
from ..files.atomic import PathLike, replacing, write_json
from ..files.paths import remove
from ..preprocessors.media import FLOW_MARK
from ..preprocessors.optical_flow import make_estimator
from ..preprocessors.packages import import_av, import_opencv
from ..version import __version__
from .derive import Job, waiting_claim
from .missing import Made, make_missing, moved_cell, plan, read_manifests
from .writing import FlowSettings, read_comment, write_flow

RECORD = "flow.json"


def make_flow(
    manifests: Iterable[PathLike | Manifest],
    root: PathLike,
    out: PathLike | None = None,
    settings: FlowSettings | None = None,
    *,
    overwrite: bool = False,
    follow_links: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Made:
    """Make the optical flow that the clips of some manifests lack, as the benchmark's pairs of x and y videos.

    A pair is put where the manifest's column ``flow`` says; a manifest without the column gets a copy that has it,
    ``<name>_with_flow.csv``.  Files appear whole; the same call goes on after an interruption, and several processes
    may make one folder's flow at once.  ``flow.json`` in ``out`` keeps the settings.

    Args:
        manifests: manifests, their files, or folders of them.
        root: folder of the videos.
        out: folder of the flow, laid out as ``root``; None for ``root``.
        settings: how flow is estimated; None for the benchmark's.
        overwrite: make all pairs again, downloaded ones too.
        follow_links: whether links may lead out of ``root``.
        workers: processes; more than one needs ``if __name__ == "__main__":`` in a script.
        progress: show a bar on a terminal, else a line a minute, on stderr.

    Raises:
        ArgumentError: when ``root`` is no folder, or a number is out of its range.
        UserError: when a manifest can't be used, or the flow in ``out`` was made with other settings.
        MissingPackageError: when PyAV or OpenCV is not installed.
        OSError: when files can't be written.
    """
    settings = settings or FlowSettings()
    target = Path(root if out is None else out)
    read = read_manifests(manifests, "flow")
    planned = plan(
        read,
        "flow",
        Path(root),
        target,
        lambda video: moved_cell(video, "flow", "_flow_x.mp4"),
        _pair,
        follow_links,
    )
    if planned.jobs:
        make_estimator(settings.method)  # a missing package is reported here, once
        keep_record(target / RECORD, settings, overwrite)
    return make_missing(
        "flow",
        read,
        planned,
        MakeFlow(settings),
        FlowFinished(settings),
        target,
        overwrite=overwrite,
        workers=workers,
        progress=progress,
        prepare_worker=use_one_thread,
    )


@dataclass(frozen=True)
class MakeFlow:
    """Writes a job's x and y videos; each appears whole, x before y."""

    settings: FlowSettings

    def __call__(self, job: Job) -> None:
        """Make them.  Raises as `write_flow`."""
        x, y = job.targets
        with replacing(y) as y_file, replacing(x) as x_file:
            write_flow(job.source, x_file, y_file, self.settings)
            # Old y is never beside new x: a process killed here leaves a pair that is seen to be unfinished.
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
        return not comment.startswith(FLOW_MARK) or comment == self.settings.tag()


def use_one_thread() -> None:
    """Keep OpenCV to one thread: the clips are what runs side by side."""
    import_opencv().setNumThreads(1)


def keep_record(path: Path, settings: FlowSettings, overwrite: bool) -> None:
    """Write down how the folder's flow is made, or check it against what is written there.

    Raises:
        UserError: when the folder's flow was made with other settings, and it isn't to be made again.
    """
    versions = {"opencv": import_opencv().__version__, "pyav": import_av().__version__}
    record = {
        "schema_version": 1,
        **asdict(settings),
        "levels": "round((clip(flow, ±bound) + bound) * 255 / (2 bound)), halves to even",
        "encoding": "H.264, 8-bit luma at full range, lossless (x264 qp 0), a keyframe every 12 frames",
        "made_by": {"openood-multimodal": __version__, **versions},
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
                "same settings, another out=, or overwrite=True to make all of it again."
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
