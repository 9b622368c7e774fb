"""Put a benchmark's tables into docs/results.md:

python scripts/update_results_page.py results/docs
python scripts/update_results_page.py results/modalities modalities           # those of the suite `modalities`
python scripts/update_results_page.py results/image_methods image_methods
"""

import shutil
import sys
from pathlib import Path

from page_blocks import with_block

from openood_multimodal.files.atomic import write_text

DOCS = Path(__file__).parent.parent / "docs"
COPIED = {
    "tables": ("leaderboard.csv", "differences.csv", "modalities.csv", "leaderboard.png"),
    "modalities": ("leaderboard.csv", "differences.csv"),
    "image_methods": ("leaderboard.csv", "modalities.csv"),
}


def update(results: Path, part: str = "tables") -> Path:
    """Replace what is between the markers of a part of the page; copy the CSV files and the figure beside it.

    Args:
        results: output folder of ``openood-mm benchmark``.
        part: a key of `COPIED`; the files of those but ``tables`` go into a folder of that name.
    """
    page = DOCS / "results.md"
    text = page.read_text(encoding="utf-8")
    tables = (results / "leaderboard.md").read_text(encoding="utf-8")
    target = DOCS / "results" / ("" if part == "tables" else part)
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED[part]:
        shutil.copyfile(results / name, target / name)
    write_text(page, with_block(text, part, tables, page))
    return page


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(update(Path(sys.argv[1]), *sys.argv[2:]))
