"""Generated parts of pages: what is between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""

from pathlib import Path

from openood_multimodal.errors import UserError


def with_block(page: str, name: str, text: str, where: Path) -> str:
    """Return the Markdown ``page`` with ``text`` between the markers called ``name``.

    Args:
        page: the whole page.
        name: of the markers.
        text: what goes between them.
        where: the page's file, for messages.

    Raises:
        UserError: unless the page has both markers, each once.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise UserError(f"{where} lacks the markers {begin} and {end}, each once.")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}"
