"""Rows for OpenOOD's own leaderboard (the ``results/*.csv`` of its branch ``leaderboard``), made from records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from ..files.atomic import csv_text
from ..naming import did_you_mean
from ..vocabulary import APART
from .aggregate import METHOD, Method, method_of
from .methods import TRAININGS as TITLES
from .papers import paper_of
from .records import ResultRecord

COLUMNS = (
    *("Training", "Postprocessor", "Near-OOD_AUROC", "Far-OOD_AUROC", "ID_Accuracy"),
    *("Outlier_Data", "Arch", "Additional_Description"),
)

LINKS = ("Alias", "Link")

TRAININGS = {**TITLES, "multimodal_baseline": "CrossEntropy"}
"""Training method → as OpenOOD's board writes such names, parts joined by `` + ``."""

POSTPROCESSORS = {
    name.lower(): name
    for name in (
        *("OpenMax", "MSP", "ODIN", "MDS", "RMDS", "Gram", "EBO", "GradNorm", "ReAct", "MLS", "KLM", "VIM", "KNN"),
        *("DICE", "RankFeat", "ASH", "SHE", "GEN", "NNGuide", "Relation", "SCALE"),
    )
} | {"temperature_scaling": "TempScale", "mds_ensemble": "MDSEns", "fdbd": "fDBD"}  # fmt: skip
"""Postprocessor → its alias in OpenOOD's ``utils/papers.csv``."""

_DETAILS = ("preset", "parameters", "fit_on", "engine", "protocol", "discrepancy", "settings")


def openood_rows(records: Iterable[ResultRecord], benchmark: str) -> list[dict[str, str]]:
    """Return one row of `COLUMNS` a training method, network and postprocessor of a benchmark.

    As in OpenOOD's ``scripts/eval_ood.py``, a run's near (far) AUROC is the mean over its near (far) sets, and ``±`` is
    the standard deviation over runs (n, not n - 1).

    Args:
        records: of runs with this package, each result once; published ones are left out.
        benchmark: name.

    Raises:
        UserError: when no record is of the benchmark, or runs of one row were scored on different OOD sets.
    """
    kept = [record for record in records if record.source != "published"]
    ours = [record for record in kept if record.benchmark == benchmark]
    if not ours:
        known = {record.benchmark for record in kept}
        raise UserError(f"no record is of the benchmark '{benchmark}'.{did_you_mean(benchmark, known)}")
    groups: dict[Method, list[ResultRecord]] = defaultdict(list)
    for record in ours:
        if record.setting is None:
            raise UserError(
                f"the records of '{benchmark}' don't all say whether it is near- or far-OOD "
                f"({record.postprocessor} on {record.ood_set}); score them with the setting near or far."
            )
        groups[tuple("" if name == "setting" else text for name, text in zip(METHOD, method_of(record), strict=True))
        ].append(record)  # fmt: skip
    methods = [dict(zip(METHOD, method, strict=True)) for method in sorted(groups)]
    return [
        _row(
            method,
            groups[tuple(method.values())],
            [other for other in methods if _names(other) == _names(method)],
        )
        for method in methods
    ]


def rows_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows as the text of a CSV file with a header."""
    return csv_text(COLUMNS, rows)


def links_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the papers of rows' methods in the columns of OpenOOD's ``utils/papers.csv``: ``Alias,Link``.

    Args:
        rows: as `openood_rows` returns them.
    """
    names = {
        **{alias: name for name, alias in TRAININGS.items()},
        **{alias: name for name, alias in POSTPROCESSORS.items()},
    }
    aliases = dict.fromkeys(row[column] for column in ("Training", "Postprocessor") for row in rows)
    papers = {alias: paper_of(names.get(alias, alias)) for alias in aliases}
    return csv_text(LINKS, [{"Alias": alias, "Link": paper.url} for alias, paper in papers.items() if paper])


def _names(method: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(method[name] for name in ("training", "postprocessor", "networks", "modalities", "track"))


def _detail(name: str, text: str) -> str:
    """Return what tells a row apart; it goes into file names of OpenOOD's board."""
    return (
        " ".join(f"{key}={value}" for key, value in json.loads(text).items())
        if name == "parameters"
        else f"{name} {text}"
    )


def _row(
    method: Mapping[str, str], records: Sequence[ResultRecord], alike: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    runs: dict[tuple[Any, ...], list[ResultRecord]] = defaultdict(list)
    for record in records:
        runs[record.partition, record.seed, record.digests["checkpoint"]].append(record)
    wanted = {(record.setting, record.ood_set) for record in records}
    for (partition, seed, _), of in runs.items():
        missing = sorted(name for _, name in wanted - {(record.setting, record.ood_set) for record in of})
        if missing:
            raise UserError(
                f"the run of partition {partition} and seed {seed} ({method['training'] or 'no method named'}, "
                f"{method['postprocessor']}) has no result on {', '.join(missing)}, which another run of its row has; "
                "its mean would be of other OOD sets. Test it there, too, or leave that run's folder out."
            )

    def cell(metric: str, *settings: str) -> str:
        of_runs = [
            [100 * record.metrics[metric]["value"] for record in of if record.setting in settings]
            for of in runs.values()
        ]
        means = [np.mean(values) for values in of_runs if values]
        if not means:
            return "/"  # as their board writes what is not known
        return f"{np.mean(means):.2f} ± {np.std(means):.2f}" if len(means) > 1 else f"{means[0]:.2f}"

    networks, modalities, score = method["networks"], method["modalities"], method["postprocessor"]
    differing = [name for name in _DETAILS if len({other[name] for other in alike}) > 1]
    partitions = len({partition for partition, _, _ in runs})
    said = [f"track {method['track']}", f"{len(runs)} run{'s' if len(runs) > 1 else ''}"]
    said += [f"{partitions} class partitions"] if partitions > 1 else []
    return {
        "Training": TRAININGS.get(method["training"], method["training"]),
        "Postprocessor": POSTPROCESSORS.get(score.removeprefix("openood-"), score),
        "Near-OOD_AUROC": cell("AUROC", "near"),
        "Far-OOD_AUROC": cell("AUROC", "far"),
        "ID_Accuracy": cell("ACC", "near", "far"),
        "Outlier_Data": "Yes" if method["auxiliary"] else "No",
        "Arch": f"{networks} ({modalities})" if networks and modalities else networks or modalities,
        "Additional_Description": ", ".join(
            [*said, *(_detail(name, method[name]) for name in (*differing, *APART) if method[name])]
        ),
    }
