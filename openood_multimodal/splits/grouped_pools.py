"""Where the clips of a generated split come from: the authors' lists, imported manifests, or clips on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..corpora.lists import find_lists, import_benchmark
from ..corpora.recordings import original_name
from ..datasets.clip_benchmarks import ClipBenchmark, load_clip_benchmark
from ..datasets.manifest import Manifest
from ..datasets.split_card import FILE_NAME, SplitCard, read_split
from ..errors import UserError
from ..registry import CLIP_LAYOUTS
from ..vocabulary import CSID, FAR, ID_SETS
from .grouped_splits import Pool, join, relabel


def pool_from(paths: Sequence[Path], benchmark: str | None, accept_changed: bool = False) -> Pool:
    """Return the clips at ``paths``.

    Args:
        paths: one folder with a split card (or, with the benchmark's name, the folder above it); manifests (CSV
            files); or a checkout of MultiOOD, a folder of its lists.
        benchmark: whose classes are in-distribution and whose sets are out of it.  None for those of the card; for
            manifests without a card, all their classes are in-distribution.
        accept_changed: take lists that are not the authors'; see `corpora.lists.import_benchmark`.

    Raises:
        UserError: when a path is missing or of no such kind, or the benchmark can't be told.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no file or folder {path}.")
    if all(path.is_file() for path in paths):
        return _of_manifests(paths, benchmark)
    first = paths[0]
    for folder in (first, first / str(benchmark)):
        if len(paths) == 1 and (folder / FILE_NAME).is_file():
            return _of_card(folder, benchmark)
    if len(paths) > 1 and any((path / FILE_NAME).is_file() or path.is_file() for path in paths):
        raise UserError(
            f"{', '.join(map(str, paths))}: name one folder with a {FILE_NAME}, or manifests alone, or folders with "
            "MultiOOD's lists."
        )
    if benchmark is None:
        raise UserError(
            f"{first} has no {FILE_NAME}; name the benchmark whose lists are to be read: benchmark=."
        )
    found_benchmark = load_clip_benchmark(benchmark)
    found = find_lists(paths, found_benchmark.lists().values())
    imported = import_benchmark(found_benchmark, found, accept_changed)
    return _pool(found_benchmark.name, imported.manifests, imported.card)


def of_domain(
    pool: Pool, domain: str, far: Mapping[str, Manifest] | None = None, own_recordings: bool = False
) -> Pool:
    """Return the pool with one domain's clips in-distribution, and each other domain's as a covariate-shifted ID set.

    A clip's domain is the first folder of its name, as in HAC's ``cartoon/eating_1.mp4``.  A clip that is there twice
    with one class is kept once.

    Args:
        pool: clips of all domains.
        domain: the one to train on.
        far: name → clips of other datasets, as far-OOD sets.
        own_recordings: let each in-distribution clip whose recording is unknown count as a recording of its own.

    Raises:
        UserError: when there is no such domain, or no other one; when no clip's recording is known.
    """
    seen: set[tuple[str, str]] = set()
    rows: dict[str, list[int]] = {}
    for row, (clip, name) in enumerate(zip(pool.clips.clips, pool.clips.class_names, strict=True)):
        if (key := (original_name(clip), name)) not in seen:
            seen.add(key)
            rows.setdefault(clip.partition("/")[0], []).append(row)
    if domain not in rows or len(rows) < 2:
        raise UserError(
            f"{pool.name} has clips of {', '.join(sorted(rows))} (the first folder of their names); domain= names one "
            f"of two or more such folders, got '{domain}'."
        )
    clips = pool.clips.take(rows[domain])
    name, notes = f"{pool.name}_{domain}", list(pool.notes)
    if twice := len(pool.clips) - len(seen):
        notes.append(f"{twice} clips are in the lists twice; each is kept once")
    unknown = clips.groups.count("")
    if unknown == len(clips) and not own_recordings:
        raise UserError(
            f"{name}: the recording of no clip is known, so they can't be kept apart; own_recordings=True counts each "
            "clip as a recording of its own."
        )
    if own_recordings and unknown:
        names = (group or clip for group, clip in zip(clips.groups, clips.clips, strict=True))
        clips, name = replace(clips, groups=tuple(names)), f"{name}_own"
        notes.append(
            f"the recording of {unknown} in-distribution clips is unknown: each counts as one of its own, so clips of "
            "one recording may be on two sides"
        )
    sets = {f"{CSID}_{each}": pool.clips.take(rows[each]) for each in sorted(rows) if each != domain}
    sets |= {f"{FAR}_{each}": relabel(manifest, {}) for each, manifest in (far or {}).items()}
    return replace(pool, name=name, clips=clips, ood={**pool.ood, **sets}, notes=tuple(notes))


def _of_card(folder: Path, benchmark: str | None) -> Pool:
    card, manifests, changed = read_split(folder)
    if benchmark is not None and card.benchmark != benchmark:
        raise UserError(f"{folder} is the benchmark {card.benchmark}, not {benchmark}.")
    if card.synthetic:
        raise UserError(f"{folder} holds synthetic clips, whose splits belong to the track 'demo'.")
    pool = _pool(card.benchmark or folder.name, manifests, card)
    if changed:
        notes = (*pool.notes, f"changed since its card was written: {', '.join(changed)}")
        pool = Pool(pool.name, pool.clips, pool.class_names, pool.ood, True, notes)
    return pool


def _pool(name: str, manifests: Mapping[str, Manifest], card: SplitCard) -> Pool:
    parts = dict(manifests)
    for key in ID_SETS:
        if key not in parts:
            raise UserError(f"{name} has no manifest '{key}'.")
    clips = join([parts[key] for key in ID_SETS], name)
    ood = {key: each for key, each in parts.items() if key not in ID_SETS}
    notes = tuple(note for note in card.notes if note.startswith(("lists of", "not ")))
    return Pool(name, clips, tuple(card.class_names), ood, card.modified, notes)


def _of_manifests(paths: Sequence[Path], benchmark: str | None) -> Pool:
    # each file numbers its classes by itself, so that two of them may contradict each other
    manifests = [relabel(Manifest.read(path), {}) for path in paths]
    if benchmark is None:
        clips = join(manifests, ", ".join(map(str, paths)))
        names = tuple(sorted(set(clips.class_names)))
        name = paths[0].stem.removesuffix("_all").removeprefix("farood_").removeprefix("nearood_")
        labels = {each: number for number, each in enumerate(names)}
        note = f"clips of {', '.join(path.name for path in paths)}; all their classes are in-distribution"
        return Pool(name, relabel(clips, labels), names, {}, False, (note,))
    return _of_benchmark(manifests, load_clip_benchmark(benchmark))


def _of_benchmark(manifests: Sequence[Manifest], benchmark: ClipBenchmark) -> Pool:
    """Return the rows that are the benchmark's, by dataset and class."""
    clips = _rows_of(manifests, benchmark.dataset, benchmark.classes)
    if clips is None:
        raise UserError(
            f"the manifests have no clip of the classes of {benchmark.name} ({benchmark.dataset})."
        )
    notes = []
    sets = {}
    for key, part in benchmark.sets.items():
        if key in ID_SETS:
            continue
        found = _rows_of(manifests, part.dataset, part.classes)
        if found is None:
            notes.append(f"{key}: no clips, so the split has no such set")
        else:
            sets[key] = relabel(found, {})
    expected = sum(benchmark.sets[key].clips for key in ID_SETS)
    counts = {"in-distribution": (len(clips), expected)}
    counts |= {key: (len(each), benchmark.sets[key].clips) for key, each in sets.items()}
    differing = {key: pair for key, pair in counts.items() if pair[0] != pair[1]}
    notes += [
        f"{key}: {there} clips on disk, {listed} in the authors' lists"
        for key, (there, listed) in differing.items()
    ]
    missing = set(benchmark.classes) - set(clips.class_names)
    notes += [f"class '{name}': no clips" for name in sorted(missing)]
    labelled = relabel(clips, benchmark.classes)
    return Pool(benchmark.name, labelled, benchmark.class_names, sets, bool(notes), tuple(notes))


def _rows_of(manifests: Sequence[Manifest], dataset: str, classes: Iterable[str]) -> Manifest | None:
    """Return the clips of a dataset that are of these classes; None where there are none."""
    layout, names = CLIP_LAYOUTS[dataset], set(classes)
    parts = []
    for manifest in manifests:
        rows = [
            row
            for row, (clip, name) in enumerate(zip(manifest.clips, manifest.class_names, strict=True))
            if name in names and layout.words(original_name(clip)) is not None
        ]
        if rows:
            parts.append(manifest.take(rows))
    return join(parts) if parts else None
