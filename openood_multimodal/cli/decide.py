"""``openood-mm decide``: accept or reject each sample, at a chosen error rate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .parsers import add_chunk_rows, add_computing, add_parameters, add_slices, option_names, subparser

EXAMPLES = """  # accept 95 % of in-distribution samples, guaranteed (split conformal)
  openood-mm decide --data new.npz --val val.npz --head head.npz --postprocessor ebo --out results/decisions

  # within each predicted class, with a score that is fitted to the training set
  openood-mm decide --data new.npz --train train.npz --val val.npz --head head.npz --postprocessor knn \\
      --rule mondrian --tpr 0.9 --out results/decisions

  # reject where accepting costs more: a wrong answer 2, an OOD sample 10, a rejection 1
  openood-mm decide --data new.npz --val val.npz --head head.npz --rule cost \\
      --cost error=2 ood=10 reject=1 --out results/decisions

  # the same decision on other embeddings
  openood-mm decide --data newer.npz --apply results/decisions/decision.json --head head.npz --out results/newer

docs/decisions.md describes the rules and the files.
"""


@option_names()
def main(argv: Sequence[str]) -> int:
    """Decide, write, print the summary."""
    options = _parser().parse_args(list(argv))

    from ..decisions import decide
    from ..decisions.report import summary, write_decisions
    from ..linalg.torch_arithmetic import arithmetic_for
    from ..postprocessors.options import ScoringSettings
    from ..postprocessors.spec import read_settings
    from ..scoring.inputs import parse_slices

    computing = ScoringSettings(options.threads, options.device, options.chunk_rows)
    arithmetic_for(computing.device)
    own = {
        key: getattr(options, key) for key in ("postprocessor", "rule", "tpr", "weight", "share", "preset")
    }
    given = {key: value for key, value in own.items() if value is not None}
    if options.apply is not None and (given or options.set or options.cost):
        names = (
            [f"--{key}" for key in given] + ["--set"] * bool(options.set) + ["--cost"] * bool(options.cost)
        )
        raise UserError(f"{', '.join(names)} can't be given with --apply: the decision file holds the rule.")
    name = given.get("postprocessor", "msp")
    parameters = read_settings(options.set)
    for other in parameters:
        if other != name:
            raise UserError(
                f"--set names '{other}', but the score is {name}; write --set {name}.PARAMETER=VALUE."
            )
    found = decide(
        options.data,
        val=options.val,
        head=options.head,
        train=options.train,
        parameters=parameters.get(name),
        costs=_costs(options.cost) or None,
        slices=parse_slices(options.slices) if options.slices is not None else None,
        apply=options.apply,
        settings=computing,
        **given,
    )
    written = write_decisions(Path(options.out), found)
    print(summary(found), end="")
    print("Written:")
    for path in written:
        print(f"  {path}")
    sys.stdout.flush()
    return 0


def _costs(words: Sequence[str]) -> dict[str, float]:
    costs: dict[str, float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            costs[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise UserError(f"--cost is written NAME=NUMBER, e.g. ood=10; got '{word}'.")
    return costs


def _parser() -> argparse.ArgumentParser:
    parser = subparser(
        "decide",
        "Accept each sample as in-distribution or reject it, at an error rate chosen on ID validation data.\n"
        "A FILE is an .npz with features and labels, or the folder of an embedding store.",
        EXAMPLES,
    )
    parser.add_argument(
        "--data", metavar="FILE", required=True, help="samples to decide about; need no labels"
    )
    parser.add_argument("--val", metavar="FILE", help="ID validation set, which nothing was fitted to")
    parser.add_argument("--train", metavar="FILE", help="ID training set (scores that are fitted)")
    parser.add_argument("--head", metavar="FILE", help=".npz with weight [C, D] and bias [C]")
    parser.add_argument("--apply", metavar="FILE", help="a decision.json; in place of --val and of the rule")
    parser.add_argument("--postprocessor", metavar="NAME", help="the score (default: msp)")
    parser.add_argument(
        "--rule", metavar="NAME", help="conformal (default), mondrian, threshold, scod or cost"
    )
    parser.add_argument(
        "--tpr", type=float, metavar="P", help="share of ID samples to accept (default: 0.95)"
    )
    parser.add_argument(
        "--weight", type=float, metavar="W", help="scod: of OOD beside misclassified samples (default: 0.5)"
    )
    parser.add_argument(
        *("--cost", "--costs"),
        dest="cost",
        metavar="NAME=NUMBER",
        nargs="+",
        action="extend",
        default=[],
        help="cost: reject (default 1), error (2), ood (5)",
    )
    parser.add_argument(
        "--share", type=float, metavar="P", help="cost: the OOD share to reckon with (default: estimated)"
    )
    parser.add_argument("--preset", metavar="NAME", help="parameters: openood (default) or multiood")
    add_parameters(parser)
    add_slices(parser)
    add_computing(parser)
    add_chunk_rows(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="where the files go")
    return parser
