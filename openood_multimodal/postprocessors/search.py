"""The search for parameters: a score's sweep, tried on validation sets.  Test sets have no way into it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arrays import Embeddings, Scores
from ..errors import UserError
from ..progress import progress_bar
from .plan import fit_score, inherits, score_all
from .shared import Shared
from .sweeps import settings

Criterion = Callable[[Scores, Scores], float]
"""Scores of ID and of OOD validation samples → how well they are told apart, higher is better."""


@dataclass(frozen=True)
class Searched:
    """What a search found for a score.

    Attributes:
        chosen: parameter → value, of the best setting; the first of several in the order of the grid.
        grid: parameter → the values tried.
        value: the criterion of the best setting.
        tied: how many settings reach it.
        tried: every setting with its criterion, or with the reason why these data don't allow it.
    """

    chosen: dict[str, Any]
    grid: dict[str, list[Any]]
    value: float
    tied: int
    tried: tuple[tuple[dict[str, Any], float | str], ...]


@dataclass
class Search:
    """Chooses the parameters of scores on validation sets, while they are fitted (see `plan.fit_all`).

    Attributes:
        known: ID validation set.
        unknown: OOD validation sets; together they are the OOD samples of the criterion.
        criterion: what is made largest.
        fixed: score → parameters that keep their value, since the user gave it.
        found: score → what was found, filled by `fit`.
    """

    known: Embeddings
    unknown: Mapping[str, Embeddings]
    criterion: Criterion
    fixed: Mapping[str, Collection[str]] = field(default_factory=dict)
    found: dict[str, Searched] = field(default_factory=dict)

    def grid(self, score: Any) -> dict[str, list[Any]]:
        """Return parameter → values to be tried, a single one for what is fixed; {} where nothing is to be searched."""
        fixed = self.fixed.get(score.name, ())
        swept = {
            key.removesuffix("_list"): list(values)
            for key, values in (getattr(score, "args_dict", None) or {}).items()
        }
        if all(name in fixed for name in swept):
            return {}
        return {name: [score.parameters[name]] if name in fixed else values for name, values in swept.items()}

    def fit(self, score: Any, shared: Shared) -> None:
        """Fit a score with every setting of its grid, and keep the best one; what `shared` holds is computed once.

        Raises:
            UserError: where no setting can be used, with the reason of the first.
        """
        grid = self.grid(score)
        tried: list[tuple[dict[str, Any], float | str]] = []
        first: UserError | None = None
        values: list[float] = []
        possible = []
        if inherits(score, "fit"):
            score.fitted = False  # an object that was fitted before may have been fitted to other data
        for setting in progress_bar(
            list(settings(grid.values())),
            desc=f"Search {score.name}",
            unit="setting",
            leave=False,
            quiet=not shared.options.progress,
        ):
            named = dict(zip(grid, setting, strict=True))
            try:
                _set(score, setting, shared, first=not tried)
                values.append(self._value(score, shared))
            except UserError as error:
                first = first or error
                tried.append((named, str(error).removeprefix(f"{score.name}: ")))
                continue
            possible.append(setting)
            tried.append((named, values[-1]))
        if not values:
            raise first or UserError(f"the sweep of '{score.name}' has no values to try.")
        best = int(np.argmax(values))  # the first of several
        _set(score, possible[best], shared, first=False)
        chosen = dict(zip(grid, possible[best], strict=True))
        self.found[score.name] = Searched(
            chosen, grid, values[best], values.count(values[best]), tuple(tried)
        )
        score.notes += [
            f"{score.name}: {_text(named)} was left out of the search: {reason}"
            for named, reason in tried
            if isinstance(reason, str)
        ]

    def _value(self, score: Any, shared: Shared) -> float:
        sets = {"": self.known, **{f"ood {name}": each for name, each in self.unknown.items()}}
        found = [
            each for (each,) in score_all([score], sets, replace(shared.options, progress=False)).values()
        ]
        joined = Scores(*(np.concatenate(column) for column in zip(*found[1:], strict=True)))
        return self.criterion(found[0], joined)


def _set(score: Any, setting: list[Any], shared: Shared, first: bool) -> None:
    """Give a score parameters, and fit it to what is shared where it isn't fitted with them."""
    if not (
        inherits(score, "fit") and inherits(score, "set_hyperparam")
    ):  # it brings what it fitted up to date itself
        if first:
            fit_score(score, shared)
        score.set_hyperparam(setting)
        return
    score.set_hyperparam(setting, shared)
    if not score.fitted:
        shared.fit(score, again=True)


def _text(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())
