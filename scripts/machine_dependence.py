"""How much a suite's results change with what differs between machines: CPU kernels, threads.

Environment variables stand in for other CPUs; every variant trains and tests the whole suite in processes of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from page_blocks import with_block

from openood_multimodal.files.atomic import write_text

sys.path.insert(0, str(Path(__file__).parent))

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reproducibility.md"

VARIANTS: dict[str, dict[str, str]] = {
    "this machine": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
    "no AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
CELL = ["benchmark", "modalities", "training", "postprocessor"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the variants and print, or put into the page, what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:\n  python scripts/machine_dependence.py --suite demo_htad --write",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", default="demo_htad", help="a packaged suite (%(default)s)")
    parser.add_argument("--output-dir", type=Path, default=Path("results/machines"), help="%(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options, more = parser.parse_known_args(argv)
    found = {}
    for name, variables in VARIANTS.items():
        folder = options.output_dir / options.suite / name.replace(" ", "_")
        print(f"{name}: {' '.join(f'{key}={value}' for key, value in variables.items())}", flush=True)
        run_suite(options.suite, folder, variables, options.workers, more)
        found[name] = pd.read_csv(folder / "leaderboard.csv").set_index(CELL)
    text = table(found)
    print(text)
    if options.write:
        write_text(PAGE, with_block(PAGE.read_text(encoding="utf-8"), options.suite, text, PAGE))
    return 0


def run_suite(
    suite: str, folder: Path, variables: Mapping[str, str], workers: int, more: Sequence[str]
) -> None:
    """Run a suite with these environment variables."""
    words = ["benchmark", "--suite", suite, "--workers", str(workers), "--output-dir", str(folder), *more]
    command = [sys.executable, "-m", "openood_multimodal", *words]
    environment = {**os.environ, **variables}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - no shell


def table(found: Mapping[str, pd.DataFrame]) -> str:
    """Return a Markdown table: AUROC of every cell by variant, its deviation, the largest difference."""
    first = next(iter(found.values()))
    lines = [
        f"| {' | '.join([*CELL, *found, 'standard deviation', 'largest difference'])} |",
        f"|{'---|' * (len(CELL) + len(found) + 2)}",
    ]
    within = 0
    for key in first.index:
        values = [frame.loc[key, "AUROC"] for frame in found.values()]
        spread, deviation = max(values) - min(values), first.loc[key, "AUROC_std"]
        within += bool(spread <= deviation)
        cells = [*key, *(f"{value:.2f}" for value in values), f"{deviation:.2f}", f"{spread:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines.append(f"{within} of {len(first)} rows differ by at most their standard deviation.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
