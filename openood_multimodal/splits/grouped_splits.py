"""Clips → manifests and card of a split with no recording on two sides (`grouped` decides who goes where).

The sides are ``train``, ``val``, and what is evaluated: ``test`` with the OOD sets.  An OOD clip whose recording is in
``train`` or ``val`` is left out; test and OOD clips may share a recording, which makes their task no easier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..datasets.manifest import OOD_LABEL, Manifest
from ..datasets.split_card import SplitCard, entry_of, write_split
from ..errors import UserError
from ..vocabulary import ID_SETS
from .grouped import ALGORITHM_VERSION, ClassBalance, Shares, assign, balance_of
from .time_blocks import TimeBlocks


@dataclass(frozen=True)
class Pool:
    """Clips to split.

    Attributes:
        name: the benchmark, or whatever the clips are called.
        clips: those of in-distribution classes, with their labels.
        class_names: by label.
        ood: ``nearood_<set>``, ``farood_<set>`` or ``csid_<set>`` (covariate-shifted ID, with labels) → its clips.
        modified: the clips are not all of the benchmark's, or others.
        notes: what the card shall say of where they come from.
    """

    name: str
    clips: Manifest
    class_names: tuple[str, ...]
    ood: Mapping[str, Manifest]
    modified: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GroupedSplit:
    """A split with no recording on two sides.

    Attributes:
        manifests: ``train``, ``val``, ``test``, then the OOD sets.
        card: what ``split.json`` says of them.
        balance: what became of each class.
        dropped: manifest → clips of the pool that it could not take; for ID clips under ``train``.
        seed: of the split.
    """

    manifests: Mapping[str, Manifest]
    card: SplitCard
    balance: tuple[ClassBalance, ...]
    dropped: Mapping[str, int]
    seed: int

    @property
    def folder_name(self) -> str:
        """The card's benchmark, with ``_seed<S>`` unless S is 0."""
        return f"{self.card.benchmark}_seed{self.seed}" if self.seed else str(self.card.benchmark)

    def write(self, out: Path) -> Path:
        """Write manifests and card into ``out/<folder_name>/`` (`write_split`); return that folder."""
        folder = out / self.folder_name
        write_split(folder, self.manifests, self.card)
        return folder


def make_grouped(
    pool: Pool, shares: Shares | None = None, seed: int = 0, blocks: TimeBlocks | None = None
) -> GroupedSplit:
    """Return the pool's split.

    Args:
        pool: the clips.
        shares: default 70, 15, 15 per cent.
        seed: of the order in which recordings are placed.
        blocks: cut recordings by time, and place the blocks; without it, recordings are placed whole.

    Raises:
        UserError: as `grouped.assign`, and when every clip's recording is unknown or an OOD set is left empty.
    """
    shares = shares or Shares()
    known = pool.clips.take([row for row, name in enumerate(pool.clips.groups) if name])
    unknown = len(pool.clips) - len(known)
    if not len(known):
        raise UserError(f"{pool.name}: the recording of no clip is known, so they can't be kept apart.")
    units = blocks.units(known) if blocks else list(known.groups)
    ood_clips: Counter[str] = Counter()
    for manifest in pool.ood.values():
        ood_clips.update(_units_of_ood(manifest, units, blocks))
    sides = assign(units, known.class_names, shares, seed, ood_clips)
    own = [sides[unit] for unit in units]
    if blocks:
        sides |= {unit: "test" for unit in ood_clips if unit not in sides}  # blocks that hold OOD clips alone
        clear = np.flatnonzero(blocks.clear_of(known, own, sides)).tolist()
        known, units, own = known.take(clear), [units[i] for i in clear], [own[i] for i in clear]
    manifests = {side: known.take([row for row, each in enumerate(own) if each == side]) for side in ID_SETS}
    dropped = {"train": len(pool.clips) - len(known)}
    for key, manifest in pool.ood.items():
        kept = _evaluable(manifest, sides, blocks)
        if not kept:
            raise UserError(
                f"{pool.name}: every clip of {key} is from a recording in train or val; try another seed=, or "
                "a larger share for test=."
            )
        manifests[key] = manifest.take(kept)
        dropped[key] = len(manifest) - len(kept)
    balance = tuple(balance_of(units, known.class_names, sides, shares))
    notes = [
        *pool.notes,
        f"generated: algorithm {ALGORITHM_VERSION}, seed {seed}, shares {shares.train}/{shares.val}/{shares.test} %",
        _unit_note(blocks),
        *_notes(pool, dropped, unknown, balance, manifests, blocks is not None),
    ]
    card = SplitCard(
        benchmark=grouped_name(pool.name, shares, blocks),
        benchmark_version=ALGORITHM_VERSION,
        track="grouped",
        class_names=list(pool.class_names),
        splits={key: entry_of(manifest, f"{key}.csv") for key, manifest in manifests.items()},
        modified=pool.modified,
        seed=seed,
        notes=notes,
    )
    return GroupedSplit(manifests, card, balance, dropped, seed)


def grouped_name(name: str, shares: Shares, blocks: TimeBlocks | None) -> str:
    """Return ``<name>_grouped``, with what isn't the default: results of different splits never share a name."""
    cut = f"_blocks{blocks.seconds:g}_gap{blocks.gap:g}" if blocks else ""
    sizes = "" if shares == Shares() else f"_{shares.train}_{shares.val}_{shares.test}"
    return f"{name}_grouped{cut}{sizes}"


def join(manifests: Sequence[Manifest], source: str = "") -> Manifest:
    """Return the rows of all, one manifest after the other, with the modalities that all of them have.

    Raises:
        UserError: when a clip is in two of them, or they share no modality.
    """
    common = [name for name in manifests[0].modalities if all(name in each.files for each in manifests)]
    if not common:
        raise UserError(f"{source or 'the manifests'}: there is no modality that all manifests have.")
    return Manifest.create(
        clips=_chain(each.clips for each in manifests),
        labels=np.concatenate([each.labels for each in manifests]),
        class_names=_chain(each.class_names for each in manifests),
        files={name: _chain(each.files[name] for each in manifests) for name in common},
        groups=_chain(each.groups for each in manifests),
        starts=np.concatenate([each.starts for each in manifests]),
        stops=np.concatenate([each.stops for each in manifests]),
        source=source,
    )


def relabel(manifest: Manifest, labels: Mapping[str, int]) -> Manifest:
    """Return the manifest with each class's label from ``labels``, -1 for the others."""
    new = np.array([labels.get(name, OOD_LABEL) for name in manifest.class_names], dtype=np.int64)
    relabelled = replace(manifest, labels=new)
    relabelled.validate()
    return relabelled


def _chain(columns: Iterable[Sequence[str]]) -> list[str]:
    return [cell for column in columns for cell in column]


def _units_of_ood(manifest: Manifest, known: Sequence[str], blocks: TimeBlocks | None) -> list[str]:
    recordings = {unit.rpartition("@")[0] for unit in known} if blocks else set(known)
    rows = [row for row, name in enumerate(manifest.groups) if name in recordings]
    part = manifest.take(rows)
    return blocks.units(part) if blocks else list(part.groups)


def _evaluable(manifest: Manifest, sides: Mapping[str, str], blocks: TimeBlocks | None) -> list[int]:
    """Return the rows of an OOD set whose recording (or block of it) neither trains nor validates."""
    if blocks is None:
        return [row for row, name in enumerate(manifest.groups) if sides.get(name, "test") == "test"]
    recordings = {unit.rpartition("@")[0] for unit in sides}
    shared = [row for row, name in enumerate(manifest.groups) if name in recordings]
    part = manifest.take(shared)
    clear = blocks.clear_of(part, ["test"] * len(part), sides)
    lost = {row for row, ok in zip(shared, clear.tolist(), strict=True) if not ok}
    return [row for row in range(len(manifest)) if row not in lost]


def _unit_note(blocks: TimeBlocks | None) -> str:
    if blocks is None:
        return "no recording is on two of the sides train, val, and test with the OOD sets"
    return (
        f"recordings are cut into blocks of {blocks.seconds:g} s: clips of different sides may be of one recording, "
        f"and are then at least {blocks.gap:g} s apart"
    )


def _notes(
    pool: Pool,
    dropped: Mapping[str, int],
    unknown: int,
    balance: Sequence[ClassBalance],
    manifests: Mapping[str, Manifest],
    in_blocks: bool,
) -> list[str]:
    found = []
    if unknown:
        found.append(f"{unknown} clips whose recording is unknown are left out: no side would be safe")
    if cut := dropped["train"] - unknown:
        found.append(f"{cut} clips too close to a cut between two sides are left out")
    for key, count in dropped.items():
        if key in pool.ood and count:
            where = "in, or too close to, blocks" if in_blocks else "of recordings"
            found.append(
                f"{key}: {count} of {len(pool.ood[key])} clips are {where} in train or val and are left out"
            )
    tested = set(manifests["test"].groups)
    for key in pool.ood:
        shared = sum(name in tested for name in manifests[key].groups)
        if shared:
            found.append(f"{key}: {shared} clips share a recording with test clips")
        if no_recording := manifests[key].groups.count(""):
            found.append(f"{key}: the recording of {no_recording} clips is unknown")
        gone = len(pool.ood[key].class_counts()) - len(manifests[key].class_counts())
        if gone:
            found.append(f"{key}: classes without a clip left: {gone}")
    for each in balance:
        if each.missing:
            found.append(
                f"class '{each.class_name}' can't be split: its {each.clips} clips are of {each.recordings} "
                f"recording(s), so it has none in {' and '.join(each.missing)}"
            )
        elif not each.within:
            found.append(
                f"class '{each.class_name}' is {each.deviation:.1f} clips off its share (bound {each.bound:g}): "
                + ", ".join(f"{side} {each.sides[side]}" for side in ID_SETS)
            )
    return found
