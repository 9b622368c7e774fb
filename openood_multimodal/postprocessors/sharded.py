"""Scores applied, and training rows read, by the workers of a cluster: a task for each shard of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.arithmetic import Arithmetic, Floats
from ..linalg.neighbours import CACHE_BYTES, Neighbours
from ..linalg.rows import block_slices, row_norms
from ..linalg.threads import computing
from ..shards import Shards, shard_rows
from .options import ScoringOptions
from .rows import Around, Rows, score_blocks, widest

if TYPE_CHECKING:
    from .base import Postprocessor


FITTED = "what was learned from the training rows"
LESS = (
    "fit to fewer training rows, or score without a cluster. Training rows themselves are not sent where they are an "
    'embedding store, or .npy files opened with numpy.load(..., mmap_mode="r").'
)


@dataclass
class Said:
    """What a score said on a worker: its first error, and warnings."""

    error: UserError | None = None
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)


def sent_scores(scores: Sequence[Postprocessor], options: ScoringOptions, around: Around) -> Any:
    """Return what `score_shards` applies, sent to the workers once.

    Raises:
        UserError: as `Shards.send`, about the score that is too large.
    """
    assert options.shards is not None
    predictors = [score.predictor() for score in scores]
    try:
        return options.shards.send(predictors, FITTED, LESS)
    except UserError:
        for score, each in zip(scores, predictors, strict=True):
            with around(score):
                options.shards.send([each], FITTED, LESS)
        raise


def score_shards(
    sent: Any,
    scores: Sequence[Postprocessor],
    embeddings: Embeddings,
    options: ScoringOptions,
    around: Around,
    progress: Callable[[int], object] = lambda rows: None,
) -> list[Scores]:
    """Return what `score_blocks` does, computed by workers.

    Args:
        sent: the scores, of `sent_scores`.
        scores: the same.
        embeddings: as the others, see `score_blocks`.
        options: its ``shards`` are the workers.
        around: what a score says on a worker, it says here inside this context.
        progress: called with the number of rows after every shard.

    Raises:
        UserError: as `score_blocks` and `Shards`.
    """
    shards, count = options.shards, len(embeddings)
    assert shards is not None
    for score in scores:
        with around(score):
            score.check_ready(embeddings)
    parts = shards.slices(count, shard_rows(widest(scores, embeddings), options.chunk_rows))
    tasks = [(part, options.of_worker) for part in parts]
    found = [Scores(np.empty(count, dtype=np.int64), np.empty(count)) for _ in scores]
    said = [Said() for _ in scores]
    inputs = [sent, shards.send(_unlabelled(embeddings), "a set to be scored")]
    for number, (of_part, of_scores) in shards.each(_score, inputs, tasks, "a shard is scored"):
        part = parts[number]
        for out, each in zip(found, of_part, strict=True):
            out.pred[part], out.conf[part] = each
        for all_said, each in zip(said, of_scores, strict=True):
            all_said.error = all_said.error or each.error
            all_said.warnings += [one for one in each.warnings if one not in all_said.warnings]
        progress(part.stop - part.start)
    for score, out, each in zip(scores, found, said, strict=True):
        with around(score):
            own = score.confidences_of_shards(embeddings.features, options)
            if own is not None:
                out.conf[:] = own
            for text, category in each.warnings:
                warnings.warn(text, category, stacklevel=2)
            if each.error is not None:
                raise each.error
    return found


FOUND_BYTES = 64 * 2**20
"""Size of the distances that a task returns."""


def squared_distances_of_shards(
    train: NDArray[Any],
    features: NDArray[Any],
    rank: int,
    options: ScoringOptions,
    progress: Callable[[int], object] = lambda rows: None,
) -> Floats:
    """Return what `Neighbours.squared_distance` does, computed by workers: each searches shards of the training rows,
    and the nearest that they find are merged in pairs.

    Args:
        train: ``[N, D]``, the training rows.
        features: ``[M, D]``.
        rank: K, 1 to N.
        options: its ``shards`` are the workers.
        progress: called with the number of rows that are finished.
    """
    shards = options.shards
    assert shards is not None
    out = np.empty(len(features))
    sent = shards.send((train, features, rank, options.of_worker), "the rows to be searched")
    # the prepared rows of a shard stay in memory while all rows are compared with them
    parts = shards.slices(len(train), max(1, CACHE_BYTES // (8 * train.shape[1])))
    for group in block_slices(len(features), 1, max(1, FOUND_BYTES // (8 * rank))):
        tasks = [(part, group) for part in parts]
        nearest = shards.total(
            _nearest, partial(_merged, rank), sent, tasks, _nothing, "neighbours are searched"
        )
        out[group] = np.partition(nearest, rank - 1, axis=1)[:, rank - 1]
        progress(group.stop - group.start)
    return out


def _nearest(given: tuple[Any, ...], part: slice, group: slice) -> tuple[None, Floats]:
    train, features, rank, options = given
    with computing(options.threads):
        rows, asked = np.asarray(train[part]), np.asarray(features[group])
        neighbours = Neighbours(rows, row_norms(rows), Arithmetic())
        return None, neighbours.smallest_squared_distances(asked, row_norms(asked), min(rank, len(rows)))


def _merged(rank: int, one: Floats, other: Floats) -> Floats:
    both = np.concatenate([one, other], axis=1)
    return np.partition(both, rank - 1, axis=1)[:, :rank] if both.shape[1] > rank else both


def _nothing(number: int, first: None) -> None:
    pass


def blocks_of_shards(
    function: Callable[[Rows], Any],
    embeddings: Embeddings,
    head: LinearHead | None,
    options: ScoringOptions,
    progress: Callable[[int], object],
) -> Iterator[Any]:
    """Yield what `Shared.of_blocks` does, computed by workers."""
    shards, parts, sent = _to_fit_to((function,), embeddings, head, options)
    found: list[list[Any]] = [[]] * len(parts)
    tasks = [(part,) for part in parts]
    for number, of_part in shards.each(_blocks, [sent], tasks, "a shard is fitted to"):
        found[number] = of_part
        progress(parts[number].stop - parts[number].start)
    for of_part in found:
        yield from of_part


def sum_of_shards(
    function: Callable[..., Any],
    add: Callable[[Any, Any], Any],
    embeddings: Embeddings,
    labels: NDArray[np.int64] | None,
    head: LinearHead | None,
    options: ScoringOptions,
    progress: Callable[[int], object],
) -> Any:
    """Return what `Shared.summed` does, computed by workers, which add up in pairs."""
    shards, parts, sent = _to_fit_to((function, add), embeddings, head, options)
    tasks: list[tuple[Any, ...]] = [(part,) for part in parts]
    if labels is not None:
        narrow = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
        tasks = [(part, narrow[part]) for part in parts]
    return shards.total(
        _sum, add, sent, tasks, lambda number, rows: progress(rows), "the training set is read"
    )


def _to_fit_to(
    calls: tuple[Callable[..., Any], ...],
    embeddings: Embeddings,
    head: LinearHead | None,
    options: ScoringOptions,
) -> tuple[Shards, list[slice], Any]:
    """Return the workers, the shards of a set, and what they are all sent."""
    shards = options.shards
    assert shards is not None
    parts = shards.slices(len(embeddings), shard_rows(embeddings.dim, options.chunk_rows))
    given = (_unlabelled(embeddings), head, options.of_worker, *calls)
    return shards, parts, shards.send(given, "a set to be fitted to")


def _blocks(given: tuple[Any, ...], part: slice) -> list[Any]:
    embeddings, head, options, function = given
    with computing(options.threads):
        return list(map(function, _rows_of(embeddings, part, head, options)))


def _sum(given: tuple[Any, ...], part: slice, labels: NDArray[Any] | None = None) -> tuple[int, Any]:
    embeddings, head, options, function, add = given
    with computing(options.threads):
        rows = _rows_of(embeddings, part, head, options)
        return part.stop - part.start, summed(function, add, rows, labels, part.start)


def summed(
    function: Callable[..., Any],
    add: Callable[[Any, Any], Any],
    blocks: Iterable[Rows],
    labels: NDArray[Any] | None,
    start: int = 0,
) -> Any:
    """Return the sum of what ``function`` makes of each block, and of its labels where there are any.

    Args:
        function: of a block.
        add: returns the sum of two.
        blocks: of a set.
        labels: ``[n]``.
        start: the row that these begin at.
    """
    if labels is None:
        return reduce(add, map(function, blocks))
    of_rows = ((each, labels[each.where.start - start : each.where.stop - start]) for each in blocks)
    return reduce(add, (function(each, own) for each, own in of_rows))


def _rows_of(
    embeddings: Embeddings, part: slice, head: LinearHead | None, options: ScoringOptions
) -> Iterator[Rows]:
    for each in block_slices(part.stop - part.start, embeddings.dim, options.chunk_rows):
        where = slice(part.start + each.start, part.start + each.stop)
        yield Rows(embeddings, where, head, options.checked)


def _unlabelled(embeddings: Embeddings) -> Embeddings:
    """Return what `Rows` reads of a set: nothing else of the set's length has to be sent."""
    return replace(embeddings, labels=np.broadcast_to(np.int64(-1), len(embeddings)), clips=())


def _score(
    scores: Sequence[Postprocessor], embeddings: Embeddings, part: slice, options: ScoringOptions
) -> tuple[list[Scores], list[Said]]:
    said = {id(score): Said() for score in scores}

    @contextmanager
    def around(score: Postprocessor) -> Iterator[None]:
        own = said[id(score)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except UserError as error:
                own.error = own.error or error
        own.warnings += [(str(each.message), each.category) for each in caught]

    with computing(options.threads):
        return score_blocks(scores, embeddings, options, around, part=part), list(said.values())
