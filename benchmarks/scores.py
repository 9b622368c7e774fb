"""Every native score, alone and in one table, beside OpenOOD's and pytorch-ood's class of it.

As in the benchmark ``scoring``, each measurement is a process of its own, and what can't run is listed with its reason.
``table of nine`` and ``table of all`` are `openood_multimodal.evaluate`: scores and metrics, with what they share
computed once.  The cheap scores' peers come first; ``--budget`` ends the run, and what it did not reach is listed.

With ``--together``, ``all together/<score>`` is a score's own part of such a run, without metrics: what scores share
counts as the first one's that asks for it, the nine's before the others'.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from openood_multimodal.plugin.recipes import RECIPES
from openood_multimodal.postprocessors.run import all_scores

from .parts.methods import SCORES as NINE
from .parts.processes import OverTimeError
from .parts.pytorch_ood_detectors import DETECTORS
from .scoring import FOREIGN, Scoring, add_peers, add_sizes, measured
from .suite.measuring import Measurement, Report, Times, say

NAME = "scores"
SUMMARY = "every native score, alone and together, beside OpenOOD's and pytorch-ood's class"
QUICK = {
    **{"train": 1500, "dim": 256, "val": 400, "test": 300, "ood": 500, "classes": 20, "vim_dim": 64},
    **{"time_limit": 30.0, "native_limit": 60.0, "budget": 300.0},
}
TRAINED = ("class_centres", "dte_c", "flow", "heat", "nl_invariants")
PEERS = {"openood": RECIPES, "pytorch_ood": DETECTORS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sizes(parser)
    parser.add_argument("--scores", nargs="+", default=None, help="which (default: all native scores)")
    add_peers(parser, 20.0)
    parser.add_argument(
        "--native-limit", type=float, default=120.0, metavar="SECONDS",
        help="of one native score; the table of all gets five times as much (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=float, default=840.0, metavar="SECONDS",
        help="of the whole run: no process is started after it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--together", action="store_true",
        help="measure only what each score takes in a run of the nine and in one of all",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, default=1, help="of tables and native scores (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> Report:
    known = all_scores()
    options.scores = options.scores or known
    return measured(options, known, Scores)


class Scores(Scoring):
    """One run of all measurements."""

    def measure(self) -> None:
        """Measure everything."""
        self.end = time.monotonic() + self.options.budget
        if self.options.together:
            self._together()
            return
        self._tables()
        for score in self.options.scores:
            self._one("native", score)
        cheap_first = sorted(
            self.options.scores, key=lambda score: self.report.seconds(f"native/{score}") or 1e9
        )
        for who in FOREIGN:
            if who in self.options.skip:
                self.absent[who] = "left out by --skip"
        for score in cheap_first:
            for who in FOREIGN:
                if score in PEERS[who] and who not in self.absent:
                    self._one(who, score)
        self.report.measurements += [Measurement.skipped(who, why) for who, why in self.absent.items()]
        self._figures()
        self._compared()
        self._sums()

    def _limit_of(self, who: str) -> float | None:
        limit = {"native": self.options.native_limit, "table": 5 * self.options.native_limit}
        left = self.end - time.monotonic()
        if left <= 0:
            raise OverTimeError("not reached within --budget")
        return min(limit.get(who, self.options.time_limit), left)

    def _tables(self) -> None:
        rows = {"table of nine": NINE, "table of all": tuple(self.options.scores)}
        times, peaks, failed = dict.fromkeys(rows, Times((), ())), dict.fromkeys(rows, 0.0), dict[str, str]()
        for _ in range(self.options.rounds):
            for name, scores in rows.items():
                say(f"{name} ...")
                try:
                    answer = self._ask("table", "", 1, self._limit_of("table"), scores)
                except (OverTimeError, RuntimeError) as error:
                    failed[name] = str(error).strip().split("\n")[-1]
                    continue
                times[name] += Times(tuple(answer["wall"]), tuple(answer["cpu"]))
                peaks[name] = max(peaks[name], answer["peak_MiB"])
        for name, scores in rows.items():
            note = f"native: {len(scores)} scores and their metrics"
            if times[name].wall:
                line = Measurement.of(name, times[name], {"peak_MiB": peaks[name]}, note)
            else:
                line = Measurement.skipped(name, failed[name])
            self.report.measurements.append(line)
        nine, whole = (self.report.seconds(name) for name in rows)
        self.report.add_ratio("table of all / table of nine", whole, nine)

    def _together(self) -> None:
        """Measure what each score takes in a run of the nine, and in one of all."""
        totals = []
        for name, scores in (("nine", NINE), ("all", tuple(self.options.scores))):
            say(f"{name} together ...")
            try:
                answer = self._ask("together", "", 1, self._limit_of("table"), scores)
            except (OverTimeError, RuntimeError) as error:
                why = str(error).strip().split("\n")[-1]
                self.report.measurements.append(Measurement.skipped(f"{name} together", why))
                continue
            for score, seconds in answer["of"].items():
                times = Times((seconds["wall"],), (seconds["cpu"],))
                self.report.measurements.append(Measurement.of(f"{name} together/{score}", times))
            total = Times((answer["wall"],), (answer["cpu"],))
            totals.append(total.cpu[0])
            self.report.measurements.append(Measurement.of(f"{name} together", total))
            if name == "all":
                trained = sum(answer["of"][score]["cpu"] for score in TRAINED if score in answer["of"])
                self.report.add_ratio(
                    "CPU, all together but the trained / nine", totals[-1] - trained, totals[0]
                )
        if len(totals) == 2:
            self.report.add_ratio("CPU, all together / nine", totals[1], totals[0])

    def _compared(self) -> None:
        """Say beside each peer how many times the native score's time it took."""
        lines, factors = [], []
        for each in self.report.measurements:
            who, _, score = each.name.partition("/")
            native = self.report.seconds(f"native/{score}")
            if who in FOREIGN and each.wall_s is not None and native:
                factors.append((each.wall_s / native, each.name))
                each = replace(each, values={**each.values, "times native": factors[-1][0]})
            lines.append(each)
        self.report.measurements = lines
        for who in FOREIGN:
            own = sorted(factor for factor, name in factors if name.startswith(who))
            if own:
                self.report.ratios[f"{who} / native, median of {len(own)} scores"] = own[len(own) // 2]
