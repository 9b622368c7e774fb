"""A contact sheet of one clip, found by its name in manifests, or of any video file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..datasets.clip_files import ClipFiles, Companion, ModalityFiles, files_of
from ..datasets.manifest import OOD_LABEL, Manifest
from ..errors import MissingPackageError, UserError
from ..files import listed
from ..naming import did_you_mean
from ..preprocessors.clip import ClipPreprocessor
from ..preprocessors.video import probe
from .clip_sheet import make_sheet
from .contact_sheet import LANES, draw


def show_clip(
    clip: str,
    out: str | os.PathLike[str] = "",
    *,
    manifests: Sequence[str | os.PathLike[str]] = (),
    root: str | os.PathLike[str] = "",
    config: Mapping[str, Any] | None = None,
    split: str = "val",
    epoch: int = 1,
) -> tuple[Path, tuple[str, ...]]:
    """Draw a clip as the network sees it: read it as the dataset would, and write a PNG.

    Args:
        clip: the name of a clip in a manifest, or a unique part of it; without manifests a video file,
            whose optical flow is computed.
        out: the PNG; empty for the clip's name in the working directory.
        manifests: manifests, or folders of them.
        root: the folder that their cells are relative to; empty for the manifest's folder.
        config: settings of the section ``preprocessor`` and, without ``manifests``, the sections that name the data.
        split: ``train`` as in training, anything else as in tests.
        epoch: of training; it decides the random crop.

    Returns:
        The PNG, and what is wrong with modalities that can't be read (they are left out).

    Raises:
        UserError: when there is no such clip, several fit, or nothing of it can be read.
    """
    config = config or {}
    preprocessor = ClipPreprocessor(config, split)
    found = _find(clip, list(_sources(manifests, root, config)), preprocessor.companion)
    files, faults = _readable(preprocessor, found, epoch)
    seen = (
        f"as in training: epoch {epoch}, seed {preprocessor.seed}"
        if preprocessor.training
        else "as in validation and tests: the middle"
    )
    facts = {**found.facts, "view": f"{seen}; protocol {preprocessor.protocol.name}"}
    sheet = make_sheet(preprocessor, files, epoch, found.index, found.root)
    sheet = replace(sheet, subtitle=found.subtitle, facts={**facts, **sheet.facts}, faults=tuple(faults))
    return draw(sheet, Path(out or f"{file_stem(found.files.clip)}.png")), tuple(sheet.faults)


def file_stem(clip: str) -> str:
    """Return a clip's name as that of a file, without an ending."""
    return re.sub(r"[^\w.-]+", "_", clip).strip("_") or "clip"


@dataclass(frozen=True)
class _Found:
    """A clip, and what is known of it."""

    files: ClipFiles
    index: int
    subtitle: str
    facts: Mapping[str, str]
    root: Path | None


def _find(clip: str, sources: Sequence[tuple[Path, Path]], companion: Companion) -> _Found:
    if sources:
        return _of_manifest(clip, sources, companion)
    if Path(clip).exists():
        return _of_file(Path(clip))
    raise UserError(
        f"there is no file {clip}; for a clip of a dataset name its manifest, and the root folder of its files."
    )


def _sources(
    manifests: Sequence[str | os.PathLike[str]], root: str | os.PathLike[str], config: Mapping[str, Any]
) -> Iterator[tuple[Path, Path]]:
    """Yield (manifest, data folder): those given, or else the config's."""
    for name in manifests:
        path = Path(name)
        files = listed(path, "*.csv") if path.is_dir() else [path]
        if not files:
            raise UserError(f"the folder {path} has no manifest (*.csv).")
        for file in files:
            yield file, Path(root or file.parent)
    if not manifests:
        for part in _parts(config):
            named = part["imglist_pth"]
            file = Path(named.get("manifest") or "" if isinstance(named, Mapping) else str(named))
            if file.suffix == ".csv":
                yield file, Path(root or part.get("data_dir") or file.parent)


def _parts(section: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the sections of a config that name a set of clips."""
    if isinstance(section, Mapping):
        if "imglist_pth" in section:
            yield section
        else:
            for value in section.values():
                yield from _parts(value)


def _of_manifest(clip: str, sources: Sequence[tuple[Path, Path]], companion: Companion) -> _Found:
    manifests = [Manifest.read(path) for path, _ in sources]
    exact = [(i, m.clips.index(clip)) for i, m in enumerate(manifests) if clip in m.clips]
    alike = exact or [
        (i, r) for i, m in enumerate(manifests) for r, name in enumerate(m.clips) if clip in name
    ]
    names = {manifests[i].clips[r] for i, r in alike}
    if not names:
        some = [name for manifest in manifests for name in manifest.clips][:5000]
        nearest = (
            did_you_mean(clip, some) if len(some) < 20 else did_you_mean(clip, some).partition(" Known")[0]
        )
        raise UserError(f"no clip '{clip}' in {', '.join(str(path) for path, _ in sources)}.{nearest}")
    if len(names) > 1:
        shown = ", ".join(sorted(names)[:5])
        raise UserError(f"'{clip}' could be {len(names)} clips: {shown}{', ...' if len(names) > 5 else '.'}")
    which, row = alike[0]
    manifest, root = manifests[which], sources[which][1]
    known = [name for name in manifest.modalities if name in LANES]
    if not known:
        raise UserError(f"{manifest.source} has no modality of clips ({', '.join(LANES)}).")
    label = int(manifest.labels[row])
    kind = "out of distribution (label -1)" if label == OOD_LABEL else f"label {label}"
    facts = {
        "recording": manifest.groups[row] or "unknown",
        "manifest": f"{manifest.source}, line {row + 2}",
    }
    files = files_of(manifest.select(known), row, root, companion)
    if not (math.isnan(files.start) and math.isnan(files.stop)):
        facts["cut"] = f"{files.start:g} s to {files.stop:g} s of its files"
    return _Found(files, row, f"{manifest.class_names[row]} · {kind}", facts, root)


def _of_file(path: Path) -> _Found:
    """Return a lone video with its sound and its optical flow, which is computed where it is read."""
    info = probe(path)
    modalities = {"video": ModalityFiles(path)}
    if info.frames > 1:
        modalities["flow"] = ModalityFiles(path)
    if info.has_audio:
        modalities["audio"] = ModalityFiles(path)
    return _Found(ClipFiles(path.name, modalities), 0, "a video file", {}, None)


def _readable(preprocessor: ClipPreprocessor, found: _Found, epoch: int) -> tuple[ClipFiles, list[str]]:
    """Return the clip with the modalities that can be read, and what is wrong with the others."""
    good, faults = {}, []
    for modality, place in found.files.modalities.items():
        alone = replace(found.files, modalities={modality: place})
        try:
            preprocessor.look(alone, preprocessor.seed, epoch, found.index, (modality,))
        except MissingPackageError:
            raise
        except UserError as error:
            faults.append(str(error))
        else:
            good[modality] = place
    if not good:
        raise UserError("; ".join(faults) or f"the clip '{found.files.clip}' has no files.")
    return replace(found.files, modalities=good), faults
