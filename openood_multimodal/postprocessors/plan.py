"""Several scores fitted and applied together, with what they share computed once.

`fit_all` gives all scores one memo of training statistics (`Shared`), `score_all` hands every block of a scored set to
all of them, so that logits, norms and conversions are shared (see `Rows`).  A score with a `fit` or `score` of its own
runs beside the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.threads import computing
from ..progress import progress_bar
from .base import Postprocessor
from .options import ScoringOptions
from .rows import Around, nothing_around, score_blocks
from .sharded import score_shards, sent_scores
from .shared import Shared

if TYPE_CHECKING:
    from .search import Search


@contextmanager
def naming(name: str, others: Sequence[str]) -> Iterator[None]:
    """Say which score an error comes from, and how to go on without it.

    Args:
        name: what results call it.
        others: the other scores, as they are written to be asked for.
    """
    try:
        yield
    except UserError as error:
        what = str(error) if str(error).startswith(f"{name}:") else f"{name}: {error}"
        remedy = f' To run the others: postprocessors="{",".join(others)}"' if others else ""
        raise UserError(f"{what}{remedy}") from error


def fit_all(
    scores: Sequence[Postprocessor],
    train: Embeddings | None,
    val: Embeddings | None,
    head: LinearHead | None,
    options: ScoringOptions | None = None,
    around: Around = nothing_around,
    search: Search | None = None,
) -> None:
    """Fit scores together; the same as `Postprocessor.fit` of each, with what they share computed once.

    Args:
        scores: not fitted yet, or to be fitted again.
        train: training embeddings ``[N, D]``.
        val: validation embeddings.
        head: fusion head.
        options: how to compute.
        around: the context that each score's fitting runs in.
        search: chooses the parameters of scores that have a sweep.

    Raises:
        UserError: as `Postprocessor.fit`; for a device that isn't there.
    """
    options = options if options is not None else ScoringOptions()
    with computing(options.threads), _bar("Fit", 0, options) as bar:

        def advance(rows: int) -> None:
            bar.total = max(bar.total or 0, bar.n + rows)
            bar.update(rows)

        shared = Shared(
            [score for score in scores if inherits(score, "fit")], train, val, head, options, advance
        )
        searched = [] if search is None else [score for score in scores if search.grid(score)]
        # these first: a combination takes an equal score of the run as its part, whose parameters must be settled
        for score in sorted(scores, key=lambda score: score not in searched):
            with around(score):
                bar.set_postfix_str(score.name)
                if search is not None and score in searched:
                    search.fit(score, shared)
                else:
                    fit_score(score, shared)


def fit_part(score: Postprocessor, shared: Shared) -> Postprocessor:
    """Return a fitted score that another one combines: an equal one of the same run where there is one, else a copy,
    so that nothing is fitted, or computed, twice.
    """
    same = (
        each
        for each in shared.scores
        if type(each) is type(score) and each.name == score.name and each.parameters == score.parameters
    )
    part = next(same, None) or copy.deepcopy(score)
    fit_score(part, shared)
    return part


def fit_score(score: Postprocessor, shared: Shared) -> None:
    """Fit a score to what is shared; one with a `fit` of its own by that."""
    if inherits(score, "fit"):
        shared.fit(score)
    else:
        score.fit(shared.train, shared.val, shared.head)


def inherits(score: Any, method: str) -> bool:
    """Return whether a score has the base class's ``method``; one that doesn't has to be asked by its own."""
    return getattr(type(score), method) is getattr(Postprocessor, method)


def score_all(
    scores: Sequence[Postprocessor],
    sets: Mapping[str, Embeddings],
    options: ScoringOptions | None = None,
    around: Around = nothing_around,
) -> dict[str, list[Scores]]:
    """Score sets with several fitted scores; every block of rows is read once for all of them.

    Returns:
        Name of the set → one `Scores` a score, in their order.

    Raises:
        UserError: as `Postprocessor.score`.
    """
    options = options if options is not None else ScoringOptions()
    bases = [inherits(score, "score") for score in scores]
    ours = [score for score, is_ours in zip(scores, bases, strict=True) if is_ours]
    found: dict[str, list[Scores]] = {}
    # without a bar nobody asks for the lengths: sets that are made when asked for are made once
    total = sum(map(len, sets.values())) if options.progress else 0
    with computing(options.threads), _bar("Score", total, options) as bar:
        apply = (
            score_blocks
            if options.shards is None
            else partial(score_shards, sent_scores(ours, options, around))
        )
        for name, embeddings in sets.items():
            together = iter(apply(ours, embeddings, options, around, bar.update))
            found[name] = []
            for score, is_ours in zip(scores, bases, strict=True):
                if is_ours:
                    found[name].append(next(together))
                else:
                    with around(score):
                        found[name].append(score.score(embeddings))
    return found


def _bar(description: str, total: int, options: ScoringOptions) -> Any:
    return progress_bar(
        total=total,
        desc=description,
        unit="row",
        unit_scale=True,
        leave=False,
        quiet=not options.progress,
    )
