"""The split that a record claims: found by its digest; its samples, labels and track held against it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datasets.benchmarks import available_benchmarks, load_benchmark
from ..datasets.manifest import Manifest
from ..datasets.split_card import FILE_NAME, read_split
from ..datasets.tabular import MultimodalTabularDataset
from ..errors import UserError
from ..evaluators.outputs import SetScores
from ..files import listed
from ..files.paths import resolve_inside
from ..reporting.claims import manifests_digest
from ..reporting.records import ResultRecord
from ..reporting.verification import RefusedError
from ..resources import benchmark_splits_dir, read_benchmark
from ..vocabulary import CSID, FIT_SETS, ID_SETS, SETTING_OF

SPLIT = "split"
"""The folder of a run or a submission that holds the manifests of its sets, and a split card."""


class Split(NamedTuple):
    """The manifests of a record's sets.

    Attributes:
        sets: ``train``, ``val``, ``test``, ``ood`` and names of covariate-shifted ID sets → manifest.
        track: of the split card.
    """

    sets: dict[str, Manifest]
    track: str


def find_split(record: ResultRecord, home: Path, remarks: list[str]) -> Split | None:
    """Return the split in ``home``, once its digest is the record's and the packaged benchmark's; None without one.

    Args:
        record: its digest, benchmark, partition, seed, setting and sets are looked at.
        home: the run's folder.
        remarks: gets what could not be checked.

    Raises:
        RefusedError: when it is another split.
        UserError: when a manifest is missing or not valid.
    """
    folder = resolve_inside(home, SPLIT)
    if not (folder / FILE_NAME).is_file():
        return None
    card, manifests, changed = read_split(folder)
    if changed:
        raise RefusedError("split", f"{SPLIT}/{changed[0]}.csv is not the manifest that the split card lists")
    groups = [group for group, setting in SETTING_OF.items() if record.setting in (setting, None)]
    key = next(
        (f"{group}_{record.ood_set}" for group in groups if f"{group}_{record.ood_set}" in manifests), ""
    )
    sets: dict[str, Manifest] = {name: manifests[name] for name in ID_SETS if name in manifests}
    missing = [*({"test"} - sets.keys()), *([] if key else [record.ood_set])]
    missing += [name for name in record.csid if f"{CSID}_{name}" not in manifests]
    if missing:
        raise RefusedError("split", f"the split in {SPLIT}/ has no {record.setting or ''} set '{missing[0]}'")
    sets["ood"] = manifests[key]
    _require(record, _digest(sets), f"the manifests in {SPLIT}/ have")
    if record.track != "own" and record.benchmark in available_benchmarks():
        try:
            cut = _cut_again(record, sets)
        except UserError as error:
            remarks.append(f"the benchmark's own split could not be made again to compare: {error}")
        else:
            where = f"{record.benchmark}, partition {record.partition}, seed {record.seed} has"
            _require(record, _digest(cut), where)
    sets |= {name: manifests[f"{CSID}_{name}"] for name in record.csid}
    return Split(sets, card.track)


def _require(record: ResultRecord, digest: str, whose: str) -> None:
    wanted = record.digests["manifest"] or "none"
    if digest != wanted:
        raise RefusedError(
            "split",
            f"the record's manifest digest is {wanted[:12]}, and {whose} {digest[:12]}: another split",
        )


def _cut_again(record: ResultRecord, sets: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """Return the sets of a packaged benchmark of tables, made from the installed data."""
    if not record.partition.isdecimal():
        raise RefusedError("split", f"{record.benchmark} has no partition '{record.partition}'")
    number = int(record.partition)
    classes = len(load_benchmark(record.benchmark).partition(number).id)
    group = next(each for each, setting in SETTING_OF.items() if setting == record.setting)

    def cut(name: str) -> Manifest:
        request: dict[str, Any] = {
            "benchmark": record.benchmark,
            "partition": number,
            "seed": record.seed or 0,
        }
        request |= {"modalities": list(record.modalities or ()) or None}
        request |= {"split": group, "set": record.ood_set} if name == "ood" else {"split": name}
        return MultimodalTabularDataset(name, request, "", classes).manifest

    return {name: cut(name) for name in sets}


def _digest(sets: Mapping[str, Manifest]) -> str:
    return manifests_digest({name: each.digest() for name, each in sets.items()})


def check_rows(name: str, manifest: Manifest, scores: SetScores, notes: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of a manifest that were scored: all but those that the record's notes name as skipped.

    Args:
        name: of the set, as notes call it.
        manifest: of the set.
        scores: one for each row, in the manifest's order.
        notes: of the record.

    Raises:
        RefusedError: for another number of samples, or other labels.
    """
    skipped: set[str] = set()
    for note in notes:
        match = re.fullmatch(rf"\d+ clips? skipped of {re.escape(name)}: (.*)", note)
        skipped |= set(match[1].split(", ")) if match else set()
    rows = np.flatnonzero([clip not in skipped for clip in manifest.clips])
    if len(scores.label) != len(rows):
        also = f", {len(manifest) - len(rows)} of them skipped, as its notes say" if skipped else ""
        raise RefusedError(
            "counts",
            f"{len(scores.label)} samples of {name} have scores, and the split has {len(manifest)}{also}",
        )
    other = np.flatnonzero(scores.label != manifest.labels[rows])
    if len(other):
        row = rows[other[0]]
        raise RefusedError(
            "labels",
            f"{len(other)} labels of {name} are not the split's, in its order; the first is of "
            f"{manifest.clips[row]}: {scores.label[other[0]]}, not {manifest.labels[row]}",
        )
    return rows


def check_track(record: ResultRecord, split: Split | None) -> None:
    """Hold a record's track against the packaged benchmark, the split card, and the recordings in the manifests.

    Raises:
        RefusedError: when the record is of another track.
    """
    if record.track == "own":
        return
    packaged = next(iter(listed(benchmark_splits_dir(), f"{record.benchmark}.yml")), None)
    claims = {f"the benchmark {record.benchmark}": read_benchmark(packaged).get("track")} if packaged else {}
    claims |= {"the split card": split.track} if split is not None else {}
    for source, track in claims.items():
        if track is not None and track != record.track:
            raise RefusedError("track", f"the record is on track '{record.track}', and {source} on '{track}'")
    if record.track == "grouped" and split is not None:
        known = {name: set(each.groups) for name, each in split.sets.items()}
        for a, b in itertools.product(FIT_SETS, known.keys() - set(FIT_SETS)):
            if shared := sorted(known.get(a, set()) & known[b]):
                example = f"'{shared[0]}', for one" if shared[0] else "that of a clip is not known"
                raise RefusedError(
                    "track",
                    f"the record is on track 'grouped', and recordings are in both {a} and {b}: {example}",
                )
