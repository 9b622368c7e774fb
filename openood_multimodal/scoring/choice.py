"""Which scores run, with which parameters; and whether what they need is there.

Nothing is left out silently: a score that can't run is an error that says how to leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arrays import Embeddings, LinearHead
from ..config.values import UnreadableError
from ..engines import Choice, build, choose
from ..errors import UserError
from ..naming import did_you_mean
from ..postprocessors.base import Postprocessor
from ..postprocessors.plan import naming
from ..postprocessors.spec import build_score, check_name, read_value, split_names, split_outside
from ..registry import POSTPROCESSORS
from ..vocabulary import FIT_SETS

DEFAULT_SCORES = ("msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim")
"""The scores that run unless others are asked for: the paper's; LogitNorm, its tenth method, is a training."""

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


def score_names(
    asked: str | Iterable[str | Postprocessor] | None, engine: str = "native"
) -> list[str | Postprocessor]:
    """Return the scores asked for, in order; the default nine for None.

    Args:
        asked: names (see `postprocessors.spec`), or text with commas, or objects; ``<engine>/<name>`` for one of
            the other engine.
        engine: that of names without a prefix.

    Raises:
        UserError: for no name, an unknown one, or one that stands there twice.
    """
    if asked is None:
        return list(DEFAULT_SCORES)
    given = [asked] if isinstance(asked, str | Postprocessor) else list(asked)
    objects = {each.name: each for each in given if isinstance(each, Postprocessor)}
    written = split_names(each if isinstance(each, str) else each.name for each in given)
    if not all(written):
        raise UserError(f"postprocessors names no score. Known: {', '.join(POSTPROCESSORS.names())}.")
    names = [objects.get(name, name) for name in written]
    labels = [_choose(name, engine).label for name in names]
    for name, label in zip(names, labels, strict=True):
        if isinstance(name, str) and _choose(name, engine).engine == "native":
            check_name(_choose(name, engine).name)
        if labels.count(label) > 1:
            raise UserError(f"the postprocessor '{label}' is asked for twice; once is enough.")
    return names


def _choose(name: str | Postprocessor, engine: str) -> Choice:
    return choose(name, engine) if isinstance(name, str) else Choice(name.name, "native", name.name)


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return score → parameter → value from ``["knn.K=10", ...]``; later ones win.

    Values are read as in configs (``null``, ``true``, ``0.1``, text); `build_jobs` checks their types.

    Raises:
        UserError: when a text has another form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, *value = split_outside(text, "=", 1)
        name, *parameter = split_outside(key, ".", 1)
        if not (name and parameter and parameter[0] and value and value[0]):
            raise UserError(f"--set is written POSTPROCESSOR.PARAMETER=VALUE, e.g. knn.K=10; got '{text}'.")
        try:
            settings.setdefault(name, {})[parameter[0]] = read_value(value[0])
        except UnreadableError as error:
            raise UserError(f"--set {text}: {error}") from None
    return settings


def build_jobs(
    names: Sequence[str | Postprocessor],
    preset: str,
    parameters: Parameters,
    shaped: str | None,
    engine: str = "native",
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
    parameters = {"".join(name.split()): dict(each) for name, each in parameters.items()}
    written = [name for name in names if isinstance(name, str)]
    for name in parameters:
        if name not in written:
            raise UserError(
                f"parameters are set for '{name}', which is not run.{did_you_mean(name, written)}"
            )
    if shaped is not None:
        return _shaped_jobs([_choose(name, engine).label for name in names], preset, parameters, shaped)
    choices = [_choose(name, engine) for name in names]
    if preset != "openood" and all(choice.engine == "openood" for choice in choices):
        raise UserError(
            f"preset is '{preset}', and the engine openood has OpenOOD's parameters only; "
            "leave the preset out, or set single parameters."
        )
    return [
        Job(choice.label, build(choice, preset, parameters.get(name, {})), name)
        if isinstance(name, str)
        else Job(name.name, name)
        for name, choice in zip(names, choices, strict=True)
    ]


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
    return [Job(name, build_score("ebo", preset, parameters.get(name, {}))) for name in names]


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
    no_head = [job.name for job in jobs if job.score.needs_head and not head]
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


def _need(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'}"


def require_slices(jobs: Sequence[Job], known: bool) -> None:
    """Raise `UserError` where a score treats modalities by themselves and their columns aren't known."""
    those = [job for job in jobs if getattr(job.score, "needs_slices", False)]
    if those and not known:
        off = " ".join(
            f"--set {job.name}.per_modality=false" for job in those if "per_modality" in job.score.parameters
        )
        raise UserError(
            f"{', '.join(job.name for job in those)} would treat each modality by itself, but the columns of the "
            "modalities aren't known: give --slices, e.g. video:2304,flow:2048 (in Python slices=)"
            + (f", or {off}." if off else ".")
        )


def require_readable(jobs: Sequence[Job], sets: Mapping[str, Embeddings], head: LinearHead | None) -> None:
    """Raise `UserError` where a set lacks what a native score reads, before anything is computed."""
    for job in jobs:
        if isinstance(job.score, Postprocessor):
            with naming(job.name, [each.written for each in jobs if each is not job]):
                for name, embeddings in sets.items():
                    job.score.check_inputs(embeddings, head, f"{name} ")
