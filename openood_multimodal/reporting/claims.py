"""Which records may bear the name of a MultiOOD benchmark.

A number "on HMDB51 25/26" is comparable only if it comes from the authors' own split.  So a record that
claims to reproduce one must carry the digest of a manifest that is known to be that split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import text_sha256
from ..resources import benchmark_splits_dir, read_benchmark

if TYPE_CHECKING:
    from .records import ResultRecord

MULTIOOD_BENCHMARKS = (
    "hmdb51_25_26",
    "ucf101_50_51",
    "epic_kitchens_4_4",
    "kinetics600_129_100",
    "far_hmdb51",
    "far_kinetics600",
)
"""The benchmarks of MultiOOD (Dong et al., 2024): four near, two far."""


def manifest_digests(benchmark: str, folder: Path | None = None) -> frozenset[str]:
    """Return the SHA-256 of the manifests that are a MultiOOD benchmark's split, as far as they are known.

    They are listed under ``manifest_digests`` in ``benchmark_splits/<benchmark>.yml``.

    Args:
        benchmark: name; another than `MULTIOOD_BENCHMARKS` has none.
        folder: where the files are; the packaged ones by default.

    Raises:
        UserError: when the benchmark's file is not valid.
    """
    path = (benchmark_splits_dir() if folder is None else folder) / f"{benchmark}.yml"
    return _digests(path) if benchmark in MULTIOOD_BENCHMARKS and path.is_file() else frozenset()


def known_manifest_digests(folder: Path | None = None) -> dict[str, frozenset[str]]:
    """Return every MultiOOD benchmark → its `manifest_digests`; reads all their files."""
    return {benchmark: manifest_digests(benchmark, folder) for benchmark in MULTIOOD_BENCHMARKS}


def on_the_authors_lists(record: ResultRecord, benchmark: str) -> bool:
    """Tell whether a record is of the authors' lists: by its track or, of a checkpoint without a card, its digest."""
    if record.benchmark != benchmark:
        return False
    known = manifest_digests(benchmark)
    return record.track == "multiood" or (record.track == "own" and record.digests.get("manifest") in known)


def manifests_digest(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of a split, as ``manifest_digests`` lists it.

    Args:
        digests: ``train``, ``val``, ``test`` and ``ood`` → digest of the set's manifest.
    """
    return text_sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)))


def _digests(path: Path) -> frozenset[str]:
    content = read_benchmark(path)
    digests = (content.get("manifest_digests") or []) if isinstance(content, dict) else None
    if not isinstance(digests, list) or not all(isinstance(each, str) for each in digests):
        raise UserError(f"{path}: manifest_digests must be a list of SHA-256 digests.")
    return frozenset(digests)


def check_multiood_claim(record: Mapping[str, Any], where: str = "record") -> None:
    """Refuse a reproduced record that names a MultiOOD benchmark, or its track, without being entitled to.

    Track ``own`` claims nothing about clips, so its records may name any benchmark; they are never ranked with others.

    Args:
        record: a record's JSON object, already valid.
        where: file of the record, for the message.

    Raises:
        UserError: with the reason.
    """
    benchmark, track = record["benchmark"], record["track"]
    if record["source"] == "published" or track == "own":
        return
    if benchmark not in MULTIOOD_BENCHMARKS and track != "multiood":
        return
    if benchmark not in MULTIOOD_BENCHMARKS:
        raise UserError(
            f"{where}: track 'multiood' is for MultiOOD's own benchmarks ({', '.join(MULTIOOD_BENCHMARKS)}), "
            f"and '{benchmark}' is none of them; use track 'grouped', 'demo' or 'own'."
        )
    digests = manifest_digests(benchmark)
    if not digests:
        raise UserError(
            f"{where}: a reproduced record can't name the benchmark '{benchmark}' yet: no digest of its "
            f"manifests is known (key manifest_digests in benchmark_splits/{benchmark}.yml), so nothing "
            "shows that the authors' lists were used. Name the benchmark otherwise, or use track 'own'."
        )
    manifest = record["digests"]["manifest"]
    if manifest not in digests:
        raise UserError(
            f"{where}: the record names the benchmark '{benchmark}', but its manifest digest "
            f"({manifest or 'absent'}) is not one of that benchmark's. Score the authors' lists unchanged, "
            "name the benchmark otherwise, or use track 'own'."
        )
