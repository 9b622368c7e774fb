"""What verifying results found, and its report in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..escapes import markdown, one_line
from ..vocabulary import TIERS
from .records import ResultRecord

REASONS = {
    "unsafe": "files that may not be read",
    "files": "the list of files",
    "record": "the record",
    "scores": "the score files",
    "nan": "NaN among the scores",
    "labels": "labels or their order",
    "counts": "the number of samples",
    "split": "the split",
    "track": "the track",
    "config": "the config",
    "condition": "the condition",
    "convention": "the convention of FPR@95",
    "metric": "a metric or its interval",
    "failure": "a metric of failure detection or its interval",
    "calibration": "a metric of calibration or its interval",
    "embeddings": "the embeddings",
}
"""Reason of a refusal → what is wrong."""


class RefusedError(UserError):
    """A result that what lies beside it contradicts.

    Attributes:
        reason: a key of `REASONS`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Verified:
    """What is known of one file of a submission or a run.

    Attributes:
        path: of the record, or of the file that is wrong.
        record: None where it can't be read, or the file is no record.
        tier: see `TIERS`; ``"self-reported"`` where it is refused.
        reason: a key of `REASONS`, or "" where nothing contradicts it.
        message: why it is refused.
        remarks: what could not be checked, or is not as usual.
    """

    path: Path
    record: ResultRecord | None
    tier: str
    reason: str = ""
    message: str = ""
    remarks: tuple[str, ...] = ()


def count_tiers(found: Sequence[Verified]) -> str:
    """Return how many results that are not refused have each tier: ``3 results: 2 verified, 1 self-reported``."""
    accepted = [each for each in found if not each.reason]
    counts = Counter(each.tier for each in accepted)
    tiers = ", ".join(f"{counts[tier]} {tier}" for tier in reversed(TIERS) if counts[tier])
    return f"{len(accepted)} result{'' if len(accepted) == 1 else 's'}{f': {tiers}' if tiers else ''}"


def report(found: Sequence[Verified]) -> str:
    """Return the page: what was found in short, what is refused, every result with its tier, remarks."""
    refused = [each for each in found if each.reason]
    accepted = [each for each in found if not each.reason]
    parts = [
        "# Verification of results",
        f"**{len(refused)} refused**" if refused else "**Nothing refused**",
        count_tiers(found),
    ]
    if refused:
        lines = [
            f"- {_path(each.path)}: **{REASONS[each.reason]}**. {markdown(each.message)}" for each in refused
        ]
        parts += ["## Refused", "\n".join(lines)]
    if accepted:
        lines = ["| result | track | tier | AUROC | FPR@95 |", "|---|---|---|---|---|"]
        for each in accepted:
            assert each.record is not None
            metrics = [each.record.metrics.get(name) for name in ("AUROC", "FPR@95")]
            values = " | ".join("" if metric is None else _percent(metric) for metric in metrics)
            lines.append(f"| {_path(each.path)} | {each.record.track} | {each.tier} | {values} |")
        parts += ["## Results", "\n".join(lines)]
    remarks = Counter(remark for each in accepted for remark in each.remarks)
    if remarks:
        lines = [
            f"- {markdown(text)} ({n} result{'' if n == 1 else 's'})" for text, n in sorted(remarks.items())
        ]
        parts += ["## Remarks", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _path(path: Path) -> str:
    text = one_line(path.as_posix()).replace("`", "'").replace("|", "\\|")
    return f"`{text}`"


def _percent(metric: dict[str, float | None]) -> str:
    value, low, high = (metric[name] for name in ("value", "ci_low", "ci_high"))
    bounds = "" if low is None or high is None else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{100 * (value or 0.0):.2f}{bounds}"
