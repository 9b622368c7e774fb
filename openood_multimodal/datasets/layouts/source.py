"""Finding, checking and reading the files that tables are made of."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingPackageError, UserError
from ...files import file_sha256, reading
from ...files.limits import beyond, check_size, limit
from ...naming import did_you_mean
from ..benchmarks import Benchmark, Source


@dataclass(frozen=True, eq=False)
class SourceTable:
    """A benchmark's rows, before any split.  Arrays are shared: never write to them.

    Attributes:
        class_names: str ``[N]``.
        groups: str ``[N]``, the recording of each row; empty where there are none.
        features: modality → float64 ``[N, d]``, finite.
        files: modality → name of the file that manifest cells refer to.
    """

    class_names: NDArray[np.str_]
    groups: NDArray[np.str_]
    features: Mapping[str, NDArray[np.float64]]
    files: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True)
class Stamped:
    """A file as it was when last looked at; equal stamps share what was read."""

    path: Path
    mtime_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Stamped:
        """Return the stamp of the file ``path``."""
        status = path.stat()
        return cls(path.resolve(), status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, eq=False)
class NumericCSV:
    """Columns of a CSV file.

    Attributes:
        header: names of all columns, in file order.
        numbers: float64 ``[N, D]``, the numeric columns that were asked for.
        texts: str ``[N]`` for each text column that was asked for.
    """

    header: tuple[str, ...]
    numbers: NDArray[np.float64]
    texts: Mapping[int, NDArray[np.str_]]


class Layout(NamedTuple):
    """How a dataset's files become a table.

    Attributes:
        files: modalities → the files needed, as named in the benchmark's ``source.files``.
        read: (benchmark, those files, modalities) → the table.
        summary: one line for listings.
    """

    files: Callable[[Sequence[str]], tuple[str, ...]]
    read: Callable[[Benchmark, Sequence[Stamped], Sequence[str]], SourceTable]
    summary: str = ""


def find_file(source: Source, relative: str, data_dir: str | os.PathLike[str] = "") -> Path:
    """Return the path of one of a source's files, without importing the package that brings it.

    Args:
        source: where the data comes from.
        relative: the file's path below the package's installation folder, as in ``source.files``.
        data_dir: folder that holds the file, by its name or its relative path; empty for the package's.

    Raises:
        UserError: when ``data_dir`` is given and lacks the file.
        MissingPackageError: when it is not given and the package is not installed.
    """
    if os.fspath(data_dir):
        for candidate in (Path(data_dir) / Path(relative).name, Path(data_dir) / relative):
            if candidate.is_file():
                return candidate
        raise UserError(
            f"the folder {data_dir} (data_dir) holds neither {Path(relative).name} nor {relative}. "
            f"Put the file there, or leave data_dir empty and run: {source.install_command}"
        )
    try:
        found = Path(str(distribution(source.package).locate_file(relative)))
    except PackageNotFoundError:
        found = Path()
    if not found.is_file():
        raise MissingPackageError(
            f"the data file {relative} is missing; it comes with the package {source.package}. Run: "
            f"{source.install_command}"
        )
    return found


def digest_differs(benchmark: Benchmark, relative: str, file: Stamped, accept_changed: bool) -> bool:
    """Return whether ``file`` is another one than the benchmark was made with.

    Raises:
        UserError: when it is and ``accept_changed`` is false; the message names both digests.
    """
    expected = benchmark.source.files.get(relative)
    if expected is None:
        raise UserError(
            f"benchmark {benchmark.name}: source.files has no entry '{relative}'."
            f"{did_you_mean(relative, benchmark.source.files)}"
        )
    actual = file_digest(file)
    if actual != expected and not accept_changed:
        raise UserError(
            f"{file.path} is not the file that benchmark {benchmark.name} was made with: its SHA-256 is "
            f"{actual}, expected {expected}. Get that version ({benchmark.source.install_command}), or set "
            "accept_changed: true under imglist_pth; results are then marked as modified."
        )
    return actual != expected


@lru_cache(maxsize=64)
def file_digest(file: Stamped) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    return file_sha256(file.path)


@lru_cache(maxsize=64)
def read_header(file: Stamped) -> tuple[str, ...]:
    """Return the cells of a CSV file's first line."""
    with reading(file.path, "a UTF-8 CSV file"), file.path.open(encoding="utf-8-sig", newline="") as stream:
        check_size(file.path, "csv_bytes")
        header = tuple(next(csv.reader(stream), ()))
        if len(header) > limit("csv_columns"):
            raise beyond(str(file.path), f"it has {len(header)} columns", "csv_columns")
        if sum(1 for _ in stream) > limit("csv_rows"):
            raise beyond(str(file.path), f"it has more than {limit('csv_rows')} rows", "csv_rows")
        return header


@lru_cache(maxsize=16)
def read_csv(file: Stamped, numeric: tuple[int, ...], text: tuple[int, ...] = ()) -> NumericCSV:
    """Read columns of a CSV file with a header; parsed once a process while the file stays the same.

    Args:
        file: the file.
        numeric: places of the columns that hold numbers.
        text: places of the columns that hold text.

    Raises:
        UserError: when a cell is no finite number (NaN, infinite, empty, text) or a row is too short; the
            message names file, row (from 0, without the header) and column.
    """
    header = read_header(file)
    if len(numeric) + len(text) == 0 or max((*numeric, *text)) >= len(header):
        raise UserError(f"{file.path} has {len(header)} columns: {', '.join(header[:8])}, ....")
    try:
        texts = {column: _load(file.path, [column], np.str_)[:, 0] for column in text}
        numbers = _load(file.path, numeric, np.float64)
    except ValueError as error:
        raise UserError(
            f"{file.path} can't be read as a table of numbers: {_with_column_name(error, header)} "
            "Rows count from 0, without the header."
        ) from error
    if not len(numbers):
        raise UserError(f"{file.path} has a header but no row.")
    _check_widths(file.path, len(header))
    check_finite(numbers, str(file.path), [header[column] for column in numeric])
    numbers.setflags(write=False)
    return NumericCSV(header, numbers, texts)


def _check_widths(path: Path, width: int) -> None:
    """Refuse a row with more or fewer cells than the header: NumPy's reader would cut it."""
    with reading(path, "a CSV table"), path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        for row in rows:
            if row and len(row) != width:
                raise UserError(
                    f"{path}, line {rows.line_num}: {len(row)} cells, the header has {width}. Look for a decimal comma "
                    "or a shifted column."
                )


def _load(path: Path, columns: Sequence[int], kind: type[Any]) -> NDArray[Any]:
    """Return ``[N, len(columns)]`` cells.  NumPy's reader rounds correctly; pandas' fast one doesn't."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input contained no data")
        table = np.loadtxt(
            path,
            dtype=kind,
            usecols=columns,
            delimiter=",",
            skiprows=1,
            comments=None,
            quotechar='"',
            encoding="utf-8-sig",
            ndmin=2,
        )
    return table.reshape(-1, len(columns))


def _with_column_name(error: ValueError, header: Sequence[str]) -> str:
    """NumPy says ``... at row 3, column 5.``, the column counted from 1; add its name."""
    message = str(error).rstrip(".")
    _, _, place = message.rpartition("column ")
    if place.isdigit() and 1 <= int(place) <= len(header):
        message += f" ('{header[int(place) - 1]}')"
    return message + "."


def check_finite(values: NDArray[np.float64], where: str, columns: Sequence[str]) -> None:
    """Check that ``values`` ``[N, D]`` hold no NaN or infinity.

    Raises:
        UserError: naming ``where``, the row (from 0) and the column.
    """
    if np.isfinite(values).all():
        return
    row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
    raise UserError(
        f"{where}, row {row} (line {row + 2}), column '{columns[column]}': {values[row, column]} is not a "
        "finite number. Remove the row or fill the gap; features must be finite."
    )
