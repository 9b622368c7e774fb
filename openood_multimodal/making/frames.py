"""Making a `frames` folder of clips: images, lists, card and OpenOOD's two dataset configs.

This is what ``openood-mm prepare frames`` calls.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..datasets.clip_files import files_of
from ..datasets.manifest import Manifest
from ..datasets.split_card import FILE_NAME as SPLIT_CARD
from ..datasets.split_card import SplitCard, clip_provenance
from ..errors import ArgumentError, UserError
from ..files import text_sha256
from ..files.atomic import PathLike, write_json, write_text
from ..vocabulary import FILE_GROUPS, GROUP_OF_FILE, ID_SETS, LOADER_GROUPS, OOD_VAL
from .frame_card import CARD, FrameCard, FrameSet, FrameSettings
from .frame_images import ENDING, FrameJob, write_frames
from .missing import Made, Plan, make_missing, read_manifests

_LONGEST = 100  # characters of a clip's name in the name of a file


@dataclass(frozen=True)
class FramesMade:
    """What `make_frames` wrote.

    Attributes:
        images: what became of the clips' images.
        card: the card; None where clips failed and were not to be left out: then neither lists nor configs are written.
        configs: OpenOOD's dataset configs.
        missing: what is missing for them, a sentence without its full stop; "" for nothing.
    """

    images: Made
    card: FrameCard | None = None
    configs: tuple[Path, ...] = ()
    missing: str = ""


def make_frames(
    manifests: Iterable[PathLike | Manifest],
    root: PathLike,
    out: PathLike,
    settings: FrameSettings | None = None,
    *,
    name: str = "",
    skip_broken: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> FramesMade:
    """Write frames of clips as PNG files, with lists for OpenOOD's ``ImglistDataset`` and its dataset configs.

    Images that are there are left alone; the same call goes on after an interruption.

    Args:
        manifests: manifests read from files, their files, or folders of them.
        root: folder of the videos.
        out: folder for images, lists, card and configs.
        settings: which frames; None for the middle one of each clip.
        name: of the dataset in the configs; "" for the benchmark's.
        skip_broken: leave clips out whose video can't be read; otherwise one such clip means no lists.
        overwrite: make all images again.
        workers: processes; more than one needs ``if __name__ == "__main__":`` in a script.
        progress: show a bar on a terminal, else a line a minute, on stderr.

    Raises:
        ArgumentError: when ``root`` is no folder.
        UserError: when a manifest can't be used, or the images in ``out`` were made with other settings.
        MissingPackageError: when PyAV or OpenCV is not installed.
        OSError: when files can't be written.
    """
    settings, root, out = settings or FrameSettings(), Path(root), Path(out)
    if not root.is_dir():
        raise ArgumentError("root", f"{root} is not a folder.")
    _check_out(out, settings, overwrite)
    read = read_manifests(manifests, "frames")
    planned = plan_frames(read, root, out, settings)
    images = make_missing(
        "frames",
        read,
        Plan(tuple(job for jobs in planned.values() for job in jobs)),
        write_frames,
        FrameJob.exists,
        out,
        overwrite=overwrite,
        workers=workers,
        progress=progress,
    )
    if images.failures and not skip_broken:
        return FramesMade(images)
    card = write_lists(read, planned, out, settings, {each.job.targets for each in images.failures})
    configs, missing = write_configs(name or dataset_name(read), card, read, out)
    return FramesMade(images, card, tuple(configs), missing)


def _check_out(out: Path, settings: FrameSettings, overwrite: bool) -> None:
    """Refuse a folder whose images were made otherwise; the number of frames is in their names."""
    if not (out / CARD).is_file() or overwrite:
        return
    there, wanted = FrameCard.read(out / CARD).settings.short_side, settings.short_side
    if there != wanted:
        raise UserError(
            f"the images in {out} were made with short_side={there}, not {wanted} (None: as the videos); "
            "name another out=, or make all again: overwrite=True."
        )


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
