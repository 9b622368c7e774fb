"""The files of ``openood-mm score``: ``scores/``, ``records/``, ``ood.csv``, ``metrics.json``.

They are written beside their places first and put there together (`files.folders`): when the disk is full, what was
there stays.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluators.metrics import Metric
from ..evaluators.outputs import write_results_csv, write_scores
from ..files import atomic, read_json
from ..files.folders import writing_together
from ..reporting.records import SUFFIX, ResultRecord
from ..version import __version__
from ..vocabulary import METRICS, MORE_METRICS
from .inputs import InputSet
from .more_tables import Rows, write_tables
from .run import Result
from .task import Task

META = "_meta"
"""The key of ``metrics.json`` that is no postprocessor."""

SCHEMA_VERSION = 1
METRICS_FILE, CSV_FILE, SCORES, RECORDS = "metrics.json", "ood.csv", "scores", "records"
_PACKAGES = ("numpy", "scipy", "scikit-learn", "faiss-cpu")
_OWN_FILE = re.compile(
    rf"{SCORES}/[^/\\]+/[^/\\]+\.npz|{RECORDS}/[^/\\]+{re.escape(SUFFIX)}|(?:{'|'.join(MORE_METRICS)})\.csv"
)


def write_run(
    folder: Path,
    results: Sequence[Result],
    task: Task,
    settings: Mapping[str, Any],
    records: Sequence[ResultRecord] = (),
    tables: Mapping[str, Rows] | None = None,
) -> list[Path]:
    """Write all files of a run, in place of those of an earlier run; other files in ``folder`` stay.

    Args:
        folder: made when missing.
        results: of every score.
        task: what was scored.
        settings: ``preset``, ``fit_on`` and what else belongs under ``_meta``.
        records: of every score and OOD set.
        tables: of `more_tables`, each to be ``<name>.csv``.

    Returns:
        The paths of ``ood.csv``, the other tables, ``metrics.json``, ``scores/`` and ``records/``.

    Raises:
        UserError: when ``folder`` is a file.
        OSError: when the disk is full or can't be written; nothing has been changed then.
    """
    with writing_together(folder, last=METRICS_FILE) as stage:
        for result in results:
            for name, scores in result.scores.items():
                write_scores(stage.path, result.postprocessor, name, scores)
        rows = [row for result in results for row in result.rows() if row["dataset"] in task.ood]
        write_results_csv(stage.path / CSV_FILE, rows)
        for record in records:
            record.write(stage.path / RECORDS)
        write_tables(stage.path, tables or {})
        new = [name for name in stage.files() if name != CSV_FILE]
        atomic.write_json(stage.path / METRICS_FILE, _metrics_json(results, task, settings, new))
        stage.remove(lambda: _files_of_earlier_run(folder))
    names = (CSV_FILE, *(f"{name}.csv" for name in tables or ()), METRICS_FILE, SCORES, RECORDS)
    return [folder / name for name in names]


def _files_of_earlier_run(folder: Path) -> list[str]:
    """Return the scores and records that the ``metrics.json`` in ``folder`` lists; none where it is not ours."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    try:
        listed = read_json(path)[META]["files"]
        return [name for name in listed if _OWN_FILE.fullmatch(name) and ".." not in name.split("/")]
    except (UserError, LookupError, TypeError):
        return []


def _metrics_json(
    results: Sequence[Result], task: Task, settings: Mapping[str, Any], files: Sequence[str]
) -> dict[str, Any]:
    content: dict[str, Any] = {
        result.postprocessor: {name: _plain(metrics) for name, metrics in result.metrics.items()}
        for result in results
    }
    content[META] = {
        "schema_version": SCHEMA_VERSION,
        **settings,
        "engine": {result.postprocessor: result.chosen.engine for result in results},
        "parameters": {result.postprocessor: result.parameters for result in results},
        "notes": {result.postprocessor: list(result.notes) for result in results if result.notes},
        "average": {
            result.postprocessor: _plain(result.average) for result in results if result.average is not None
        },
        "n_id": len(task.test.embeddings),
        "n_ood": {name: len(each.embeddings) for name, each in task.ood.items()},
        "num_features": task.test.embeddings.dim,
        "slices": {name: list(columns) for name, columns in task.slices.items()},
        "shaped": task.shaped,
        "inputs": {name: _origin(each) for name, each in task.named_sets()},
        "versions": _versions(),
        "files": list(files),
    }
    if task.csid:
        content[META]["n_csid"] = {name: len(each.embeddings) for name, each in task.csid.items()}
        content[META]["accuracy"] = {result.postprocessor: result.found.accuracy for result in results}
    return content


def _plain(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    plain: dict[str, Any] = {name: metrics[name].value for name in METRICS}
    for name in METRICS:
        low, high = metrics[name].ci_low, metrics[name].ci_high
        if low is not None and high is not None:
            plain[f"{name}_ci"] = [low, high]
    return plain


def _origin(each: InputSet) -> dict[str, Any]:
    return {**each.origin, "rows": len(each.embeddings)}


def _versions() -> dict[str, str]:
    found = {"openood-multimodal": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
