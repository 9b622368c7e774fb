"""Put a benchmark's tables into docs/results.md: python scripts/update_results_page.py results/docs"""

import shutil
import sys
from pathlib import Path

from openood_multimodal.atomic import write_text
from openood_multimodal.errors import UserError

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
COPIED = ("leaderboard.csv", "differences.csv", "modalities.csv", "leaderboard.png")


def update(results: Path) -> Path:
    """Replace what stands between the markers of the page; copy the CSV files and the figure beside it."""
    page = DOCS / "results.md"
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{page} lacks the markers {BEGIN} and {END}.")
    tables = (results / "leaderboard.md").read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    target = DOCS / "results"
    target.mkdir(exist_ok=True)
    for name in COPIED:
        shutil.copyfile(results / name, target / name)
    write_text(page, f"{before}{BEGIN}\n\n{tables}\n{END}{after}")
    return page


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(update(Path(sys.argv[1])))
