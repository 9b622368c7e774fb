"""Scores applied, and training rows read, by the workers of a cluster: a task for each shard of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.arithmetic import Arithmetic, Floats
from ..linalg.neighbours import CACHE_BYTES, Neighbours
from ..linalg.rows import block_slices, row_norms
from ..linalg.threads import computing
from ..shards import shard_rows
from .options import ScoringOptions
from .rows import Around, Rows, score_blocks, widest

if TYPE_CHECKING:
    from .base import Postprocessor


@dataclass
class Said:
    """What a score said on a worker: its first error, and warnings."""

    error: UserError | None = None
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)


def sent_scores(scores: Sequence[Postprocessor], options: ScoringOptions) -> Any:
    """Return what `score_shards` applies, sent to the workers once."""
    assert options.shards is not None
    return options.shards.send([score.predictor() for score in scores], "scores")


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
    shards = options.shards
    assert shards is not None
    parts = shards.slices(len(embeddings), shard_rows(embeddings.dim, options.chunk_rows))
    sent = shards.send((function, _unlabelled(embeddings), head, options.of_worker), "a set to be fitted to")
    found: list[list[Any]] = [[]] * len(parts)
    for number, of_part in shards.each(_blocks, [sent], [(part,) for part in parts], "a shard is fitted to"):
        found[number] = of_part
        progress(parts[number].stop - parts[number].start)
    for of_part in found:
        yield from of_part


def _blocks(given: tuple[Any, ...], part: slice) -> list[Any]:
    function, embeddings, head, options = given
    with computing(options.threads):
        return [
            function(
                Rows(
                    embeddings, slice(part.start + each.start, part.start + each.stop), head, options.checked
                )
            )
            for each in block_slices(part.stop - part.start, embeddings.dim, options.chunk_rows)
        ]


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
