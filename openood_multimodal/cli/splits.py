"""``openood-mm splits``: the authors' split lists, splits that don't leak, and what a split leaks."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import NamedTuple

from .main import subparser


class _Verb(NamedTuple):
    module: str
    summary: str


VERBS = {
    "import": _Verb("splits_import", "MultiOOD's split lists -> manifests, checked against digests"),
    "generate": _Verb("splits_generate", "a split with no recording on two sides"),
    "audit": _Verb("splits_audit", "what a split leaks: recordings, duplicates, class names, ..."),
}

EXAMPLES = """  openood-mm splits import --from MultiOOD --out splits
  openood-mm splits generate --help
  openood-mm splits audit --help
"""


def main(argv: Sequence[str]) -> int:
    """Dispatch to the verb's module."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = subparser("splits", f"Import, generate and audit splits.\n\n{verbs}", EXAMPLES)
    parser.add_argument("verb", metavar="VERB", help="one of those above; each has --help")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    options = parser.parse_args(list(argv))

    from ..errors import UserError
    from ..naming import did_you_mean

    if options.verb not in VERBS:
        raise UserError(f"there is no 'splits {options.verb}'.{did_you_mean(options.verb, VERBS)}")
    module = importlib.import_module(f".{VERBS[options.verb].module}", __package__)
    return module.main(options.arguments) or 0
