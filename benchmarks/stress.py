"""What a test-time condition adds to scoring: changing N stored embeddings and their logits, beside scoring them.

The embeddings are memory-mapped.  ``scoring`` is one fitted score on the N clean rows, without its fit; a condition's
time is that of changing the rows and computing their logits again, after which a score no longer has to.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.scoring.conditions import (
    Columns,
    apply_condition,
    default_conditions,
    parse_condition,
)

from .parts.embeddings import Shape, Source, read_head, read_set, write_problem
from .parts.methods import sized
from .suite.measuring import Measurement, Report, say, timed

NAME = "stress"
SUMMARY = "test-time conditions on stored embeddings, beside scoring these"
QUICK = {"rows": 5000, "train": 2000, "dim": 128, "vim_dim": 64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to change (default: %(default)s)")
    parser.add_argument("--train", type=int, default=20_000, help="training rows (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="D (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=100, help="C (default: %(default)s)")
    parser.add_argument(
        "--scores", nargs="+", default=["msp", "mds", "vim"], help="beside them (default: %(default)s)"
    )
    parser.add_argument("--neighbours", type=int, default=50, help="K of KNN (default: %(default)s)")
    parser.add_argument("--vim-dim", type=int, default=256, help="of ViM, below D (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the data (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for the data (default: the temporary folder)")


def run(options: argparse.Namespace) -> Report:
    source = Source(options.dim, options.classes, seed=options.seed)
    shape = Shape(options.train, 2, options.rows, 2, options.dim, options.classes)
    report = Report({**shape._asdict(), "data": source.describe(), "dtype": "float32, memory-mapped"})
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-", dir=options.folder) as written:
        folder = Path(written)
        write_problem(folder, source, shape)
        train, val, test = (read_set(folder, name, "r") for name in ("train", "val", "test"))
        head, scoring, conditions = read_head(folder), {}, {}
        for name in options.scores:
            say(f"scoring: {name} ...")
            parameters = sized(name, options.neighbours, options.vim_dim)
            fitted = POSTPROCESSORS.get(name)(**parameters).fit(train, val, head)
            scoring[name] = timed(partial(fitted.score, test))
            report.measurements.append(Measurement.of(f"scoring: {name}", scoring[name]))
        columns = Columns.of(train.features)
        for text in default_conditions(test.modalities)[1:]:
            condition = parse_condition(text, test.modalities)
            if condition is not None and condition.modalities == test.modalities[:1]:
                say(f"{text} ...")
                apply = partial(apply_condition, condition, test, head, columns, 0, "test")
                conditions[text] = timed(apply)
                report.measurements.append(Measurement.of(text, conditions[text]))
    dearest = max(times.cpu_s for times in conditions.values())
    for name, beside in scoring.items():
        report.ratios[f"CPU of the dearest condition / scoring by {name}"] = dearest / beside.cpu_s
    every = sum(times.cpu_s for times in scoring.values())
    report.ratios["CPU of the dearest condition / scoring by all of these"] = dearest / every
    return report
