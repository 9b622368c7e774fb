"""Frames of clips as an image dataset of OpenOOD: lists for its `ImglistDataset`, and its two dataset configs.

A folder ``<out>`` holds ``images/<manifest>/<clip>_<i>of<n>.png``, ``lists/<manifest>.txt`` (one line an image:
path and label), ``<name>.yml`` and ``<name>_ood.yml``, which OpenOOD's ``main.py`` takes as they are, and the card
``frames.json``, which says of which clips the images are.  So an image network and a multimodal one can be compared:
same clips, same splits, same labels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import bind
from ..datasets.skipped import SkippedClip
from ..errors import UserError
from ..files.text import read_json

CARD = "frames.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FrameSettings:
    """How frames are taken.

    Attributes:
        frames: frames a clip of the training set.
        test_frames: frames a clip of every other set; with one, every clip is one test sample, as for a network
            that sees the whole clip.
        short_side: frames with a longer short side are shrunk to it; None takes them as they are.
        image_size: what the config makes of an image: ``image_size`` x ``image_size`` pixels.
    """

    frames: int = 1
    test_frames: int = 1
    short_side: int | None = None
    image_size: int = 224

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1.")

    def of(self, split: str) -> int:
        """Return the frames a clip of a set."""
        return self.frames if split == "train" else self.test_frames


@dataclass(frozen=True)
class FrameSet:
    """The images of one manifest.

    Attributes:
        file: path of its list in the folder.
        manifest: the manifest's digest, with the column ``video`` alone, as networks of one modality have it.
        clips: clips in the list.
        images: lines of the list.
        provenance: what a result record needs to know of the clips.
        skipped: clips left out because their video can't be read.
    """

    file: str
    manifest: str
    clips: int
    images: int
    provenance: dict[str, Any]
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FrameCard:
    """What ``frames.json`` says: how the frames were taken, and of which clips."""

    settings: FrameSettings
    sets: dict[str, FrameSet]
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FrameCard:
        """Return the card in the file ``path``.

        Raises:
            UserError: when it is missing, or not of this form.
        """
        content = read_json(path, "the frames' card", "Make the frames again: openood-mm prepare frames.")
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{path} is no card of this version; make the frames again: openood-mm prepare frames."
            )
        return bind(content, cls, str(path), ignore=())

    def of_list(self, path: str | os.PathLike[str]) -> FrameSet | None:
        """Return the set whose list is the file ``path``, or None."""
        return next((each for each in self.sets.values() if Path(each.file).name == Path(path).name), None)

    @property
    def notes(self) -> list[str]:
        """What a reader of results has to know."""
        count = self.settings.test_frames
        return [f"every frame is a sample: {count} frames a clip"] if count > 1 else []


class FramesOfClips:
    """Says of an image list what a dataset of clips says of itself.

    Attributes:
        modalities: ``("video",)``.
        provenance: of its clips.
        manifest: answers ``digest()`` as the clips' manifest does.
        skipped: clips whose video can't be read.
    """

    modalities = ("video",)

    def __init__(self, frames: FrameSet) -> None:
        self.provenance = frames.provenance
        self.manifest = self
        self.skipped = [SkippedClip(0, clip, "its video can't be read") for clip in frames.skipped]
        self._digest = frames.manifest

    def digest(self) -> str:
        """As `Manifest.digest`."""
        return self._digest


def frames_of(config: Mapping[str, Any]) -> FrameCard | None:
    """Return the card of the frames that ``config["dataset"]`` names, or None."""
    path = config["dataset"].get("frames")
    return FrameCard.read(path) if path else None


def described(dataset: Any, section: Mapping[str, Any], frames: FrameCard | None) -> Any:
    """Return ``dataset``, or what is known of the clips whose frames it holds; ``section`` has its ``imglist_pth``."""
    known = frames.of_list(str(section.get("imglist_pth"))) if frames is not None else None
    return dataset if known is None else FramesOfClips(known)
