"""Sound of videos as WAV files, made where a dataset lacks them: what ``openood-mm prepare audio`` calls."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..datasets.manifest import Manifest
from ..files.atomic import PathLike, replacing
from .derive import Job
from .missing import Made, make_missing, moved_cell, plan, read_manifests
from .writing import write_sound


def make_audio(
    manifests: Iterable[PathLike | Manifest],
    root: PathLike,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
    follow_links: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Made:
    """Make the sound files that the clips of some manifests lack: WAV, 16 kHz, mono, 16 bit.

    A file is put where the manifest's column ``audio`` says; a manifest without the column gets a copy that has it,
    ``<name>_with_audio.csv``.  The samples are those of ``ffmpeg -ac 1 -ar 16000``.  Arguments and errors are those of
    `flow.make_flow`; videos without sound are among the failures.
    """
    target = Path(root if out is None else out)
    read = read_manifests(manifests, "audio")
    planned = plan(
        read,
        "audio",
        Path(root),
        target,
        lambda video: moved_cell(video, "audio", ".wav"),
        lambda cell, where: (cell,) if cell.lower().endswith(".wav") else (),  # others are read as they are
        follow_links,
    )
    return make_missing(
        "audio",
        read,
        planned,
        make_sound,
        Job.exists,
        target,
        overwrite=overwrite,
        workers=workers,
        progress=progress,
    )


def make_sound(job: Job) -> str | None:
    """Write a job's WAV file, which appears whole, and return what was tolerated.  Raises as `write_sound`."""
    remarks: list[str] = []
    with replacing(job.targets[0]) as file:
        write_sound(job.source, file, remarks)
    return " ".join(remarks) or None
