"""``openood-mm show``: a contact sheet of one clip, as the network sees it."""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MissingPackageError, UserError
from ..naming import did_you_mean
from .main import subparser

EXAMPLES = """  # a clip of a prepared data set, by its name or any part of it that no other clip has
  openood-mm show catch/x.avi --manifest manifests/hmdb51_25_26 --root /data/HMDB51

  # the same as training sees it in epoch 3, with the settings of a config
  openood-mm show catch/x.avi --config datasets/hmdb51/hmdb51_25_26.yml --split train --epoch 3

  # any video file; optical flow is computed for it
  openood-mm show holiday.mp4 --out holiday.png
"""


def main(argv: Sequence[str]) -> int:
    """Find the clip, read it as the dataset would, draw it."""
    options, overrides = _parser().parse_known_args(list(argv))
    if overrides and not options.config:
        raise UserError(f"unknown option {overrides[0]}; see openood-mm show --help.")

    from ..config import load_config

    config: Mapping[str, Any] = load_config(options.config, overrides) if options.config else {}
    with tempfile.TemporaryDirectory() as folder:
        found = _find(options, config, Path(folder))
        sheet = _sheet(found, options, config)
        from ..reporting.contact_sheet import draw

        name = re.sub(r"[^\w.-]+", "_", found.files.clip).strip("_") or "clip"
        path = draw(sheet, Path(options.out or f"{name}.png"))
    for fault in sheet.faults:
        print(fault)
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "show",
        "Write a contact sheet (PNG) of one clip: frames as sampled and cropped, optical flow as colours, waveform,\n"
        "spectrogram, its label and files, and what part of the clip the network gets.",
        EXAMPLES,
    )
    parser.add_argument("clip", metavar="CLIP", help="name of a clip in a manifest, or a video file")
    parser.add_argument(
        "--manifest", nargs="+", action="extend", metavar="FILE.csv", help="manifests, or folders of them"
    )
    parser.add_argument(
        "--root", metavar="DIR", help="the data set's folder (default: the manifest's folder)"
    )
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="FILE.yml",
        help="configs with the preprocessor's settings and, without --manifest, the data; --key value overrides",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val"),
        default="val",
        help="seen as in training, or as in tests (default)",
    )
    parser.add_argument(
        "--epoch", type=int, default=1, metavar="N", help="of training; it decides the random crop (1)"
    )
    parser.add_argument(
        "--out", metavar="FILE.png", help="default: the clip's name, in the working directory"
    )
    return parser


@dataclass(frozen=True)
class _Found:
    """A clip, and what is known of it."""

    files: Any  # ClipFiles
    index: int
    subtitle: str
    facts: Mapping[str, str]
    root: Path | None


def _find(options: argparse.Namespace, config: Mapping[str, Any], folder: Path) -> _Found:
    sources = list(_sources(options, config))
    if not sources:
        if Path(options.clip).exists():
            return _of_file(Path(options.clip), folder)
        raise UserError(
            f"there is no file {options.clip}; for a clip of a data set add --manifest FILE.csv (and --root DIR)."
        )
    return _of_manifest(options.clip, sources)


def _sources(options: argparse.Namespace, config: Mapping[str, Any]) -> Iterator[tuple[Path, Path]]:
    """Yield (manifest, data folder): of the command line, or else of the config."""
    for name in options.manifest or ():
        path = Path(name)
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"the folder {path} has no manifest (*.csv).")
        for file in files:
            yield file, Path(options.root) if options.root else file.parent
    if not options.manifest:
        for part in _parts(config):
            listed = part["imglist_pth"]
            file = Path(listed.get("manifest") or "" if isinstance(listed, Mapping) else str(listed))
            if file.suffix == ".csv":
                yield file, Path(options.root or part.get("data_dir") or file.parent)


def _parts(section: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the sections of a config that name a set of clips."""
    if isinstance(section, Mapping):
        if "imglist_pth" in section:
            yield section
        else:
            for value in section.values():
                yield from _parts(value)


def _of_manifest(clip: str, sources: Sequence[tuple[Path, Path]]) -> _Found:
    from ..datasets.clip_files import MODALITIES, files_of
    from ..datasets.manifest import OOD_LABEL, Manifest

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
    known = [name for name in manifest.modalities if name in MODALITIES]
    if not known:
        raise UserError(f"{manifest.source} has no modality of clips ({', '.join(MODALITIES)}).")
    label = int(manifest.labels[row])
    kind = "out of distribution (label -1)" if label == OOD_LABEL else f"label {label}"
    facts = {
        "recording": manifest.groups[row] or "unknown",
        "manifest": f"{manifest.source}, line {row + 2}",
    }
    files = files_of(manifest.select(known), row, root)
    if not (math.isnan(files.start) and math.isnan(files.stop)):
        facts["cut"] = f"{files.start:g} s to {files.stop:g} s of its files"
    return _Found(files, row, f"{manifest.class_names[row]} · {kind}", facts, root)


def _of_file(path: Path, folder: Path) -> _Found:
    """Return a lone video with its sound, and optical flow made for the occasion."""
    from ..datasets.clip_files import ClipFiles, ModalityFiles
    from ..preprocessors.video import probe
    from ..preprocessors.writing import FlowSettings, write_flow

    modalities = {"video": ModalityFiles(path)}
    info = probe(path)
    if info.frames > 1:
        x, y = folder / "computed_flow_x.mp4", folder / "computed_flow_y.mp4"
        with open(x, "wb") as x_file, open(y, "wb") as y_file:
            write_flow(path, x_file, y_file, FlowSettings("dis", short_side=256))
        modalities["flow"] = ModalityFiles(x, y)
    if info.has_audio:
        modalities["audio"] = ModalityFiles(path)
    return _Found(ClipFiles(path.name, modalities), 0, "a video file", {}, None)


def _sheet(found: _Found, options: argparse.Namespace, config: Mapping[str, Any]) -> Any:
    from ..preprocessors.clip import ClipPreprocessor
    from ..reporting.clip_sheet import make_sheet

    preprocessor = ClipPreprocessor(config, options.split)
    files, faults = _readable(preprocessor, found, options.epoch)
    seen = (
        f"as in training: epoch {options.epoch}, seed {preprocessor.seed}"
        if preprocessor.training
        else "as in validation and tests: the middle"
    )
    facts = {**found.facts, "view": f"{seen}; protocol {preprocessor.protocol.name}"}
    sheet = make_sheet(preprocessor, files, options.epoch, found.index, found.root)
    return replace(sheet, subtitle=found.subtitle, facts={**facts, **sheet.facts}, faults=tuple(faults))


def _readable(preprocessor: Any, found: _Found, epoch: int) -> tuple[Any, list[str]]:
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
