"""The nine scores: this package's, OpenOOD's, pytorch-ood's and faiss's, on the same arrays, beside the limit.

Each measurement is a process of its own, so that none finds another's libraries warm or memory fragmented; a
small problem runs in it first, untimed.  ``table`` is `openood_multimodal.evaluate`: all nine scores, one plan, their
metrics; ``native/<score>`` is that score alone.  OpenOOD is found through OPENOOD_ROOT, pytorch-ood where it can be
imported; what can't run is listed with the reason.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openood_multimodal.errors import UserError
from openood_multimodal.naming import did_you_mean

from .parts.embeddings import Shape, Source, Stored, bytes_of, write_problem
from .parts.limit import LOGITS, WAYS, fastest
from .parts.methods import OPENOOD_BATCH, SCORES
from .parts.processes import OverTimeError, run_module
from .suite.measuring import Measurement, Report, Times, say, total

NAME = "scoring"
SUMMARY = "the nine scores beside OpenOOD's, pytorch-ood's and the limit of the arithmetic"
QUICK = {"train": 3000, "dim": 512, "val": 600, "test": 1000, "ood": 1500, "rounds": 2, "time_limit": 60.0}

WHO = ("native", "faiss", "openood", "pytorch_ood")
FOREIGN = ("openood", "pytorch_ood")
_WORKER = "benchmarks.parts.scoring_worker"
_LEFT_OUT = "left out by --skip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sizes(parser)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the limit, table and native scores (default: %(default)s)"
    )
    parser.add_argument("--scores", nargs="+", default=list(SCORES), help="which (default: all nine)")
    add_peers(parser, 900.0)
    parser.add_argument(
        "--check", action="store_true", help="hold AUROC and FPR@95 against a float64 reference (slow)"
    )


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is scored."""
    parser.add_argument("--train", type=int, default=22549, help="training rows (default: %(default)s)")
    parser.add_argument("--val", type=int, default=4773, help="validation rows (default: %(default)s)")
    parser.add_argument("--test", type=int, default=4902, help="ID rows to score (default: %(default)s)")
    parser.add_argument("--ood", type=int, default=10000, help="OOD rows to score (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=4352, help="D (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=129, help="C (default: %(default)s)")
    parser.add_argument(
        "--decay", type=float, default=1.0, help="eigenvalues fall as k^-DECAY (default: %(default)s)"
    )
    parser.add_argument("--neighbours", type=int, default=50, help="K of KNN (default: %(default)s)")
    parser.add_argument("--vim-dim", type=int, default=256, help="of ViM, below D (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the data (default: %(default)s)")
    parser.add_argument(
        "--embeddings", type=Path, metavar="DIR",
        help="score what a test run has stored there (train, val, test, OOD sets, head.npz) in place of generated rows",
    )  # fmt: skip
    parser.add_argument(
        "--copies", type=int, default=1, metavar="N",
        help="of each stored row, the others moved within its class (default: %(default)s)",
    )  # fmt: skip


def add_peers(parser: argparse.ArgumentParser, limit_s: float) -> None:
    """Add the options of other implementations; ``limit_s``: the default time limit."""
    parser.add_argument(
        "--skip", nargs="*", default=[], metavar="WHO[/SCORE]",
        help="leave out, e.g. openood/mds or pytorch_ood",
    )  # fmt: skip
    parser.add_argument(
        "--time-limit", type=float, default=limit_s, metavar="SECONDS",
        help="of one foreign score; one that takes longer is ended and listed as such (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--openood-batch", type=int, default=OPENOOD_BATCH, help="OpenOOD's batch size (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> Report:
    return measured(options, SCORES, Scoring)


def measured(options: argparse.Namespace, known: Sequence[str], kind: type[Scoring]) -> Report:
    """Check the options, write the data, measure.

    Args:
        options: of a benchmark.
        known: the scores that it can measure.
        kind: what measures.
    """
    source: Source | Stored
    if options.embeddings:
        source = Stored(options.embeddings, options.copies, options.seed)
        vars(options).update(source.shape._asdict())
    else:
        source = Source(options.dim, options.classes, options.decay, options.seed)
    _check_options(options, known)
    shape = Shape(options.train, options.val, options.test, options.ood, options.dim, options.classes)
    report = Report({**shape._asdict(), "K": options.neighbours, "vim_dim": options.vim_dim})
    report.settings |= {"openood_batch": options.openood_batch, "data": source.describe()}
    report.settings |= {"dtype": "float32", "seed": options.seed}
    with tempfile.TemporaryDirectory(prefix="openood-mm-benchmark-") as name:
        folder = Path(name)
        _check_disk(folder, bytes_of(shape))
        say(f"writing {bytes_of(shape) / 2**20:.0f} MiB of data to a temporary folder ...")
        source.write(folder) if isinstance(source, Stored) else write_problem(folder, source, shape)
        kind(options, folder, report).measure()
    return report


def _check_options(options: argparse.Namespace, known: Sequence[str]) -> None:
    parts = [*WHO, *(f"{who}/{score}" for who in WHO for score in known)]
    for option, names, allowed in (("scores", options.scores, known), ("skip", options.skip, parts)):
        for name in names:
            if name not in allowed:
                raise UserError(
                    f"--{option} names '{name}', which is not measured here.{did_you_mean(name, allowed)}"
                )
    if options.train < max(2 * options.classes, options.neighbours):
        raise UserError(
            f"{options.train} training rows are too few: at least K (--neighbours), and two a class."
        )
    if min(options.test, options.ood) < 1 or not 1 <= options.vim_dim < options.dim or options.rounds < 1:
        raise UserError(
            f"--test, --ood and --rounds must be at least 1, and --vim-dim below D = {options.dim}."
        )


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.2 * needed:
        raise UserError(
            f"{folder.parent} has {free / 2**30:.1f} GiB free and {1.2 * needed / 2**30:.1f} GiB are needed; "
            "set TMPDIR to another folder, or take smaller sizes."
        )


def _sum(parts: dict[str, Times], ways: dict[str, str]) -> Times:
    """Return the times, round by round, of doing every part in the given way."""
    chosen = [parts[f"{part}: {way}"] for part, way in ways.items()]
    walls, cpus = (zip(*(getattr(each, kind) for each in chosen), strict=True) for kind in ("wall", "cpu"))
    return Times(tuple(map(sum, walls)), tuple(map(sum, cpus)))


class Scoring:
    """One run of all measurements."""

    def __init__(self, options: argparse.Namespace, folder: Path, report: Report) -> None:
        self.options, self.folder, self.report = options, folder, report
        self.absent: dict[str, str] = {}
        if importlib.util.find_spec("pytorch_ood") is None:
            self.absent["pytorch_ood"] = "pytorch-ood is not installed: pip install pytorch-ood"

    def measure(self) -> None:
        """Measure everything; the order is that of the table."""
        self._limit_and_table()
        for who in WHO:
            self._all_of(who)
        self._figures()
        self._sums()
        self._ratios()

    def _ask(
        self, who: str, score: str, repeats: int, limit_s: float | None = None, scores: Sequence[str] = SCORES
    ) -> dict[str, Any]:
        keep = str(self.folder / f"{who}_{score}.npy") if who not in ("limit", "table", "together") else ""
        return run_module(
            _WORKER,
            {
                "folder": str(self.folder),
                "who": who,
                "score": score,
                "repeats": repeats,
                "neighbours": self.options.neighbours,
                "vim_dim": self.options.vim_dim,
                "openood_batch": self.options.openood_batch,
                "scores": list(scores),
                "keep": keep or (who == "limit" and "spectrum" not in self.report.settings),
            },
            limit_s,
        )

    def _limit_and_table(self) -> None:
        """Measure both in turn, a process each time."""
        parts: dict[str, Times] = {}
        table, peaks = Times((), ()), []
        for turn in range(self.options.rounds):
            say(f"the limit and the table, round {turn + 1} of {self.options.rounds} ...")
            answer = self._ask("limit", "", 1)
            if answer["spectrum"]:
                self.report.settings["spectrum"] = answer["spectrum"]
            for name, (wall, cpu) in answer["parts"].items():
                parts[name] = parts.get(name, Times((), ())) + Times(tuple(wall), tuple(cpu))
            answer = self._ask("table", "", 1)
            table += Times(tuple(answer["wall"]), tuple(answer["cpu"]))
            peaks.append(answer["peak_MiB"])
        lines = self.report.measurements
        lines += [Measurement.of(f"limit/{name}", times) for name, times in parts.items()]
        quickest, former = fastest(parts), {part: ways[0] for part, ways in WAYS.items()}
        note = "; ".join(f"{part}: {way}" for part, way in quickest.items())
        lines.append(Measurement.of("limit", _sum(parts, quickest), note=f"the fastest ways: {note}"))
        lines.append(Measurement.of("former limit", _sum(parts, former), note="the first way of each part"))
        lines.append(
            Measurement.of(
                "table",
                table,
                {"peak_MiB": statistics.median(peaks)},
                "native: nine scores and their metrics",
            )
        )

    def _all_of(self, who: str) -> None:
        """Measure one implementation's scores; one line says so where none of them can run."""
        if who in self.options.skip:
            self.absent[who] = _LEFT_OUT
        for score in self.options.scores:
            if who not in self.absent and (who != "faiss" or score == "knn"):
                self._one(who, score)
        if who in self.absent:
            self.report.measurements.append(Measurement.skipped(who, self.absent[who]))

    def _limit_of(self, who: str) -> float | None:
        """Return the wall seconds that a process may take."""
        return self.options.time_limit if who in FOREIGN else None

    def _one(self, who: str, score: str) -> None:
        name = f"{who}/{score}"
        if name in self.options.skip:
            self.report.measurements.append(Measurement.skipped(name, _LEFT_OUT))
            return
        say(f"{name} ...")
        foreign = who in FOREIGN
        try:
            limit_s = self._limit_of(who)
            answer = self._ask(who, score, 1 if foreign else self.options.rounds, limit_s)
        except (OverTimeError, RuntimeError) as error:
            self.report.measurements.append(Measurement.skipped(name, str(error).strip().split("\n")[-1]))
            return
        if "skipped" in answer:
            lines = [each for each in self.report.measurements if each.name.startswith(f"{who}/")]
            if foreign and all(each.note == _LEFT_OUT for each in lines):
                self.absent[who] = answer["skipped"]  # the first one says it for all: it can't be imported
                return
            self.report.measurements.append(Measurement.skipped(name, answer["skipped"]))
            return
        times = Times(tuple(answer["wall"]), tuple(answer["cpu"]))
        values = {key: answer[key] for key in ("fit_s", "score_s", "peak_MiB")}
        self.report.measurements.append(Measurement.of(name, times, values))

    def _figures(self) -> None:
        """Add AUROC and FPR@95, and their distance from the reference where it is asked for."""
        reference = {}
        for score in self.options.scores if getattr(self.options, "check", False) else ():
            say(f"reference/{score} ...")
            self._ask("reference", score, 1)
            reference[score] = self._metrics("reference", score)
        lines = []
        for each in self.report.measurements:
            who, _, score = each.name.partition("/")
            if who in WHO and each.wall_s is not None:
                auroc, fpr = self._metrics(who, score)
                values = {**each.values, "AUROC": 100 * auroc, "FPR@95": 100 * fpr}
                if score in reference:
                    values["AUROC off by"] = abs(auroc - reference[score][0])
                    values["FPR@95 off by"] = abs(fpr - reference[score][1])
                each = Measurement(**{**vars(each), "values": values})
            lines.append(each)
        self.report.measurements = lines
        if reference:
            self.report.notes.append(
                "'off by' is the distance, as a fraction, from the same score in literal float64 "
                "(benchmarks/reference_scores.py)."
            )

    def _metrics(self, who: str, score: str) -> tuple[float, float]:
        from openood_multimodal.evaluators.metrics import compute_ood_metrics

        conf = np.load(self.folder / f"{who}_{score}.npy")
        known = self.options.test
        unused = np.zeros(known, dtype=np.int64)  # predictions, for the accuracy
        metrics = compute_ood_metrics(conf[:known], conf[known:], unused, unused, intervals=False)
        return metrics["AUROC"].value, metrics["FPR@95"].value

    def _sums(self) -> None:
        for who in ("native", *FOREIGN):
            lines = [each for each in self.report.measurements if each.name.startswith(f"{who}/")]
            wall, cpu = (total([getattr(each, key) for each in lines]) for key in ("wall_s", "cpu_s"))
            if wall is not None and cpu is not None:
                times = Times((wall,), (cpu,))
                self.report.measurements.append(
                    Measurement.of(f"{who}, sum of {len(lines)}", times, note="each score alone")
                )

    def _ratios(self) -> None:
        report, seconds = self.report, self.report.seconds
        limit, table = seconds("limit"), seconds("table")
        report.add_ratio("table / limit", table, limit)
        report.add_ratio("table / former limit", table, seconds("former limit"))
        report.add_ratio("native/mls / limit of logits", seconds("native/mls"), seconds(f"limit/{LOGITS}"))
        count = len(self.options.scores)
        if count == len(SCORES):
            for who in FOREIGN:
                report.add_ratio(f"{who}, sum of {count} / table", seconds(f"{who}, sum of {count}"), table)
        for who in (*FOREIGN, "faiss"):
            for score in self.options.scores:
                report.add_ratio(
                    f"{who}/{score} / native/{score}", seconds(f"{who}/{score}"), seconds(f"native/{score}")
                )
