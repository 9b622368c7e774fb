"""`evaluate`: sets in, `pandas.DataFrame` out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from ..evaluators.metrics import more_metrics
from ..linalg.torch_arithmetic import arithmetic_for
from ..postprocessors.base import Postprocessor
from ..postprocessors.options import ScoringSettings
from ..postprocessors.run import ALL, NATIVE, Chosen, Parameters, check_fit_on, choose
from .more_tables import calibration_of_task, more_tables
from .needs import able, for_shaped, require_given, require_inputs
from .recording import Recorder, about_from
from .run import Result, described, rank_correlation, run_jobs
from .search import Validation
from .shared_rows import START
from .task import Task, check_ood_names, checked, read_task

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("AUROC", "FPR@95", "ACC", "AUPR_IN", "AUPR_OUT", "FPR@95_ID_TPR")
"""Metrics in the order of tables on a screen; files keep OpenOOD's."""


class Sources(NamedTuple):
    """Where the sets of one evaluation come from, as the user named them; see `evaluate`."""

    train: Any
    val: Any
    test: Any
    ood: Sequence[tuple[str, Any]]
    head: Any
    slices: Mapping[str, Any] | None = None
    why_no_head: str = ""
    ood_val: Sequence[tuple[str, Any]] = ()
    csid: Sequence[tuple[str, Any]] = ()


class Prepared(NamedTuple):
    """What is to be computed: the sets, the scores, those that can't run (name → reason), and the search."""

    task: Task
    jobs: list[Chosen]
    left_out: dict[str, str] | None = None
    validation: Validation | None = None


def prepare(
    sources: Sources,
    names: str | Iterable[str | Postprocessor] | None,
    preset: str,
    parameters: Parameters,
    fit_on: str,
    engine: str = NATIVE,
    search: Callable[[Task], Validation] | None = None,
) -> Prepared:
    """Choose the scores, read the sets, and check all that can be checked before the first score is computed.

    Args:
        sources: the sets.
        names: see `evaluate`, as what follows.
        preset: of the parameters.
        parameters: score → parameters.
        fit_on: the set to fit to.
        engine: of names without a prefix.
        search: makes the search for parameters of the sets; None: no search.

    Raises:
        UserError: for anything that would stop a score later, as far as it can be told now.
    """
    check_ood_names([name for name, _ in sources.ood], [name for name, _ in sources.csid])
    if sources.ood_val:
        check_ood_names([name for name, _ in sources.ood_val])
        if search is None:
            raise UserError(
                'OOD validation sets are for a search for parameters: give search="validation", '
                "or leave them out."
            )
    check_fit_on(fit_on)
    chosen = choose(names, engine, preset, parameters)
    read = read_task(*sources[:5], sources.ood_val, sources.csid)
    if names == ALL:
        task = checked(read, sources.slices)
        if task.shaped is not None:
            raise UserError(f"these features have been shaped by {task.shaped} already; name the scores.")
        jobs, left_out = able(chosen, task, fit_on, sources.why_no_head)
        return Prepared(task, jobs, left_out, _checked_search(search, task, jobs, fit_on))
    chosen = for_shaped(chosen, read.shaped, preset)
    require_given(chosen, read, fit_on, sources.why_no_head)
    task = checked(read, sources.slices)
    require_inputs(chosen, task, fit_on)
    return Prepared(task, chosen, validation=_checked_search(search, task, chosen, fit_on))


def _checked_search(
    search: Callable[[Task], Validation] | None, task: Task, jobs: Sequence[Chosen], fit_on: str
) -> Validation | None:
    if search is None:
        return None
    validation = search(task)
    validation.check(jobs, fit_on)
    return validation


def evaluate(
    train: Any,
    test: Any,
    ood: Mapping[str, Any],
    head: Any,
    val: Any = None,
    postprocessors: str | Iterable[str | Postprocessor] | None = None,
    preset: str = "openood",
    engine: str = "native",
    *,
    slices: Mapping[str, Any] | None = None,
    fit_on: str = "train",
    parameters: Parameters | None = None,
    intervals: bool = False,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    chunk_rows: int | None = None,
    precision: str = "auto",
    progress: bool = False,
    records: str | os.PathLike[str] | None = None,
    about: Mapping[str, Any] | None = None,
    search: str | None = None,
    ood_val: Mapping[str, Any] | None = None,
    csid: Mapping[str, Any] | None = None,
    metrics: str | Iterable[str] = (),
    search_criterion: str = "AUROC",
    client: Any = None,
) -> pd.DataFrame:
    """Score an in-distribution test set against OOD sets and return a table.

    A set is ``(features, labels)`` (float ``[N, D]``, int ``[N]``), an `EmbeddingStore`, `Embeddings`, or the
    path of a store or of an ``.npz`` with those keys; an OOD set may also be features alone, and its labels
    don't matter.

    Args:
        train: ID training set; None where no score that runs needs it.
        test: ID test set.
        ood: name → OOD set.
        head: the linear layer ``logits = features @ weight.T + bias``: ``(weight [C, D], bias [C])``, the path
            of an ``.npz`` with both, ``torch.nn.Linear``, or a network with ``get_fc()``.  None is possible
            where all sets are stores with logits, for scores that read no more.
        val: ID validation set, for ReAct's threshold (the training set's features without it).
        postprocessors: names, or text with commas, or objects; None: the nine of `DEFAULT_SCORES`.
            ``"all"``: every native score that can run, the best first (``.attrs["left_out"]``: name → why another
            can't, ``.attrs["rank_correlation"]``: Spearman's, score → score).
            ``per_modality(knn,combine=max)`` and ``ensemble(msp,knn)`` combine scores, ``openood/<name>`` is
            OpenOOD's own beside native ones.
        preset: ``"openood"`` or ``"multiood"``.
        engine: ``"native"``, or ``"openood"``: OpenOOD's classes, unchanged; needs an OpenOOD checkout
            (``docs/openood.md``).
        slices: modality → width, or → ``(start, stop)``, where scores treat modalities by themselves.
        fit_on: ``"train"``, or ``"val"``: fit KNN, MDS and ViM to the validation set (as MultiOOD's authors do
            for Kinetics).
        parameters: score → parameters, e.g. ``{"knn": {"K": 10}}``.
        intervals: add ``<metric>_ci_low`` and ``<metric>_ci_high``, 95 % bounds (a second or so a score).
        seed: of the bootstrap behind these.
        threads: threads to compute with; None: as many as the libraries take by themselves.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<n>"``, where the large products are computed.
        chunk_rows: rows of embeddings held at once; None: some 64 MB.
        precision: ``"auto"``, ``"float32"`` or ``"float64"``; no effect (``docs/scores.md``).
        progress: show bars with rows per second, on a terminal.
        records: folder for result records, one a score and OOD set, which ``openood-mm leaderboard`` reads
            (``docs/leaderboard.md``); those of an earlier run of the same name are replaced.
        about: what the rows of a leaderboard are to be called: the fields of `scoring.recording.About`, e.g.
            ``{"benchmark": "hmdb51_25_26", "method": "mine", "seed": 0}``.
        search: ``"validation"``: each score's parameters are those of its sweep that tell ``val`` best from the sets of
            ``ood_val``; ``"npmix"``: from outliers that NP-Mix makes of the training embeddings (seed: ``seed``).
            Parameters in ``parameters`` keep their values. Validation rows that are test rows are refused
            (``docs/scores.md``; ``.attrs["search"]`` holds what was tried and chosen).
        ood_val: name → OOD validation set, for ``search="validation"``.
        csid: name → covariate-shifted ID set, labelled as ``test``.  They count as ID, too (full-spectrum evaluation);
            ``.attrs["accuracy"]`` has the accuracy of each ID set by itself.
        search_criterion: what the search goes by: ``"AUROC"``, ``"FPR@95"``, ``"FPR@95_ID_TPR"``, ``"AUPR_IN"`` or
            ``"AUPR_OUT"``.
        metrics: tables of other metrics (``docs/metrics.md``): ``"failure"`` (AURC, OSCR, ...), ``"calibration"`` (ECE,
            ...); ``.attrs["failure"]`` and ``.attrs["calibration"]`` are their rows, with intervals, not in percent,
            and records hold them.
        client: a ``dask.distributed.Client``, whose workers compute shards of rows (``docs/several-gpus.md``); large
            sets must be stores, or memory-mapped arrays, in a folder that they share.  None: this process computes.

    Returns:
        One row a score and OOD set, and a row ``average`` a score where there are several sets.  Columns:
        ``postprocessor``, ``dataset``, ``AUROC``, ``FPR@95``, ``ACC``, ``AUPR_IN``, ``AUPR_OUT``,
        ``FPR@95_ID_TPR``: **percent**, not rounded (printing shows two decimals).  ``.attrs["notes"]`` lists what
        a reader has to know.

    Raises:
        UserError: for anything wrong with the inputs, and for a score whose inputs are missing; the message
            says which, and how to leave it out.

    Warns:
        UserWarning: for a set of one sample, or scores that are all equal.

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> known, other = random.normal(3, 1, (40, 2)), random.normal(-3, 1, (40, 2))
    >>> head = np.eye(2), np.zeros(2)
    >>> table = evaluate(None, (known, np.zeros(40, dtype=int)), {"other": other}, head, postprocessors="ebo")
    >>> table[["postprocessor", "dataset", "AUROC"]].to_dict("records")
    [{'postprocessor': 'ebo', 'dataset': 'other', 'AUROC': 100.0}]
    """
    for what, sets in (("ood", ood), ("ood_val", ood_val or {}), ("csid", csid or {})):
        if not isinstance(sets, Mapping):
            raise UserError(f"{what} must be a dict, name → set, got {type(sets).__name__}.")
    settings = ScoringSettings(threads, device, chunk_rows, precision)
    arithmetic_for(settings.device)  # a device that isn't there is told before anything is read
    kinds = more_metrics(metrics)
    sources = Sources(
        train,
        val,
        test,
        list(ood.items()),
        head,
        slices,
        ood_val=list((ood_val or {}).items()),
        csid=list((csid or {}).items()),
    )
    said = about_from(about)
    if about and records is None:
        raise UserError("about names the rows of records; give records=, the folder for them, too.")
    searching = partial(Validation, kind=search, criterion=search_criterion, seed=seed) if search else None
    task, jobs, left_out, validation = prepare(
        sources, postprocessors, preset, parameters or {}, fit_on, engine, searching
    )
    recorder = Recorder(task, said, preset, fit_on, parameters or {}, validation)
    if records is not None:
        recorder.check_folder(records)
    with_intervals = intervals or records is not None
    results, caught = run_jobs(
        jobs,
        task,
        fit_on,
        intervals=with_intervals,
        seed=seed,
        settings=settings,
        progress=progress,
        left_out=left_out,
        validation=validation,
        failure="failure" in kinds,
        client=client,
    )
    calibration = calibration_of_task(task, seed) if "calibration" in kinds else None
    if records is not None:
        recorder.write(records, recorder.records(results, calibration=calibration))
    shared = dict.fromkeys(note for result in results for note in result.notes if note.startswith(START))
    for line in (*caught.lines(), *shared):
        warnings.warn(line, stacklevel=2)
    table = result_table(percent_rows(results, intervals))
    table.attrs["notes"] = [note for result in results for note in result.notes]
    table.attrs |= more_tables(kinds, [each.found for each in results], calibration)
    if task.csid:
        table.attrs["accuracy"] = {each.postprocessor: each.found.accuracy for each in results}
    if validation is not None:
        table.attrs["search"] = described(validation, results)
    if left_out is not None:
        table.attrs |= {"left_out": left_out, "rank_correlation": rank_correlation(results)}
    return table


def result_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a `frame.ResultTable`."""
    from .frame import ResultTable

    return ResultTable(rows)


def percent_rows(results: Sequence[Result], intervals: bool = False) -> list[dict[str, Any]]:
    """Return the rows of `evaluate`'s table; what is looked at first is in front."""
    rows = []
    for each in (row for result in results for row in result.rows()):
        row = {key: each[key] for key in ("postprocessor", "dataset")}
        row |= {name: 100 * each[name].value for name in COLUMNS}
        for name in COLUMNS if intervals else ():
            for bound in ("ci_low", "ci_high"):
                value = getattr(each[name], bound)
                row[f"{name}_{bound}"] = float("nan") if value is None else 100 * value
        rows.append(row)
    return rows
