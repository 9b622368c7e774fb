"""Write MovingShapes into a folder: clips, manifests, split card."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..datasets.manifest import Manifest
from ..datasets.split_card import FILE_NAME, SplitCard, entry_of
from ..errors import UserError
from ..files import is_clutter, read_json
from ..files.atomic import write_json
from ..making.derive import do_jobs, waiting_claim
from ..naming import did_you_mean
from ..progress import progress_bar
from ..registry import CLIP_LAYOUTS
from .plan import SPLITS, class_names, plan
from .recordings import MakeRecording, Request, is_finished, jobs_of
from .settings import Size, size_of

BENCHMARK = "moving_shapes"
VERSION = 1
RECIPE = "moving_shapes.json"
MODALITIES = ("video", "audio", "flow")


@dataclass(frozen=True)
class Generated:
    """What `generate` wrote.

    Attributes:
        root: the dataset's folder.
        layout: whose folders and names it has.
        size: its numbers.
        seed: its seed.
        manifests: ``train``, ``val``, ``test``, ``nearood_moving_shapes_near``, ``farood_moving_shapes_far``,
            ``oodval_moving_shapes_val`` → the CSV file.
        class_names: the known classes, in the order of their labels.
        made: recordings of which something has been written now.
        kept: recordings that were complete already.
    """

    root: Path
    layout: str
    size: Size
    seed: int
    manifests: dict[str, Path]
    class_names: tuple[str, ...]
    made: int
    kept: int


def generate(
    root: str | os.PathLike[str],
    layout: str = "hmdb51",
    seed: int = 0,
    size: str | Size = "tiny",
    *,
    flow: bool = True,
    audio: bool = True,
    workers: int = 1,
    progress: bool = False,
    **numbers: int,
) -> Generated:
    """Make MovingShapes in the folder ``root``, or what is missing of it.

    The same arguments make the same frames, displacements and samples; the same libraries on the same kind of
    processor also the same bytes.  Every file appears whole or not at all, so the same call resumes an interrupted
    one; several processes may run it at once.

    Args:
        root: the dataset's folder; new, empty (but for hidden files), or made by the same call.
        layout: ``hmdb51``, ``ucf101``, ``epic_kitchens``, ``hac`` or ``kinetics600``: whose folders and names.
        seed: of everything, 0 to 2^32 - 1.
        size: ``tiny`` (for tests), ``small`` or ``demo``, or a `Size`.
        flow: write optical flow, as known from the motion.  Without it, manifests say where ``prepare flow`` puts it.
        audio: write WAV files.  Without them, ``prepare audio`` makes them of the sound in the videos.
            EPIC-Kitchens, whose frames have no sound, always has them.
        workers: processes.  A script that asks for several needs ``if __name__ == "__main__":``.
        progress: show a bar, on a terminal.
        **numbers: fields of `Size` that differ from ``size``, for instance ``frames=48``.

    Raises:
        UserError: unknown layout, size or number; ``root`` holds anything else, or MovingShapes made otherwise.
        MissingPackageError: when PyAV (EPIC-Kitchens: OpenCV) is not installed.
        OSError: when a file can't be written.
    """
    folder = Path(root)
    if layout not in CLIP_LAYOUTS:
        raise UserError(f"MovingShapes has no layout '{layout}'.{did_you_mean(layout, CLIP_LAYOUTS)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"MovingShapes: seed is {seed!r}; it must be an integer from 0 to 4294967295.")
    request = Request(layout, size_of(size, numbers), seed, flow, audio)
    _take(folder, request)
    jobs = jobs_of(folder, request)
    lacking = [job for job in jobs if not is_finished(job)]  # if none, no worker need be started
    made = 0
    with (
        closing(do_jobs(lacking, MakeRecording(folder, request), is_finished, workers=workers)) as outcomes,
        progress_bar(total=len(lacking), desc="MovingShapes", unit="recording", quiet=not progress) as bar,
    ):
        for outcome in outcomes:
            bar.update()
            if outcome.state == "failed":
                raise UserError(f"MovingShapes: the recording of {outcome.job.clip}: {outcome.reason}")
            made += outcome.state == "made"
    manifests = _write_manifests(folder, request)
    names = tuple(class_names(request.size, layout))
    return Generated(folder, layout, request.size, seed, manifests, names, made, len(jobs) - made)


def _take(folder: Path, request: Request) -> None:
    """Take a new or empty folder, or one taken for the same request; refuse any other."""
    wanted: dict[str, Any] = {
        "made_by": "openood-multimodal: moving_shapes",
        "version": VERSION,
        "layout": request.layout,
        "seed": request.seed,
        "flow": request.flow,
        "audio": request.audio,
        **asdict(request.size),
    }
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; MovingShapes needs a folder.")
    path = folder / RECIPE
    with waiting_claim(path):
        if not path.is_file():
            others = sorted(name for name in os.listdir(folder) if not is_clutter(name))
            if others:
                raise UserError(
                    f"{folder / others[0]} is not part of MovingShapes, which goes into a folder of its own. "
                    "Choose a new or an empty one."
                )
            write_json(path, wanted)
            return
        found = read_json(path, "the recipe of MovingShapes", "Choose another folder.")
        found = found if isinstance(found, dict) else {}
        for key, value in wanted.items():
            if found.get(key) != value:
                raise UserError(
                    f"{folder} holds MovingShapes with {key} {found.get(key)!r}, not {value!r} ({path.name} says "
                    "how it was made). Use the same settings, choose another folder, or remove this one."
                )


def _write_manifests(folder: Path, request: Request) -> dict[str, Path]:
    clips = plan(request.size, request.layout)
    cells = {clip.key.clip: CLIP_LAYOUTS[request.layout].cells(clip.key) for clip in clips}
    paths, entries = {}, {}
    for split in SPLITS:
        chosen = [clip for clip in clips if clip.split == split]
        manifest = Manifest.create(
            clips=[clip.key.clip for clip in chosen],
            labels=[clip.label for clip in chosen],
            class_names=[clip.key.class_name for clip in chosen],
            files={name: [cells[clip.key.clip][name] for clip in chosen] for name in MODALITIES},
            groups=[clip.group for clip in chosen],
            starts=[clip.key.start for clip in chosen],
            stops=[clip.key.stop for clip in chosen],
        )
        paths[split] = folder / f"{split}.csv"
        entries[split] = entry_of(manifest, f"{split}.csv")
        if not paths[split].is_file():  # a user's cut of it is not lost
            manifest.write(paths[split])
    card = SplitCard(
        benchmark=BENCHMARK,
        benchmark_version=VERSION,
        track="demo",
        class_names=class_names(request.size, request.layout),
        splits=entries,
        synthetic=True,
        seed=request.seed,
        notes=[f"MovingShapes {VERSION}: generated clips, no real data, in the layout of {request.layout}."],
    )
    if not (folder / FILE_NAME).is_file():
        card.write(folder)
    return paths
