"""Every artefact below a folder, compared with its checksum, as those that read it do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets.manifest import Manifest
from ..datasets.split_card import FILE_NAME as SPLIT
from ..datasets.split_card import SplitCard
from ..decisions.saved import DECISION_FILE, SavedDecision
from ..embeddings.format import CLIPS, META
from ..embeddings.store import EmbeddingStore
from ..errors import UserError
from ..evaluators.outputs import ID_NAME, SetScores, scores_digest
from ..files import file_sha256, listed
from ..files.npz import read_arrays
from ..files.paths import file_name, resolve_inside
from ..files.seal import check_seal
from ..reporting.leaderboard_files import INDEX, read_index
from ..reporting.records import SUFFIX, read_record
from .card import card_path, read_card
from .state import FILE as STATE
from .state import REMEDY


@dataclass
class Report:
    """What `verify_folder` found.

    Attributes:
        counts: kind of artefact → how many were looked at.
        faults: a message for each that differs, with its file and what to do.
        without: files that have no checksum.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    without: list[Path] = field(default_factory=list)


def verify_folder(folder: Path) -> Report:
    """Compare everything below ``folder`` that this package wrote with its checksum.

    Raises:
        UserError: when there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder to verify.")
    report = Report()
    for pattern, kind, check in _CHECKS:
        for path in listed(folder, pattern, recursive=True):
            try:
                checked = check(path)
                for fault in checked or ():
                    report.faults.append(fault)
            except _NoChecksumError:
                report.without.append(path)
            except _NotOursError:
                continue
            except UserError as error:
                report.faults.append(str(error))
            except OSError as error:
                report.faults.append(f"{path} can't be read: {error.strerror or error}.")
            report.counts[kind] += 1
    return report


class _NoChecksumError(Exception):
    pass


class _NotOursError(Exception):
    pass


def _state(path: Path) -> None:
    if not check_seal(path, REMEDY):
        raise _NoChecksumError


def _checkpoint(path: Path) -> None:
    sealed = check_seal(path, "Copy it again, or train again.")
    card = read_card(path) if card_path(path).is_file() else None
    if card is None and not sealed:
        raise _NoChecksumError


def _store(path: Path) -> None:
    if not (path.parent / CLIPS).is_file():
        raise _NotOursError
    EmbeddingStore.open(path.parent).verify()


def _split(path: Path) -> Iterator[str]:
    for entry in SplitCard.read(path.parent).splits.values():
        try:
            manifest = resolve_inside(path.parent, entry.manifest)
            if Manifest.read(manifest).digest() != entry.sha256:
                yield f"{manifest} is not the manifest of {path}: its SHA-256 differs. Make the split again."
        except UserError as error:
            yield str(error)


def _record(path: Path) -> Iterator[str]:
    record = read_record(path)
    digest = record.digests.get("scores")
    scores = path.parent.parent / "scores"
    if digest is None or not scores.is_dir():
        return  # published, migrated, or a run that keeps no scores
    name = f"{file_name(record.postprocessor, 'postprocessor')}"
    files = [f"{name}/{each}.npz" for each in (ID_NAME, file_name(record.ood_set, "OOD set"))]
    found = [_scores(resolve_inside(scores, each)) for each in files]
    if scores_digest(*found) != digest:
        yield (
            f"{scores / files[0]} or {scores / files[1]} has changed since {path} was written: the SHA-256 of the "
            "scores differs. Test again, or score again."
        )


def _scores(path: Path) -> SetScores:
    return SetScores(**read_arrays(path, SetScores._fields).values)


def _leaderboard(path: Path) -> Iterator[str]:
    for entry in read_index(path.parent).values():
        files: Mapping[str, str] = entry["files"]
        for name, digest in files.items():
            file = resolve_inside(path.parent, name)
            if not file.is_file():
                yield f"{file} is missing, and {path} lists it. Build the leaderboard again."
            elif file_sha256(file) != digest:
                yield f"{file} has changed since it was built (its SHA-256 differs). Build the leaderboard again."


def _decision(path: Path) -> None:
    SavedDecision.read(path)


_CHECKS: tuple[tuple[str, str, Callable[[Path], Iterator[str] | None]], ...] = (
    (META, "stores", _store),
    (STATE, "training states", _state),
    ("*.ckpt", "checkpoints", _checkpoint),
    (f"*{SUFFIX}", "records", _record),
    (SPLIT, "splits", _split),
    (INDEX, "leaderboards", _leaderboard),
    (DECISION_FILE, "decisions", _decision),
)
