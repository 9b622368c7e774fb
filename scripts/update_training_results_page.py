"""Put the tables of every training method into docs/results-trainings.md, from the records of the suite `trainings`:

openood-mm benchmark --suite trainings --output-dir results/trainings
python scripts/update_training_results_page.py results/trainings

A second argument names another suite, whose tables go between the markers of that name, on the page of `PAGES`.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from page_blocks import with_block
from scipy import stats
from update_score_results_page import LEVEL, holm

from openood_multimodal.config import find_config, read_config
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text
from openood_multimodal.pipelines.suites import plan_suite
from openood_multimodal.reporting.aggregate import (
    over_scores,
    paired_differences,
    signed_interval,
    summarise,
    summary,
)
from openood_multimodal.reporting.benchmark import suite_frame
from openood_multimodal.reporting.methods import TITLES, TRAININGS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {"trainings": DOCS / "results-trainings.md", "auxiliary": DOCS / "auxiliary-outliers.md"}
REFERENCE = "multimodal_multihead"
MEAN = "mean of scores"
ALONE = ("msp",)
"""Score of methods that are read with one (LogitNorm); they are compared by it."""


def title(method: str) -> str:
    """Return the name of ``<training>-<variant>`` as tables have it."""
    training, _, variant = method.partition("-")
    name = TRAININGS.get(training, training)
    return f"{name}, {'A2D' if variant == 'a2d' else f'`{variant}`'}" if variant else name


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of those partitions and seeds that every method has, so that all are compared on the same.

    Raises:
        UserError: where fewer than five are left.
    """
    runs = frame.groupby(["partition", "seed"])["training"].nunique()
    whole = runs[runs == frame["training"].nunique()].index
    if len(whole) < 5:
        raise UserError(
            f"{frame['benchmark'].iloc[0]}: {len(whole)} partitions and seeds have every method; at least 5 are needed."
        )
    return frame[pd.MultiIndex.from_frame(frame[["partition", "seed"]]).isin(whole)]


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `aggregate.paired_differences` of every method and the reference, with Holm's p-value over the methods."""
    pairs = [(name, REFERENCE) for name in frame["training"].unique() if name != REFERENCE]
    found = paired_differences(pd.concat([frame, over_scores(frame)]), pairs, one_partition="seeds")
    half = (found["ci_high"] - found["ci_low"]) / 2
    count = found["partitions"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found["difference"].abs() / half * stats.t.ppf(0.975, count - 1)
    found["p"] = (2 * stats.t.sf(ratio, count - 1)).clip(max=1)
    found.loc[found["difference"].eq(0) & half.eq(0), "p"] = 1.0
    shown = found["postprocessor"].eq(MEAN) | ~found["training"].isin(
        found.loc[found["postprocessor"].eq(MEAN), "training"]
    )
    for _, part in found[shown].groupby("metric"):
        found.loc[part.index, "p_holm"] = holm(part["p"].to_numpy())
    return found


def with_reference(part: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one table of ``frame``, and of the reference: auxiliary outliers keep them apart elsewhere."""
    outliers, benchmark = part[["auxiliary", "benchmark"]].iloc[0]
    if not outliers:
        return part
    without = frame["benchmark"].eq(benchmark.replace(f", auxiliary {outliers}", ""))
    return pd.concat([frame[without & frame["training"].eq(REFERENCE)].assign(benchmark=benchmark), part])


def section(frame: pd.DataFrame, name: str) -> tuple[list[str], pd.DataFrame]:
    """Return the lines of one benchmark's table, and all differences as a frame."""
    frame = complete(frame)
    means = summary(pd.concat([frame, over_scores(frame)])).set_index(["training", "postprocessor"])
    accuracy = summarise(frame, ["training"], ["ACC"])["ACC"]
    found = differences(frame)
    by_cell = found.set_index(["training", "postprocessor", "metric"])
    scores = [each for each in TITLES if each in set(frame["postprocessor"])]
    read_with = {
        method: MEAN
        if (method, MEAN) in means.index
        else next(each for each in ALONE if (method, each) in means.index)
        for method in frame["training"].unique()
    }
    outliers = frame["auxiliary"].ne("").any()
    order = sorted(
        read_with,
        key=lambda each: (outliers and each != REFERENCE, -means.loc[(each, read_with[each]), "AUROC"]),
    )
    partitions, seeds = frame["partition"].nunique(), frame["seed"].nunique()
    of = f"{partitions} class partitions" if partitions > 1 else f"{seeds} seeds"
    lines = [
        f"### {name}",
        "",
        f"{of}; modalities {', '.join(f'`{each}`' for each in frame['modalities'].iloc[0].split('+'))}.",
        "",
        "| training method | ID accuracy | AUROC | ΔAUROC | ΔFPR@95 | "
        + " | ".join(TITLES[each] for each in scores)
        + " |",
        "|---" * (5 + len(scores)) + "|",
    ]
    for method in order:
        score = read_with[method]
        cells = [title(method), f"{accuracy[method]:.2f}", f"{means.loc[(method, score), 'AUROC']:.2f}"]
        cells[0] += ", without outliers: not ranked" if outliers and method == REFERENCE else ""
        cells[2] += " (MSP)" if score != MEAN else ""
        cells += [_difference(by_cell, (method, score, metric)) for metric in ("AUROC", "FPR@95")]
        cells += [
            f"{means.loc[(method, each), 'AUROC']:.2f}" if (method, each) in means.index else ""
            for each in scores
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""], found


def _difference(by_cell: pd.DataFrame, key: tuple[str, str, str]) -> str:
    if key not in by_cell.index:
        return "reference"
    row = by_cell.loc[key]
    text = signed_interval(*row[["difference", "ci_low", "ci_high"]])
    return f"**{text}**" if row["p_holm"] < LEVEL else text


def tables(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the Markdown of every benchmark's table, and all differences as one frame."""
    groups = frame.groupby("benchmark", sort=False)
    parts = [section(with_reference(part, frame), str(name)) for name, part in groups]
    whole = pd.concat([each for _, each in parts], ignore_index=True)
    return "\n".join(line for lines, _ in parts for line in lines), whole


def update(results: Path, suite: str = "trainings") -> Path:
    """Replace what is between the suite's markers on the page; write the CSV file beside it."""
    runs = plan_suite(read_config(find_config(f"suites/{suite}.yml")), results)
    page = PAGES[suite]
    text = page.read_text(encoding="utf-8")
    markdown, whole = tables(suite_frame({run.folder: run.variant for run in runs if run.folder.is_dir()}))
    csv = page.parent / "results" / f"{suite}.csv"
    write_text(csv, whole.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(page, with_block(text, suite, markdown, page))
    return page


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(update(Path(sys.argv[1]), *sys.argv[2:]))
