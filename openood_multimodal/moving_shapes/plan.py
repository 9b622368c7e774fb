"""Which clips there are, on which side of the split, and what each is called in a layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..corpora.layout import ClipKey
from ..datasets.manifest import OOD_LABEL
from ..vocabulary import FAR, FILE_GROUPS, ID_SETS, NEAR, OOD_VAL
from .actions import ACTIONS, ID_ACTIONS, NEAR_ACTIONS, VAL_ACTIONS
from .settings import Size
from .worlds import FAR_WORLDS

NEAR_SET, FAR_SET, VAL_SET = "moving_shapes_near", "moving_shapes_far", "moving_shapes_val"
SPLITS = (*ID_SETS, f"{NEAR}_{NEAR_SET}", f"{FAR}_{FAR_SET}", f"{FILE_GROUPS[OOD_VAL]}_{VAL_SET}")

DOMAINS = ("human", "animal", "cartoon")  # of HAC


@dataclass(frozen=True)
class PlannedClip:
    """One clip to make.

    Attributes:
        split: one of `SPLITS`.
        action: its action, or its far world.
        label: the class's number; -1 for OOD.
        recording: number of its recording in the dataset.
        number: number of the clip in its recording.
        key: what it is called in the layout.
        group: what its recording is called.
    """

    split: str
    action: str
    label: int
    recording: int
    number: int
    key: ClipKey
    group: str


def plan(size: Size, layout: str) -> tuple[PlannedClip, ...]:
    """Return all clips, recording by recording, in the order of the manifests."""
    clips = []
    take: dict[str, int] = {}
    for recording, (split, action, label) in enumerate(_recordings(size)):
        take[action] = take.get(action, 0) + 1
        for number in range(size.clips):
            key, group = _named(layout, size, action, recording, take[action], number)
            clips.append(PlannedClip(split, action, label, recording, number, key, group))
    return tuple(clips)


def class_names(size: Size, layout: str) -> list[str]:
    """Return the known classes in the order of their labels, as the layout calls them."""
    return [_class_name(layout, action) for action in list(ID_ACTIONS)[: size.classes]]


def _recordings(size: Size) -> Iterator[tuple[str, str, int]]:
    known = list(ID_ACTIONS)[: size.classes]
    counts = (size.train_recordings, size.val_recordings, size.test_recordings)
    for split, count in zip(SPLITS[:3], counts, strict=True):
        for label, action in enumerate(known):
            yield from [(split, action, label)] * count
    pools = (list(NEAR_ACTIONS)[: size.near], list(FAR_WORLDS)[: size.far], list(VAL_ACTIONS)[: size.val])
    for split, pool in zip(SPLITS[3:], pools, strict=True):
        for action in pool:
            yield from [(split, action, OOD_LABEL)] * size.ood_recordings


def _class_name(layout: str, action: str) -> str:
    if layout == "ucf101":
        return "".join(word.capitalize() for word in action.split("_"))
    if layout == "kinetics600":
        return FAR_WORLDS[action].phrase if action in FAR_WORLDS else ACTIONS[action].phrase
    return action


def _named(
    layout: str, size: Size, action: str, recording: int, take: int, number: int
) -> tuple[ClipKey, str]:
    """Return a clip's name and its recording's, in the manner of the layout."""
    name = _class_name(layout, action)
    if layout == "hmdb51":
        group = f"Shapes{recording:03d}"
        return ClipKey(f"{name}/{group}_{name}_f_cm_np1_fr_med_{number}.avi", name), group
    if layout == "ucf101":
        group = f"{name}_g{take:02d}"
        return ClipKey(f"v_{group}_c{number + 1:02d}.avi", name), group
    if layout == "epic_kitchens":
        group = f"P22_{recording + 1:02d}"
        first, stop = number * size.frames, (number + 1) * size.frames
        return ClipKey(f"{group}/{first}-{stop}", name, first / size.fps, stop / size.fps), group
    # whole seconds, as in YouTube cuts; the clip begins with the first
    group = f"MShapes{recording:04d}"
    seconds = -(-size.frames // size.fps)
    first, last = number * seconds, (number + 1) * seconds
    folder = name if layout == "kinetics600" else DOMAINS[recording % len(DOMAINS)]
    return ClipKey(f"{folder}/{group}_{first:06d}_{last:06d}.mp4", name), group
