"""The planner: several scores fitted and applied together, with what they share computed once.

A score says what it reads off the training embeddings (`Postprocessor.uses`, a set of `Needs`) and takes it from
the `Shared` that its `learn` is given:

    @POSTPROCESSORS.register("rmds")
    class RMDS(Postprocessor):
        needs = frozenset({"train"})
        uses = frozenset({Needs.CLASS_MEANS, Needs.WITHIN_SCATTER, Needs.SCATTER})

        def learn(self, shared):
            self.within = shared.whitening()          # the factorisation that MDS uses too
            self.centres = self.within.centres(shared.class_means.means)
            self.mean = shared.mean
            self.covariance = shared.covariance()     # S_w plus the class means' scatter: no pass, no products

`fit_all` reads the training rows once for all scores' needs together, `score_all` hands every block of a scored
set to all of them, so that logits, norms and conversions are shared (see `Rows`).  A score that knows nothing of
this writes `estimate` and `score_rows`, and runs beside the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.rows import block_slices
from ..linalg.threads import computing
from .options import ScoringOptions
from .rows import Rows
from .shared import Shared

if TYPE_CHECKING:
    from .base import Postprocessor

Around = Callable[["Postprocessor"], AbstractContextManager[Any]]
"""Score → the context that its own work runs in, e.g. to say whose an error is."""


def _nothing_around(score: Postprocessor) -> AbstractContextManager[Any]:
    return nullcontext()


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
        remedy = f" To go on without it: --postprocessors {','.join(others)}" if others else ""
        raise UserError(f"{what}{remedy}") from error


def fit_all(
    scores: Sequence[Postprocessor],
    train: Embeddings | None,
    val: Embeddings | None,
    head: LinearHead | None,
    options: ScoringOptions | None = None,
    around: Around = _nothing_around,
) -> None:
    """Fit scores together; the same as `Postprocessor.fit` of each, with what they share computed once.

    Args:
        scores: not fitted yet, or to be fitted again.
        train: training embeddings ``[N, D]``.
        val: validation embeddings.
        head: fusion head.
        options: how to compute.
        around: the context that each score's fitting runs in.

    Raises:
        UserError: as `Postprocessor.fit`; for a device that isn't there.
    """
    _fit(scores, [_plain(score, "fit") for score in scores], train, val, head, options, around)


def fit_alone(
    score: Postprocessor,
    train: Embeddings | None,
    val: Embeddings | None,
    head: LinearHead | None,
    options: ScoringOptions,
) -> None:
    """Do what `Postprocessor.fit` does."""
    _fit([score], [True], train, val, head, options, _nothing_around)


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
    if _plain(part, "fit"):
        shared.fit(part)
    else:
        part.fit(shared.train, shared.val, shared.head)
    return part


def _plain(score: Postprocessor, method: str) -> bool:
    """Return whether a score leaves a method as it is; one that doesn't has to be asked by that method."""
    from .base import Postprocessor

    return getattr(type(score), method) is getattr(Postprocessor, method)


def _fit(
    scores: Sequence[Postprocessor],
    plain: Sequence[bool],
    train: Embeddings | None,
    val: Embeddings | None,
    head: LinearHead | None,
    options: ScoringOptions | None,
    around: Around,
) -> None:
    options = options if options is not None else ScoringOptions()
    planned = [score for score, ours in zip(scores, plain, strict=True) if ours]
    with computing(options.threads), _bar("Fit", 0, options) as bar:

        def advance(rows: int) -> None:
            bar.total = max(bar.total or 0, bar.n + rows)
            bar.update(rows)

        shared = Shared(planned, train, val, head, options, advance)
        for score, ours in zip(scores, plain, strict=True):
            with around(score):
                bar.set_postfix_str(score.name)
                if ours:
                    shared.fit(score)
                else:
                    score.fit(train, val, head)


def score_all(
    scores: Sequence[Postprocessor],
    sets: Mapping[str, Embeddings],
    options: ScoringOptions | None = None,
    around: Around = _nothing_around,
) -> dict[str, list[Scores]]:
    """Score sets with several fitted scores; every block of rows is read once for all of them.

    Returns:
        Name of the set → one `Scores` a score, in their order.

    Raises:
        UserError: as `Postprocessor.score`.
    """
    options = options if options is not None else ScoringOptions()
    plain = [_plain(score, "score") for score in scores]
    ours = [score for score, is_plain in zip(scores, plain, strict=True) if is_plain]
    found: dict[str, list[Scores]] = {}
    with computing(options.threads), _bar("Score", sum(map(len, sets.values())), options) as bar:
        for name, embeddings in sets.items():
            planned = iter(_score_blocks(ours, embeddings, options, around, bar.update))
            found[name] = []
            for score, is_plain in zip(scores, plain, strict=True):
                if is_plain:
                    found[name].append(next(planned))
                else:
                    with around(score):
                        found[name].append(score.score(embeddings))
    return found


def score_alone(score: Postprocessor, embeddings: Embeddings, options: ScoringOptions) -> Scores:
    """Do what `Postprocessor.score` does."""
    with computing(options.threads):
        return _score_blocks([score], embeddings, options, _nothing_around, lambda rows: None)[0]


def _score_blocks(
    scores: Sequence[Postprocessor],
    embeddings: Embeddings,
    options: ScoringOptions,
    around: Around,
    progress: Callable[[int], object],
) -> list[Scores]:
    count = len(embeddings)
    found = []
    for score in scores:
        with around(score):
            score.check_ready(embeddings)
        found.append(Scores(np.empty(count, dtype=np.int64), np.empty(count, dtype=np.float64)))
    width = max((score.block_width(embeddings) for score in scores), default=1)
    for where in block_slices(count, width, options.chunk_rows):
        blocks: list[Rows] = []  # one a head; scores that were fitted together have the same
        for score, out in zip(scores, found, strict=True):
            rows = next((each for each in blocks if each.head is score.head), None)
            if rows is None:
                rows = Rows(embeddings, where, score.head, options.checked)
                blocks.append(rows)
            with around(score):
                pred, conf = rows.scores_of(score)
                if np.shape(pred) != (len(rows),) or np.shape(conf) != (len(rows),):
                    raise UserError(
                        f"{score.name}: score_rows must return pred and conf of shape ({len(rows)},), one a row; "
                        f"got {np.shape(pred)} and {np.shape(conf)}."
                    )
                out.pred[where], out.conf[where] = pred, conf
        progress(where.stop - where.start)
    return found


def _bar(description: str, total: int, options: ScoringOptions) -> Any:
    return tqdm(
        total=total,
        desc=description,
        unit="row",
        unit_scale=True,
        leave=False,
        disable=None if options.progress else True,
    )
