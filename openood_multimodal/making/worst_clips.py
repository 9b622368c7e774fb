"""Contact sheets of the clips that an inspection lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..decisions.inspection import Inspection
from ..decisions.inspection_report import SHEETS, Sheets
from ..errors import ArgumentError, UserError
from ..progress import progress_bar
from .show import file_stem, show_clip


def draw_worst(
    found: Inspection,
    folder: Path,
    most: int = 3,
    root: str | os.PathLike[str] = "",
    quiet: bool = True,
) -> Sheets:
    """Draw contact sheets of the clips that most scores decide wrongly, and of likely label errors.

    Args:
        found: with the manifests that hold the clips.
        folder: of the page; sheets go into ``sheets/``.
        most: clips of each set and of each of the two kinds.
        root: the data folder; empty for the run's, or the manifest's own.
        quiet: show no progress.

    Returns:
        The sheets, and a note where some can't be drawn.

    Raises:
        UserError: for fewer than one clip.
    """
    if isinstance(most, bool) or most < 1:
        raise ArgumentError("sheets", f"must be a number of clips, got {most}.")
    wanted = list(dict.fromkeys(_wanted(found, most)))
    if not wanted:
        return Sheets({})
    unknown = [each for each in wanted if each[0] not in found.files]
    notes = []
    if unknown:
        sets = ", ".join(dict.fromkeys(dataset for dataset, _ in unknown))
        notes.append(
            f"No contact sheets of clips of {sets}: nothing says where their files are; give the manifests, and the "
            "clips' folder. openood-mm show CLIP --manifest FILE.csv --root DIR draws one."
        )
    drawn: dict[tuple[str, str], str] = {}
    failed: list[str] = []
    known = [each for each in wanted if found.files.get(each[0], ("", ""))[0]]
    for dataset, clip in progress_bar(known, desc="Sheets", unit="clip", leave=False, quiet=quiet):
        manifest, own_root = found.files[dataset]
        place = Path(root or own_root or Path(manifest).parent)
        if not place.is_dir():
            failed.append(f"there is no folder {place}; name the clips' folder.")
            continue
        name = f"{SHEETS}/{file_stem(f'{dataset}-{clip}')}.png"
        try:
            show_clip(clip, folder / name, manifests=[manifest], root=place, config=found.config)
        except UserError as error:
            failed.append(str(error))
        else:
            drawn[dataset, clip] = name
    if failed:
        notes.append(f"No contact sheets of {len(failed)} of {len(known)} clips: {failed[0]}")
    return Sheets(drawn, notes)


def _wanted(found: Inspection, most: int) -> Iterator[tuple[str, str]]:
    """Yield (set, clip) of the first ``most`` clips of each set."""
    for table in ("hardest", "label_errors"):
        seen: dict[str, int] = {}
        for row in found.tables.get(table, ()):
            seen[row["dataset"]] = seen.get(row["dataset"], 0) + 1
            if row["clip"] and seen[row["dataset"]] <= most:
                yield row["dataset"], row["clip"]
