"""What ``prepare flow`` and ``prepare audio`` share: from manifests to jobs, a progress line, the closing account."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..datasets.cells import split_frames
from ..datasets.manifest import Manifest
from ..errors import UserError
from ..files import listed
from ..files.atomic import write_text
from ..files.paths import is_too_long, remove, resolve_inside
from ..making.derive import Finished, Job, Make, Outcome, do_jobs

SHOWN = 10  # failures printed; the list file has all


@dataclass(frozen=True)
class Plan:
    """What is to be made for some manifests.

    Attributes:
        jobs: one a file (or pair of files) to make, whether or not it is there already.
        of_frames: number of clips that are folders of frames, for which nothing is made.
        new_cells: manifest file → its column with the cells that it lacked filled in.
        unusable: clips whose files can't have their names.
    """

    jobs: tuple[Job, ...]
    of_frames: int
    new_cells: dict[str, tuple[str, ...]]
    unusable: tuple[Outcome, ...] = ()


def add_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that both commands have."""
    parser.add_argument(
        "--manifest",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE.csv",
        help="manifests, or folders of them, that name the clips",
    )
    parser.add_argument("--root", required=True, metavar="DIR", help="the data set's folder")
    parser.add_argument(
        "--out", metavar="DIR", help=f"where the {what} goes, laid out as in --root (default: --root)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    add_follow_links(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make all files again, downloaded ones too; after an interruption, go on without it",
    )


def add_follow_links(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets links lead out of the data folder."""
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="go through links that lead out of --root, to another disk, say",
    )


def read_manifests(names: Iterable[str], modality: str) -> list[Manifest]:
    """Return the manifests of these files, and of all CSV files in these folders but those made for ``modality``."""
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [p for p in listed(path, "*.csv") if not p.stem.endswith(f"_with_{modality}")]
            if not found:
                raise UserError(f"the folder {path} has no manifest (*.csv).")
            files += found
        else:
            files.append(path)
    return [Manifest.read(path) for path in dict.fromkeys(files)]


def plan(
    manifests: Sequence[Manifest],
    modality: str,
    root: Path,
    out: Path,
    default_cell: Callable[[str], str],
    targets: Callable[[str, str], Sequence[str]],
    follow_links: bool = False,
) -> Plan:
    """Return the jobs that give the clips of the manifests their files of ``modality``.

    Args:
        manifests: with a column ``video``.
        modality: ``flow`` or ``audio``.
        root: folder of the videos.
        out: folder of the files to make.
        default_cell: video cell → the cell for a clip without one.
        targets: (cell, where it stands) → the files of the cell; none where there is nothing to make.
        follow_links: whether videos may lie behind links that lead out of ``root``.

    Raises:
        UserError: when a manifest has no videos, two videos would give the same file, or a path leads out of its
            folder.
    """
    jobs: dict[tuple[str, ...], tuple[str, str]] = {}
    new_cells: dict[str, tuple[str, ...]] = {}
    of_frames = 0
    unusable: list[Outcome] = []
    for manifest in manifests:
        if "video" not in manifest.files:
            raise UserError(f"{manifest.source} has no column 'video'; {modality} is made from videos.")
        old = manifest.files.get(modality, ("",) * len(manifest))
        column: list[str] = []
        for line, (clip, video, given) in enumerate(
            zip(manifest.clips, manifest.files["video"], old, strict=True), start=2
        ):
            column.append(given)
            if split_frames(video)[1] is not None or split_frames(given)[1] is not None:
                of_frames += 1
                continue
            if not video:
                continue
            column[-1] = cell = given or default_cell(video)
            files = tuple(targets(cell, f"{manifest.source}, line {line}"))
            if not files:
                continue
            long = next(
                (name for file in files for name in PurePosixPath(file).parts if is_too_long(name)), ""
            )
            if long:
                reason = f"{clip}: the file '{long[:60]}...' has a name of {len(long)} characters; shorten the video's."
                unusable.append(Outcome(Job(clip, root / video, ()), "failed", reason))
                column[-1] = given
                continue
            first, source = jobs.setdefault(files, (clip, video))
            if source != video:
                raise UserError(
                    f"{manifest.source}, line {line}: '{cell}' would be made of two videos, '{source}' (clip "
                    f"{first}) and '{video}'; give one of them another cell."
                )
        if tuple(column) != old:
            new_cells[manifest.source] = tuple(column)
    return Plan(
        tuple(
            Job(
                clip,
                resolve_inside(root, video, follow_links=follow_links),
                tuple(resolve_inside(out, file) for file in files),
            )
            for files, (clip, video) in jobs.items()
        ),
        of_frames,
        new_cells,
        tuple(unusable),
    )


def moved_cell(video: str, folder: str, ending: str) -> str:
    """Return the usual cell beside a video's: ``video/a/x.avi`` → ``<folder>/a/x<ending>``.

    The first folder called video or videos gives way; where there is none, ``folder`` comes first.
    """
    path = PurePosixPath(video)
    parents = list(path.parts[:-1])
    for place, part in enumerate(parents):
        if part in ("video", "videos"):
            parents[place] = folder
            break
    else:
        parents.insert(0, folder)
    return str(PurePosixPath(*parents, path.stem + ending))


def number_of_workers(asked: int | None) -> int:
    """Return ``--workers``, by default the number of cores that this process may use."""
    if asked is not None and asked < 1:
        raise UserError(f"--workers {asked}: at least one is needed.")
    if asked is not None:
        return asked
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def make_all(
    what: str,
    planned: Plan,
    make: Make,
    finished: Finished,
    out: Path,
    *,
    overwrite: bool,
    workers: int,
    prepare_worker: Callable[[], None] | None = None,
) -> list[Outcome]:
    """Do the jobs with a progress line, print the account, keep the list of failures; return the failures."""
    failures = list(planned.unusable)
    remarks: list[str] = []
    counts = {"made": 0, "present": 0, "failed": 0}
    began = time.monotonic()
    # Those that seem to be there are looked at first, so that the time left is that of the others.
    jobs = sorted(planned.jobs, key=lambda job: not job.exists())
    with (
        Progress(what, len(jobs)) as progress,
        closing(do_jobs(jobs, make, finished, overwrite, workers, prepare_worker)) as outcomes,
    ):
        for outcome in outcomes:
            counts[outcome.state] += 1
            if outcome.state == "failed":
                failures.append(outcome)
            elif outcome.reason:
                remarks.append(outcome.reason)
            progress.step(outcome.state == "made")
    seconds = tqdm.format_interval(time.monotonic() - began)
    print(
        f"{what}: {counts['made']} made, {counts['present']} there already, {len(failures)} failed ({seconds})"
    )
    if remarks:
        print(f"{what}: {len(remarks)} made of videos with faults:", file=sys.stderr)
        _print_some(remarks)
    if planned.of_frames:
        print(
            f"{what}: {planned.of_frames} clips are frames of a recording, not video files: nothing is made for them. "
            f"The {what} of EPIC-Kitchens is published with the data (openood-mm prepare epic_kitchens says where)."
        )
    _list_failures(what, failures, out / f"{what}_failed.txt")
    return failures


def write_manifests(manifests: Sequence[Manifest], modality: str, planned: Plan, out: Path) -> None:
    """Write ``<name>_with_<modality>.csv`` beside each manifest that lacked cells, naming the files that are there."""
    for manifest in manifests:
        if manifest.source not in planned.new_cells:
            continue
        old = manifest.files.get(modality, ("",) * len(manifest))
        cells = [
            given or (cell if cell and (out / cell).is_file() else "")
            for given, cell in zip(old, planned.new_cells[manifest.source], strict=True)
        ]
        source = Path(manifest.source)
        path = source.with_name(f"{source.stem}_with_{modality}{source.suffix}")
        named = sum(map(bool, cells))
        if not named:
            print(
                f"No {path.name} is written: none of the {len(cells)} clips of {source} has {modality}. Mend or "
                "replace the files that failed (above), and run the same command again.",
                file=sys.stderr,
            )
            continue
        new = Manifest.create(
            manifest.clips,
            manifest.labels,
            manifest.class_names,
            {**manifest.files, modality: cells},
            manifest.groups,
            manifest.starts,
            manifest.stops,
        )
        new.write(path)
        print(f"{path}: the manifest with the column {modality} ({named} of {len(cells)} clips have it)")
        if named < len(cells):
            print(
                f"  Clips without {modality} can't be read with it: mend or replace their files and run the same "
                "command again, or set on_error: skip to leave them out."
            )


class Progress:
    """A bar on a terminal, else a line a minute: files done, files made a second, time left."""

    EVERY = 60.0

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done = self._made = 0
        self._began = self._told = time.monotonic()
        self._bar = tqdm(
            total=total,
            desc=what,
            unit="clip",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=None,
            file=sys.stderr,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self, made: bool) -> None:
        """Count one more job, made now or not."""
        self._done += 1
        self._made += made
        if not self._bar.disable:
            if not made:  # what was there already says nothing of the time that the others take
                self._bar.initial += 1
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._told >= self.EVERY and self._made:
            self._told = now
            rate = self._made / (now - self._began)
            left = tqdm.format_interval((self._total - self._done) / rate)
            print(
                f"{self._what}: {self._done}/{self._total}, {rate:.2f} clips/s, {left} left", file=sys.stderr
            )


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"  {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"  ... and {len(lines) - SHOWN} more", file=sys.stderr)


def _list_failures(what: str, failures: Sequence[Outcome], path: Path) -> None:
    if not failures:
        with suppress(OSError):
            remove(path.parent, path.name)
        return
    _print_some([outcome.reason for outcome in failures])
    write_text(path, "".join(f"{outcome.job.clip}\t{outcome.reason}\n" for outcome in failures))
    print(f"{what}: all that failed: {path}", file=sys.stderr)
