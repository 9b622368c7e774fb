"""``openood-mm splits``: the authors' split lists, splits that don't leak, and what a split leaks."""

from __future__ import annotations

from collections.abc import Sequence

from .parsers import Command, add_commands, subparser

VERBS = {
    "import": Command("splits_import", "MultiOOD's split lists -> manifests, checked against digests"),
    "generate": Command("splits_generate", "a split with no recording in two sets"),
    "audit": Command("splits_audit", "what a split leaks: recordings, duplicates, class names, ..."),
}

EXAMPLES = """  openood-mm splits import --from MultiOOD --out splits
  openood-mm splits generate --help
  openood-mm splits audit --help
"""


def main(argv: Sequence[str]) -> int:
    """Run a verb's module."""
    parser = subparser(
        "splits", "Import, generate and audit splits.", EXAMPLES, unknown="there is no 'splits {}'."
    )
    add_commands(parser, VERBS, "VERB")
    return parser.parse_args(list(argv)).run() or 0
