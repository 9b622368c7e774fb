"""Parse the command line and turn every expected failure into one line and an exit code.

Exit codes: 0 done; 1 the machine failed (a full disk, say); 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from ..errors import UserError
from ..escapes import escaped_streams
from ..naming import did_you_mean
from ..version import __version__


class _Command(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "run": _Command("run", "run one config: train, extract or test (what OpenOOD's main.py does)"),
    "benchmark": _Command("benchmark", "trainings x partitions x seeds in one command, with a table"),
    "reproduce": _Command("reproduce", "the rows of the paper's tables, ours beside the printed figures"),
    "compare-modalities": _Command(
        "compare_modalities", "every score on each modality, each pair, all together"
    ),
    "leaderboard": _Command("leaderboard", "records and published results -> ranked tables (CSV, Markdown)"),
    "score": _Command("score", "scores from saved embeddings: arrays in, table out"),
    "import-multiood": _Command("import_multiood", "read the files that MultiOOD's test scripts save"),
    "splits": _Command("splits", "import the authors' splits, make ones that don't leak, audit any"),
    "prepare": _Command(
        "prepare", "find a data set's files, say what is missing; make flow, sound, test clips"
    ),
    "show": _Command("show", "a clip as the network sees it: frames, flow, spectrogram on one sheet"),
    "weights": _Command("weights", "published weights of encoders: where they are, whether a file fits"),
    "list": _Command("list", "list datasets, networks, trainers, scores, configs, ..."),
    "verify": _Command("verify", "compare a folder's results, stores and checkpoints with their checksums"),
    "doctor": _Command("doctor", "say what is installed, what is missing, and the command that installs it"),
}

EPILOG = """examples:
  openood-mm run --config datasets/htad/htad_4_3.yml networks/mlp_fusion.yml pipelines/train/a2d_npmix.yml
  openood-mm run --config datasets/htad/htad_4_3.yml datasets/htad/htad_4_3_ood.yml networks/mlp_fusion.yml \\
      pipelines/test/near_ood.yml --network.checkpoint results/<run>/best.ckpt
  openood-mm benchmark --suite demo
  openood-mm prepare moving_shapes --root data/moving_shapes
  openood-mm splits import --from MultiOOD
  openood-mm list trainers
  openood-mm doctor
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the top-level parser; subcommands parse their own arguments when they are chosen."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="openood-mm",
        description="Multimodal out-of-distribution detection: train, extract, score, compare.",
        epilog=f"commands (each has --help):\n{commands}\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"openood-mm {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
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
        options = parser.parse_args(arguments)
        if options.command not in COMMANDS:
            raise UserError(
                f"there is no command '{options.command}'.{did_you_mean(options.command, COMMANDS)}"
            )
        module = importlib.import_module(f".{COMMANDS[options.command].module}", __package__)
        code = module.main(options.arguments) or 0
        sys.stdout.flush()  # here, where a failure can be told, and not when the interpreter ends
        return code
    except UserError as error:
        print(f"openood-mm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nopenood-mm: interrupted. The same command again goes on where this one stopped.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"openood-mm: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 1


def subparser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a subcommand's parser, with examples below the options."""
    return argparse.ArgumentParser(
        prog=f"openood-mm {command}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
