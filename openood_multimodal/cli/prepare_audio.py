"""``openood-mm prepare audio``: the sound of the videos that a manifest names, as 16 kHz mono WAV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files.atomic import replacing
from ..making.derive import Job
from ..making.writing import write_sound
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

EXAMPLES = """  # the WAV files that Kinetics-600 needs
  openood-mm prepare audio --manifest manifests/kinetics600_129_100 --root /data/Kinetics-600
"""


def main(argv: Sequence[str]) -> int:
    """Make the sound files that are missing; 1 where some videos have no sound or could not be used."""
    parser = subparser(
        "prepare audio",
        "Make the sound files that a download lacks: 16 kHz, mono, 16 bit, as the authors' ffmpeg -ar 16000 -ac 1,\n"
        "where the manifest's column audio says. Files that are there are left alone; after an interruption the same\n"
        "command goes on. Videos without sound are listed in audio_failed.txt (exit code 1).",
        EXAMPLES,
    )
    add_arguments(parser, "audio")
    options = parser.parse_args(list(argv))
    workers = number_of_workers(options.workers)
    root, out = Path(options.root), Path(options.out or options.root)
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder.")
    manifests = read_manifests(options.manifest, "audio")
    planned = plan(
        manifests,
        "audio",
        root,
        out,
        lambda video: moved_cell(video, "audio", ".wav"),
        _targets,
        options.follow_links,
    )
    failures = make_all(
        "audio", planned, make_sound, sound_there, out, overwrite=options.overwrite, workers=workers
    )
    write_manifests(manifests, "audio", planned, out)
    return 1 if failures else 0


def make_sound(job: Job) -> str | None:
    """Write a job's WAV file, which appears whole, and return what was tolerated.  Raises as `write_sound`."""
    remarks: list[str] = []
    with replacing(job.targets[0]) as file:
        write_sound(job.source, file, remarks)
    return " ".join(remarks) or None


def sound_there(job: Job) -> bool:
    """Tell whether the file is there."""
    return job.exists()


def _targets(cell: str, where: str) -> tuple[str, ...]:
    # A cell that names a video or another sound file is read as it is.
    return (cell,) if cell.lower().endswith(".wav") else ()
