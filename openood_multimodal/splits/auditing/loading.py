"""What is to be audited: folders with a split card, the authors' lists, single manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...corpora.lists import FoundList, find_lists, import_benchmark, missing_lists
from ...corpora.recordings import original_name, recording_of
from ...datasets.clip_benchmarks import ClipBenchmark, available_clip_benchmarks, load_clip_benchmark
from ...datasets.manifest import Manifest
from ...datasets.split_card import FILE_NAME, read_split
from ...errors import UserError
from ...files import listed
from ...registry import CLIP_LAYOUTS
from ...vocabulary import GROUP_OF_FILE, ID_SETS

_BY_PRECISION = (
    "hac",
    "hmdb51",
    "ucf101",
    "epic_kitchens",
    "kinetics600",
)  # HAC's names could be of Kinetics-600


@dataclass(frozen=True, eq=False)
class LoadedSplit:
    """The manifests of one split.

    Attributes:
        name: of the benchmark, or of the files.
        path: where it was found.
        manifests: ``train``, ``val``, ``test``, ``nearood_<set>``, ... or a file's name without ``.csv``.
        track: the card's; "" without one.
        modified: the card's.
        seed: the card's.
    """

    name: str
    path: str
    manifests: Mapping[str, Manifest]
    track: str = ""
    modified: bool = False
    seed: int | None = None

    @property
    def benchmark(self) -> ClipBenchmark | None:
        """The packaged benchmark of this name, or None."""
        return load_clip_benchmark(self.name) if self.name in available_clip_benchmarks() else None


def load_splits(paths: Sequence[Path]) -> list[LoadedSplit]:
    """Return the splits at ``paths``, each once.

    A path is a folder with a split card; a folder of such folders; a folder of manifests named as a card's are; a
    checkout of MultiOOD or a folder of its lists, of which every benchmark is taken whose lists are all there; a
    manifest; or one of the authors' lists.  Manifests that are named together make one split, and so do lists; the
    files' names (``train.csv``, ``nearood_x.csv``) tell which set they are.

    Raises:
        UserError: when a path is none of these, or two manifests have one name.
    """
    found: list[LoadedSplit] = []
    files: dict[str, Path] = {}
    lists: dict[str, Path] = {}
    known = {name for each in _benchmarks() for name in each.lists()}
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no file or folder {path}.")
        if path.is_dir():
            found += _of_folder(path)
            continue
        place, name = (lists, path.name) if path.name in known else (files, path.stem)
        if place.setdefault(name, path) != path:
            raise UserError(f"{place[name]} and {path} have one name; audit them one at a time.")
        if place is files and path.suffix in (".txt", ".pkl"):
            raise UserError(
                f"{path} is no manifest (CSV), and no benchmark of MultiOOD has a list of this name."
            )
    if lists:
        found.append(_of_lists(lists))
    if files:
        first = next(iter(files.values()))
        name = first.stem if len(files) == 1 else first.parent.resolve().name
        manifests = {stem: _with_recordings(Manifest.read(path)) for stem, path in files.items()}
        found.append(LoadedSplit(name, str(first if len(files) == 1 else first.parent), manifests))
    return list({(each.path, each.name): each for each in found}.values())


def dataset_of(manifest: Manifest) -> str:
    """Return the dataset whose names the clips have, or "" where they are of none or of several."""
    names = [original_name(clip) for clip in manifest.clips]
    for dataset in _BY_PRECISION:
        if names and all(CLIP_LAYOUTS[dataset].words(name) is not None for name in names):
            return dataset
    return ""


def is_ood(key: str) -> bool:
    """Tell whether a manifest of this name holds OOD clips."""
    return key.partition("_")[0] in GROUP_OF_FILE


def _of_folder(folder: Path) -> list[LoadedSplit]:
    if (folder / FILE_NAME).is_file():
        return [_of_card(folder)]
    below = [path for path in listed(folder) if (path / FILE_NAME).is_file()]
    if below:
        return [_of_card(path) for path in below]
    manifests = [path for path in listed(folder, "*.csv") if path.stem in ID_SETS or is_ood(path.stem)]
    if manifests:
        read = {path.stem: _with_recordings(Manifest.read(path)) for path in manifests}
        return [LoadedSplit(folder.resolve().name, str(folder), _ordered(read))]
    benchmarks = _benchmarks()
    lists = find_lists([folder], [each for one in benchmarks for each in one.lists().values()])
    complete = [each for each in benchmarks if not missing_lists(each, lists)]
    if not complete:
        raise UserError(
            f"{folder} has neither a split card ({FILE_NAME}), nor manifests, nor the lists of a benchmark of MultiOOD."
        )
    imported = [import_benchmark(each, lists, accept_changed=True) for each in complete]
    return [
        LoadedSplit(
            each.benchmark.name, str(folder), each.manifests, each.card.track, each.card.modified, None
        )
        for each in imported
    ]


def _benchmarks() -> list[ClipBenchmark]:
    return [load_clip_benchmark(name) for name in available_clip_benchmarks()]


def _of_lists(paths: Mapping[str, Path]) -> LoadedSplit:
    """Return file name → list as the sets of the first benchmark that has all of them; HAC's and EPIC's in part."""
    benchmark = next((each for each in _benchmarks() if paths.keys() <= each.lists().keys()), None)
    if benchmark is None:
        raise UserError(f"no benchmark of MultiOOD has all of {', '.join(paths)}; audit them one at a time.")
    sets = {
        key: replace(part, lists=tuple(each for each in part.lists if each.name in paths))
        for key, part in benchmark.sets.items()
    }
    named = replace(benchmark, sets={key: part for key, part in sets.items() if part.lists})
    found = {name: FoundList(benchmark.lists()[name], path) for name, path in paths.items()}
    imported = import_benchmark(named, found, accept_changed=True)
    read = [each for entry in imported.card.splits.values() for each in (entry.source or {})["lists"]]
    modified = any(each["sha256"] != benchmark.lists()[Path(each["file"]).name].sha256 for each in read)
    where = ", ".join(map(str, paths.values()))
    return LoadedSplit(
        benchmark.name, where, imported.manifests, "demo" if modified else benchmark.track, modified
    )


def _of_card(folder: Path) -> LoadedSplit:
    card, manifests, changed = read_split(folder)
    return LoadedSplit(
        card.benchmark or folder.resolve().name,
        str(folder),
        {key: _with_recordings(each) for key, each in manifests.items()},
        card.track,
        card.modified or bool(changed),
        card.seed,
    )


def _ordered(manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    keys = [*(key for key in ID_SETS if key in manifests), *(key for key in manifests if is_ood(key))]
    return {key: manifests[key] for key in keys}


def _with_recordings(manifest: Manifest) -> Manifest:
    """Return the manifest with the recordings that its clips' names tell, where its own column is empty."""
    if not len(manifest) or any(manifest.groups):
        return manifest
    dataset = dataset_of(manifest)
    if not dataset:
        return manifest
    return replace(manifest, groups=tuple(recording_of(dataset, clip) for clip in manifest.clips))
