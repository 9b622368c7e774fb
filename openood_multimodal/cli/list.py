"""``openood-mm list``: what can be named in a config."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from .parsers import subparser

EXAMPLES = """  openood-mm list
  openood-mm list trainers
  openood-mm list configs
"""


def main(argv: Sequence[str]) -> int:
    """Print names with the first line of what they are."""
    from ..naming import did_you_mean
    from ..registry import ALL

    kinds = [*ALL, "benchmarks", "configs"]
    parser = subparser("list", f"List what configs can name: {', '.join(kinds)}.", EXAMPLES)
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="one of them, with a line on each; all names without it"
    )
    options = parser.parse_args(list(argv))

    from ..errors import UserError

    if options.kind and options.kind not in kinds:
        raise UserError(
            f"there is nothing called '{options.kind}' to list.{did_you_mean(options.kind, kinds)}"
        )
    if options.kind:
        rows = _rows(options.kind)
        width = max((len(name) for name, _ in rows), default=0)
        for name, summary in rows:
            print(f"{name:<{width}}  {summary}".rstrip())
        return 0
    names: dict[str, Iterable[str]] = {**ALL, "benchmarks": _benchmarks()}
    for kind in names:
        print(f"{kind}:")
        for line in textwrap.wrap(
            ", ".join(names[kind]), 100, break_long_words=False, break_on_hyphens=False
        ):
            print(f"  {line}")
    return 0


def _benchmarks() -> list[str]:
    from ..resources import benchmark_splits_dir, list_benchmarks

    return list_benchmarks(benchmark_splits_dir(), "layout", "sets")


def _rows(kind: str) -> list[tuple[str, str]]:
    from ..registry import ALL

    if kind == "configs":
        from ..resources import list_configs

        return [(name, "") for name in list_configs()]
    if kind == "benchmarks":
        from ..datasets.benchmarks import available_benchmarks, load_benchmark
        from ..datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark

        tables = {name: load_benchmark(name).description for name in available_benchmarks()}
        clips = {name: load_clip_benchmark(name).description for name in available_clip_benchmarks()}
        return [(name, _first_sentence(text)) for name, text in {**tables, **clips}.items()]
    registry = ALL[kind]
    return [(name, _summary_of(registry, name)) for name in registry.names()]


def _summary_of(registry: Any, name: str) -> str:
    from ..errors import UserError

    try:
        return _summary(registry.get(name))
    except UserError as error:  # one broken package shouldn't hide all the others
        return f"(broken: {error})"


def _summary(component: Any) -> str:
    summary = getattr(component, "summary", None)
    if isinstance(summary, str):
        return summary
    info = getattr(component, "info", None)
    text = _first_sentence(inspect.getdoc(component) or "")
    return f"{text} ({info.venue} {info.year})" if info is not None else text


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<!\bEq)\. ", paragraph)[0].rstrip(".:")
