"""What a search for parameters runs on: ID and OOD validation sets that share no row with a test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Embeddings, Scores
from ..errors import UserError
from ..evaluators.metrics import auroc, compute_ood_metrics
from ..naming import did_you_mean
from ..postprocessors.run import Chosen
from ..postprocessors.search import Criterion, Search, Searched
from ..registry import SYNTHESES
from ..reporting.schema import SEARCHED_NOTE
from ..vocabulary import CRITERIA, OOD_VAL, SEARCHES
from .shared_rows import overlaps
from .task import Task

VALIDATION, NPMIX = SEARCHES


@dataclass(frozen=True)
class Validation:
    """What a search was asked to do, checked.

    Attributes:
        task: the sets.
        kind: one of `SEARCHES`.
        criterion: one of `CRITERIA`.
        seed: of synthesised outliers.
    """

    task: Task
    kind: str = VALIDATION
    criterion: str = "AUROC"
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, known in (
            ("search", self.kind, SEARCHES),
            ("search_criterion", self.criterion, CRITERIA),
        ):
            if value not in known:
                raise UserError(f"{what} is '{value}'.{did_you_mean(str(value), known)}")
        if self.seed < 0:
            raise UserError(f"the seed of a search must be at least 0, got {self.seed}.")

    def settings(self) -> dict[str, Any]:
        """Return what tells this search from another one."""
        return {"search": self.kind, "search_criterion": self.criterion} | (
            {"search_seed": self.seed} if self.kind == NPMIX else {}
        )

    def check(self, jobs: Sequence[Chosen], fit_on: str) -> None:
        """Check that the search can be made, before anything is computed.

        Raises:
            UserError: without an ID or an OOD validation set, where a validation row is a test row, where scores are
                fitted to the rows that they would be chosen on, or where no score has anything to search.
        """
        task, given = self.task, bool(self.task.ood_val)
        if task.val is None:
            raise UserError("a search for parameters needs an ID validation set: give val=.")
        if self.kind == VALIDATION and not given:
            raise UserError(
                "a search for parameters needs an OOD validation set, which shares no row with a test set; parameters "
                "are never chosen on test data. Give ood_val=, or search on "
                'outliers synthesised from the training embeddings: search="npmix".'
            )
        if self.kind == NPMIX and given:
            raise UserError(
                "search is npmix, which synthesises its OOD samples, and there are OOD validation sets "
                f"({', '.join(task.ood_val)}), too; leave one of the two out."
            )
        if self.kind == NPMIX and (task.train is None or task.head is None):
            raise UserError(
                "search npmix mixes training embeddings, and asks the head for logits: give train= and head=."
            )
        if fit_on == "val":
            raise UserError(
                "fit_on is 'val', and a search would choose parameters on the rows that scores are fitted to: K = 1 "
                "finds each of them at distance 0. Fit on the training set, or set parameters yourself."
            )
        require_disjoint((name, each.embeddings) for name, each in task.named_sets() if name != "train")
        search = self._search(jobs, {})
        if not any(search.grid(job.score) for job in jobs):
            raise UserError(
                f"there is nothing to search: {', '.join(job.name for job in jobs)} have no sweep, or their swept "
                "parameters were given. docs/scores.md lists the sweeps."
            )

    def search(self, jobs: Sequence[Chosen]) -> Search:
        """Return the search for the parameters of ``jobs``."""
        return self._search(jobs, self.unknown)

    def _search(self, jobs: Sequence[Chosen], unknown: dict[str, Embeddings]) -> Search:
        assert self.task.val is not None
        known = self.task.val.embeddings
        fixed = {job.name: job.fixed for job in jobs}
        return Search(known, unknown, criterion_of(self.criterion, np.asarray(known.labels)), fixed)

    @cached_property
    def unknown(self) -> dict[str, Embeddings]:
        """The OOD samples that parameters are chosen on."""
        if self.kind == VALIDATION:
            return {name: each.embeddings for name, each in self.task.ood_val.items()}
        task = self.task
        assert task.train is not None
        assert task.val is not None
        assert task.head is not None
        train = task.train.embeddings
        mixed = SYNTHESES.get(NPMIX)().from_rows(
            train.features, train.labels, task.head.num_classes, len(task.val.embeddings), self.seed
        )
        labels = np.full(len(mixed), -1, dtype=np.int64)
        return {NPMIX: Embeddings(mixed, labels, slices=train.slices, modalities=train.modalities)}

    def _sets(self) -> str:
        val, unknown = self.task.val, self.unknown
        assert val is not None
        sets = " + ".join(f"{name} ({len(each)})" for name, each in unknown.items())
        return f"ID val ({len(val.embeddings)} rows) against {'OOD val ' if self.kind == VALIDATION else ''}{sets}"

    def note(self, found: Searched) -> str:
        """Return what a record says of the search: criterion, sets, grid and choice."""
        begin = SEARCHED_NOTE
        if (self.kind, self.criterion) != (VALIDATION, "AUROC"):
            where = (
                "the validation OOD set"
                if self.kind == VALIDATION
                else f"outliers synthesised by NP-Mix (seed {self.seed})"
            )
            begin = f"parameters chosen by {self.criterion} on {where}"
        tied = f"; {found.tied} settings tie, the first is taken" if found.tied > 1 else ""
        grid = "; ".join(f"{name} of {values}" for name, values in found.grid.items())
        return (
            f"{begin}: {_pairs(found.chosen)} ({self.criterion} {100 * self.value(found):.2f} % on {self._sets()}; "
            f"{grid}{tied})"
        )

    def value(self, found: Searched) -> float:
        """Return the criterion of what was chosen, a fraction."""
        return abs(found.value)

    def described(self, searched: Iterable[tuple[str, Searched]]) -> dict[str, Any]:
        """Return all of it as JSON: what was searched on, and for every score what was tried and chosen."""
        return {
            **self.settings(),
            "sets": self._sets(),
            "scores": {
                name: {
                    "chosen": found.chosen,
                    "value": self.value(found),
                    "tied": found.tied,
                    "tried": [
                        {"parameters": each, "left_out": value} if isinstance(value, str)
                        else {"parameters": each, "value": abs(value)}
                        for each, value in found.tried
                    ],
                }
                for name, found in searched
            },
        }  # fmt: skip


def require_disjoint(sets: Iterable[tuple[str, Embeddings]]) -> None:
    """Check that no row that parameters are chosen on is a test row, by the digests of the rows.

    Args:
        sets: name → set; ``val`` and names that begin with ``ood_val`` are chosen on, all others are test sets.

    Raises:
        UserError: naming the two sets, and how many rows they share.
    """
    for found in overlaps(sets):
        one, test = sorted((found.name, found.other), key=lambda name: not _chosen_on(name))
        if _chosen_on(one) and not _chosen_on(test):
            raise UserError(
                f"{found.rows} rows are in both {one} and {test}: parameters would be chosen on test rows. Leave "
                "these rows out of one of the two sets."
            )


def _chosen_on(name: str) -> bool:
    return name == "val" or name.startswith(OOD_VAL)


def criterion_of(name: str, labels: Any) -> Criterion:
    """Return a metric as a criterion: higher is better, so that rates of errors are negative."""
    if name == "AUROC":
        return lambda known, unknown: auroc(known.conf, unknown.conf)
    sign = -1.0 if name.startswith("FPR") else 1.0

    def of(known: Scores, unknown: Scores) -> float:
        found = compute_ood_metrics(known.conf, unknown.conf, known.pred, labels, intervals=False)
        return sign * found[name].value

    return of


def _pairs(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())
