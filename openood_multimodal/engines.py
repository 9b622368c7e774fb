"""Which engine computes a score: ``native``, this package's own, or ``openood``, OpenOOD's classes unchanged.

A run has one engine; a single score takes the other as ``<engine>/<name>``: with ``engine: native``,
``openood/knn`` is OpenOOD's KNN, called ``openood-knn`` in results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import UserError
from .naming import did_you_mean
from .registry import POSTPROCESSORS
from .version import __version__
from .vocabulary import ENGINES


class Choice(NamedTuple):
    """One score of a run.

    Attributes:
        label: as it stands in results and names files.
        engine: one of `ENGINES`.
        name: as that engine knows it.
    """

    label: str
    engine: str
    name: str


def choose(name: str, engine: str = "native") -> Choice:
    """Return what ``name`` (``knn`` or ``openood/knn``) means in a run of ``engine``.

    Raises:
        UserError: for an unknown engine.
    """
    prefix, slash, plain = name.partition("/")
    if not slash or "(" in prefix:  # brackets hold the scores of a combination, which are native
        prefix, plain = engine, name
    wanted = prefix
    if wanted not in ENGINES:
        raise UserError(f"there is no engine '{wanted}'.{did_you_mean(wanted, ENGINES)}")
    if wanted == "native" and plain.isidentifier() and plain not in POSTPROCESSORS:
        _refuse_openoods(plain)
    return Choice(plain if wanted == engine else f"{wanted}-{plain}", wanted, plain)


def _refuse_openoods(name: str) -> None:
    """Say how a score that only OpenOOD has is asked for; another unknown name is the registry's to refuse."""
    from .plugin.recipes import RECIPES, UNSUITABLE

    if name in UNSUITABLE:
        raise UserError(
            f"'{name}' is one of OpenOOD's postprocessors, and can't run on embeddings: {UNSUITABLE[name]}."
        )
    if name in RECIPES:
        raise UserError(
            f"'{name}' is one of OpenOOD's postprocessors: name it openood/{name}, or set engine: openood. Inside "
            "OpenOOD, its own pipeline takes it as it is: --pipeline.name test_ood."
        )


def build(
    choice: Choice, preset: str = "openood", parameters: Mapping[str, Any] | None = None, seed: int = 0
) -> Any:
    """Return the score, not fitted yet.  OpenOOD's has OpenOOD's defaults, whatever the preset.

    Args:
        choice: which.
        preset: of native parameters.
        parameters: that differ from it.
        seed: of those of OpenOOD's that draw random numbers.

    Raises:
        UserError: for an unknown score, preset or parameter; when OpenOOD is asked for and can't be imported.
    """
    score: Any
    if choice.engine == "openood":
        from .plugin.adapters import OpenOODPostprocessor

        score = OpenOODPostprocessor(choice.name, parameters, seed=seed)
    else:
        from .postprocessors.spec import build_score

        score = build_score(choice.name, preset, parameters)
    if choice.label != choice.name:
        score.name = choice.label
    return score


def engine_of(score: Any) -> dict[str, str]:
    """Return the record's field ``engine`` of a score: its name and version."""
    return dict(getattr(score, "engine", {"name": "native", "version": __version__}))
