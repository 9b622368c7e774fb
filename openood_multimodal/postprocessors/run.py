"""The one road from names to confidences: choose the scores, build them, fit them, score sets with them.

`openood-mm score`, `evaluate` and the test pipeline take it; the plugin builds scores by it.

An *engine* computes scores: ``native``, this package's own, or another one of the registry `ENGINES`, such as
``openood``: OpenOOD's classes, unchanged.  A run has one engine; a single score takes another as
``<engine>/<name>``: with ``engine="native"``, ``openood/knn`` is OpenOOD's KNN, called ``openood-knn`` in results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.threads import computing
from ..naming import did_you_mean
from ..registry import ENGINES, POSTPROCESSORS
from ..version import __version__
from ..vocabulary import FIT_SETS
from .base import Postprocessor
from .combine import Combination
from .options import ScoringOptions
from .plan import fit_all, naming, score_all
from .search import Search
from .spec import build_score, split_names

NATIVE = "native"
DEFAULT_SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
"""The scores that run unless others are asked for: the paper's; LogitNorm, its tenth method, is a training method."""

ALL = "all"
"""In place of names: every native score that needs no other score in it."""

Parameters = Mapping[str, Mapping[str, Any]]


@ENGINES.register(NATIVE)
class NativeEngine:
    """The package's own scores."""

    has_presets = True

    @staticmethod
    def build(name: str, preset: str, parameters: Mapping[str, Any], seed: int) -> Postprocessor:
        """Return the score that ``name`` describes, see `spec.build_score`; none of them draws random numbers."""
        return build_score(name, preset, parameters)

    @staticmethod
    def hint(name: str) -> str:
        """Return how this engine's score is asked for in a run of another engine; "" where it has none."""
        return f"name it native/{name}, or set engine: native." if name in POSTPROCESSORS else ""


class Choice(NamedTuple):
    """What the name of a score means.

    Attributes:
        label: what results and files call the score.
        engine: that computes it.
        name: what the engine calls it.
    """

    label: str
    engine: str
    name: str


@dataclass(frozen=True)
class Chosen:
    """One score of a run.

    Attributes:
        name: what results and files call it.
        score: a `Postprocessor`, or another engine's object with the same ``fit`` and ``score``.
        asked: what the user wrote.
        fixed: the parameters that were given beside the preset's.
    """

    name: str
    score: Any
    asked: str = ""
    fixed: frozenset[str] = frozenset()

    @property
    def given(self) -> bool:
        """Whether parameters were given beside the preset's."""
        return bool(self.fixed)

    @property
    def engine(self) -> dict[str, str]:
        """The record's field: name and version of the engine."""
        return engine_of(self.score)


def resolve(name: str, engine: str = NATIVE) -> Choice:
    """Return what ``name`` (``knn`` or ``openood/knn``) means in a run of ``engine``.

    Raises:
        UserError: for an unknown engine, or the bare name of a score that only another engine has.
    """
    prefix, slash, plain = name.partition("/")
    if not slash or "(" in prefix:  # brackets hold the scores of a combination, which are native
        prefix, plain = engine, name
    check_engine(prefix)
    if prefix == NATIVE and plain.isidentifier() and plain not in POSTPROCESSORS:
        for other in ENGINES.names():
            hint = ENGINES.get(other).hint(plain) if other != NATIVE else ""
            if hint:
                raise UserError(hint)
    return Choice(plain if prefix == engine else f"{prefix}-{plain}", prefix, plain)


def check_engine(engine: str) -> None:
    """Raise `UserError` unless there is such an engine."""
    if engine not in ENGINES.names():
        raise UserError(f"there is no engine '{engine}'.{did_you_mean(str(engine), ENGINES.names())}")


def check_fit_on(fit_on: str, what: str = "fit_on") -> None:
    """Raise `UserError` unless ``fit_on`` names a set that scores may be fitted to; ``what`` is for the message."""
    if fit_on not in FIT_SETS:
        raise UserError(f"{what} is '{fit_on}'.{did_you_mean(fit_on, FIT_SETS)}")


def build(
    choice: Choice, preset: str = "openood", parameters: Mapping[str, Any] | None = None, seed: int = 0
) -> Any:
    """Return the score, not fitted yet.

    Args:
        choice: which.
        preset: of native parameters; OpenOOD's engine has OpenOOD's defaults, whatever the preset.
        parameters: that differ from it.
        seed: of scores that draw random numbers.

    Raises:
        UserError: for an unknown score, preset or parameter; when OpenOOD is asked for and can't be imported.
    """
    score = ENGINES.get(choice.engine).build(choice.name, preset, parameters or {}, seed)
    if choice.label != choice.name:
        score.name = choice.label
    return score


def engine_of(score: Any) -> dict[str, str]:
    """Return the record's field ``engine`` of a score: its name and version."""
    return dict(getattr(score, "engine", {"name": NATIVE, "version": __version__}))


def choose(
    names: str | Iterable[str | Postprocessor] | None,
    engine: str = NATIVE,
    preset: str = "openood",
    parameters: Parameters | None = None,
    *,
    sweeps: Parameters | None = None,
    seed: int = 0,
) -> list[Chosen]:
    """Return the scores of a run, not fitted yet, in order.

    Args:
        names: see `spec`; text with commas, names, or objects; ``<engine>/<name>`` for another engine's.  None: the
            nine of `DEFAULT_SCORES`; ``"all"``: `all_scores`.
        engine: of names without a prefix.
        preset: ``"openood"`` or ``"multiood"``.
        parameters: name → parameters that override the preset's.
        sweeps: name → OpenOOD's ``postprocessor_sweep``, the values that a parameter search tries.
        seed: of scores that draw random numbers.

    Raises:
        UserError: for no name, an unknown one, or one that is given twice; for parameters of a score that isn't run,
            that it doesn't have, or of another type; for a preset that the engine lacks.
    """
    check_engine(engine)
    if names == ALL:
        names = all_scores()
    asked = list(DEFAULT_SCORES) if names is None else _as_written(names)
    parameters = {"".join(name.split()): dict(each or {}) for name, each in (parameters or {}).items()}
    written = [each for each in asked if isinstance(each, str)]
    for name in parameters:
        if name not in written:
            raise UserError(
                f"parameters are set for '{name}', which is not run.{did_you_mean(name, written)}"
            )
    choices = [
        resolve(each, engine) if isinstance(each, str) else Choice(each.name, NATIVE, each.name)
        for each in asked
    ]
    labels = [choice.label for choice in choices]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"the postprocessor '{twice}' is asked for twice; once is enough.")
    if preset != "openood" and not any(ENGINES.get(choice.engine).has_presets for choice in choices):
        raise UserError(
            f"preset is '{preset}', and the engine {choices[0].engine} has OpenOOD's parameters only; "
            "leave the preset out, or set single parameters."
        )
    chosen = []
    for each, choice in zip(asked, choices, strict=True):
        if isinstance(each, Postprocessor):
            chosen.append(Chosen(each.name, each, each.name))
            continue
        given = parameters.get(each, {})
        score = build(choice, preset, given, seed)
        if sweeps and each in sweeps:
            score.args_dict = {key: list(values) for key, values in sweeps[each].items()}
        chosen.append(Chosen(choice.label, score, each, frozenset(given)))
    return chosen


def _as_written(names: str | Iterable[str | Postprocessor]) -> list[str | Postprocessor]:
    """Return names and objects; words that a shell or YAML cut at a comma within brackets are put together."""
    given = [names] if isinstance(names, str | Postprocessor) else list(names)
    objects = {each.name: each for each in given if isinstance(each, Postprocessor)}
    written = split_names(each if isinstance(each, str) else each.name for each in given)
    if not all(written):
        raise UserError(
            "postprocessors names no score; name some, e.g. msp,ebo,mls. Known: "
            f"{', '.join(POSTPROCESSORS.names())}."
        )
    return [objects.get(name, name) for name in written]


def all_scores() -> list[str]:
    """Return the names of all native scores but those that combine others, in order."""
    kinds = {name: POSTPROCESSORS.get(name) for name in POSTPROCESSORS.names()}
    return [
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Postprocessor) and not issubclass(kind, Combination)
    ]


@contextmanager
def leaving_out(name: str, left_out: dict[str, str]) -> Iterator[None]:
    """Note a `UserError` inside in ``left_out``, name → reason, and go on."""
    try:
        yield
    except UserError as error:
        left_out.setdefault(name, str(error).removeprefix(f"{name}: "))


def named(each: Chosen, chosen: Sequence[Chosen]) -> AbstractContextManager[None]:
    """Say of an error inside which score it comes from, and how to go on without it."""
    others = [other for other in chosen if not _fails_with(other, each)]
    return naming(each.name, [other.asked or other.name for other in others])


def _fails_with(other: Chosen, each: Chosen) -> bool:
    """Whether what ``each`` lacks is lacking to ``other``, too: it is made of it, or of the same kind."""
    asked = other.asked or other.name
    return (
        type(other.score) is type(each.score) or re.search(rf"\b{re.escape(each.name)}\b", asked) is not None
    )


def run(
    chosen: Sequence[Chosen],
    train: Embeddings | None,
    val: Embeddings | None,
    head: LinearHead | None,
    sets: Mapping[str, Embeddings],
    options: ScoringOptions | None = None,
    around: Callable[[Chosen], AbstractContextManager[Any]] | None = None,
    left_out: dict[str, str] | None = None,
    search: Search | None = None,
) -> list[dict[str, Scores]]:
    """Fit scores and apply them to sets; what native ones share is computed once.

    Args:
        chosen: the scores.
        train: the set to fit to, or None.
        val: validation embeddings, or None.
        head: fusion head, or None.
        sets: name → set to be scored.
        options: how to compute.
        around: the context that each score's work runs in; `named` without it.
        left_out: where given, a score that can't be fitted or applied is put there, name → reason; the others go on.
        search: chooses the parameters of scores that have a sweep, on validation sets.

    Returns:
        For every score that isn't left out, name of the set → its `Scores`.

    Raises:
        UserError: of a score that can't be fitted or applied, with its name and how to go on without it.
    """
    of = {id(each.score): each for each in chosen}

    def context(score: Any) -> AbstractContextManager[Any]:
        each = of[id(score)]
        if left_out is not None:
            stack = ExitStack()
            stack.enter_context(leaving_out(each.name, left_out))
            if around is not None:
                stack.enter_context(around(each))
            return stack
        return named(each, chosen) if around is None else around(each)

    scores = [each.score for each in chosen]
    options = options if options is not None else ScoringOptions()
    with computing(options.threads):
        fit_all(scores, train, val, head, options, context, search)
        fitted = [each for each in chosen if each.name not in (left_out or ())]
        found = score_all([each.score for each in fitted], sets, options, context)
    return [
        {name: found[name][i] for name in sets}
        for i, each in enumerate(fitted)
        if each.name not in (left_out or ())
    ]
