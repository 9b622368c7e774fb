"""A submission to a leaderboard: records, what derives them again, and ``SHA256SUMS`` of every file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..evaluators.outputs import ID_NAME
from ..files import file_sha256, listed, read_yaml
from ..files.atomic import write_text
from ..files.folders import writing_together
from ..files.limits import check_size
from ..files.paths import file_name, resolve_inside
from ..files.text import read_text
from ..reporting.records import SUFFIX, ResultRecord
from ..reporting.verification import Verified
from .verify_results import verify_record
from .verify_split import SPLIT

SUMS = "SHA256SUMS"
"""The list of a submission's files, as ``sha256sum --check`` reads it."""

_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\\\x00-\x1f]+)")


def submit(
    run: str | os.PathLike[str], out: str | os.PathLike[str], embeddings: bool = False
) -> list[Verified]:
    """Write a submission of all records below ``run``, once none is refused; return what is known of each.

    Args:
        run: the folder of a test, of ``score --out``, or of several.
        out: a new folder, or an empty one.
        embeddings: whether to add embedding stores and head, from which the scores can be computed again.

    Raises:
        UserError: when ``out`` holds files, there is no record, one is contradicted by what is beside it, or the
            embeddings that are asked for were not kept.
    """
    source, target = Path(run), Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder; name a new one for the submission.")
    found = verify_folder(source, embeddings)
    if refused := next((each for each in found if each.reason), None):
        raise UserError(f"{refused.path} can't be submitted ({refused.reason}): {refused.message}.")
    files: dict[str, Path] = {}
    for each in found:
        assert each.record is not None
        files |= {
            path.relative_to(source).as_posix(): origin
            for path, origin in _files(each.path, each.record, embeddings)
        }
    with writing_together(target, last=SUMS) as stage:
        lines = []
        for name, origin in sorted(files.items()):
            copy = resolve_inside(stage.path, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, copy)
            lines.append(f"{file_sha256(copy)}  {name}\n")
        write_text(stage.path / SUMS, "".join(lines))
    return found


def _files(path: Path, record: ResultRecord, embeddings: bool) -> Iterator[tuple[Path, Path]]:
    """Yield the files of one result: where they would be in the run's folder, and where they are."""
    home = path.parent.parent if path.parent.name == "records" else path.parent
    scores = home / "scores" / file_name(record.postprocessor, "postprocessor")
    kept = [path, home / "config.yml", *listed(home / SPLIT)]
    kept += [scores / f"{file_name(name, 'set')}.npz" for name in (ID_NAME, record.ood_set, *record.csid)]
    yield from ((each, each) for each in kept if each.is_file())
    if not embeddings:
        return
    folder = home / "embeddings"
    config = home / "config.yml"
    if not folder.is_dir() and config.is_file():  # tests that share embeddings name their folder
        folder = Path((read_yaml(config, "a run's config").get("recorder") or {}).get("embeddings") or folder)
    if not (folder / "head.npz").is_file():
        raise UserError(
            f"{home} kept no embeddings (recorder.save_embeddings); test again with them, or submit without."
        )
    stores = [folder / name for name in ("train", "val", "test", file_name(record.ood_set, "OOD set"))]
    for each in (folder / "head.npz", *(file for store in stores for file in listed(store))):
        yield home / "embeddings" / each.relative_to(folder), each


def verify_folder(folder: str | os.PathLike[str], embeddings: bool = True) -> list[Verified]:
    """Derive every result below ``folder`` again, and compare the files of submissions with their ``SHA256SUMS``.

    Args:
        folder: a submission, a run's folder, or one that holds such folders.
        embeddings: as in `verify_record`.

    Raises:
        UserError: when there is no such folder, or no record below it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder to verify.")
    found = [each for path in listed(root, SUMS, recursive=True) for each in _check_files(path)]
    records = listed(root, f"*{SUFFIX}", recursive=True)
    if not records and not found:
        raise UserError(f"{root}: there is no *{SUFFIX} below it, so nothing could be verified.")
    unsafe = {each.path for each in found if each.reason == "unsafe"}
    return found + [verify_record(path, embeddings=embeddings) for path in records if path not in unsafe]


def _check_files(sums: Path) -> Iterator[Verified]:
    """Yield the files of a submission that are links, too large, changed, missing or not listed."""
    root = sums.parent

    def refused(reason: str, name: str, message: str) -> Verified:
        return Verified(root / name, None, "self-reported", reason, message)

    there = {}
    for path in listed(root, recursive=True):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield refused("unsafe", name, "it is a symbolic link; a submission has plain files only")
        elif not path.is_dir():
            there[name] = path
    unlisted = there.keys() - {SUMS}
    try:
        lines = read_text(sums, "list_bytes", "a list of files").splitlines()
    except UserError as error:
        yield refused("files", SUMS, str(error))
        return
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            yield refused("files", SUMS, f"line {number} is not a SHA-256 and a file's name")
            continue
        digest, name = match.groups()
        try:
            resolve_inside(root, name)
            unlisted -= {name}
            if name not in there:
                yield refused("files", SUMS, f"{name} is listed and missing")
            elif check_size(there[name], "submission_bytes") and file_sha256(there[name]) != digest:
                yield refused("files", name, f"it has changed since {SUMS} was written: its SHA-256 differs")
        except UserError as error:
            yield refused("unsafe", SUMS, str(error))
    for name in sorted(unlisted):
        yield refused("files", name, f"{SUMS} does not list it")
