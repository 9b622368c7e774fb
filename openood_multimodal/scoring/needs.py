"""What the chosen scores need of the sets.  A score that can't run is an error that says how to leave it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import UserError
from ..postprocessors.base import Postprocessor
from ..postprocessors.run import Chosen, leaving_out, named
from ..postprocessors.spec import build_score
from ..registry import POSTPROCESSORS
from ..vocabulary import CSID, OOD_VAL
from .task import Task


def for_shaped(chosen: Sequence[Chosen], shaped: str | None, preset: str) -> list[Chosen]:
    """Return the scores that features take which ASH or ReAct has shaped already: their energy, under either name.

    Raises:
        UserError: for any other score, or parameters of the shaping.
    """
    if shaped is None:
        return list(chosen)
    allowed = ["ebo", *([shaped] if shaped in POSTPROCESSORS else [])]
    refused = [each.name for each in chosen if each.name not in allowed]
    if refused:
        raise UserError(
            f"these features have been shaped by {shaped} already, so they are scored by energy alone; "
            f'{", ".join(refused)} can\'t use them. Use postprocessors="{allowed[-1]}".'
        )
    if any(each.given for each in chosen if each.name == shaped):
        raise UserError(
            f"these features have been shaped by {shaped} already; its parameters can't be changed."
        )
    return [
        replace(each, score=build_score("ebo", preset)) if each.name == shaped else each for each in chosen
    ]


def require_given(chosen: Sequence[Chosen], task: Task, fit_on: str, why_no_head: str = "") -> None:
    """Check that the fitting sets and the head are there for every score.

    Args:
        chosen: the scores.
        task: the sets.
        fit_on: ``"train"`` or ``"val"``, the set to fit to.
        why_no_head: why there is no head, where that is known.

    Raises:
        UserError: naming the scores that can't run, and how to leave them out.
    """
    fit, val = task.fitting(fit_on), task.val
    no_fit = [each.name for each in chosen if "train" in each.score.needs and fit is None]
    no_val = [each.name for each in chosen if "val" in each.score.needs and val is None and fit is None]
    no_head = [each.name for each in chosen if each.score.needs_head and task.head is None]
    missing = {*no_fit, *no_val, *no_head}
    if not missing:
        return
    parts = []
    if no_fit:
        other = ' or, to fit on the validation set, fit_on="val"' if val is not None else ""
        parts.append(f"{_need(no_fit)} a {fit_on} set to fit on: give {fit_on}={other}")
    if no_val:
        parts.append(f"{_need(no_val)} a validation or a training set: give val= or train=")
    if no_head:
        parts.append(f"{_need(no_head)} the head: give head={why_no_head}")
    rest = [each for each in chosen if each.name not in missing]
    rest.sort(key=lambda each: bool(each.score.reads_features))
    remedy = f'Or leave them out: postprocessors="{",".join(each.asked for each in rest)}"' if rest else ""
    raise UserError(f"{'; '.join(parts)}. {remedy}".rstrip())


def able(
    chosen: Sequence[Chosen], task: Task, fit_on: str, why_no_head: str = ""
) -> tuple[list[Chosen], dict[str, str]]:
    """Return the scores that have what they need, and name → reason of the others.

    Args:
        chosen: the scores.
        task: the sets, checked.
        fit_on: see `require_given`.
        why_no_head: see `require_given`.
    """
    left_out: dict[str, str] = {}
    for each in chosen:
        with leaving_out(each.name, left_out):
            require_given([each], task, fit_on, why_no_head)
            require_inputs([each], task, fit_on)
    return [each for each in chosen if each.name not in left_out], left_out


def _need(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'}"


def require_inputs(chosen: Sequence[Chosen], task: Task, fit_on: str) -> None:
    """Check that every set has what native scores read, before anything is computed.

    Raises:
        UserError: naming the score, the set and what it lacks.
    """
    those = [each for each in chosen if getattr(each.score, "needs_slices", False)]
    if those and not task.slices:
        off = ", ".join(each.name for each in those if "per_modality" in each.score.parameters)
        raise UserError(
            f"{', '.join(each.name for each in those)} would treat each modality by itself, but the columns of the "
            "modalities aren't known: give slices=, e.g. video:2304,flow:2048"
            + (f", or set per_modality of {off} to false." if off else ".")
        )
    named_so = {f"{CSID} {name}": each for name, each in task.csid.items()}
    named_so |= {f"{OOD_VAL} {name}": each for name, each in task.ood_val.items()}
    sets = {"train": task.fitting(fit_on), "val": task.val, "test": task.test, **named_so, **task.ood}
    for each in chosen:
        if isinstance(each.score, Postprocessor):
            with named(each, chosen):
                for name, found in sets.items():
                    if found is not None:
                        each.score.check_inputs(found.embeddings, task.head, f"{name} ")
