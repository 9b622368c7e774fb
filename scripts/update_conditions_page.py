"""Put the tables of test-time conditions into docs/results-conditions.md, from runs that kept their embeddings:

openood-mm benchmark --suite conditions --output-dir results/conditions
openood-mm benchmark --suite conditions_clips --data_root data/shapes --output-dir results/conditions_clips
python scripts/update_conditions_page.py results/conditions results/conditions_clips
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from page_blocks import with_block
from scipy import stats
from update_score_results_page import holm

from openood_multimodal.errors import UserError
from openood_multimodal.files import read_json
from openood_multimodal.files.atomic import write_text
from openood_multimodal.reporting.aggregate import mean_interval
from openood_multimodal.reporting.methods import COLUMNS as NETWORKS
from openood_multimodal.scoring.stress import stress

PAGE = Path(__file__).parent.parent / "docs" / "results-conditions.md"
CSV = PAGE.parent / "results" / "conditions.csv"
LEVEL = 0.05
METRICS = {"AUROC": False, "FPR@95": True}
"""Metric of a table → whether lower is better."""

BLIND = ("msp", "ebo", "mls", "gen", "react", "ash", "nnguide", "knn", "mds", "vim")
AWARE = (
    *("discrepancy", "per_modality(msp)", "per_modality(knn)", "modality_drop", "modality_virtual_logits"),
    "ensemble(msp,discrepancy)",
)
SCORES = (*BLIND, *AWARE)
"""Scores of the concatenated embedding, and scores that look at each modality."""

PARAMETERS = {"moving_shapes": {"knn": {"K": 5}, "vim": {"dim": 32}}}
"""Benchmark → parameters: a class has 36 training clips, and there are 144."""

CLEAN = "clean"
KINDS = {
    "missing=zero": "missing (zero)",
    "missing=mean": "missing (mean)",
    "noise=2": "noise 2",
    "noise=4": "noise 4",
    "swap=same": "conflicting, same class",
    "swap=other": "conflicting, other class",
}
"""Condition without its modality → heading."""

REFERENCE = "multimodal_multihead"


def stressed(folder: Path) -> pd.DataFrame:
    """Return the table of one run under every condition; kept in the run's ``stress.csv``."""
    job, path, stores = read_json(folder / "job.json"), folder / "stress.csv", folder / "embeddings"
    if path.is_file():
        kept = pd.read_csv(path)
        if tuple(kept["postprocessor"].unique()) == SCORES:
            return kept
    benchmark = job["benchmark"].rpartition("/")[2]
    known = {"train", "val", "test"}
    ood = {each.parent.name: each.parent for each in sorted(stores.glob("*/meta.json"))}
    found = stress(
        stores / "train",
        stores / "test",
        {name: store for name, store in ood.items() if name not in known and not name.startswith("ood_val")},
        stores / "head.npz",
        stores / "val",
        SCORES,
        parameters=PARAMETERS.get(benchmark),
        seed=job["seed"],
    )
    keys = {"benchmark": benchmark, **{key: job[key] for key in ("training", "partition", "seed")}}
    found = pd.DataFrame(found[found["dataset"] != "average"]).assign(**keys)
    write_text(path, found.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return pd.read_csv(path)


def load(results: list[Path], workers: int) -> pd.DataFrame:
    """Return the tables of all runs below the folders as one, with ``unit``: the class partition, or the seed."""
    runs = sorted(path.parent for root in results for path in root.rglob("done.json"))
    lacking = [run for run in runs if not (run / "embeddings" / "head.npz").is_file()]
    if not runs or lacking:
        raise UserError(f"{lacking[0] if lacking else results[0]} has no run that kept its embeddings.")
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        frame = pd.concat(pool.map(stressed, runs), ignore_index=True)
    several = frame.groupby("benchmark")["partition"].transform("nunique") > 1
    return frame.assign(unit=frame["partition"].where(several, frame["seed"]))


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a benchmark, OOD set, network, score, condition and metric.

    Columns beside these: ``mean``, ``low``, ``high`` (95 % t-interval over units, seeds averaged within a partition),
    ``units``, ``change`` (from clean), ``p`` (two-sided paired t-test of the change, Holm-adjusted over all scores and
    conditions of that network and OOD set; NaN for clean).
    """
    keys = ["benchmark", "dataset", "training", "postprocessor", "condition"]
    units = frame.groupby([*keys, "unit"], sort=False)[list(METRICS)].mean()
    parts = []
    for metric in METRICS:
        table = units[metric].unstack("unit")
        for _, part in table.groupby(["benchmark", "dataset", "training"], sort=False):
            values = part.dropna(axis=1, how="all")
            clean = values.xs(CLEAN, level="condition")
            changes = values - clean.reindex(values.index.droplevel("condition")).to_numpy()
            found = pd.DataFrame({"mean": values.mean(axis=1)})
            found[["low", "high"]] = [mean_interval(row) for row in values.to_numpy()]
            found["units"], found["change"] = values.shape[1], changes.mean(axis=1)
            under = values.index.get_level_values("condition") != CLEAN
            found["p"] = np.nan
            found.loc[under, "p"] = holm(paired_p(changes.to_numpy()[under]))
            parts.append(found.assign(metric=metric))
    return pd.concat(parts).reset_index()


def paired_p(differences: np.ndarray) -> np.ndarray:
    """Return the p-value of each row of ``[R, units]`` differences; 1 where all of a row's are 0."""
    p = np.ones(len(differences))
    differ = (differences != 0).any(axis=1)
    p[differ] = stats.ttest_1samp(differences[differ], 0, axis=1).pvalue
    return p


def kind_of(condition: str) -> tuple[str, str]:
    """Return kind and modality: ``missing:audio=zero`` to ``missing=zero``, ``audio``."""
    kind, _, rest = condition.partition(":")
    modality, _, value = rest.partition("=")
    return f"{kind}={value}", modality


def cells(part: pd.DataFrame, metric: str) -> list[str]:
    """Return the lines of one network's table: a row a score, a column a condition."""
    conditions = list(part["condition"].unique())
    order = [CLEAN, *(c for kind in KINDS for c in conditions if c != CLEAN and kind_of(c)[0] == kind)]
    heads = [CLEAN, *(f"{KINDS[kind_of(c)[0]]}: {kind_of(c)[1]}" for c in order[1:])]
    lines = ["| score | " + " | ".join(heads) + " |", "|---" * (len(order) + 1) + "|"]
    for score in SCORES:
        rows = part[(part["postprocessor"] == score) & (part["metric"] == metric)].set_index("condition")
        texts = []
        for condition in order:
            row = rows.loc[condition]
            worse = row["change"] > 0 if METRICS[metric] else row["change"] < 0
            mark = ("↓" if worse else "↑") if row["p"] < LEVEL else ""
            texts.append(f"{row['mean']:.1f} ± {(row['high'] - row['low']) / 2:.1f}{mark}")
        lines.append(f"| `{score}` | " + " | ".join(texts) + " |")
    return lines


def summary(found: pd.DataFrame) -> list[str]:
    """Return the table that tells what collapses: AUROC by condition, over scores and networks."""
    auroc = found[found["metric"] == "AUROC"]
    clean = auroc[auroc["condition"] == CLEAN].set_index(["dataset", "training", "postprocessor"])
    lines = [
        "| OOD set | condition | mean AUROC, clean | under the condition | lower | higher | collapsed |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, condition), part in auroc[auroc["condition"] != CLEAN].groupby(
        ["dataset", "condition"], sort=False
    ):
        before = clean.loc[pd.MultiIndex.from_frame(part[["dataset", "training", "postprocessor"]])]
        useful = before["low"].to_numpy() > 50
        lost = useful & (part["low"].to_numpy() <= 50)
        clear = part["p"] < LEVEL
        lines.append(
            f"| `{name}` | `{condition}` | {before['mean'].mean():.1f} | {part['mean'].mean():.1f} "
            f"| {(clear & (part['change'] < 0)).sum()} | {(clear & (part['change'] > 0)).sum()} "
            f"| {lost.sum()} of {useful.sum()} |"
        )
    return lines


def by_score(found: pd.DataFrame) -> list[str]:
    """Return mean AUROC of every score by OOD set: clean, and over all conditions of each kind, over networks."""
    auroc = found[found["metric"] == "AUROC"].copy()
    auroc["kind"] = [each if each == CLEAN else kind_of(each)[0] for each in auroc["condition"]]
    heads = [CLEAN, *KINDS.values(), "all but clean"]
    lines = []
    for name, part in auroc.groupby("dataset", sort=False):
        table = part.groupby(["postprocessor", "kind"])["mean"].mean().unstack()[[CLEAN, *KINDS]]
        table["all"] = part[part["kind"] != CLEAN].groupby("postprocessor")["mean"].mean()
        table = table.sort_values("all", ascending=False)
        best = table.max()
        lines += [
            f"**`{name}`**",
            "",
            "| score | " + " | ".join(heads) + " |",
            "|---" * (len(heads) + 1) + "|",
        ]
        for score, row in table.iterrows():
            texts = [f"**{v:.1f}**" if v == best[c] else f"{v:.1f}" for c, v in row.items()]
            lines.append(f"| `{score}` | " + " | ".join(texts) + " |")
        lines.append("")
    return lines


def by_network(frame: pd.DataFrame) -> list[str]:
    """Return differences of A2D networks and the multi-head one, AUROC averaged over scores, with paired tests."""
    keys = ["dataset", "condition", "training", "unit"]
    over_scores = frame.groupby(keys, sort=False)["AUROC"].mean().unstack("unit")
    rows = []
    for (name, condition), part in over_scores.groupby(["dataset", "condition"], sort=False):
        values = part.droplevel(["dataset", "condition"]).dropna(axis=1, how="all")
        for training in values.index.drop(REFERENCE):
            difference = (values.loc[training] - values.loc[REFERENCE]).to_numpy()
            rows.append((name, condition, training, values.loc[REFERENCE].mean(), difference))
    table = pd.DataFrame(rows, columns=["dataset", "condition", "training", "reference", "difference"])
    lines = []
    for name, part in table.groupby("dataset", sort=False):
        p = holm(paired_p(np.stack(part["difference"].to_list())))
        texts = pd.Series(
            [
                f"{each.mean():+.1f} [{mean_interval(each)[0]:+.1f}, {mean_interval(each)[1]:+.1f}]"
                + ("*" if q < LEVEL else "")
                for each, q in zip(part["difference"], p, strict=True)
            ],
            pd.MultiIndex.from_frame(part[["condition", "training"]]),
        ).unstack("training")
        trainings = list(texts.columns)
        titles = [f"{NETWORKS.get(each, each)} minus multi-head" for each in trainings]
        lines += [f"**`{name}`**", "", "| condition | multi-head | " + " | ".join(titles) + " |"]
        lines.append("|---" * (len(trainings) + 2) + "|")
        reference = part.drop_duplicates("condition").set_index("condition")["reference"]
        for condition, value in reference.items():
            lines.append(
                f"| `{condition}` | {value:.1f} | "
                + " | ".join(texts.loc[condition, t] for t in trainings)
                + " |"
            )
        lines.append("")
    return lines


def tables(found: pd.DataFrame) -> list[str]:
    """Return every table of results, by OOD set, metric and network."""
    lines = []
    for (benchmark, name), of_set in found.groupby(["benchmark", "dataset"], sort=False):
        for metric, lower in METRICS.items():
            lines += [f"### {benchmark}, `{name}`: {metric} ({'lower' if lower else 'higher'} is better)", ""]
            for training, part in of_set.groupby("training", sort=False):
                lines += [f"{NETWORKS.get(training, training)} ({part['units'].iloc[0]} units):", ""]
                lines += [*cells(part, metric), ""]
    return lines


def update(results: list[Path], workers: int) -> Path:
    """Replace what is between the markers of the page; write the CSV file beside it."""
    frame = load(results, workers)
    found = measured(frame)
    text = PAGE.read_text(encoding="utf-8")
    blocks = {
        "collapse": summary(found),
        "scores": by_score(found),
        "networks": by_network(frame),
        "tables": tables(found),
    }
    for name, lines in blocks.items():
        text = with_block(text, name, "\n".join(lines), PAGE)
    write_text(CSV, found.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    write_text(PAGE, text)
    return PAGE


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(update([Path(each) for each in sys.argv[1:]], int(os.environ.get("WORKERS", "1"))))
