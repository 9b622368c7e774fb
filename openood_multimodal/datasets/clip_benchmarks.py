"""MultiOOD's benchmarks as data: ``benchmark_splits/<name>.yml`` says which of the authors' lists is what.

These files differ from those of tabular benchmarks (`benchmarks`): they hold classes, counts and digests of lists
that do not travel with this package.  ``openood-mm splits import`` makes manifests from the lists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UserError
from ..naming import did_you_mean
from ..vocabulary import CORPORA, FIT_SETS, GROUP_OF_FILE, ID_SETS, SETTINGS
from .benchmark_files import available, check_track, check_words, load_described


@dataclass(frozen=True)
class AuthorsList:
    """One of the authors' files.

    Attributes:
        file: its name; also ``folder/name`` below the repository, where it is published.
        sha256: of its bytes.
        clips: its number of lines or entries.
    """

    file: str
    sha256: str
    clips: int

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.file.rpartition("/")[2]


@dataclass(frozen=True)
class ClipSet:
    """One manifest: the clips of these lists, one list after the other.

    Attributes:
        dataset: whose clips they are, one of `CORPORA`.
        lists: the authors' files, in the order in which their code reads them.
        clips: number of clips.
        recordings: number of recordings that are known by their name.
        sha256: `Manifest.digest` of the imported manifest.
        classes: class → label in the lists, for an OOD set (whose manifest has the label -1 throughout); empty for
            an in-distribution split.
        repeated: clips that are in these lists twice.  Both are kept, the second named ``<clip>.2``.
    """

    dataset: str
    lists: tuple[AuthorsList, ...]
    clips: int
    recordings: int
    sha256: str
    classes: Mapping[str, int] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherList:
    """A list that the authors publish and no benchmark reads; ``file``, ``sha256``, ``clips`` as `AuthorsList`."""

    dataset: str
    file: str
    sha256: str
    clips: int
    about: str


@dataclass(frozen=True)
class PaperDifference:
    """A number that the paper states otherwise than the lists have it."""

    what: str
    paper: int
    lists: int


@dataclass(frozen=True)
class ListSource:
    """Where the lists are published.

    Attributes:
        url: the authors' repository.
        commit: at which the digests were taken.
        licence: terms, as far as they are known.
        citation: what to cite.
    """

    url: str
    commit: str
    licence: str
    citation: str


@dataclass(frozen=True, eq=False)
class ClipBenchmark:
    """One benchmark of clips, as its YAML file states it.

    Attributes:
        name: as in ``benchmark_splits/<name>.yml``.
        version: raised whenever an import would give other manifests.
        track: ``multiood``.
        settings: ``near``, ``far`` or both.
        description: a paragraph for people.
        source: where the lists come from.
        dataset: whose classes are in-distribution.
        modalities: those that all its sets have.
        fit_on: split that the authors fit scores on, ``train`` or ``val``.
        classes: in-distribution class → label, 0, 1, ....
        sets: ``train``, ``val``, ``test``, ``nearood_<set>``, ``farood_<set>`` → its lists.
        other_lists: lists of the same data that no set uses.
        faults: what is known to be wrong in the lists, and what the import makes of it.
        paper_differs: numbers that the paper states otherwise.
        caveats: what a reader of results must know.
        manifest_digests: what a record's manifest digest may be, see ``docs/splits.md``.
        synthetic: never; here so that both kinds of benchmark answer it.
    """

    name: str
    version: int
    track: str
    settings: tuple[str, ...]
    description: str
    source: ListSource
    dataset: str
    modalities: tuple[str, ...]
    fit_on: str
    classes: Mapping[str, int]
    sets: Mapping[str, ClipSet]
    other_lists: tuple[OtherList, ...] = ()
    faults: tuple[str, ...] = ()
    paper_differs: tuple[PaperDifference, ...] = ()
    caveats: tuple[str, ...] = ()
    manifest_digests: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The in-distribution classes, in the order of their labels."""
        return tuple(self.classes)

    def classes_of(self, key: str) -> Mapping[str, int]:
        """Return class → label as the lists of the set ``key`` have it.

        Raises:
            UserError: when there is no such set.
        """
        if key not in self.sets:
            raise UserError(f"benchmark {self.name} has no set '{key}'.{did_you_mean(key, self.sets)}")
        return self.sets[key].classes or self.classes

    def lists(self) -> dict[str, AuthorsList]:
        """Return file name → list, for every list that a set uses, in the order of the sets."""
        return {each.name: each for part in self.sets.values() for each in part.lists}


def available_clip_benchmarks() -> list[str]:
    """Return the names of the packaged benchmarks of clips, sorted."""
    return available("sets")


def load_clip_benchmark(name: str | os.PathLike[str]) -> ClipBenchmark:
    """Return the packaged benchmark ``name``, or that in the YAML file ``name`` (it ends in ``.yml``).

    The same object is returned until the file changes.

    Raises:
        UserError: when there is none, or its YAML is wrong: an unknown or missing key, a value of the wrong kind,
            labels that are not 0, 1, ..., a class that is both in- and out-of-distribution, counts that don't add
            up.
    """
    return load_described(name, ClipBenchmark, "sets", "benchmark of clips", _validate)


def _validate(benchmark: ClipBenchmark, where: str) -> None:
    check_track(where, benchmark.track, benchmark.synthetic)
    check_words(
        where,
        (benchmark.fit_on, FIT_SETS, "fit_on"),
        (benchmark.dataset, CORPORA, "dataset"),
        *((setting, SETTINGS, "settings") for setting in benchmark.settings),
        *((part.dataset, CORPORA, f"sets.{key}.dataset") for key, part in benchmark.sets.items()),
    )
    if list(benchmark.classes.values()) != list(range(len(benchmark.classes))):
        raise UserError(f"{where}: classes must have the labels 0, 1, ..., in this order.")
    if not benchmark.modalities:
        raise UserError(f"{where}: no modality.")
    for key in ID_SETS:
        if key not in benchmark.sets:
            raise UserError(f"{where}: sets has no '{key}'.")
    for key, part in benchmark.sets.items():
        _validate_set(benchmark, key, part, f"{where}: sets.{key}")


def _validate_set(benchmark: ClipBenchmark, key: str, part: ClipSet, where: str) -> None:
    group, _, name = key.partition("_")
    if key not in ID_SETS and (group not in GROUP_OF_FILE or not name):
        raise UserError(f"{where}: a set is train, val, test, nearood_<set>, farood_<set> or oodval_<set>.")
    if key in ID_SETS and (part.classes or part.dataset != benchmark.dataset):
        raise UserError(f"{where}: an in-distribution split has the benchmark's own classes and dataset.")
    if key not in ID_SETS and not part.classes:
        raise UserError(f"{where}: no classes.")
    if part.dataset == benchmark.dataset and (both := set(part.classes) & set(benchmark.classes)):
        raise UserError(f"{where}: class '{min(both)}' is in-distribution as well; choose one.")
    if len(set(part.classes.values())) != len(part.classes):
        raise UserError(f"{where}: two classes have the same label.")
    if sum(each.clips for each in part.lists) != part.clips:
        raise UserError(f"{where}: the lists' clips don't add up to {part.clips}.")
