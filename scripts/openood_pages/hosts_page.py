"""Every postprocessor in both hosts, on the same networks: which results agree, and what is refused and why.

Makes the clips and trains the networks.  One host is OpenOOD's own ``main.py`` with its pipeline ``test_ood``, the
other ``openood-mm run`` with ``engine: openood`` (``native`` for our own scores); both write an ``ood.csv``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pages import COMMAND, ask_process, run_main, streams, table

from openood_multimodal.config import load_config
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import generate
from openood_multimodal.naming import did_you_mean
from openood_multimodal.pipelines import TestPipeline, TrainPipeline
from openood_multimodal.plugin.host import describe_openood
from openood_multimodal.plugin.native import PREFIX, openood_postprocessors
from openood_multimodal.plugin.recipes import RECIPES, UNSUITABLE, postprocessor_config
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.vocabulary import OPENOOD_METRICS


@dataclass(frozen=True)
class Problem:
    """A benchmark, a network and the parameters that go with its size.

    Attributes:
        name: as the page calls it.
        files: config files of the in-distribution data, its OOD sets and the network.
        training: config file of the training.
        words: overrides, of training and of tests.
        training_words: of the training alone.
        settings: postprocessor → parameters that OpenOOD's defaults must give way to.
    """

    name: str
    files: tuple[str, str, str]
    training: str
    words: tuple[str, ...]
    training_words: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]]


CLIPS = Problem(
    "clips: video, audio and flow (MovingShapes, size small), encoders with batch normalisation and dropout",
    (
        "datasets/moving_shapes/moving_shapes.yml",
        "datasets/moving_shapes/moving_shapes_ood.yml",
        "networks/clip_fusion_small.yml",
    ),
    "pipelines/train/a2d.yml",
    (
        *("--dataset.num_classes", "5", "--num_gpus", "0", "--num_workers", "0"),
        *("--preprocessor.video.frames", "8", "--preprocessor.flow.frames", "4"),
        *("--preprocessor.video.short_side", "36", "--preprocessor.video.size", "32"),
        *("--preprocessor.flow.short_side", "36", "--preprocessor.flow.size", "32"),
    ),
    ("--optimizer.num_epochs", "12", "--optimizer.lr", "0.001"),
    {
        "vim": {"dim": 16},
        "mm_vim": {"dim": 16},
        "residual": {"dim": 8},
        "nnguide": {"K": 50, "alpha": 1.0},
    },
)
TABLES = Problem(
    "tables: audio and accelerometer (htad_4_3)",
    ("datasets/htad/htad_4_3.yml", "datasets/htad/htad_4_3_ood.yml", "networks/mlp_fusion.yml"),
    "pipelines/train/a2d_npmix.yml",
    ("--num_gpus", "0", "--num_workers", "0"),
    (),
    {
        "vim": {"dim": 64},
        "mm_vim": {"dim": 64},
        "residual": {"dim": 64},
        "nnguide": {"K": 50, "alpha": 1.0},
    },
)
PROBLEMS: Mapping[str, Problem] = {"clips": CLIPS, "tables": TABLES}

Results = list[list[str]]
"""Rows of an ``ood.csv``: set, then OpenOOD's metrics as text."""


@dataclass(frozen=True)
class Row:
    """One postprocessor: what either host wrote, or why it refused.

    Attributes:
        name: OpenOOD's, or ``mm_<name>``.
        theirs, ours: rows of ``ood.csv`` from OpenOOD's ``test_ood`` and from our own host, or the refusal.
        notes: what either host said of the result.
    """

    name: str
    theirs: Results | str
    ours: Results | str
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both hosts wrote the same digits."""
        return self.theirs == self.ours and not isinstance(self.ours, str)


def prepare(problem: Problem, folder: Path) -> Path:
    """Make the data, train the network in our own host, and return its checkpoint."""
    if problem is CLIPS:
        generate(folder / "shapes", size="small", height=32, width=40)
    words = [*problem.words, *problem.training_words, *_data(problem, folder)]
    more = ("--output_dir", str(folder), "--exp_name", "run", "--recorder.tensorboard", "false")
    config = load_config([problem.files[0], problem.files[2], problem.training], [*words, *more])
    config["recorder"]["quiet"] = True
    return TrainPipeline(config).run().checkpoint


def _data(problem: Problem, folder: Path) -> list[str]:
    return ["--data_root", str(folder / "shapes")] if problem is CLIPS else []


def postprocessor_names() -> list[str]:
    """Return OpenOOD's postprocessors, run and refused, then ours."""
    ours = [name for name in openood_postprocessors() if name.removeprefix(PREFIX) in POSTPROCESSORS]
    return [*RECIPES, *UNSUITABLE, *ours]


def compare(problem: Problem, checkpoint: Path, folder: Path, names: Sequence[str]) -> list[Row]:
    """Run each of ``names`` in both hosts; in this process, which imports OpenOOD."""
    rows = []
    for name in names:
        theirs, said = _theirs(problem, checkpoint, folder, name)
        ours, notes = _ours(problem, checkpoint, folder, name)
        rows.append(Row(name, theirs, ours, tuple(dict.fromkeys([*said, *notes]))))
    return rows


def _theirs(problem: Problem, checkpoint: Path, folder: Path, name: str) -> tuple[Results | str, list[str]]:
    """Run OpenOOD's main.py; return what it wrote, or its refusal, and its notes."""
    out = folder / "theirs" / name
    settings = {**problem.settings.get(name, {})}
    files = [f"configs/{file}" for file in (*problem.files, "pipelines/test/near_ood.yml")]
    words = [
        "--config",
        *files,
        _config_file(name, folder, settings),
        *problem.words,
        *_data(problem, folder),
    ]
    words += [
        "--pipeline.name",
        "test_ood",
        "--network.checkpoint",
        str(checkpoint),
        "--output_dir",
        str(out),
    ]
    refused, said = run_main(words)
    if refused:
        return refused, []
    notes = [
        line.removeprefix("Note: ").rstrip(".") for line in said.splitlines() if line.startswith("Note: ")
    ]
    return _read(out, name), [note for note in notes if note.startswith(f"{name}: ")]


def _ours(problem: Problem, checkpoint: Path, folder: Path, name: str) -> tuple[Results | str, list[str]]:
    plain, engine = (name.removeprefix(PREFIX), "native") if name.startswith(PREFIX) else (name, "openood")
    out = folder / "ours" / name
    words = [*problem.words, *_data(problem, folder), "--network.checkpoint", str(checkpoint)]
    words += ["--output_dir", str(out), "--engine", engine, "--postprocessors", plain]
    words += ["--recorder.embeddings", str(folder / "stores")]
    with streams(io.StringIO(), io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            config = load_config([*problem.files, "pipelines/test/near_ood.yml"], words)
            config["postprocessor_args"] = {plain: dict(problem.settings.get(name, {}))}
            config["recorder"]["quiet"] = True
            records = TestPipeline(config).run()
        except UserError as error:
            return str(error), []
    notes = [note.rstrip(".") for record in records for note in record.notes]
    return _read(out, plain), [note for note in notes if note.startswith(f"{plain}: ")]


def _config_file(name: str, folder: Path, settings: Mapping[str, Any]) -> str:
    """Return OpenOOD's own YAML of a postprocessor, without its search; a new one where there is none."""
    path = postprocessor_config(name)
    section: dict[str, Any] = {}
    if path is not None:
        section = yaml.safe_load(path.read_text(encoding="utf-8"))["postprocessor"]
    args = {**(section.get("postprocessor_args") or {}), **settings}
    section |= {"name": name, "APS_mode": False, "postprocessor_args": args}
    file = folder / f"{name}.yml"
    file.write_text(yaml.safe_dump({"postprocessor": section}), encoding="utf-8")
    return str(file)


def _read(folder: Path, name: str) -> Results:
    with (folder / name / "ood.csv").open(encoding="utf-8", newline="") as file:
        return [[row["dataset"], *(row[key] for key in OPENOOD_METRICS)] for row in csv.DictReader(file)]


# --- the page


def page(parts: Sequence[tuple[str, str, Sequence[Row]]], only: str | None = None) -> str:
    """Return the Markdown page.

    Args:
        parts: OpenOOD's version, problem, rows; in order.
        only: the postprocessors, with commas, where not all of them were run.
    """
    roots = " ".join("--openood-root path/to/OpenOOD" for _ in dict.fromkeys(part[0] for part in parts))
    problems = " ".join(f"--problem {name}" for name in dict.fromkeys(part[1] for part in parts))
    chosen = f" --only {only}" if only else ""
    command = f"{COMMAND} hosts {roots} {problems}{chosen} --out <this file>"
    lines = [
        "# Every postprocessor in both hosts",
        "",
        f"Made by `{command}`. Do not edit.",
        "",
        "Each postprocessor ran twice on one trained network: in OpenOOD's own `main.py` with its pipeline",
        "`test_ood`, and in `openood-mm run` with `engine: openood` (`mm_<name>`: with our native engine). All digits",
        "of both `ood.csv` were compared, near-OOD, percent. Parameters are OpenOOD's defaults but for those named",
        "below; the seed is 0. The problems are small: the tables show that the hosts agree, not which postprocessor",
        "is better.",
    ]
    for version, problem, rows in parts:
        lines += ["", *_section(version, PROBLEMS[problem], rows)]
    return "\n".join(lines) + "\n"


def _section(version: str, problem: Problem, rows: Sequence[Row]) -> list[str]:
    ran = [row for row in rows if not (isinstance(row.theirs, str) and isinstance(row.ours, str))]
    both = [row for row in ran if not isinstance(row.theirs, str) and not isinstance(row.ours, str)]
    refused = [row for row in rows if isinstance(row.theirs, str) and isinstance(row.ours, str)]
    settings = "; ".join(
        f"{name} " + ", ".join(f"{key}={value}" for key, value in each.items())
        for name, each in problem.settings.items()
    )
    return [
        f"## OpenOOD {version}, {problem.name}",
        "",
        f"{sum(row.same for row in both)} of the {len(both)} postprocessors that run in both hosts give the same",
        f"digits. Here with {settings}.",
        "",
        *table(("postprocessor", "hosts", *OPENOOD_METRICS, "note"), map(_cells, ran)),
        *(["", "Refused in both:", "", *_refused(refused)] if refused else []),
    ]


def _refused(rows: Sequence[Row]) -> list[str]:
    header = ("postprocessor", "OpenOOD's `test_ood` says", "`openood-mm run` says")
    return table(header, ((row.name, row.theirs, row.ours) for row in rows))


def _cells(row: Row) -> list[str]:
    notes = [*row.notes]
    if isinstance(row.theirs, str) or isinstance(row.ours, str):
        hosts = "own only" if isinstance(row.theirs, str) else "OpenOOD's only"
        notes.insert(0, str(row.theirs if isinstance(row.theirs, str) else row.ours).rstrip("."))
        shown = row.ours if isinstance(row.theirs, str) else row.theirs
        cells = shown[0][1:] if isinstance(shown, list) else []
    elif row.same:
        hosts, cells = "same", row.theirs[0][1:]
    else:
        hosts = "differ"
        cells = [
            a if a == b else f"{a} / {b}" for a, b in zip(row.theirs[0][1:], row.ours[0][1:], strict=True)
        ]
    return [row.name, hosts, *cells, "; ".join(notes)]


# --- the command


def measure(
    root: str, problem: str, folder: Path, checkpoint: Path, names: Sequence[str] = ()
) -> tuple[str, list[Row]]:
    """Return OpenOOD's version and the rows, found in a process of its own that imports the OpenOOD in ``root``.

    Raises:
        UserError: when that process fails.
    """
    answer = ask_process([__file__, problem, str(folder), str(checkpoint), *names], root)
    return answer["version"], [Row(**{**row, "notes": tuple(row["notes"])}) for row in answer["rows"]]


def _compare(problem: str, folder: str, checkpoint: str, *names: str) -> None:
    import torch

    torch.set_num_threads(1)  # sums of several threads differ in the last digit
    rows = compare(PROBLEMS[problem], Path(checkpoint), Path(folder), names or postprocessor_names())
    print(json.dumps({"version": describe_openood(), "rows": [asdict(row) for row in rows]}))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this page takes."""
    parser.add_argument(
        "--problem", action="append", choices=[*PROBLEMS], help="one of the problems (default: all)"
    )
    parser.add_argument("--only", help="postprocessors, with commas (default: all)")


def make(roots: Sequence[str], options: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the page and what is wrong with it: postprocessors whose results differ between the hosts."""
    names = options.only.split(",") if options.only else postprocessor_names()
    unknown = sorted(set(names) - set(postprocessor_names()))
    if unknown:
        raise UserError(
            f"--only: there is no postprocessor '{unknown[0]}'.{did_you_mean(unknown[0], postprocessor_names())}"
        )
    parts: list[tuple[int, str, str, list[Row]]] = []
    with tempfile.TemporaryDirectory(prefix="openood-hosts-") as scratch:
        for problem in options.problem or PROBLEMS:
            folder = Path(scratch) / problem
            folder.mkdir()
            checkpoint = prepare(PROBLEMS[problem], folder)
            for number, root in enumerate(roots):
                place = folder / str(number)
                place.mkdir()
                (place / "shapes").symlink_to(folder / "shapes")
                version, rows = measure(root, problem, place, checkpoint, names)
                parts.append((number, version, problem, rows))
    parts.sort(key=lambda part: part[0])
    wrong = [
        f"{row.name} ({version}, {problem})"
        for _, version, problem, rows in parts
        for row in rows
        if differs(row)
    ]
    return page([part[1:] for part in parts], options.only), [
        f"the hosts differ: {', '.join(wrong)}"
    ] if wrong else []


def differs(row: Row) -> bool:
    """Whether both hosts gave results, and not the same."""
    return not row.same and not isinstance(row.theirs, str) and not isinstance(row.ours, str)


if __name__ == "__main__":
    _compare(*sys.argv[1:])
