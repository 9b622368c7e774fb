"""Which of OpenOOD's postprocessors run, found out by running them; and both engines side by side."""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from pages import COMMAND, table
from parity import CASES, LIMIT, Comparison, compare_engines
from trial import BATCH, Trial, make_trial

from openood_multimodal.errors import MissingPackageError
from openood_multimodal.evaluators.metrics import auroc
from openood_multimodal.plugin.adapters import OpenOODPostprocessor
from openood_multimodal.plugin.host import describe_openood
from openood_multimodal.plugin.recipes import RECIPES, UNSUITABLE
from openood_multimodal.plugin.wrappers import WRAPPERS

SETTINGS: dict[str, dict[str, Any]] = {
    "vim": {"dim": 16},
    "residual": {"dim": 16},
    "nnguide": {"K": 50, "alpha": 1.0},
}
"""Parameters that OpenOOD's defaults must give way to on a problem of 48 columns and 400 rows."""


class Row(NamedTuple):
    """One postprocessor of the table; ``embeddings`` and ``network`` are an AUROC or why there is none."""

    name: str
    embeddings: float | str
    network: float | str
    wrapper: str
    note: str


def run_all(trial: Trial | None = None, names: Sequence[str] = tuple(RECIPES)) -> list[Row]:
    """Run OpenOOD's postprocessors on stored embeddings and on a network with two inputs.

    Args:
        trial: the problem; None: `make_trial`'s.
        names: of `RECIPES`.

    Raises:
        UserError: when OpenOOD can't be imported.
    """
    trial = make_trial() if trial is None else trial
    describe_openood()
    rows = []
    for name in names:
        recipe = RECIPES[name]
        network = f"no: {recipe.no_network}" if recipe.no_network else _attempt(_on_network, name, trial)
        wrapper = f"`{WRAPPERS[recipe.wrapper][1]}`" if recipe.wrapper else ""
        notes = [recipe.note] if recipe.note else []
        if recipe.network_note:
            notes.append(f"on a network: {recipe.network_note}")
        if name in SETTINGS:
            notes.append("here with " + ", ".join(f"{key}={value}" for key, value in SETTINGS[name].items()))
        rows.append(Row(name, _attempt(_on_embeddings, name, trial), network, wrapper, "; ".join(notes)))
    return rows


def _attempt(run: Any, name: str, trial: Trial) -> float | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(run(name, trial))
        except MissingPackageError as error:
            return f"not tried: {error}"
        except Exception as error:  # the table says what OpenOOD raises, whatever it is
            return f"no: {type(error).__name__}: {error}"


def _on_embeddings(name: str, trial: Trial) -> float:
    sets = trial.sets
    score = OpenOODPostprocessor(name, SETTINGS.get(name), batch_size=BATCH)
    score.fit(sets["train"], sets["val"], trial.head)
    return auroc(score.score(sets["test"]).conf, score.score(sets["ood"]).conf)


def _on_network(name: str, trial: Trial) -> float:
    score = OpenOODPostprocessor(name, SETTINGS.get(name))
    score.setup(trial.net, trial.loaders, {})
    known, unknown = (score.inference(trial.net, trial.loaders[each], False)[1] for each in ("test", "ood"))
    return auroc(known, unknown)


# --- the page


def page(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> str:
    """Return the Markdown page of both tables."""
    ran = [row for row in rows if not isinstance(row.embeddings, str)]
    inputs = [row for row in rows if not isinstance(row.network, str)]
    command = f"{COMMAND} postprocessors --openood-root path/to/OpenOOD --out <this file>"
    lines = [
        "# OpenOOD's postprocessors on multimodal embeddings",
        "",
        f"Made by `{command}`,",
        f"with OpenOOD {describe_openood()}; {_versions()}. Do not edit.",
        "",
        f"{len(ran)} of OpenOOD's postprocessors run on stored embeddings, {len(inputs)} on a network with",
        "several inputs; the class is OpenOOD's own, unchanged. In a test config: `engine: openood`, or",
        "`openood/<name>` for single ones beside native scores. Parameters are those of OpenOOD's YAML files",
        "unless the note says otherwise.",
        "",
        "## What runs",
        "",
        "AUROC in percent on a small generated problem (two modalities, four classes, 400 training rows): it",
        "shows that something is computed, not which score is better.",
        "",
        *table(
            (
                "postprocessor",
                "stored embeddings",
                "network with several inputs",
                "OpenOOD's wrapper",
                "note",
            ),
            ((row.name, _auroc(row.embeddings), _auroc(row.network), row.wrapper, row.note) for row in rows),
        ),
        "",
        "## What doesn't, and why",
        "",
        *table(("postprocessor", "why"), UNSUITABLE.items()),
    ]
    if comparisons:
        lines += ["", *_parity_section(comparisons)]
    return "\n".join(lines) + "\n"


def _parity_section(comparisons: Sequence[Comparison]) -> list[str]:
    wide = [each for each in comparisons if not each.within]
    lines = [
        "## Both engines side by side",
        "",
        "The nine native scores and OpenOOD's classes on the same generated embeddings, percent; ViM's dim and",
        "KNN's K are the cases', other parameters OpenOOD's defaults. *float64* is the formula written out in",
        "double precision (MDS with the inverse on the covariance's numerical range). Pairs further apart than",
        f"{100 * LIMIT:g} points (a fraction of {LIMIT:g}) are marked * and listed below.",
        "",
    ]
    for case in CASES:
        own = [each for each in comparisons if each.case == case.name]
        if not own:
            continue
        lines += [
            f"### {case.name}: {case.rows} training rows, D = {case.dim}, C = {case.classes}",
            "",
            *table(
                ("score", "AUROC native", "openood", "float64", "FPR@95 native", "openood", "float64"),
                (
                    (f"{each.score}{'' if each.within else ' *'}", *map(_percent, (*each.auroc, *each.fpr)))
                    for each in own
                ),
            ),
            "",
        ]
    lines += [f"{len(comparisons) - len(wide)} of {len(comparisons)} pairs agree within {LIMIT:g}."]
    deficient = [each for each in comparisons if each.score == "mds" and each.notes]
    if deficient:
        lines += [
            f"Of the {len(deficient)} cases whose covariance has a rank r below D, mds agrees on "
            f"{sum(each.within for each in deficient)}."
        ]
    for scores, cause in _CAUSES:
        apart = [each for each in wide if each.score in scores]
        lines += ["", cause, "", *map(_apart, apart)] if apart else []
    unexplained = [each for each in wide if not any(each.score in scores for scores, _ in _CAUSES)]
    lines += ["", "Not explained:", "", *map(_apart, unexplained)] if unexplained else []
    return lines


_CAUSES = (
    (("msp", "gen"), "Where predictions are sure, float32 rounds probabilities near 1, and 1 - p with them:"),
    (
        ("mds",),
        "Where r is below D and features are large beside their spread, OpenOOD's result is rounding: its class means\n"
        "are rounded to float32, which leaves small differences outside the covariance's rank, and its inverse takes\n"
        "them in with huge weights. Its `mds` and `rmds` note r and D in the record; use the native `mds` there:",
    ),
)
"""Scores and why the engines differ on them."""


def _apart(each: Comparison) -> str:
    return (
        f"- {each.score} on {each.case}: native is {_distance(each, 0)} from float64, OpenOOD "
        f"{_distance(each, 1)}; "
        + "; ".join(
            each.notes
            or [f"{each.ties[1]} of OpenOOD's {each.samples} confidences are ties, {each.ties[0]} here"]
        )
        + "."
    )


def _distance(each: Comparison, engine: int) -> str:
    auroc, fpr = (abs(figure[engine] - figure[2]) for figure in (each.auroc, each.fpr))
    return f"{100 * auroc:.3f} (AUROC) and {100 * fpr:.3f} (FPR@95) points"


def _auroc(value: float | str) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else value


def _percent(value: float) -> str:
    return f"{100 * value:.3f}"


def _versions() -> str:
    names = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "statsmodels", "libmr")
    found = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this page takes."""
    parser.add_argument("--cases", help="cases of the comparison, with commas; 'none': leave it out")


def make(_: Sequence[str], options: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the page and what is wrong with it: nothing; what didn't run is named on stderr."""
    known = [case.name for case in CASES]
    chosen = known if options.cases is None else [c for c in options.cases.split(",") if c != "none"]
    rows = run_all()
    comparisons = [each for name in chosen for each in compare_engines(name)]
    failed = [row.name for row in rows if isinstance(row.embeddings, str)]
    worse = [f"{c.score} on {c.case}" for c in comparisons if not (c.within or c.native_is_closer)]
    for what, names in (("did not run", failed), ("native is further from the reference", worse)):
        if names:
            print(f"{what}: {', '.join(names)}", file=sys.stderr)
    return page(rows, comparisons), []
