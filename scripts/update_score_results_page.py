"""Put the tables of every native score into docs/results-scores.md, from the records of two suites:

openood-mm benchmark --suite scores --output-dir results/scores/tables
openood-mm benchmark --suite scores_clips --output-dir results/scores/clips
python scripts/update_score_results_page.py results/scores
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from page_blocks import with_block
from scipy import stats

from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text
from openood_multimodal.reporting.aggregate import mean_interval, means, records_frame
from openood_multimodal.reporting.records import load_records

PAGE = Path(__file__).parent.parent / "docs" / "results-scores.md"
CSV = PAGE.parent / "results" / "scores.csv"
LEVEL = 0.05
METRICS = {"AUROC": False, "FPR@95": True}
"""Metric of a table → whether lower is better."""


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values ``[n]``."""
    order = np.argsort(p_values)
    steps = (len(p_values) - np.arange(len(p_values))) * p_values[order]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def compared(values: pd.DataFrame, lower: bool) -> pd.DataFrame:
    """Rank scores by their mean, and compare each with the first.

    Args:
        values: a row a partition (a seed, where there is one partition), a column a score.
        lower: whether lower is better.

    Returns:
        A row a score, the best first: ``mean``, ``low`` and ``high`` (95 % t-interval over partitions), ``rank``,
        ``mean_rank`` (over partitions), ``p`` (of a two-sided paired t-test against the first, Holm-adjusted over the
        scores; NaN for the first).
    """
    if len(values) < 5 or values.isna().any(axis=None):
        raise UserError(
            f"every score needs results on the same partitions, or seeds of one, at least 5; there are {len(values)}."
        )
    table = pd.DataFrame({"mean": values.mean()})
    table[["low", "high"]] = [mean_interval(values[name].to_numpy()) for name in table.index]
    table["rank"] = table["mean"].rank(method="min", ascending=lower).astype(int)
    table["mean_rank"] = values.rank(axis=1, ascending=lower).mean()
    table = table.sort_values("mean", ascending=lower, kind="stable")
    first, others = table.index[0], table.index[1:]
    differences = values[others].sub(values[first], axis=0)
    same = (differences == 0).all()
    p = np.ones(len(others))
    p[~same] = stats.ttest_1samp(differences.loc[:, ~same], 0).pvalue
    table["p"] = pd.Series(holm(p), others)
    return table


def section(frame: pd.DataFrame, name: str) -> tuple[list[str], pd.DataFrame]:
    """Return the lines of one benchmark's table, and all of it as a frame."""
    count, seeds = frame["partition"].nunique(), frame["seed"].nunique()
    unit = "partition" if count > 1 else "seed"
    values = means(frame, ["postprocessor", unit], list(METRICS))
    found = {
        metric: compared(values[metric].unstack("postprocessor"), lower) for metric, lower in METRICS.items()
    }
    auroc = found["AUROC"]
    runs = f"{count} class partitions, each the mean of {seeds} seeds" if count > 1 else f"{seeds} seeds"
    modalities = ", ".join(f"`{each}`" for each in frame["modalities"].iloc[0].split("+"))
    lines = [
        f"### {name}",
        "",
        f"{runs}; modalities {modalities}; ID accuracy {means(frame, [unit], ['ACC'])['ACC'].mean():.2f} %.",
        "",
        "| rank | score | AUROC | 95 % interval | mean rank | FPR@95 | 95 % interval | rank by FPR@95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for score, row in auroc.iterrows():
        other = found["FPR@95"].loc[score]
        lines.append(
            f"| {row['rank']:.0f} | `{score}` | {_cell(auroc, score)} | [{row['low']:.2f}, {row['high']:.2f}] | "
            f"{row['mean_rank']:.1f} | {_cell(found['FPR@95'], score)} | [{other['low']:.2f}, {other['high']:.2f}] | "
            f"{other['rank']:.0f} |"
        )
    whole = pd.concat(
        [
            table.assign(benchmark=name, metric=metric).rename_axis("postprocessor")
            for metric, table in found.items()
        ]
    )
    return [*lines, ""], whole


def _cell(table: pd.DataFrame, score: object) -> str:
    """Return the mean; bold: the best, and all others differ from it; with =: the best, or not different from it."""
    row, text = table.loc[score], f"{table.loc[score, 'mean']:.2f}"
    if np.isnan(row["p"]):
        return f"**{text}**" if (table["p"].dropna() < LEVEL).all() else f"{text} ="
    return text if row["p"] < LEVEL else f"{text} ="


def tables(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the Markdown of every benchmark's table, and all values as one frame."""
    parts = [
        section(
            part,
            f"{name}, {setting}-OOD" if frame[frame["benchmark"] == name]["setting"].nunique() > 1 else name,
        )
        for (name, setting), part in frame.groupby(["benchmark", "setting"], sort=True)
    ]
    whole = pd.concat([each for _, each in parts]).reset_index()
    columns = ["benchmark", "postprocessor", "metric", "mean", "low", "high", "rank", "mean_rank", "p"]
    return "\n".join(line for lines, _ in parts for line in lines), whole[columns]


def update(results: Path) -> Path:
    """Replace what is between the markers of the page; write the CSV file beside it."""
    text = PAGE.read_text(encoding="utf-8")
    markdown, whole = tables(records_frame(load_records(results)))
    write_text(CSV, whole.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(PAGE, with_block(text, "results", markdown, PAGE))
    return PAGE


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(update(Path(sys.argv[1])))
