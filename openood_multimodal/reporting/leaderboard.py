"""Leaderboards: ranked tables of every benchmark, a pure function of result records.

The same records give the same bytes, whatever their order and folders; nothing depends on the day.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import MissingPackageError, UserError
from ..files import atomic, holding, listed, text_sha256
from ..naming import did_you_mean
from ..resources import benchmark_splits_dir, read_benchmark
from ..version import __version__
from ..vocabulary import APART, AVERAGE, BOARD_METRICS, METRICS, PAPER_METRICS, TIERS
from .aggregate import METHOD, content_of, method_of
from .leaderboard_files import check_names, read_index, remove_leftovers, write_files
from .leaderboard_markdown import markdown
from .leaderboard_rows import Row, decimals, digits_of, rows_of
from .page import PAGE, page
from .published import published_records
from .records import ResultRecord, read_records
from .schema import OPTIONAL

SYNTHETIC = "synthetic data"
"""The note that bars a record from leaderboards."""


_METRICS = (*PAPER_METRICS, *(name for name in METRICS if name not in PAPER_METRICS))
_FIRST = ("benchmark", "track", "setting", "id_set", "ood_set")
COLUMNS = (
    *_FIRST,
    *(name for name in METHOD if name not in (*_FIRST, *APART)),
    *("rank", "rank_all", "average_rank"),
    *(column for name in _METRICS for column in (name, f"{name}_std")),
    *("std_over", "n_partitions", "n_seeds", "n_runs"),
    *("AUROC_ci_low", "AUROC_ci_high", "FPR@95_ci_low", "FPR@95_ci_high"),
    *("n_id", "n_ood", "split", "tier", "notes"),
)
"""Columns of a leaderboard's CSV, percent; those of `APART` that any row has follow the OOD set, those of `MORE` the
other metrics."""

MORE = tuple(name for name in BOARD_METRICS if name not in METRICS)
"""Metrics of failure detection and calibration, columns where any row has them."""


class Collected(NamedTuple):
    """Records for leaderboards, each result once.

    Attributes:
        records: sorted by content.
        synthetic: how many were left out because their data is generated.
        tiers: `aggregate.content_of` a record → its tier, of those that were verified.
    """

    records: list[ResultRecord]
    synthetic: int
    tiers: dict[str, str]


TierOf = Callable[[Path, ResultRecord], str]
"""The file of a record and the record → its tier; raises `UserError` for a record that its scores contradict."""


@dataclass(frozen=True)
class Board:
    """One benchmark's leaderboard.

    Attributes:
        name: of the benchmark.
        rows: ranked.
        incomplete: a line for each method that has no average over OOD sets.
        counts: source → records.
        digest: SHA-256 of the records, their dates and package versions apart.
        records: what it was made of.
    """

    name: str
    rows: list[Row]
    incomplete: list[str]
    counts: Mapping[str, int]
    digest: str
    records: Sequence[ResultRecord]

    def cells(self) -> list[dict[str, str]]:
        """Return each row's `COLUMNS`, `APART` and `MORE`, as text."""
        return [_cells(self.name, row) for row in self.rows]

    def csv(self) -> str:
        """Return the table of `COLUMNS`."""
        apart = [name for name in APART if any(row.values[name] for row in self.rows)]
        after = COLUMNS.index("std_over")
        columns = (*_FIRST, *apart, *COLUMNS[len(_FIRST) : after], *self._more(), *COLUMNS[after:])
        return atomic.csv_text(columns, ({name: each[name] for name in columns} for each in self.cells()))

    def _more(self) -> list[str]:
        present = [name for name in MORE if any(name in row.means for row in self.rows)]
        return [column for name in present for column in (name, f"{name}_std")]

    def markdown(self) -> str:
        """Return the page."""
        return markdown(self.name, self.rows, self.incomplete)

    def files(self) -> dict[str, str]:
        """Return file name → content; what a file system may not take in a name is written as %XX."""
        stem = quote(self.name, safe=" +()")
        stem = f"%2E{stem[1:]}" if stem.startswith(".") else stem
        return {f"{stem}.csv": self.csv(), f"{stem}.md": self.markdown()}

    def entry(self) -> dict[str, Any]:
        """Return the board's entry in the index."""
        return {
            "files": {name: text_sha256(text) for name, text in self.files().items()},
            "rows": len(self.rows),
            "records": dict(sorted(self.counts.items())),
            "tiers": dict(sorted(Counter(row.tier for row in self.rows).items())),
            "records_sha256": self.digest,
            "package_version": __version__,
        }


def collect(
    folders: Iterable[str | os.PathLike[str]],
    published: bool = True,
    synthetic: bool = False,
    tier_of: TierOf | None = None,
) -> Collected:
    """Read every ``*.record.json`` below ``folders``, and the published results.

    A result that is there twice counts once.  Records of generated data are left out, unless ``synthetic``.

    Args:
        folders: with records, at any depth.
        published: whether the published results count.
        synthetic: whether records of generated data count.
        tier_of: derives the tier of a record (`pipelines.verify_results`); None: records are self-reported.

    Raises:
        UserError: naming the file, for a folder without records or a record that is not valid; naming both
            files, for two that disagree about one result; as ``tier_of``.
    """
    tiers: dict[str, str] = {}
    found = [(f"published result {each.run_id}", each) for each in published_records()] if published else []
    for folder in folders:
        records = read_records(folder)
        if not records:
            reason = (
                "there is no *.record.json below it" if Path(folder).is_dir() else "there is no such folder"
            )
            raise UserError(f"{folder}: {reason}.")
        for path, record in records:
            if record.ood_set == AVERAGE and record.source != "published":
                raise UserError(
                    f"{path}: field 'ood_set' may not be '{AVERAGE}', which names the mean over sets."
                )
            found.append((str(path), record))
            if tier_of is not None and record.source != "published":
                content = content_of(record)
                tiers[content] = max(tiers.get(content, TIERS[0]), tier_of(path, record), key=TIERS.index)
    generated = _generated({record.benchmark for _, record in found if record.source != "published"})
    made = [r for _, r in found if SYNTHETIC in r.notes or r.benchmark in generated] if not synthetic else []
    kept = [(where, r) for where, r in found if not any(r is each for each in made)]
    return Collected(_each_once(kept), len({content_of(record) for record in made}), tiers)


def _generated(benchmarks: Collection[str]) -> set[str]:
    """Return those of ``benchmarks`` that the package describes, and whose data is generated."""
    paths = [path for path in listed(benchmark_splits_dir(), "*.yml") if path.stem in benchmarks]
    contents = {path.stem: read_benchmark(path) for path in paths}
    return {
        name for name, content in contents.items() if isinstance(content, dict) and content.get("synthetic")
    }


def _each_once(found: Sequence[tuple[str, ResultRecord]]) -> list[ResultRecord]:
    """Return the records sorted by content, without those that say again what another says.

    Two runs of one seed, partition and row are the same network tested again if their figures agree; else they
    were trained differently in something that records don't hold, and their mean would be of nothing.
    """
    by_run: dict[tuple[Any, ...], tuple[str, str, ResultRecord]] = {}
    for where, record in found:
        name = (record.source, record.run_id, record.setting, record.file_name)
        content = content_of(record)
        there = by_run.setdefault(name, (content, where, record))
        if there[0] != content and not _agree(there[2], record):
            raise UserError(
                f"{there[1]} and {where} disagree about one result (run {record.run_id}, "
                f"{record.postprocessor} on {record.ood_set}). Delete one of them."
            )
        by_run[name] = min(there, (content, where, record), key=lambda each: (_lacking(each[2]), each[0]))
    by_seed: dict[tuple[Any, ...], tuple[str, ResultRecord]] = {}
    for _, where, record in sorted(by_run.values(), key=lambda each: (_lacking(each[2]), each[0])):
        seeds = record.seed, (record.condition or {}).get("seed")
        place = (record.benchmark, method_of(record), record.ood_set, record.partition, *seeds)
        first = by_seed.setdefault(place, (where, record))
        if _figures(first[1]) != _figures(record):
            remedy = (
                "give them different names (method, network, seed or partition, of openood-mm score or in about=)"
                if record.track == "own"
                else "the runs differ in a setting that a row doesn't show (their digests.config)"
            )
            raise UserError(
                f"{first[0]} and {where} are different results of one row, partition {record.partition} and "
                f"seed {record.seed} ({record.training or 'no method named'}, {record.postprocessor} on "
                f"{record.ood_set}): {remedy}. Keep one of them, or name only one run's folder."
            )
    return sorted((record for _, record in by_seed.values()), key=content_of)


def _lacking(record: ResultRecord) -> int:
    return sum(getattr(record, name) is None for name in OPTIONAL)


def _agree(one: ResultRecord, other: ResultRecord) -> bool:
    """Tell whether two records differ at most in that one has metrics for which the other wasn't asked."""
    absent = [name for name in OPTIONAL if None in (getattr(one, name), getattr(other, name))]
    return content_of(one, absent) == content_of(other, absent)


def _figures(record: ResultRecord) -> tuple[Any, ...]:
    return record.metrics, record.n_id, record.n_ood, record.digests["manifest"]


def make_boards(records: Iterable[ResultRecord], tiers: Mapping[str, str] | None = None) -> dict[str, Board]:
    """Return benchmark → its leaderboard, sorted by name.

    Args:
        records: each result once, as `collect` returns them.
        tiers: likewise.
    """
    groups: dict[str, list[ResultRecord]] = defaultdict(list)
    for record in records:
        groups[record.benchmark].append(record)
    boards = {}
    for name, group in sorted(groups.items()):
        rows, incomplete = rows_of(group, tiers)
        contents = "\n".join(sorted(map(content_of, group)))
        boards[name] = Board(
            name,
            rows,
            incomplete,
            Counter(record.source for record in group),
            text_sha256(contents),
            group,
        )
    return boards


def choose(boards: Mapping[str, Board], names: Collection[str] | None) -> dict[str, Board]:
    """Return the boards of these names, or all without any.

    Raises:
        UserError: for a name that no record has, or when there is no board at all.
    """
    if not boards:
        raise UserError("there is no record to build a leaderboard from; name a folder with records.")
    for name in names or ():
        if name not in boards:
            raise UserError(f"no record is of the benchmark '{name}'.{did_you_mean(name, boards)}")
    return {name: board for name, board in boards.items() if not names or name in names}


class Built(NamedTuple):
    """What `build` wrote, how many records it left out as synthetic, and why there is no page, or ``""``."""

    boards: dict[str, Board]
    synthetic: int
    no_page: str


def build(
    out: str | os.PathLike[str],
    folders: Iterable[str | os.PathLike[str]] = (),
    benchmarks: Collection[str] | None = None,
    published: bool = True,
    tier_of: TierOf | None = None,
) -> Built:
    """Build leaderboards and write them: ``<benchmark>.csv``, ``<benchmark>.md``, the page and, last, the index.

    Every file is replaced in one step.  Builders of one folder wait for each other and read the records when it
    is their turn, so that the last one has seen all.  Without ``benchmarks``, files that an earlier build wrote
    for benchmarks that have no record now are removed.

    Args:
        out: folder of the leaderboards.
        folders: with records.
        benchmarks: those to build; the others' files and index entries stay, and the page shows what records there are
            of them.
        published: whether the packaged published results count.
        tier_of: as in `collect`.

    Raises:
        UserError: for records that can't be read or disagree, a benchmark whose files can't be called after it, or a
            file in the way that no build wrote; nothing is written then.
    """
    root = Path(out)
    with holding(root):
        remove_leftovers(root)
        collected = collect(folders, published, tier_of=tier_of)
        made = make_boards(collected.records, collected.tiers)
        boards = choose(made, benchmarks)
        before = read_index(root)
        index = {name: board.entry() for name, board in boards.items()}
        if benchmarks:
            index = dict(sorted({**before, **index}.items()))
        check_names(index)
        html, no_page = _page({name: board for name, board in made.items() if name in index})
        write_files(root, [*(board.files() for board in boards.values()), html], before, index)
    return Built(boards, collected.synthetic, no_page)


def _page(boards: Mapping[str, Board]) -> tuple[dict[str, str], str]:
    """Return the page's file and no reason, or no file and the reason."""
    try:
        return {PAGE: page(boards)}, ""
    except MissingPackageError as error:
        return {}, str(error)


def _cells(benchmark: str, row: Row) -> dict[str, str]:
    cells = {
        "benchmark": benchmark,
        **row.values,
        "ood_set": row.ood_set,
        "rank": _whole(row.rank),
        "rank_all": _whole(row.rank_all),
        "average_rank": decimals(row.average_rank),
        "std_over": row.std_over,
        "n_partitions": str(len(row.partitions)) if row.counted else "",
        "n_seeds": str(row.n_seeds) if row.counted else "",
        "n_runs": str(row.n_runs) if row.counted else "",
        "n_id": _range(row.n_id),
        "n_ood": _range(row.n_ood),
        "split": " ".join(digest[:12] for digest in row.splits),
        "tier": row.tier,
        "notes": "; ".join(
            note if n == row.n_runs else f"{note} ({n} of {row.n_runs} runs)" for note, n in row.notes.items()
        ),
    }
    for name in BOARD_METRICS:
        cells[name] = decimals(row.means.get(name), digits_of(name))
        cells[f"{name}_std"] = decimals(row.stds.get(name), digits_of(name))
    for name in ("AUROC", "FPR@95"):
        low, high = row.intervals.get(name, (None, None))
        cells[f"{name}_ci_low"], cells[f"{name}_ci_high"] = decimals(low), decimals(high)
    return cells


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _range(values: Sequence[int]) -> str:
    return "-".join(map(str, sorted({values[0], values[-1]}))) if values else ""
