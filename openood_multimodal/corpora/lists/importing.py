"""The authors' lists of a benchmark: found on disk, then made into manifests and a split card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...datasets.clip_benchmarks import AuthorsList, ClipBenchmark, ClipSet
from ...datasets.manifest import OOD_LABEL, Manifest
from ...datasets.split_card import SplitCard, entry_of, write_split
from ...errors import UserError
from ...registry import CLIP_LAYOUTS
from ...vocabulary import ID_SETS
from ..layout import ClipKey
from ..recordings import name_of_repeat, recording_of
from .names import UCF_AS_ON_DISK
from .reading import Entry, ParsedList, read_list

SHOWN = 4  # missing lists named in a message


@dataclass(frozen=True)
class FoundList:
    """One of the authors' lists, and the file that has its name."""

    list: AuthorsList
    path: Path


def find_lists(folders: Sequence[Path], wanted: Iterable[AuthorsList]) -> dict[str, FoundList]:
    """Return file name → list, for those of ``wanted`` that are below ``folders``.

    Looked for in each folder, in order: ``<folder>/HMDB-rgb-flow/splits/`` (``EPIC-rgb-flow/splits/``) as in the
    authors' repository, ``<folder>/splits/``, and the folder itself.

    Raises:
        UserError: when a folder does not exist, or two files of one name differ.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"there is no folder {folder}; name a checkout of MultiOOD, or a folder of its lists."
            )
    found: dict[str, FoundList] = {}
    for each in wanted:
        places = (
            place
            for folder in folders
            for place in (folder / each.file, folder / "splits" / each.name, folder / each.name)
        )
        paths = [path for path in dict.fromkeys(places) if path.is_file()]
        if not paths:
            continue
        for other in paths[1:]:
            if other.read_bytes() != paths[0].read_bytes():
                raise UserError(f"{paths[0]} and {other} have one name and differ; leave one of the two.")
        found[each.name] = FoundList(each, paths[0])
    return found


@dataclass(frozen=True, eq=False)
class ImportedBenchmark:
    """A benchmark's manifests, made from lists.

    Attributes:
        benchmark: which one.
        manifests: set (``train``, ``nearood_hmdb51``, ...) → its manifest, in the order of the lists.
        card: what ``split.json`` says of them.
        repaired: set → number of names that were repaired.
    """

    benchmark: ClipBenchmark
    manifests: Mapping[str, Manifest]
    card: SplitCard
    repaired: Mapping[str, int]

    def write(self, out: Path) -> Path:
        """Write manifests and card into ``out/<benchmark>/`` (`write_split`); return that folder."""
        folder = out / self.benchmark.name
        write_split(folder, self.manifests, self.card)
        return folder


def import_benchmark(
    benchmark: ClipBenchmark, found: Mapping[str, FoundList], accept_changed: bool = False
) -> ImportedBenchmark:
    """Return the manifests of ``benchmark`` made from its lists.

    A manifest has one row a line of its lists, in their order.  Labels of in-distribution splits are the lists';
    those of OOD sets are -1.  ``group`` is the recording, ``start`` and ``stop`` the time stamps of EPIC-Kitchens.
    Names known to be misspelt are repaired.

    Args:
        benchmark: which one.
        found: file name → list, see `find_lists`.
        accept_changed: take lists whose bytes are not those of the benchmark; the card then says ``modified``.

    Raises:
        UserError: when a list is missing or, unless ``accept_changed``, another one than the authors'; when it
            can't be read (see `reading.parse_list`); when a clip is in two sets.
    """
    missing = [each.file for name, each in benchmark.lists().items() if name not in found]
    if missing:
        more = f" and {len(missing) - SHOWN} more lists" if len(missing) > SHOWN else ""
        raise UserError(
            f"benchmark {benchmark.name} needs {', '.join(missing[:SHOWN])}{more}, and the folder lacks "
            f"{'it' if len(missing) == 1 else 'them'}. The lists are published at {benchmark.source.url}."
        )
    changed: list[str] = []
    manifests: dict[str, Manifest] = {}
    repaired: dict[str, int] = {}
    splits = {}
    places: dict[str, list[str]] = {}
    for key, part in benchmark.sets.items():
        parsed = [_parsed(benchmark, key, found[each.name], accept_changed, changed) for each in part.lists]
        _check_apart(part, found, parsed, places)
        manifest = _manifest(key, part, parsed)
        manifests[key] = manifest
        repaired[key] = sum(each.repaired for each in parsed)
        source = {
            "lists": [
                {"file": each.file, "sha256": content.sha256, "clips": len(content.entries)}
                for each, content in zip(part.lists, parsed, strict=True)
            ],
            "repaired": repaired[key],
        }
        splits[key] = entry_of(manifest, f"{key}.csv", source)
    card = SplitCard(
        benchmark=benchmark.name,
        benchmark_version=benchmark.version,
        track=benchmark.track,
        class_names=list(benchmark.class_names),
        splits=splits,
        notes=[
            f"lists of {benchmark.source.url}, commit {benchmark.source.commit}",
            *_repair_notes(repaired),
        ],
    )
    differing = [key for key, part in benchmark.sets.items() if splits[key].sha256 != part.sha256]
    if changed or differing:
        notes = [f"not the authors' list: {name}" for name in changed]
        notes += [f"not the benchmark's manifest: {key}" for key in differing]
        card = replace(card, track="demo", modified=True, notes=[*card.notes, *notes])
    return ImportedBenchmark(benchmark, manifests, card, repaired)


def _parsed(
    benchmark: ClipBenchmark, key: str, found: FoundList, accept_changed: bool, changed: list[str]
) -> ParsedList:
    part = benchmark.sets[key]
    parsed = read_list(found.path, part.dataset, benchmark.classes_of(key), part.repeated)
    expected = found.list
    if parsed.sha256 == expected.sha256:
        return parsed
    count = len(parsed.entries)
    if not accept_changed:
        counts = "" if count == expected.clips else f" It has {count} clips, the authors' {expected.clips}."
        raise UserError(
            f"{found.path} is not the list that benchmark {benchmark.name} was made with: its SHA-256 is "
            f"{parsed.sha256}, expected {expected.sha256}.{counts} Get it from {benchmark.source.url}, commit "
            f"{benchmark.source.commit} (with its line ends unchanged), or give accept_changed=True; results are then "
            "marked as modified."
        )
    changed.append(
        f"{expected.file}, SHA-256 {parsed.sha256}, {count} clips (the authors': {expected.clips})"
    )
    return parsed


def _manifest(key: str, part: ClipSet, parsed: Sequence[ParsedList]) -> Manifest:
    entries = [entry for each in parsed for entry in each.entries]
    layout = CLIP_LAYOUTS[part.dataset]
    is_id = key in ID_SETS
    cells: dict[str, list[str]] = {modality: [] for modality in layout.modalities}
    for entry in entries:
        files = layout.cells(ClipKey(entry.clip, entry.class_name, entry.start, entry.stop))
        for modality, column in cells.items():
            column.append(files[modality])
    return Manifest.create(
        clips=_unique_names(entries),
        labels=[entry.label if is_id else OOD_LABEL for entry in entries],
        class_names=[entry.class_name for entry in entries],
        groups=[recording_of(part.dataset, entry.clip) for entry in entries],
        files=cells,
        starts=[entry.start for entry in entries],
        stops=[entry.stop for entry in entries],
    )


def _unique_names(entries: Sequence[Entry]) -> list[str]:
    count: dict[str, int] = {}
    names = []
    for entry in entries:
        count[entry.clip] = number = count.get(entry.clip, 0) + 1
        names.append(name_of_repeat(entry.clip, number))
    return names


def _check_apart(
    part: ClipSet, found: Mapping[str, FoundList], parsed: Sequence[ParsedList], places: dict[str, list[str]]
) -> None:
    """Refuse a clip that stands elsewhere in the benchmark, or too often; ``places`` collects where each stands."""
    for each, content in zip(part.lists, parsed, strict=True):
        for entry in content.entries:
            place = f"{found[each.name].path}, {entry.place}"
            before = places.setdefault(f"{part.dataset} {entry.clip}", [])
            if len(before) > (entry.clip in part.repeated):
                raise UserError(
                    f"{place}: the clip '{entry.clip}' is also in {before[0]}. A clip may be once in a benchmark's "
                    "lists."
                )
            before.append(place)


def _repair_notes(repaired: Mapping[str, int]) -> list[str]:
    return [
        f"{key}: {count} names spelled as their files are, {UCF_AS_ON_DISK}..."
        for key, count in repaired.items()
        if count
    ]


def missing_lists(benchmark: ClipBenchmark, found: Mapping[str, FoundList]) -> list[AuthorsList]:
    """Return the lists of ``benchmark`` that were not found."""
    return [each for name, each in benchmark.lists().items() if name not in found]
