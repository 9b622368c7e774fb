"""Papers of training methods and postprocessors, as the package's own components name them, and their BibTeX.

Components of other packages are left out, so that what is installed changes no output.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from ..escapes import latex
from ..registry import POSTPROCESSORS, TRAINERS

JOURNALS = ("arXiv", "Machine Vision and Applications", "Neural Computation")
"""Venues that are no conference."""


class Paper(NamedTuple):
    """A paper; what is not known is ``""``."""

    title: str
    authors: str
    venue: str
    year: str
    url: str


@cache
def paper_of(name: str) -> Paper | None:
    """Return the paper of a training method or a postprocessor, None where this package names none.

    OpenOOD's own implementation of a postprocessor (``openood-knn``) has the paper of the postprocessor.
    """
    if (trainer := TRAINERS.built_in(name)) is not None:
        known = dict(trainer.method)
    elif (score := POSTPROCESSORS.built_in(name.removeprefix("openood-"))) is not None:
        known = vars(score.info)
    else:
        return None
    return Paper(*(str(known.get(field, "")) for field in Paper._fields)) if known.get("url") else None


def parts_of(name: str) -> list[str]:
    """Return the names in a name: ``per_modality(knn)`` holds two, most names are one."""
    return re.findall(r"[\w-]+", name) if re.fullmatch(r"[\w(),+ -]+", name) else [name]


def bibtex_of(name: str) -> dict[str, str]:
    """Return key → BibTeX entry of the papers of a method, or of the methods that it combines."""
    papers = {paper.url: paper for each in parts_of(name) if (paper := paper_of(each))}
    return {_key(paper): _entry(paper) for paper in papers.values()}


def bibtex(names: Iterable[str]) -> str:
    """Return the BibTeX entries of methods, each paper once, sorted by key."""
    entries = {key: entry for name in names for key, entry in bibtex_of(name).items()}
    return "\n".join(entries[key] for key in sorted(entries))


def _key(paper: Paper) -> str:
    surname = paper.authors.split(",")[0].removesuffix(" et al.").split(" ")[-1]
    first = next(word for word in re.findall(r"\w+", paper.title) if len(word) > 2 and word.lower() != "the")
    plain = unicodedata.normalize("NFKD", f"{surname}{paper.year}{first}").encode("ascii", "ignore").decode()
    return re.sub(r"\W", "", plain).lower()


def _entry(paper: Paper) -> str:
    authors = re.sub(r" et al\.$", ", others", paper.authors)
    title = re.sub(r" \(Section .*\)$", "", paper.title)
    kind, place = ("article", "journal") if paper.venue in JOURNALS else ("inproceedings", "booktitle")
    fields = {
        "title": f"{{{latex(title)}}}",  # in braces of its own, so that capitals stay
        "author": " and ".join(latex(each) for each in authors.split(", ")),
        place: latex(paper.venue),
        "year": paper.year,
        "url": paper.url,
    }
    kind = kind if paper.venue else "misc"
    lines = (f"  {field} = {{{value}}},\n" for field, value in fields.items() if value)
    return f"@{kind}{{{_key(paper)},\n{''.join(lines)}}}\n"
