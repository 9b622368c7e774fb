"""What a table's run lacks: split lists, folders of clips, weights, packages; and where each comes from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.cells import flow_y, split_frames
from ..datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark
from ..datasets.manifest import Manifest
from ..errors import UserError
from ..networks.clips.published_weights import AUTHORS, ENCODER_WEIGHTS
from ..vocabulary import CORPORA
from .checks import data_sections
from .table_runs import TableRun

PACKAGES = {"av": "reading clips", "cv2": "reading clips", "mmaction": "networks of clips"}


class Missing(NamedTuple):
    """One thing that is not there.

    Attributes:
        kind: ``splits``, ``data``, ``weights``, ``checkpoint`` or ``package``.
        what: a sentence without its full stop.
        remedy: a command, or an address.
    """

    kind: str
    what: str
    remedy: str


def find_missing(run: TableRun) -> list[Missing]:
    """Return what ``run`` still needs and is not there; nothing for a finished one.

    Of each set of clips only the first is looked for; ``openood-mm prepare`` looks for all.
    """
    if run.is_done():
        return []
    training, [test] = run.training_command().config(), run.test_commands()
    found = [*_data(test.config(), run), *(_packages(training) if _has_clips(training) else ())]
    if not run.is_trained():
        found += _weights(training) if run.trains else _checkpoint(run)
    return list(dict.fromkeys(found))


def _has_clips(config: Mapping[str, Any]) -> bool:
    return any("manifest" in section["imglist_pth"] for _, section in data_sections(config))


def _data(config: Mapping[str, Any], run: TableRun) -> Iterator[Missing]:
    without: list[Path] = []
    looked: set[Path] = set()
    lacking: list[Missing] = []
    for key, section in data_sections(config):
        request = section["imglist_pth"]
        if not isinstance(request, Mapping) or "manifest" not in request:
            continue  # a table of features; it comes with its package
        folder, manifest = Path(section["data_dir"]), Path(request["manifest"])
        if not manifest.is_file():
            without.append(manifest)
        if folder in looked:
            continue
        dataset = _dataset_of(config, key)
        if not folder.is_dir():
            looked.add(folder)
            lacking.append(Missing("data", f"no folder {folder}", f"openood-mm prepare {dataset}"))
        elif manifest.is_file() and (what := _first_file_missing(manifest, folder, request["modalities"])):
            looked.add(folder)
            words = ["prepare", dataset, "--root", str(folder)]
            words += ["--manifests", str(manifest.parent)] if dataset in CORPORA else []
            lacking.append(Missing("data", what, f"openood-mm {shlex.join(words)}"))
    if without:
        yield _no_splits(config, without, run)
    yield from lacking


def _dataset_of(config: Mapping[str, Any], key: str) -> str:
    """Return whose clips a set holds, as ``openood-mm prepare`` calls it."""
    name = str(config["dataset"]["name"])
    if name in available_clip_benchmarks():
        return load_clip_benchmark(name).sets[key].dataset
    return name


def _no_splits(config: Mapping[str, Any], manifests: Sequence[Path], run: TableRun) -> Missing:
    name = str(config["dataset"]["name"])
    if name in available_clip_benchmarks() and run.group.splits and not run.scale:
        words = ["splits", "generate", "--track", run.group.splits, "--from", "MultiOOD", "--benchmark", name]
        words += ["--seed", str(run.partition), "--out", run.roots.splits]
    elif name in available_clip_benchmarks():
        words = ["splits", "import", "--from", "MultiOOD", "--benchmark", name, "--out", run.roots.splits]
    else:
        words = ["prepare", name, "--root", run.roots.data]
    names = ", ".join(each.name for each in manifests)
    return Missing("splits", f"no {names} in {manifests[0].parent}", f"openood-mm {shlex.join(words)}")


def _first_file_missing(manifest: Path, folder: Path, modalities: Sequence[str]) -> str:
    """Return what the first clip of a manifest lacks, as a sentence; empty where it has all its files."""
    try:
        paths = _first_clip(manifest, tuple(modalities))
    except UserError as error:
        return str(error).rstrip(".")
    for modality, path in paths:
        if not os.path.exists(folder / path):
            return f"no {folder / path} ({modality} of the first clip in {manifest})"
    return "" if paths else f"{manifest} has a header but no clip"


@lru_cache(maxsize=256)
def _first_clip(manifest: Path, modalities: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (modality, relative path) for every file of the first clip."""
    clips = Manifest.read(manifest).select(list(modalities))
    found: list[tuple[str, str]] = []
    for modality in modalities if len(clips) else ():
        path, span = split_frames(clips.files[modality][0])
        found.append((modality, path))
        if modality == "flow" and span is None:
            found.append((modality, flow_y(path)))
    return tuple(found)


def _weights(config: Mapping[str, Any]) -> Iterator[Missing]:
    urls = {each.file: each.url for each in ENCODER_WEIGHTS}
    encoders = config["network"].get("encoders") or {}
    for modality in config["network"]["modalities"]:
        checkpoint = (encoders.get(modality) or {}).get("checkpoint")
        if checkpoint and not Path(checkpoint).exists():  # transformers' weights are a folder
            url = urls.get(Path(checkpoint).name, "")
            yield Missing("weights", f"no weights {checkpoint} ({modality})", url or "openood-mm weights")


def _checkpoint(run: TableRun) -> Iterator[Missing]:
    names = [str(each.relative_to(run.roots.checkpoints)) for each in run.checkpoints]
    remedy = AUTHORS if len(names) > 1 else "leave --checkpoints out for rows that are to be trained"
    yield Missing("checkpoint", f"no {' or '.join(names)} in {run.roots.checkpoints}", remedy)


def _packages(config: Mapping[str, Any]) -> Iterator[Missing]:
    encoders = config["network"].get("encoders") or {}
    names = [(encoders.get(modality) or {}).get("name") for modality in config["network"]["modalities"]]
    needed = {**PACKAGES, **({"transformers": "the encoder ast"} if "ast" in names else {})}
    for package, purpose in needed.items():
        if find_spec(package) is None:
            install = "transformers" if package == "transformers" else '"openood-multimodal[video]"'
            yield Missing(
                "package", f"the package {package} ({purpose}) is not installed", f"pip install {install}"
            )
