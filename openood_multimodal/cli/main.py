"""Parse the command line and turn every expected failure into one line and an exit code.

Exit codes: 0 done; 1 the machine failed (a full disk, say); 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from ..errors import UserError, out_of_memory
from ..escapes import escaped_streams
from ..version import __version__
from .parsers import Command, Parser, add_commands, subparser

__all__ = ["COMMANDS", "main", "subparser"]

COMMANDS = {
    "run": Command("run", "run one config: train, extract or test (what OpenOOD's main.py does)"),
    "demo": Command("demo", "train and test on real tables and generated clips, in a few minutes"),
    "benchmark": Command("benchmark", "training methods x partitions x seeds in one command, with a table"),
    "reproduce": Command("reproduce", "the rows of the paper's tables, our results beside the reported ones"),
    "compare-modalities": Command(
        "compare_modalities", "every score on each modality, each pair, all together"
    ),
    "leaderboard": Command("leaderboard", "records and published results -> ranked tables (CSV, Markdown)"),
    "figures": Command(
        "figures", "ROC, histograms, embeddings, ranks, ... of runs, at the width of a column"
    ),
    "score": Command("score", "scores from saved embeddings: arrays in, table out"),
    "decide": Command("decide", "accept or reject each sample at a chosen error rate, with a guarantee"),
    "inspect": Command("inspect", "where scores go wrong: classes, clips, modalities, likely label errors"),
    "stress": Command("stress", "scores when a modality is missing, noisy or another clip's"),
    "import-multiood": Command("import_multiood", "read the files that MultiOOD's test scripts save"),
    "splits": Command("splits", "import the authors' splits, generate ones without leakage, audit any"),
    "prepare": Command(
        "prepare", "find a dataset's files, report what is missing; make flow, audio, test clips"
    ),
    "show": Command("show", "a clip as the network sees it: frames, flow, spectrogram on one sheet"),
    "weights": Command("weights", "published weights of encoders: where to find them, checking a file"),
    "list": Command("list", "list datasets, networks, trainers, scores, configs, ..."),
    "verify": Command("verify", "compare a folder's results, stores and checkpoints with their checksums"),
    "doctor": Command("doctor", "what is installed, what is missing, and the command that installs it"),
}

EPILOG = """examples:
  openood-mm run --config datasets/htad/htad_4_3.yml networks/mlp_fusion.yml pipelines/train/a2d_npmix.yml
  openood-mm run --config datasets/htad/htad_4_3.yml datasets/htad/htad_4_3_ood.yml networks/mlp_fusion.yml \\
      pipelines/test/near_ood.yml --network.checkpoint results/<run>/best.ckpt
  openood-mm demo
  openood-mm prepare moving_shapes --root data/moving_shapes
  openood-mm splits import --from MultiOOD
  openood-mm list trainers
  openood-mm doctor
"""


def build_parser() -> Parser:
    """Return the top-level parser; a command's module is imported when it is chosen."""
    parser = Parser(
        prog="openood-mm",
        description="Multimodal out-of-distribution detection: train, extract, score, compare.",
        epilog=EPILOG,
        unknown="there is no command '{}'.",
    )
    parser.add_argument("--version", action="version", version=f"openood-mm {__version__}")
    add_commands(parser, COMMANDS, "COMMAND")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        with escaped_streams(), warnings.catch_warnings():
            if argv is None:
                warnings.showwarning = _note
            return _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        # the reader, head for instance, has gone; there is nobody left to tell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - must outlive this function
        return 0


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a note; those that aren't for users (deprecations) as Python does."""
    if issubclass(category, UserWarning):
        print(f"openood-mm: note: {message}", file=file or sys.stderr)
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _run(arguments: list[str]) -> int:
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 2
    try:
        code = parser.parse_args(arguments).run() or 0
        sys.stdout.flush()  # here, where a failure can be told, and not when the interpreter ends
        return code
    except UserError as error:
        print(f"openood-mm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nopenood-mm: interrupted. Give the same command again to resume.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        raise
    except (MemoryError, RuntimeError) as error:
        if (told := out_of_memory(error)) is None:
            raise
        print(f"openood-mm: {told}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"openood-mm: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1
