"""Your own clips, one folder per class → manifests of a split with no recording in two sets, and their configs.

``root/<class>/.../<clip>.mp4``: the first folder is the class.  Sound is the video's own track; optical flow is what
``openood-mm prepare flow`` makes, ``root/flow/<class>/.../<clip>_flow_x.mp4``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..datasets.cells import flow_y
from ..datasets.manifest import OOD_LABEL, Manifest
from ..errors import MissingPackageError, UserError
from ..files.names import is_clutter
from ..files.paths import resolve_inside
from ..naming import did_you_mean
from ..preprocessors.video import probe
from .grouped import Shares
from .grouped_splits import GroupedSplit, Pool, make_grouped

SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts", ".3gp")
)
"""Endings by which videos are told from other files."""


@dataclass(frozen=True)
class OwnClip:
    """One video.

    Attributes:
        clip: its path below the root, with forward slashes.
        class_name: the first folder of that.
        recording: what it was cut from.
        frames: how many it has.
        fps: frames a second.
        short_side: pixels.
        modalities: modality → its cell in a manifest.
    """

    clip: str
    class_name: str
    recording: str
    frames: int
    fps: float
    short_side: int
    modalities: Mapping[str, str]


@dataclass(frozen=True)
class OwnClips:
    """What a folder holds.

    Attributes:
        root: the folder.
        clips: the videos that can be read, by class and name.
        broken: clip → why it can't be read.
        passed_over: files that are no videos.
        own_recordings: whether every clip counts as a recording of its own, since nothing says otherwise.
    """

    root: Path
    clips: tuple[OwnClip, ...]
    broken: Mapping[str, str] = field(default_factory=dict)
    passed_over: int = 0
    own_recordings: bool = False

    @property
    def classes(self) -> dict[str, int]:
        """Class → its number of clips."""
        return dict(Counter(each.class_name for each in self.clips))


def survey_folder(
    root: str | os.PathLike[str],
    recording: str = "",
    *,
    follow_links: bool = False,
    looked: Callable[[], object] = lambda: None,
) -> OwnClips:
    """Look through class folders, and at the header of every video.

    Args:
        root: holds a folder a class.
        recording: a regular expression with one group, searched in a clip's path below the root; the group names the
            recording.  Empty: the folder below the class, or else each clip is a recording of its own.
        follow_links: also go through links that lead out of ``root``.
        looked: called once a video.

    Raises:
        UserError: when there is no such folder, or no video in it; when ``recording`` is no such expression, or fits
            no part of a clip's path.
        MissingPackageError: when PyAV is not installed.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}.")
    names, passed_over = _videos(folder, follow_links)
    if not names:
        raise UserError(f"{folder} has no class folder with videos in it ({', '.join(sorted(SUFFIXES))}).")
    recordings = {name: _recording(name, _pattern(recording)) for name in names}
    clips, broken = [], {}
    for name in names:
        try:
            clips.append(_look(folder, name, recordings[name], follow_links))
        except MissingPackageError:
            raise
        except (UserError, OSError) as error:
            broken[name] = str(error)
        looked()
    own = not recording and not any(len(PurePosixPath(name).parts) > 2 for name in names)
    return OwnClips(folder, tuple(clips), broken, passed_over, own)


def _videos(folder: Path, follow_links: bool) -> tuple[list[str], int]:
    found, others = [], 0
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        inside = Path(place).relative_to(folder)
        if real in seen:  # a link back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(each for each in folders if not is_clutter(each))
        for name in sorted(files) if inside.parts else ():
            if is_clutter(name) or name.endswith(("_flow_x.mp4", "_flow_y.mp4")):
                continue
            if Path(name).suffix.lower() not in SUFFIXES:
                others += 1
                continue
            relative = (inside / name).as_posix()
            resolve_inside(folder, relative, follow_links=follow_links)
            found.append(relative)
    return found, others


def _pattern(recording: str) -> re.Pattern[str] | None:
    if not recording:
        return None
    try:
        pattern = re.compile(recording)
    except re.error as error:
        raise UserError(f"recording: {recording!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise UserError(
            f"recording: {recording!r} has {pattern.groups} groups; put the part of a clip's path that names its "
            r"recording into one pair of parentheses: '/(\w+)_\d+\.mp4$'."
        )
    return pattern


def _recording(clip: str, pattern: re.Pattern[str] | None) -> str:
    parts = PurePosixPath(clip).parts
    if pattern is None:
        return parts[1] if len(parts) > 2 else str(PurePosixPath(clip).with_suffix(""))
    found = pattern.search(clip)
    if found is None or not found[1]:
        raise UserError(f"recording: {pattern.pattern!r} finds nothing in '{clip}'.")
    return found[1]


def _look(folder: Path, clip: str, recording: str, follow_links: bool) -> OwnClip:
    info = probe(resolve_inside(folder, clip, follow_links=follow_links))
    path = PurePosixPath(clip)
    cells = {"video": clip}
    flow = str(PurePosixPath("flow", path.with_suffix("")))
    if all((folder / each).is_file() for each in (f"{flow}_flow_x.mp4", flow_y(f"{flow}_flow_x.mp4"))):
        cells["flow"] = f"{flow}_flow_x.mp4"
    if info.has_audio:
        cells["audio"] = clip
    side = min(info.width, info.height)
    return OwnClip(clip, path.parts[0], recording, info.frames, info.fps, side, cells)


def split_folder(
    name: str,
    found: OwnClips,
    ood: Sequence[str] = (),
    far: Sequence[str] = (),
    known: Sequence[str] = (),
    shares: Shares | None = None,
    seed: int = 0,
    modalities: Sequence[str] = (),
) -> GroupedSplit:
    """Return the split of a folder's clips.

    Args:
        name: what to call the dataset.
        found: the clips.
        ood: classes of the near-OOD set.
        far: classes of the far-OOD set.
        known: in-distribution classes; empty for all others.
        shares: default 70, 15, 15 per cent.
        seed: of the order in which recordings are placed.
        modalities: those that every clip has to have; empty for those that all of them have.

    Raises:
        UserError: for an unknown class, one in two roles, fewer than two in-distribution classes, no OOD class, a
            modality that clips lack, or a class without a clip to train on; and as `make_grouped`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"the name '{name}' may have letters, digits, '_' and '-' only.")
    classes = found.classes
    for each in (*known, *ood, *far):
        if each not in classes:
            raise UserError(f"{found.root} has no class '{each}'.{did_you_mean(each, classes)}")
    roles = Counter([*known, *ood, *far])
    twice = [each for each, number in roles.items() if number > 1]
    if twice:
        raise UserError(
            f"the class '{twice[0]}' is named twice; a class is in-distribution, near- or far-OOD."
        )
    known = list(known) or sorted(set(classes) - {*ood, *far})
    if not ood and not far:
        raise UserError(f"no class is out-of-distribution; choose some of {', '.join(sorted(classes))}.")
    if len(known) < 2:
        raise UserError(f"{len(known)} in-distribution class(es); a classifier needs at least 2.")
    used = [each for each in found.clips if each.class_name in {*known, *ood, *far}]
    modalities = list(modalities) or [
        m for m in ("video", "audio", "flow") if all(m in c.modalities for c in used)
    ]
    for modality in modalities:
        lacking = [each.clip for each in used if modality not in each.modalities]
        if lacking:
            raise UserError(
                f"{len(lacking)} of {len(used)} clips have no {modality}, the first: {lacking[0]}. {_REMEDY[modality]}"
            )
    sets = {"nearood": ood, "farood": far}
    pool = Pool(
        name,
        _manifest(used, known, known, modalities),
        tuple(known),
        {f"{group}_{name}": _manifest(used, each, known, modalities) for group, each in sets.items() if each},
        notes=("clips of one's own",),
    )
    split = make_grouped(pool, shares, seed)
    split = replace(split, card=replace(split.card, benchmark=name))
    without = [each.class_name for each in split.balance if not each.sides["train"]]
    if without:
        raise UserError(
            f"no clip of '{without[0]}' is left to train on: its recordings are on other sides. It needs more "
            "recordings; or try another seed."
        )
    return split


_REMEDY = {
    "video": "",
    "audio": "Leave audio out of modalities, or the clips out of the folder.",
    "flow": "openood-mm prepare flow makes it.",
}


def _manifest(
    clips: Sequence[OwnClip], classes: Sequence[str], known: Sequence[str], modalities: Sequence[str]
) -> Manifest:
    chosen = [each for each in clips if each.class_name in classes]
    label = {name: place for place, name in enumerate(known)}
    return Manifest.create(
        clips=[each.clip for each in chosen],
        labels=[label.get(each.class_name, OOD_LABEL) for each in chosen],
        class_names=[each.class_name for each in chosen],
        files={m: [each.modalities[m] for each in chosen] for m in modalities},
        groups=[each.recording for each in chosen],
    )
