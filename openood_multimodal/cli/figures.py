"""``openood-mm figures``: what a run's files show, in the size of a paper's column."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .parsers import names_in, option_names, subparser

EXAMPLES = """  # all that the run's files allow, as PNG and PDF, into <RUN>/figures
  openood-mm figures results/test_a2d_npmix

  # before and after: two runs side by side
  openood-mm figures results/test_baseline results/test_a2d_npmix --only histogram,embeddings,discrepancy

  # the records of a suite, or of several: seeds and partitions, modalities, ranks
  openood-mm figures results/demo --only seeds,modalities,ranks --format png,svg --out paper/figures
"""


@option_names("only", "formats", "projection", "postprocessors")
def main(argv: Sequence[str]) -> int:
    """Draw the figures and print their paths."""
    from ..reporting.figures import FIGURES, draw

    width = max(map(len, FIGURES))
    listed = "\n".join(f"  {name:<{width}}  {kind.shows}" for name, kind in FIGURES.items())
    parser = subparser(
        "figures",
        "Draw the figures of a run, of two runs side by side, or of the records of many, at the width of a paper's\n"
        "column (3.3 inches). A method has the same colour, which colour-blind readers can tell from the others, in\n"
        f"every figure. Figure numbers are those of the MultiOOD paper.\n\nfigures:\n{listed}",
        EXAMPLES,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder that a test, openood-mm score or a suite wrote"
    )
    parser.add_argument("--out", metavar="DIR", help="default: figures/ in the first RUN")
    parser.add_argument("--only", metavar="A,B", help="these figures (default: all that can be drawn)")
    parser.add_argument(
        "--postprocessors", metavar="A,B", help="these scores (default: all, or the best where they are many)"
    )
    parser.add_argument(
        "--formats", "--format", default="png,pdf", metavar="A,B", help="png, pdf, svg (default: %(default)s)"
    )
    parser.add_argument(
        "--projection", default="tsne", metavar="NAME", help="of embeddings: tsne (default), umap or pca"
    )
    options = parser.parse_args(list(argv))
    drawn = draw(
        options.runs,
        options.out,
        names_in(options.only),
        names_in(options.formats),
        names_in(options.postprocessors),
        options.projection,
        quiet=False,
    )
    for text in drawn.texts:
        print(text)
    for path in drawn.files:
        print(path)
    for why in dict.fromkeys(drawn.left_out.values()):
        names = ", ".join(name for name, reason in drawn.left_out.items() if reason == why)
        print(f"not drawn: {names}: {why}", file=sys.stderr)
    return 0
