"""Frames of clips as an image dataset of OpenOOD: lists for its `ImglistDataset`, and its two dataset configs.

A folder ``<out>`` holds ``images/<manifest>/<clip>_<i>of<n>.png``, ``lists/<manifest>.txt`` (one line an image:
path and label), ``<name>.yml`` and ``<name>_ood.yml``, which OpenOOD's ``main.py`` takes as they are, and the card
``frames.json``, which says of which clips the images are.  So an image network and a multimodal one can be compared:
same clips, same splits, same labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config import bind
from ..datasets.clip_files import files_of
from ..datasets.manifest import Manifest
from ..datasets.skipped import SkippedClip
from ..datasets.split_card import FILE_NAME as SPLIT_CARD
from ..datasets.split_card import SplitCard, clip_provenance
from ..errors import UserError
from ..files import text_sha256
from ..files.atomic import write_json, write_text
from ..files.text import read_json
from ..making.frame_images import ENDING, FrameJob
from ..vocabulary import FILE_GROUPS, GROUP_OF_FILE, ID_SETS, LOADER_GROUPS, OOD_VAL

CARD = "frames.json"
SCHEMA_VERSION = 1
_LONGEST = 100  # characters of a clip's name in the name of a file


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


def plan_frames(
    manifests: Sequence[Manifest], root: Path, out: Path, settings: FrameSettings
) -> dict[str, list[FrameJob]]:
    """Return set (a manifest's name without ``.csv``) → one job a clip, in the manifest's order.

    Raises:
        UserError: when a manifest has no videos or a clip without one, two manifests have one name, or a path leads
            out of its folder.
    """
    planned: dict[str, list[FrameJob]] = {}
    for manifest in manifests:
        name = Path(manifest.source).stem
        if name in planned:
            raise UserError(
                f"two manifests are called {name}.csv; images of one would overwrite the other's."
            )
        if "video" not in manifest.files:
            raise UserError(f"{manifest.source} has no column 'video', and frames are taken from videos.")
        if " " in name:
            raise UserError(f"{manifest.source}: OpenOOD's lists can't have spaces; rename the file.")
        video, count = manifest.select(["video"]), settings.of(name)
        jobs = []
        for row, clip in enumerate(video.clips):
            files = files_of(video, row, root)
            if "video" not in files.modalities:
                raise UserError(f"{manifest.source}, line {row + 2}: the clip '{clip}' has no video.")
            stem = out / "images" / name / _file_name(clip)
            targets = tuple(Path(f"{stem}_{i + 1}of{count}{ENDING}") for i in range(count))
            jobs.append(FrameJob(clip, files.modalities["video"].path, targets, files, settings.short_side))
        planned[name] = jobs
    return planned


def _file_name(clip: str) -> str:
    """Return a clip's name as one that a list can have; what it loses by that, a digest makes up for."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", clip).lstrip(".")[:_LONGEST]
    return name if name == clip else f"{name}-{text_sha256(clip)[:8]}"


def write_lists(
    manifests: Sequence[Manifest],
    planned: Mapping[str, Sequence[FrameJob]],
    out: Path,
    settings: FrameSettings,
    failed: Collection[tuple[Path, ...]] = (),
) -> FrameCard:
    """Write the lists and the card.  Clips whose targets are among ``failed`` are left out; the card names them."""
    sets = {}
    for manifest in manifests:
        name = Path(manifest.source).stem
        broken = {job.clip for job in planned[name] if job.targets in failed}
        lines = [
            f"{target.relative_to(out / 'images').as_posix()} {label}\n"
            for job, label in zip(planned[name], manifest.labels.tolist(), strict=True)
            if job.clip not in broken
            for target in job.targets
        ]
        path = f"lists/{name}.txt"
        write_text(out / path, "".join(lines))
        sets[name] = FrameSet(
            file=path,
            manifest=manifest.select(["video"]).digest(),
            clips=len(manifest) - len(broken),
            images=len(lines),
            provenance=clip_provenance(manifest.source, manifest, ["video"]),
            skipped=sorted(broken),
        )
    card = FrameCard(settings, sets)
    write_json(out / CARD, asdict(card))
    return card


def dataset_name(manifests: Sequence[Manifest]) -> str:
    """Return the benchmark's name, from the split card beside the manifests, else the name of their folder."""
    folder = Path(manifests[0].source).resolve().parent
    if (folder / SPLIT_CARD).is_file():
        benchmark = SplitCard.read(folder).benchmark
        if benchmark:
            return benchmark
    return folder.name


def write_configs(
    name: str, card: FrameCard, manifests: Sequence[Manifest], out: Path
) -> tuple[list[Path], str]:
    """Write OpenOOD's configs for what is complete.

    Args:
        name: of the dataset.
        card: of the frames.
        manifests: those of the card.
        out: its folder.

    Returns:
        The files written, and a sentence about what is missing for them ("" for nothing).
    """
    missing = [split for split in ID_SETS if split not in card.sets]
    if missing:
        return (
            [],
            f"no config is written: {', '.join(f'{split}.csv' for split in missing)} is not among the manifests",
        )
    train = next(each for each in manifests if Path(each.source).stem == "train")
    ids = _id_config(name, int(train.labels.max()) + 1, card.settings, out)
    written = [_write(out / f"{name}.yml", ids, "Frames of clips for OpenOOD's image networks")]
    ood = _ood_config(name, card)
    if not ood["split_names"]:
        return written, f"no {name}_ood.yml is written: there are no manifests nearood_*.csv or farood_*.csv"
    head = f"The OOD sets; goes after {name}.yml, whose frames_root it takes"
    return [*written, _write(out / f"{name}_ood.yml", {"ood_dataset": ood}, head)], ""


def _id_config(name: str, classes: int, settings: FrameSettings, out: Path) -> dict[str, Any]:
    size = settings.image_size
    dataset: dict[str, Any] = {
        "name": name,
        "num_classes": classes,
        "frames": "'@{frames_root}'/" + CARD,
        "pre_size": 256 if size == 224 else size,  # as OpenOOD has it for ImageNet
        "image_size": size,
        "interpolation": "bilinear",
        "normalization_type": "imagenet",
        **_machine(),
        "split_names": list(ID_SETS),
    }
    for split in ID_SETS:
        dataset[split] = {
            "dataset_class": "ImglistDataset",
            **_images(split),
            "batch_size": 32,
            "shuffle": split == "train",
        }
    return {"frames_root": str(out.resolve()), "dataset": dataset, "preprocessor": {"name": "base"}}


def _ood_config(name: str, card: FrameCard) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": f"{name}_ood",
        "num_classes": "@{dataset.num_classes}",
        **_machine(),
        "dataset_class": "ImglistDataset",
        "batch_size": 32,
        "shuffle": False,
        "split_names": [],
    }
    for key in card.sets:
        group, _, set_name = key.partition("_")
        if group not in GROUP_OF_FILE or not set_name:
            continue
        if group == FILE_GROUPS[OOD_VAL]:
            config["val"] = _images(key)
        else:
            part = config.setdefault(group, {"datasets": []})
            part["datasets"].append(set_name)
            part[set_name] = _images(key)
    config["split_names"] = [group for group in LOADER_GROUPS.values() if group in config]
    return config


def _images(key: str) -> dict[str, str]:
    return {"data_dir": "'@{frames_root}'/images", "imglist_pth": f"'@{{frames_root}}'/lists/{key}.txt"}


def _machine() -> dict[str, str]:
    return {key: f"@{{{key}}}" for key in ("num_workers", "num_gpus", "num_machines")}


def _write(path: Path, content: dict[str, Any], head: str) -> Path:
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    write_text(path, f"# {head}. Written by openood-mm prepare frames.\n{body}")
    return path
