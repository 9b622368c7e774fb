"""``openood-mm doctor --data-root``: how fast clips are read, and how many workers a training needs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from ..errors import UserError
from ..workers import worker_count

WORTHWHILE = 0.1
"""The share of the time, spent on reading files, from which a cache of clips is worth its disk."""

STEPS_S = (0.1, 0.25, 0.5, 1.0, 2.0)


def measure_reading(files: Sequence[str], root: str, seconds: float, step_s: float | None) -> None:
    """Read training samples in this process for a while, as a worker of a training would, and print the rate.

    Args:
        files: a benchmark's configs; see ``openood-mm run --config``.
        root: folder of the data, the configs' ``data_root``.
        seconds: how long to read.
        step_s: time of a training step that workers are to keep up with; some usual ones by default.

    Raises:
        UserError: when the configs have no training set, or a sample can't be read.
    """
    import torch

    from ..config import load_config
    from ..datasets.loaders import build_loaders, default_workers
    from ..progress import progress_bar

    unused = {"num_workers": 0, "num_gpus": 1, "num_machines": 1}  # a pipeline's config would set them
    words = [word for key, value in unused.items() for word in (f"--dataset.{key}", str(value))]
    config = load_config(files, ["--data_root", root, *words])
    if "dataset" not in config or "train" not in config["dataset"]["split_names"]:
        raise UserError(f"{', '.join(files)}: no training set (dataset.train) to read from.")
    torch.set_num_threads(1)
    loader = build_loaders(config, training=True)["train"]
    dataset: Any = loader.dataset
    batches = iter(loader.batch_sampler or ())
    dataset.__getitems__(next(batches, []))  # the libraries load
    read, held, copying, began = 0, 0, 0.0, time.perf_counter()
    with progress_bar(total=len(loader) - 1, desc="Reading", unit="batch", leave=False) as bar:
        for rows in batches:
            asked = time.perf_counter()
            for path in chain.from_iterable(map(dataset.paths, rows)) if hasattr(dataset, "paths") else ():
                held += len(path.read_bytes()) if path.is_file() else 0
            copying += time.perf_counter() - asked
            read += len(dataset.__getitems__(rows)[0]["label"])
            bar.update()
            if time.perf_counter() - began > seconds:
                break
    if not read:
        raise UserError(f"{root}: the training set has one batch; there is nothing to time.")
    rate = read / (time.perf_counter() - began)
    size = int(loader.batch_size or 1)
    print(f"reading {root}:")
    print(
        f"  {rate:.3g} samples a second in one process ({read} samples; {', '.join(config['dataset']['modalities'])})"
    )
    if held:
        share = copying / (time.perf_counter() - began)
        told = "save it from the second epoch on" if share > WORTHWHILE else "would hardly help"
        print(
            f"  of this, {100 * share:.0f} % for the files' bytes ({held / 1e6 / copying:.3g} MB/s): copies on a local "
            f"disk (--clip_cache.folder DIR) {told}"
        )
    unset = {**config, "dataset": {**config["dataset"], "num_workers": None}}
    print(f"  cores here: {worker_count(None)}; workers where num_workers is null: {default_workers(unset)}")
    for step in (step_s,) if step_s else STEPS_S:
        workers = math.ceil(size / (rate * step))
        note = " (more than cores)" if workers > worker_count(None) else ""
        print(
            f"  a step of {size} samples in {step:g} s needs {workers} workers{note}: --dataset.num_workers {workers}"
        )
