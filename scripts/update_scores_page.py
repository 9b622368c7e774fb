"""Put the table of all native scores into docs/scores.md, from what their classes declare:

python scripts/update_scores_page.py
"""

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

from page_blocks import with_block

from openood_multimodal.built_in import BUILT_IN
from openood_multimodal.files.atomic import write_text
from openood_multimodal.postprocessors import Postprocessor
from openood_multimodal.registry import POSTPROCESSORS

PAGE = Path(__file__).parent.parent / "docs" / "scores.md"
HEADING = (
    "score",
    "confidence",
    "paper",
    "parameters (`openood`)",
    "`multiood`",
    "fit needs",
    "reads",
    "memory",
    "sweep",
)


def table() -> str:
    """Return the Markdown table of the package's scores, in the order of their names."""
    rows = [HEADING, ("---",) * len(HEADING)]
    rows += [_row(name, POSTPROCESSORS.get(name)) for name in sorted(BUILT_IN["postprocessors"])]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in row)} |" for row in rows)


def _row(name: str, kind: type[Postprocessor]) -> tuple[str, ...]:
    info = kind.info
    paper = f"[{info.title}]({info.url})" if info.url else info.title
    by_default = {each.name: each.default for each in dataclasses.fields(kind.Params)}
    other = {key: value for key, value in kind.presets["multiood"].items() if value != by_default[key]}
    sweep = [f"`{key}` {_list(values)}" for key, values in kind.sweep.items()]
    return (
        f"`{name}`",
        (inspect.getdoc(kind) or "").split("\n\n")[0].replace("|", "\\|"),
        f"{info.authors}, {paper}, {info.venue} {info.year}",
        _values(by_default),
        _values(other) or "the same",
        " and ".join(_needs(kind)) or "nothing",
        ", ".join(_reads(kind)),
        _memory(kind),
        "; ".join(sweep) or "none",
    )


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"`{key}` {_written(value)}" for key, value in values.items())


def _list(values: Any) -> str:
    return "[" + ", ".join(map(_written, values)) + "]"


def _written(value: Any) -> str:
    return {"True": "true", "False": "false"}.get(str(value), str(value))


def _needs(kind: type[Postprocessor]) -> list[str]:
    if isinstance(kind.needs, property) or "scores" in inspect.signature(kind).parameters:
        return ["what the scores in it need"]
    known = {"train": "training", "val": "validation, else training (noted)"}
    return [known[each] for each in ("train", "val") if each in kind.needs]


def _reads(kind: type[Postprocessor]) -> list[str]:
    if "scores" in inspect.signature(kind).parameters:
        return ["what the scores in it read"]
    read = ["features"] if kind.reads_features else []
    read += ["head" if kind.needs_head else "logits"]
    return read + (["modality logits"] if kind.reads_modality_logits else [])


def _memory(kind: type[Postprocessor]) -> str:
    if "scores" in inspect.signature(kind).parameters:
        return "that of the scores in it"
    return kind.grows or "flat"


def updated(text: str) -> str:
    """Return the page's text with the table of now between its markers.

    Raises:
        UserError: where a marker is missing.
    """
    return with_block(text, "scores", table(), PAGE)


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))
    print(PAGE)
