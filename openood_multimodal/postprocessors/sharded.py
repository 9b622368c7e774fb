"""Scores applied, and training rows read, by the workers of a cluster: a task for each shard of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.rows import block_slices
from ..linalg.threads import computing
from .options import ScoringOptions
from .rows import Around, Rows, score_blocks, widest

if TYPE_CHECKING:
    from .base import Postprocessor


@dataclass
class Said:
    """What a score said on a worker: its first error, and warnings."""

    error: UserError | None = None
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)


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
        sent: the scores, of `Shards.send`.
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
    parts = shards.slices(count, widest(scores, embeddings), options.chunk_rows)
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
    for score, each in zip(scores, said, strict=True):
        with around(score):
            for text, category in each.warnings:
                warnings.warn(text, category, stacklevel=2)
            if each.error is not None:
                raise each.error
    return found


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
    parts = shards.slices(len(embeddings), embeddings.dim, options.chunk_rows)
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
