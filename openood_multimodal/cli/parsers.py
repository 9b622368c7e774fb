"""What the commands' parsers share: commands within commands, options that several have, and how they are printed."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, NoReturn, TextIO

from ..errors import ArgumentError, UserError
from ..naming import did_you_mean
from ..vocabulary import SETTINGS

SHOWN = 10  # lines of a list that are printed; a file has all


class Command(NamedTuple):
    """A command: the module of this package whose ``main`` takes its arguments, and what it does."""

    module: str
    summary: str


class Parser(argparse.ArgumentParser):
    """A parser of which a command's own parser is made only when the command is chosen.

    Args:
        unknown: the error's sentence for an unknown command, with ``{}`` for it; "" for argparse's.
        module: of this package, whose ``main`` parses instead; it is imported when the command is chosen.
        **settings: of `argparse.ArgumentParser`.
    """

    def __init__(self, *, unknown: str = "", module: str = "", **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)
        self._unknown, self._module = unknown, module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; a parser with a module hands the arguments on to that."""
        if not self._module:
            return super().parse_known_args(args, namespace)
        main = import_module(f".{self._module}", __package__).main
        return argparse.Namespace(run=partial(main, args), command=self.prog.split()[-1]), []

    def error(self, message: str) -> NoReturn:
        """As argparse's; where a command within this one is missing, with the names to choose from."""
        for action in self._actions:
            if action.nargs == argparse.PARSER and message.endswith(f": {action.metavar}"):
                message += f": one of {', '.join(action.choices or ())}"
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if self._unknown and action.nargs == argparse.PARSER and value not in (action.choices or ()):
            raise UserError(self._unknown.format(value) + did_you_mean(value, action.choices or ()))
        super()._check_value(action, value)


def add_commands(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, Command],
    metavar: str,
    title: str = "commands (each has --help)",
) -> argparse._SubParsersAction[Parser]:
    """Add sub-parsers; the options then have ``command``, and ``run``, a function without arguments."""
    parsers = parser.add_subparsers(title=title, metavar=metavar, required=True, parser_class=Parser)
    for name, command in commands.items():
        parsers.add_parser(name, help=command.summary, module=command.module)
    return parsers


def subparser(command: str, description: str, examples: str, **settings: Any) -> argparse.ArgumentParser:
    """Return a command's parser, with examples below the options."""
    return Parser(
        prog=f"openood-mm {command}", description=description, epilog=f"examples:\n{examples}", **settings
    )


def add_manifest(parser: argparse.ArgumentParser, meaning: str, required: bool = True) -> None:
    """Add ``--manifest``."""
    parser.add_argument(
        "--manifest", nargs="+", action="extend", required=required, metavar="FILE.csv", help=meaning
    )


def add_root(parser: argparse.ArgumentParser, meaning: str = "the dataset's folder") -> None:
    """Add ``--root``."""
    parser.add_argument("--root", required=True, metavar="DIR", help=meaning)


def add_sets(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add ``--train``, ``--val``, ``--test``, ``--ood`` (``named_files`` reads it) and ``--head``."""
    parser.add_argument(
        "--train", metavar="FILE", help="ID training set, which mds, knn, vim and others learn from"
    )
    parser.add_argument(
        "--val", metavar="FILE", help="ID validation set: react's threshold, chosen error rates"
    )
    parser.add_argument("--test", metavar="FILE", required=required, help="ID test set")
    parser.add_argument(
        "--ood",
        metavar="NAME=FILE",
        nargs="+",
        action="extend",
        default=None if required else [],
        required=required,
        help="OOD sets; may be repeated",
    )
    parser.add_argument(
        "--head",
        metavar="FILE",
        help=".npz with weight [C, D] and bias [C]; can be left out where all sets are stores with logits",
    )


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Add ``--scheduler`` and ``--resources``; `resources_of` reads the second."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run on the workers of this Dask scheduler (tcp://host:8786, or its JSON file), or as jobs of SLURM "
        "('slurm'; --workers of them)",
    )
    parser.add_argument(
        "--resources",
        nargs="+",
        default=[],
        metavar="NAME=AMOUNT",
        help="what a worker of the scheduler must have for a run, e.g. GPU=1 (dask worker ... --resources GPU=1)",
    )


def resources_of(options: argparse.Namespace) -> dict[str, float]:
    """Return ``--resources`` as numbers.

    Raises:
        UserError: for one that is no ``NAME=AMOUNT``.
    """
    found = {}
    for word in getattr(options, "resources", ()):
        name, _, amount = word.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            raise UserError(f"--resources {word}: give NAME=AMOUNT, e.g. GPU=1.") from None
    return found


def add_workers(parser: argparse.ArgumentParser, meaning: str = "processes") -> None:
    """Add ``--workers``; `workers.worker_count` turns it into a number."""
    parser.add_argument("--workers", type=int, metavar="N", help=f"{meaning} (default: one per core)")


def add_follow_links(parser: argparse.ArgumentParser) -> None:
    """Add ``--follow-links``."""
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="follow links that lead out of --root, to another disk, say",
    )


def add_overwrite(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help=meaning)


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``; `postprocessors.spec.read_settings` reads it."""
    parser.add_argument(
        "--set",
        metavar="POSTPROCESSOR.PARAMETER=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override a parameter, e.g. knn.K=10; may be repeated",
    )


def add_slices(parser: argparse.ArgumentParser) -> None:
    """Add ``--slices``; `scoring.inputs.parse_slices` reads it."""
    parser.add_argument(
        "--slices", metavar="A:W,B:W", help="columns of each modality, e.g. video:2304,flow:2048"
    )


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads`` and ``--device``."""
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads to compute with (default: that of the libraries)"
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="NAME",
        help="cpu (default), cuda or cuda:N, for the large products",
    )


def add_chunk_rows(parser: argparse.ArgumentParser) -> None:
    """Add ``--chunk-rows``."""
    parser.add_argument(
        "--chunk-rows",
        type=int,
        metavar="N",
        help="rows of embeddings held at once (default: 64 MB of float64)",
    )


def add_about(parser: argparse.ArgumentParser, seed: str = "--seed") -> None:
    """Add what a leaderboard calls the results; `about_of` reads it."""
    about = parser.add_argument_group(
        "rows of a leaderboard",
        "What openood-mm leaderboard calls these results (track own, ranked among themselves).",
    )
    about.add_argument(
        "--benchmark",
        metavar="NAME",
        help="the leaderboard that shows them, e.g. hmdb51_25_26 "
        "(default: own; theirs with stores of MultiOOD's lists)",
    )
    about.add_argument("--method", metavar="NAME", help="the training method")
    about.add_argument("--network", metavar="NAME", help="what made the embeddings")
    about.add_argument("--setting", choices=SETTINGS, help="near- or far-OOD")
    about.add_argument(seed, type=int, metavar="N", help="of the training; several are averaged")
    about.add_argument(
        "--partition", default="0", metavar="NAME", help="class partition or fold (default: 0)"
    )
    about.add_argument("--note", action="append", default=[], metavar="TEXT", help="may be repeated")


def about_of(options: argparse.Namespace, seed: int | None) -> dict[str, Any]:
    """Return the fields of `scoring.recording.About` that `add_about`'s options give."""
    named = {
        name: getattr(options, name) for name in ("benchmark", "method", "network", "setting", "partition")
    }
    return {**named, "seed": seed, "notes": tuple(options.note)}


def names_in(text: str | None) -> list[str]:
    """Return the names in ``A,B,C``."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


ARGUMENTS = (
    *(
        "train",
        "val",
        "test",
        "head",
        "slices",
        "fit_on",
        "postprocessors",
        "device",
        "only",
        "benchmark",
        "seed",
        "manifests",
    ),
    *(
        "search",
        "apply",
        "ood_val",
        "out",
        "workers",
        "overwrite",
        "short_side",
        "accept_changed",
        "domain",
        "own_recordings",
    ),
)
"""Arguments that core messages name as Python has them (``head=``, ``fit_on="val"``), and that are options, too."""

_ARGUMENT = re.compile(
    rf"""(?<![\w.'"-])({"|".join(ARGUMENTS)})=("[^"]*"|\[[^\]]*\]|True\b|\d+\b|(?=[\s.,;:)]|$))"""
)


@contextmanager
def option_names(*names: str) -> Iterator[None]:
    """Say ``--short-side`` where the core says ``short_side``, and ``--fit-on val`` where it says ``fit_on="val"``.

    Around a block, or as a decorator.

    Args:
        *names: the arguments that are options here; without any, all of `ARGUMENTS`.
    """
    try:
        yield
    except ArgumentError as error:
        raise UserError(f"--{error.argument.replace('_', '-')} {error.fault}") from error
    except UserError as error:
        text = _ARGUMENT.sub(
            lambda found: _as_option(found) if found[1] in (names or ARGUMENTS) else found[0], str(error)
        )
        if text == str(error):
            raise
        raise UserError(text) from error


def _as_option(found: re.Match[str]) -> str:
    name, value = f"--{found[1].replace('_', '-')}", found[2]
    if value.startswith("["):
        value = " ".join(re.findall(r"'([^']*)'", value))
    return " ".join(filter(None, (name, "" if value == "True" else value.strip('"'))))


def print_some(lines: Sequence[str], shown: int = SHOWN, file: TextIO | None = None) -> None:
    """Print the first lines, and how many more there are."""
    for line in lines[:shown]:
        print(f"  {line}", file=file or sys.stdout)
    if len(lines) > shown:
        print(f"  ... and {len(lines) - shown} more", file=file or sys.stdout)


def print_table(lines: Sequence[Sequence[str]], names: int = 2) -> None:
    """Print a table whose first ``names`` columns are names and the others values."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = zip(line, widths, strict=True)
        cells = [cell.ljust(w) if i < names else cell.rjust(w) for i, (cell, w) in enumerate(padded)]
        print("  ".join(cells))


def named_file(text: str, option: str = "--ood") -> tuple[str, str]:
    """Return name and file of ``NAME=FILE``.  Raises `UserError` for another form."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UserError(f"{option} is written NAME=FILE, e.g. ucf=ucf.npz; got '{text}'.")
    return name, path


def named_files(texts: Sequence[str], option: str = "--ood") -> dict[str, str]:
    """Return name → file.  Raises `UserError` as `named_file`, and for a name that is given twice."""
    found: dict[str, str] = {}
    for name, path in (named_file(text, option) for text in texts):
        if name in found:
            raise UserError(f"{option} names '{name}' twice: {found[name]} and {path}.")
        found[name] = path
    return found
