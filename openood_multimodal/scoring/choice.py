"""Which scores run, with which parameters; and whether what they need is there.

Nothing is left out silently: a score that can't run is an error that says how to leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import bind
from ..config.values import UnreadableError, read_scalar
from ..engines import build, choose
from ..errors import UserError
from ..naming import did_you_mean
from ..postprocessors.base import Postprocessor
from ..registry import POSTPROCESSORS

DEFAULT_SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
"""The scores that run unless others are asked for: the paper's; LogitNorm, its tenth method, is a training."""

FIT_SETS = ("train", "val")
NEED_HEAD = frozenset({"ash", "react", "vim"})
"""Scores that ask the head for new logits, so that stored logits don't do."""

Parameters = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """One row of the table.

    Attributes:
        name: as it stands there.
        score: a `Postprocessor`, or OpenOOD's behind the same methods.
        asked: as the user wrote it, where that differs (``openood/knn``).
    """

    name: str
    score: Any
    asked: str = ""

    @property
    def written(self) -> str:
        """The name to write to get this score again."""
        return self.asked or self.name


def score_names(asked: str | Iterable[str] | None, engine: str = "native") -> list[str]:
    """Return the names asked for, in order; the default nine for None.

    Args:
        asked: names, or text with commas; ``<engine>/<name>`` for one of the other engine.
        engine: that of names without a prefix.

    Raises:
        UserError: for no name, an unknown one, or one that stands there twice.
    """
    if asked is None:
        return list(DEFAULT_SCORES)
    names = [each.strip() for each in (asked.split(",") if isinstance(asked, str) else asked)]
    if not names or not all(names):
        raise UserError(f"postprocessors names no score. Known: {', '.join(POSTPROCESSORS.names())}.")
    for name in names:
        choice = choose(name, engine)
        if choice.engine == "native":
            POSTPROCESSORS.get(choice.name)
        if [choose(each, engine).label for each in names].count(choice.label) > 1:
            raise UserError(f"the postprocessor '{choice.label}' is asked for twice; once is enough.")
    return names


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return score → parameter → value from ``["knn.K=10", ...]``; later ones win.

    Values are read as in configs (``null``, ``true``, ``0.1``, text); `build_jobs` checks their types.

    Raises:
        UserError: when a text has another form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name, dot, parameter = key.partition(".")
        if not (equals and dot and name and parameter and value):
            raise UserError(f"--set is written POSTPROCESSOR.PARAMETER=VALUE, e.g. knn.K=10; got '{text}'.")
        try:
            settings.setdefault(name, {})[parameter] = read_scalar(value, None)
        except UnreadableError as error:
            raise UserError(f"--set {text}: {error}") from None
    return settings


def build_jobs(
    names: Sequence[str], preset: str, parameters: Parameters, shaped: str | None, engine: str = "native"
) -> list[Job]:
    """Return the scores, not fitted yet.

    Args:
        names: from `score_names`.
        preset: ``"openood"`` or ``"multiood"``.
        parameters: score → parameters that override the preset's.
        shaped: how the features have been shaped already, or None.
        engine: that of names without a prefix.

    Raises:
        UserError: for parameters of a score that doesn't run, that it doesn't have, or of another type; for
            features already shaped, any score but their energy; for a preset that OpenOOD's engine lacks.
    """
    for name in parameters:
        if name not in names:
            raise UserError(f"parameters are set for '{name}', which is not run.{did_you_mean(name, names)}")
    if shaped is not None:
        return _shaped_jobs(names, preset, parameters, shaped)
    choices = [choose(name, engine) for name in names]
    if preset != "openood" and all(choice.engine == "openood" for choice in choices):
        raise UserError(
            f"preset is '{preset}', and the engine openood has OpenOOD's parameters only; "
            "leave the preset out, or set single parameters."
        )
    return [
        Job(
            choice.label,
            build(choice, preset, parameters.get(name, {}))
            if choice.engine == "openood"
            else _labelled(_build(choice.name, preset, parameters.get(name, {})), choice.label),
            name,
        )
        for name, choice in zip(names, choices, strict=True)
    ]


def _labelled(score: Postprocessor, label: str) -> Postprocessor:
    if label != score.name:
        vars(score)["name"] = label  # on this object alone; the class keeps its own
    return score


def _build(name: str, preset: str, overrides: Mapping[str, Any]) -> Postprocessor:
    kind = POSTPROCESSORS.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Postprocessor)):
        raise UserError(f"'{name}' can't be scored here: derive it from postprocessors.Postprocessor.")
    if preset not in kind.presets:
        raise UserError(f"there is no preset called '{preset}'.{did_you_mean(preset, kind.presets)}")
    plain = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in overrides.items()
    }
    try:
        bound = bind(plain, kind.Params, name, ignore=())
        score: Postprocessor = kind.from_preset(preset, **{key: getattr(bound, key) for key in plain})
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error
    return score


def _shaped_jobs(names: Sequence[str], preset: str, parameters: Parameters, shaped: str) -> list[Job]:
    allowed = ["ebo", *([shaped] if shaped in POSTPROCESSORS else [])]
    refused = [name for name in names if name not in allowed]
    if refused:
        raise UserError(
            f"these features have been shaped by {shaped} already, so they are scored by energy alone; "
            f"{', '.join(refused)} can't use them. Use --postprocessors {allowed[-1]}."
        )
    if parameters.get(shaped):
        raise UserError(
            f"these features have been shaped by {shaped} already; its parameters can't be changed."
        )
    return [Job(name, _build("ebo", preset, parameters.get(name, {}))) for name in names]


def require_inputs(jobs: Sequence[Job], *, train: bool, val: bool, fit_on: str, head: bool, why: str) -> None:
    """Check that the fitting sets and the head are there for every score.

    Args:
        jobs: the scores.
        train: whether there is a training set.
        val: whether there is a validation set.
        fit_on: which of them is the fitting set.
        head: whether there is a head.
        why: why there is no head, where that is known.

    Raises:
        UserError: naming the scores that can't run, and how to leave them out.
    """
    if fit_on not in FIT_SETS:
        raise UserError(f"fit_on is '{fit_on}'.{did_you_mean(fit_on, FIT_SETS)}")
    fit = val if fit_on == "val" else train
    no_fit = [job.name for job in jobs if "train" in job.score.needs and not fit]
    no_val = [job.name for job in jobs if "val" in job.score.needs and not val and not fit]
    no_head = [job.name for job in jobs if _needs_head(job.score) and not head]
    missing = {*no_fit, *no_val, *no_head}
    if not missing:
        return
    parts = []
    if no_fit:
        other = " or, to fit on the validation set, --fit-on val" if val else ""
        parts.append(
            f"{_need(no_fit)} a {fit_on} set to fit on: give --{fit_on} (in Python {fit_on}=){other}"
        )
    if no_val:
        parts.append(
            f"{_need(no_val)} a validation or a training set: give --val (in Python val=) or --train"
        )
    if no_head:
        parts.append(f"{_need(no_head)} the head: give --head{why}")
    rest = sorted((job for job in jobs if job.name not in missing), key=lambda job: job.score.reads_features)
    remedy = f"Or leave them out: --postprocessors {','.join(job.written for job in rest)}" if rest else ""
    raise UserError(f"{'; '.join(parts)}. {remedy}".rstrip())


def _needs_head(score: Any) -> bool:
    return bool(getattr(score, "needs_head", score.name in NEED_HEAD))


def _need(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'}"


def require_slices(jobs: Sequence[Job], known: bool) -> None:
    """Raise `UserError` where a score treats modalities by themselves and their columns aren't known."""
    names = [job.name for job in jobs if job.score.parameters.get("per_modality")]
    if names and not known:
        off = " ".join(f"--set {name}.per_modality=false" for name in names)
        raise UserError(
            f"{', '.join(names)} would treat each modality by itself, but the columns of the modalities aren't "
            f"known: give --slices, e.g. video:2304,flow:2048 (in Python slices=), or {off}."
        )
