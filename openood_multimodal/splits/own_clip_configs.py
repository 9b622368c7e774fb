"""Settings that suit your own clips, and configs with them: the templates of ``configs/datasets/own_clips``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.manifest import Manifest
from ..datasets.split_card import write_split
from ..errors import UserError
from ..files.atomic import PathLike, write_text
from ..resources import configs_dir
from ..vocabulary import TEST_GROUPS
from .grouped import Shares
from .grouped_splits import GroupedSplit
from .own_clips import OwnClip, OwnClips, split_folder, survey_folder

_KNN_K, _VIM_DIM = 50, 256  # the defaults, OpenOOD's


@dataclass(frozen=True)
class Choice:
    """What a network gets of each clip, and how many embeddings NP-Mix keeps of each class.

    Attributes:
        frames: of video; ``stride`` apart.
        stride: see there.  Optical flow's eight frames span the same.
        size: side of the square that the network sees, in pixels.
        seconds: of sound.
        batch_size: in training.
        bank_size: embeddings a class.
        start_epoch: of NP-Mix's outliers: the bank is full by then.
    """

    frames: int
    stride: int
    size: int
    seconds: float
    batch_size: int
    bank_size: int
    start_epoch: int


def choose(
    clips: Sequence[OwnClip], train: Manifest, frames: int | None = None, size: int | None = None
) -> Choice:
    """Return settings that suit the clips.

    The window is the reference's 32 frames, two apart, or the longest that fits nine of ten clips.  Frames are as large
    as the reference's 224 pixels, or as large as the smaller tenth of the clips allows without enlarging them.  Sound
    lasts as long as the window, up to 10 s.  Batches have up to 16 clips, so many that few are left over, since a short
    last batch is skipped; the bank is as large as the smallest class fills it until ``start_epoch``, up to 65.

    Args:
        clips: all of them.
        train: those to train on.
        frames: in place of 32 or what fits.
        size: in place of 224 or what fits; a multiple of 32.

    Raises:
        UserError: for a number of frames or a size that the networks can't take.
    """
    shortest = float(np.quantile([each.frames for each in clips], 0.1, method="lower"))
    options = [(32, 2), (32, 1), (16, 2), (16, 1), (8, 1)]
    if frames is not None:
        if frames < 8 or frames % 8:
            raise UserError(f"frames is {frames}; the networks of clips take multiples of 8.")
        options = [(frames, stride) for stride in (2, 1)]
    count, stride = next(((f, s) for f, s in options if f * s <= shortest), options[-1])
    side = float(np.quantile([each.short_side for each in clips], 0.1, method="lower"))
    if size is not None and (size < 32 or size % 32):
        raise UserError(f"size is {size}; it must be a multiple of 32, at least 32.")
    size = size or max(32, min(224, int(side * 7 / 8) // 32 * 32))
    fps = float(np.median([each.fps for each in clips]))
    seconds = min(10.0, max(0.5, round(count * stride / fps, 1)))
    batch = max(
        range(1, min(16, len(train)) + 1), key=lambda each: (min(each, 8), len(train) // each * each, each)
    )
    smallest = min(Counter(train.class_names).values())
    start = 11
    return Choice(count, stride, size, seconds, batch, min(65, smallest * (start - 1)), start)


def arguments_for_few(train: Manifest) -> dict[str, dict[str, int]]:
    """Return parameters of scores whose defaults need more training clips than there are: score → parameter → value."""
    smallest = min(Counter(train.class_names).values())
    found = {}
    if len(train) <= _KNN_K:
        found["knn"] = {"K": smallest}
    if len(train) <= _VIM_DIM:
        found["vim"] = {"dim": max(1, len(train) // 2)}
    return found


def write_folder(
    folder: Path, name: str, root: Path, split: GroupedSplit, choice: Choice, follow_links: bool = False
) -> list[Path]:
    """Write manifests, card and configs into ``folder``; return the configs: dataset, OOD sets, NP-Mix's settings."""
    write_split(folder, split.manifests, split.card)
    groups = [group for group in TEST_GROUPS if f"{group}_{name}" in split.manifests]
    texts = {
        f"{name}.yml": _dataset(folder, name, root, split, choice),
        f"{name}_ood.yml": _ood(name, groups),
        f"{name}_npmix.yml": _changed(
            _template("_npmix"),
            {
                "bank_size: 65 ": f"bank_size: {choice.bank_size} ",
                "start_epoch: 11 ": f"start_epoch: {choice.start_epoch} ",
            },
        ),
    }
    for file, text in texts.items():
        write_text(folder / file, text.replace("follow_links: False", f"follow_links: {follow_links}"))
    return [folder / file for file in texts]


@dataclass(frozen=True)
class OwnDataset:
    """What `make_own_dataset` wrote.

    Attributes:
        found: the clips in the folder.
        split: which clips train, validate and test.
        choice: what a network gets of a clip.
        folder: manifests, ``split.json`` and configs.
        configs: dataset, OOD sets, NP-Mix's settings.
    """

    found: OwnClips
    split: GroupedSplit
    choice: Choice
    folder: Path
    configs: tuple[Path, ...]


def make_own_dataset(
    name: str,
    root: PathLike | OwnClips,
    out: PathLike = "splits",
    *,
    ood: Sequence[str] = (),
    far: Sequence[str] = (),
    known: Sequence[str] = (),
    recording: str = "",
    shares: Shares | None = None,
    seed: int = 0,
    modalities: Sequence[str] = (),
    frames: int | None = None,
    size: int | None = None,
    follow_links: bool = False,
) -> OwnDataset:
    """Make a dataset of class folders with videos: a split with no recording on two sides, OOD sets, and configs.

    Args:
        name: what to call the dataset: letters, digits, ``_`` and ``-``.
        root: holds a folder a class; or what `survey_folder` found there (then ``recording`` is not used).
        out: manifests, ``split.json`` and configs go into ``<out>/<name>/``.
        ood: classes of the near-OOD set.
        far: classes of the far-OOD set; at least one of both.
        known: in-distribution classes; empty for all others.
        recording: see `survey_folder`.
        shares: of train, validation and test; default 70, 15, 15 per cent.
        seed: of the split.
        modalities: empty for those that all clips have.
        frames: see `choose`.
        size: see `choose`.
        follow_links: whether links may lead out of ``root``.

    Raises:
        UserError: as `survey_folder`, `split_folder` and `choose`.
        MissingPackageError: when PyAV is not installed.
    """
    found = root if isinstance(root, OwnClips) else survey_folder(root, recording, follow_links=follow_links)
    split = split_folder(name, found, ood, far, known, shares, seed, modalities)
    choice = choose(found.clips, split.manifests["train"], frames, size)
    folder = Path(out) / name
    configs = write_folder(folder, name, found.root, split, choice, follow_links)
    return OwnDataset(found, split, choice, folder, tuple(configs))


def _dataset(folder: Path, name: str, root: Path, split: GroupedSplit, choice: Choice) -> str:
    view = f"short_side: {round(choice.size * 8 / 7)}, size: {choice.size}}}"
    video = f"{{frames: {choice.frames}, stride: {choice.stride}, {view}"
    flow = f"{{frames: 8, stride: {choice.frames * choice.stride // 8}, {view}"
    modalities = ", ".join(split.manifests["train"].modalities)
    changes = {
        "data_root: data/own_clips ": f"data_root: {_quoted(os.path.abspath(root))} ",
        "splits_root: splits/own_clips ": f"splits_root: {_quoted(os.path.abspath(folder))} ",
        "name: own_clips\n": f"name: {_quoted(name)}\n",
        "num_classes: 4\n": f"num_classes: {len(split.card.class_names)}\n",
        "modalities: [video, audio]\n": f"modalities: [{modalities}]\n",
        "    batch_size: 16\n    shuffle: True": f"    batch_size: {choice.batch_size}\n    shuffle: True",
        "{frames: 32, stride: 2, short_side: 256, size: 224}": video,
        "{frames: 8, stride: 8, short_side: 256, size: 224}": flow,
        "audio: {seconds: 10.0}": f"audio: {{seconds: {choice.seconds}}}",
    }
    return _changed(_template(), changes)


def _ood(name: str, groups: Sequence[str]) -> str:
    head, marker, body = _template("_ood").partition("  nearood:\n")
    sections = (marker.replace("nearood", group) + body.replace("nearood_", f"{group}_") for group in groups)
    changes = {
        "name: own_clips_ood": f"name: {_quoted(name + '_ood')}",
        "split_names: [nearood]": f"split_names: [{', '.join(groups)}]",
        "datasets: [own_clips]": f"datasets: [{_quoted(name)}]",
        "    own_clips:\n": f"    {_quoted(name)}:\n",
        "ood_own_clips.csv": f"ood_{name}.csv",
    }
    return _changed(head + "".join(sections), changes)


def _template(which: str = "") -> str:
    return (configs_dir() / "datasets" / "own_clips" / f"own_clips{which}.yml").read_text(encoding="utf-8")


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _quoted(text: str) -> str:
    """Return a YAML scalar for any text."""
    return "'" + text.replace("'", "''") + "'"
