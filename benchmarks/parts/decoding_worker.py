"""One loader worker of benchmarks/decoding.py: reads its share of the clips each time it is asked to.

The first line in is the task, ``{"way", "clips": [[path, seed, frames], ...], "transforms"}``; every line after it
is one round.  A line out, for the task and for each round: ``{"cpu", "peak_MiB"}``, the memory beyond what the
process had after its imports.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.parts.processes import peak_mb, reset_peak
from benchmarks.parts.reading import read_clip


def work(task: dict[str, Any]) -> None:
    """Read the clips, and drop them."""
    for path, seed, frames in task["clips"]:
        read_clip(task["way"], path, seed, frames, task["transforms"])


def main() -> None:
    """Answer lines until there are no more."""
    task = json.loads(sys.stdin.readline())
    import av  # noqa: F401

    if task["transforms"] or task["way"].startswith("reader"):
        import cv2

        cv2.setNumThreads(1)  # several workers share the cores
        import openood_multimodal.preprocessors.transforms
        import openood_multimodal.preprocessors.video  # noqa: F401
    reset_peak()
    before = peak_mb()
    while True:
        start = time.process_time()
        work(task)
        answer = {"cpu": time.process_time() - start, "peak_MiB": max(0.0, peak_mb() - before)}
        print(json.dumps(answer), flush=True)
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()
