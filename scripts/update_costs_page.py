"""Put what Tables 1 to 12 cost, and how that splits over GPUs, into docs/costs.md, between its markers.

    python scripts/update_costs_page.py                     # the page, under the default assumptions
    python scripts/update_costs_page.py --check             # tell whether the page is as these give it
    python scripts/update_costs_page.py --print --rate 60 --decode 25 --cores 12   # under one's own, to the terminal
    python scripts/update_costs_page.py --count             # count the networks' operations again, two minutes

Runs, epochs, batches and clips are those that ``openood-mm reproduce TABLE --dry-run`` plans; a row that several tables
share counts once.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from page_blocks import with_block
from tabulate import tabulate

from openood_multimodal.datasets.clip_benchmarks import load_clip_benchmark
from openood_multimodal.files.atomic import write_json, write_text
from openood_multimodal.pipelines.table_runs import Roots, TableRun, plan_table
from openood_multimodal.pipelines.tables import load_table
from openood_multimodal.vocabulary import EVALUATOR_GROUPS

ROOT = Path(__file__).resolve().parents[1]
PAGE, COUNTED = ROOT / "docs" / "costs.md", ROOT / "docs" / "results" / "network_operations.json"
MEASURED = sorted((ROOT / "benchmarks" / "results").glob("clip_step_*.json"))[-1]
REFERENCE = "clip_fusion/video+flow"
"""The network that ``--rate`` is measured with: Table 1's."""

TABLES = [f"table{number}" for number in range(1, 13)]


class Job(NamedTuple):
    """One run of a table: clips that it trains on and encodes, steps, and its network's operations a clip."""

    run: TableRun
    trained: int
    validated: int
    extracted: int
    steps: int
    batch: int
    network: dict[str, float]


class Costs(NamedTuple):
    """The assumptions: FLOP/s of a GPU at work, clips/s that its cores decode, bytes/s between GPUs."""

    flops: float
    decoded: float
    link: float

    def hours(self, job: Job, ranks: int = 1) -> tuple[float, float, float]:
        """Return the hours that training, validation and extraction take on ``ranks`` GPUs."""
        forward, backward = job.network["forward"], job.network["backward"]
        # gradients of all trained parameters, in float32, around a ring
        sent = 4 * job.network["trained_parameters"] * 2 * (ranks - 1) / ranks / self.link
        train = job.trained * self.clip(forward + backward) / ranks + job.steps * sent
        encode = self.clip(forward) / ranks
        return train / 3600, job.validated * encode / 3600, job.extracted * encode / 3600

    def clip(self, operations: float) -> float:
        """Return the seconds of a clip: of the GPU, or of decoding where that takes longer."""
        return max(operations / self.flops, 1 / self.decoded)


def network_of(run: TableRun) -> str:
    """Return the name under which a run's network is counted."""
    return f"{run.table.network}/{'+'.join(run.modalities)}"


def jobs_of(table: str, counted: dict[str, Any]) -> list[Job]:
    """Return what a table's runs have to do."""
    jobs = []
    for run in plan_table(load_table(table), Roots("data")):
        config = run.training_command().config()
        sets = load_clip_benchmark(run.id_set).sets
        epochs, batch = int(config["optimizer"]["num_epochs"]), int(config["dataset"]["train"]["batch_size"])
        tested = tuple(f"{each}_" for each in EVALUATOR_GROUPS[run.group.evaluator])
        steps = epochs * (sets["train"].clips // batch)
        encoded = sum(
            each.clips
            for key, each in sets.items()
            if key in ("train", "val", "test") or key.startswith(tested)
        )
        jobs.append(
            Job(
                run,
                steps * batch,
                epochs * sets["val"].clips,
                encoded,
                steps,
                batch,
                counted[network_of(run)],
            )
        )
    return jobs


def count_operations() -> dict[str, Any]:
    """Return network → operations of a clip forward and backward, and its parameters; two clips on this CPU."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from openood_multimodal.datasets.batch import ModalityBatch
    from openood_multimodal.networks import build_network
    from openood_multimodal.registry import PREPROCESSORS

    found: dict[str, Any] = {}
    for run in (run for table in TABLES for run in plan_table(load_table(table), Roots("data"))):
        if network_of(run) in found:
            continue
        config = run.training_command().config()
        for encoder in config["network"]["encoders"].values():
            encoder["checkpoint"] = ""
        net = build_network(config["network"]).train()
        preprocessor = PREPROCESSORS.get(config["preprocessor"]["name"])(config, "train")
        shapes = preprocessor.clip_shapes(tuple(run.modalities))
        data = ModalityBatch((name, torch.zeros((2, *shape))) for name, shape in shapes.items())
        with FlopCounterMode(display=False) as forward:
            output = net.forward_modalities(data)
        with FlopCounterMode(display=False) as backward:
            torch.stack(
                [output.logits.sum(), *(each.sum() for each in output.modality_logits.values())]
            ).sum().backward()
        sizes = [(each.numel(), each.requires_grad) for each in net.parameters()]
        found[network_of(run)] = {
            "forward": forward.get_total_flops() / 2,
            "backward": backward.get_total_flops() / 2,
            "parameters": sum(size for size, _ in sizes),
            "trained_parameters": sum(size for size, trained in sizes if trained),
        }
        print(network_of(run), found[network_of(run)], flush=True)
    return found


def elapsed(jobs: Sequence[Job], costs: Costs, gpus: int) -> tuple[float, int]:
    """Return the hours that all jobs take on ``gpus``, longest first, and how many ranks each should have for that."""
    best = (float("inf"), 1)
    for ranks in (each for each in range(1, gpus + 1) if gpus % each == 0):
        if any(job.batch % ranks for job in jobs):
            continue
        free = [0.0] * (gpus // ranks)
        for hours in sorted((sum(costs.hours(job, ranks)) for job in jobs), reverse=True):
            heapq.heapreplace(free, free[0] + hours)
        best = min(best, (max(free), ranks))
    return best


def block(options: argparse.Namespace) -> str:
    """Return the page's tables, in Markdown."""
    counted = json.loads(COUNTED.read_text(encoding="utf-8"))
    reference = counted[REFERENCE]["forward"] + counted[REFERENCE]["backward"]
    flops = options.rate * reference if options.rate else options.peak * options.share * 1e12
    costs = Costs(flops, options.decode * options.cores, options.link * 1e9)
    lines, every, seen = [], [], set()
    for table in TABLES:
        jobs = jobs_of(table, counted)
        new = [job for job in jobs if job.run.folder not in seen]
        seen |= {job.run.folder for job in new}
        every += new
        hours = [sum(each) for each in zip(*(costs.hours(job) for job in new), strict=True)] or [0.0] * 3
        lines.append([table.removeprefix("table"), len(new), len(jobs) - len(new), *hours, sum(hours)])
    lines.append(["all", len(every), "", *(sum(line[i] for line in lines) for i in range(3, 7))])
    heads = ["table", "runs", "of earlier tables", "training", "validation", "extraction", "GPU hours"]
    told = [
        f"A GPU at work does {flops / 1e12:.3g} TFLOP/s"
        + (f" ({options.rate:g} clips/s of {REFERENCE} in training)" if options.rate else "")
        + f"; its {options.cores} cores decode {costs.decoded:.3g} clips/s.",
        tabulate(lines, heads, tablefmt="github", floatfmt=".1f"),
        tabulate(
            [
                [
                    name,
                    each["forward"] / 1e9,
                    each["backward"] / 1e9,
                    each["trained_parameters"] / 1e6,
                    1 / costs.clip(each["forward"] + each["backward"]),
                    flops / (each["forward"] + each["backward"]) / options.decode,
                ]
                for name, each in counted.items()
            ],
            [
                "network",
                "GFLOP forward",
                "backward",
                "trained parameters, M",
                "clips/s in training",
                "cores that keep up",
            ],
            tablefmt="github",
            floatfmt=".1f",
        ),
    ]
    total = sum(sum(costs.hours(job)) for job in every)
    split = []
    for gpus in options.gpus:
        hours, ranks = elapsed(every, costs, gpus)
        split.append([gpus, ranks, hours, total / hours, f"{100 * total / hours / gpus:.0f} %"])
    heads = ["GPUs", "of them a run", "hours", "times as fast", "of ideal"]
    told.append(tabulate(split, heads, tablefmt="github", floatfmt=".1f"))
    gpus = 1
    while elapsed(every, costs, 2 * gpus)[0] < 0.75 * elapsed(every, costs, gpus)[0]:
        gpus *= 2
    widest = max(job.batch for job in every)
    longest = max(every, key=lambda job: sum(costs.hours(job)))
    told.append(
        f"Beyond {gpus} GPUs, twice as many save less than a quarter of the time. The longest run is "
        f"`{longest.run.name}`: {sum(costs.hours(longest)):.1f} hours on one GPU, "
        f"{sum(costs.hours(longest, widest)):.1f} on {widest}, one clip of a batch on each, which is the most that a "
        f"run can have."
    )
    return "\n\n".join(told)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, print its tables, or check it."""
    step = json.loads(MEASURED.read_text(encoding="utf-8"))["benchmarks"]["clip_step"]
    seconds = next(each["wall_s"] for each in step["measurements"] if each["name"] == "decode")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--peak", type=float, default=156.0, help="TFLOP/s of a GPU's data sheet (%(default)s)"
    )
    parser.add_argument("--share", type=float, default=0.3, help="of the peak, at work (%(default)s)")
    parser.add_argument(
        "--rate", type=float, help=f"in their place: training clips/s of {REFERENCE} on one GPU"
    )
    parser.add_argument(
        "--decode",
        type=float,
        default=step["settings"]["batch"] / seconds,
        help="clips/s of a core (%(default).3g)",
    )
    parser.add_argument("--cores", type=int, default=8, help="that decode for a GPU (%(default)s)")
    parser.add_argument("--link", type=float, default=32.0, help="GB/s between GPUs (%(default)s)")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--count", action="store_true", help="count the networks' operations first")
    parser.add_argument("--print", action="store_true", help="print, and leave the page as it is")
    parser.add_argument("--check", action="store_true", help="say whether the page is up to date")
    options = parser.parse_args(argv)
    if min(options.peak, options.share, options.decode, options.cores, options.link, *options.gpus) <= 0:
        parser.error("all numbers must be above 0")
    if options.count:
        write_json(COUNTED, count_operations())
    text = block(options)
    if options.print:
        print(text)
        return 0
    page = PAGE.read_text(encoding="utf-8")
    new = with_block(page, "costs", text, PAGE)
    if options.check:
        return int(new != page)
    write_text(PAGE, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
