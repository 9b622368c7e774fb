"""The files of ``openood-mm decide``: the table, a summary of one page, the decision file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..escapes import one_line
from ..evaluators.intervals import needed
from ..files import atomic
from ..files.folders import writing_together
from . import rules
from .decide import Decisions
from .saved import DECISION_FILE

TABLE_FILE, SUMMARY_FILE = "decisions.csv", "summary.txt"
_SHOWN = 15


def write_decisions(folder: Path, found: Decisions) -> list[Path]:
    """Write the files into ``folder``, in place of those of an earlier run; return their paths."""
    columns = found.columns()
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    with writing_together(folder, last=DECISION_FILE) as stage:
        atomic.write_csv(stage.path / TABLE_FILE, tuple(columns), rows)
        atomic.write_text(stage.path / SUMMARY_FILE, summary(found))
        found.saved.save(stage.path / DECISION_FILE)
    return [folder / name for name in (TABLE_FILE, SUMMARY_FILE, DECISION_FILE)]


def summary(found: Decisions) -> str:
    """Return the summary: the rule, what it promises, what it decided, the OOD share, rejections by class."""
    saved, n = found.saved, len(found.saved.calibration)
    rejected, share = int((~found.accepted).sum()), found.share
    lines = [
        f"Score:       {saved.postprocessor} ({saved.engine['name']} {saved.engine['version']}, preset {saved.preset})",
        f"Rule:        {saved.rule}",
        *(f"             {line}" for line in _promise(found)),
        f"Validation:  {n} in-distribution samples",
        "",
        f"Samples:     {len(found)}",
        f"Accepted:    {len(found) - rejected} ({1 - rejected / len(found):.1%})",
        f"Rejected:    {rejected} ({rejected / len(found):.1%})",
        f"OOD share:   {share.value:.1%} (95 % interval {share.ci_low:.1%} to {share.ci_high:.1%})",
        "             A lower estimate: OOD samples that score above the median ID sample count as ID.",
        "",
        "Predicted class   samples   rejected",
    ]
    classes, counts = np.unique(found.pred, return_counts=True)
    gone = [int((~found.accepted[found.pred == number]).sum()) for number in classes]
    order = sorted(range(len(classes)), key=lambda i: (-gone[i] / counts[i], classes[i]))
    lines += [f"{classes[i]:>15}{counts[i]:>10}{gone[i]:>11}" for i in order[:_SHOWN]]
    if len(order) > _SHOWN:
        lines.append(f"{'...':>15} and {len(order) - _SHOWN} more classes with lower shares of rejections")
    lines += [f"Note: {one_line(note)}" for note in found.notes]
    return "\n".join(lines) + "\n"


def _promise(found: Decisions) -> list[str]:
    saved, n = found.saved, len(found.saved.calibration)
    error = f"{1 - saved.tpr:.4g}"
    if saved.rule == "conformal":
        low, high = rules.tpr_interval(n, n + 1 - rules.rejected_ranks(n, saved.tpr))
        return [
            f"Rejects a sample where its p-value is at most {error}.",
            f"Of new ID samples like the validation set's, at least {saved.tpr:.4g} are accepted on average over",
            f"validation sets; with this one, between {low:.1%} and {high:.1%} (95 %).",
        ]
    if saved.rule == "mondrian":
        return [
            f"Rejects a sample where its p-value within its predicted class is at most {error}.",
            f"Of new ID samples predicted as any one class, at least {saved.tpr:.4g} are accepted on average over",
            "validation sets.",
        ]
    if saved.rule == "threshold":
        low, high = rules.tpr_interval(n, needed(n, saved.tpr))
        return [
            f"Accepts a sample whose score is at least {saved.threshold:.6g}, as a share of {saved.tpr:.4g} of the",
            "validation samples is.",
            f"The TPR on new ID samples is between {low:.1%} and {high:.1%} (95 %).",
        ]
    if saved.rule == "scod":
        return [
            f"Accepts a sample where (1 - w) P(class) - w P_out / P_in is at least {saved.threshold:.6g}, with",
            f"w = {saved.weight:g}, as {saved.tpr:.4g} of the validation samples' are.",
            f"Temperature {saved.temperature:.4g}. No guarantee.",
        ]
    costs = ", ".join(f"{name} {value:g}" for name, value in (saved.costs or {}).items())
    return [
        f"Rejects a sample where accepting it has the higher expected cost ({costs}),",
        f"with an OOD share of {saved.share:.3g}. Temperature {saved.temperature:.4g}. No guarantee.",
    ]
