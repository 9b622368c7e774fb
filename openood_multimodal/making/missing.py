"""What making flow, sound and frames share: from manifests to jobs, to what became of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..datasets.cells import split_frames
from ..datasets.manifest import Manifest
from ..errors import ArgumentError, UserError
from ..files import listed
from ..files.atomic import PathLike, write_text
from ..files.paths import is_too_long, remove, resolve_inside
from ..progress import progress_bar
from ..workers import worker_count
from .derive import Finished, Job, Make, Outcome, do_jobs


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
    of_frames: int = 0
    new_cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unusable: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class NewManifest:
    """A manifest with a column for what was made.

    Attributes:
        path: ``<name>_with_<modality>.csv`` beside ``source``; written where ``named`` is above 0.
        source: the manifest that lacked cells.
        named: clips that have a cell.
        clips: all clips.
    """

    path: Path
    source: Path
    named: int
    clips: int


@dataclass(frozen=True)
class Made:
    """What became of the files to make.

    Attributes:
        made: files, or pairs of files, made now.
        present: those that were there already.
        failures: those that could not be made, with the reason.
        remarks: what was tolerated in sources, a sentence each.
        of_frames: clips that are folders of frames, for which nothing is made.
        failed_list: the text file with all failures, ``<clip> <tab> <reason>`` a line; None where there are none.
        manifests: those that lacked cells.
        seconds: that it took.
    """

    made: int
    present: int
    failures: tuple[Outcome, ...]
    remarks: tuple[str, ...]
    of_frames: int
    failed_list: Path | None
    manifests: tuple[NewManifest, ...]
    seconds: float


def read_manifests(names: Iterable[PathLike | Manifest], modality: str) -> list[Manifest]:
    """Return the manifests of these files, and of all CSV files in these folders but those made for ``modality``.

    Raises:
        UserError: when a file is missing or no manifest, or a folder has none.
    """
    files: list[Path | Manifest] = []
    for name in names:
        if isinstance(name, Manifest):
            files.append(name)
            continue
        path = Path(name)
        if path.is_dir():
            found = [p for p in listed(path, "*.csv") if not p.stem.endswith(f"_with_{modality}")]
            if not found:
                raise UserError(f"the folder {path} has no manifest (*.csv).")
            files += found
        else:
            files.append(path)
    return [each if isinstance(each, Manifest) else Manifest.read(each) for each in dict.fromkeys(files)]


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
        follow_links: whether videos may be behind links that lead out of ``root``.

    Raises:
        ArgumentError: when ``root`` is no folder.
        UserError: when a manifest has no videos, two videos would give the same file, or a path leads out of its
            folder.
    """
    if not root.is_dir():
        raise ArgumentError("root", f"{root} is not a folder.")
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


def make_missing(
    what: str,
    manifests: Sequence[Manifest],
    planned: Plan,
    make: Make,
    finished: Finished,
    out: Path,
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: bool = False,
    prepare_worker: Callable[[], None] | None = None,
) -> Made:
    """Do a plan's jobs, keep the list of failures, and write the manifests that name what was made.

    Args:
        what: ``flow``, ``audio``, ``frames``: for the progress line and the names of files.
        manifests: those that the plan was made for.
        planned: what to make.
        make: see `derive.Make`.
        finished: see `derive.Finished`.
        out: folder of the files to make, and of ``<what>_failed.txt``.
        overwrite: make files again that are there.
        workers: processes; more than one needs ``if __name__ == "__main__":`` in a script.
        progress: show a bar on a terminal, else a line a minute, on stderr.
        prepare_worker: called once in each process.

    Raises:
        OSError, MissingPackageError, UserError: as `derive.do_jobs`.
    """
    workers = worker_count(workers)
    failures = list(planned.unusable)
    remarks: list[str] = []
    counts = Counter[str]()
    began = time.monotonic()
    # Those that seem to be there are looked at first, so that the time left is that of the others.
    jobs = sorted(planned.jobs, key=lambda job: not job.exists())
    with (
        progress_bar(total=len(jobs), desc=what, unit="clip", smoothing=0.05, quiet=not progress) as bar,
        closing(do_jobs(jobs, make, finished, overwrite, workers, prepare_worker)) as outcomes,
    ):
        for outcome in outcomes:
            counts[outcome.state] += 1
            if outcome.state == "failed":
                failures.append(outcome)
            elif outcome.reason:
                remarks.append(outcome.reason)
            # what was there already says nothing of the time that the others take
            if outcome.state != "made" and not bar.disable:
                bar.initial += 1
            bar.update()
    seconds = time.monotonic() - began
    listed_in = out / f"{what}_failed.txt"
    if failures:
        write_text(listed_in, "".join(f"{each.job.clip}\t{each.reason}\n" for each in failures))
    else:
        with suppress(OSError):
            remove(out, listed_in.name)
    return Made(
        counts["made"],
        counts["present"],
        tuple(failures),
        tuple(remarks),
        planned.of_frames,
        listed_in if failures else None,
        tuple(_new_manifests(manifests, what, planned, out)),
        seconds,
    )


def _new_manifests(
    manifests: Sequence[Manifest], modality: str, planned: Plan, out: Path
) -> Iterator[NewManifest]:
    """Write ``<name>_with_<modality>.csv`` beside each manifest that lacked cells, naming the files that are there."""
    for manifest in manifests:
        if not manifest.source or manifest.source not in planned.new_cells:
            continue
        old = manifest.files.get(modality, ("",) * len(manifest))
        cells = [
            given or (cell if cell and (out / cell).is_file() else "")
            for given, cell in zip(old, planned.new_cells[manifest.source], strict=True)
        ]
        source = Path(manifest.source)
        path = source.with_name(f"{source.stem}_with_{modality}{source.suffix}")
        named = sum(map(bool, cells))
        if named:
            Manifest.create(
                manifest.clips,
                manifest.labels,
                manifest.class_names,
                {**manifest.files, modality: cells},
                manifest.groups,
                manifest.starts,
                manifest.stops,
            ).write(path)
        yield NewManifest(path, source, named, len(cells))
