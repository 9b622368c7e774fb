"""Titles and papers of training methods and postprocessors."""

from __future__ import annotations

import re

import pytest

from openood_multimodal.registry import POSTPROCESSORS, TRAINERS
from openood_multimodal.reporting.methods import TITLES, TRAININGS, linked, references
from openood_multimodal.reporting.papers import bibtex, paper_of


def test_every_paper_that_a_component_names_is_cited_once():
    names = [*POSTPROCESSORS.names(), *TRAINERS.names()]
    urls = {paper.url for name in names if (paper := paper_of(name))}
    entries = re.findall(
        r"(?s)^@\w+\{([^,]+),\n(.*?)^\}$", bibtex([*names, "openood-knn", "nobody's"]), flags=re.M
    )
    assert len(entries) == len(urls) == len({key for key, _ in entries}) > 50
    assert all(f"  url = {{{url}}},\n" in "".join(text for _, text in entries) for url in urls)
    assert all("title = {{" in text for _, text in entries)
    assert {*TITLES, *TRAININGS} - {"logitnorm", *TRAINERS.names(), *POSTPROCESSORS.names()} == set()
    assert set(TRAINERS.names()) <= set(TRAININGS)


def test_an_entry():
    assert bibtex(["per_modality(lof)", "lof"]) == (
        "@inproceedings{breunig2000lof,\n"
        "  title = {{LOF: Identifying Density-Based Local Outliers}},\n"
        "  author = {Markus M. Breunig and Hans-Peter Kriegel and Raymond T. Ng and Jörg Sander},\n"
        "  booktitle = {SIGMOD},\n"
        "  year = {2000},\n"
        "  url = {https://doi.org/10.1145/342009.335388},\n"
        "}\n"
    )
    assert "@article{ren2021simple,\n" in bibtex(["rmds"])
    assert "journal = {arXiv}" in bibtex(["rmds"])
    assert "and others}" in bibtex(["modality_virtual_logits"])
    assert bibtex(["multimodal_baseline", "ensemble", "lof)}\n@book{x"]) == ""


@pytest.mark.parametrize(
    ("name", "titles", "shown"),
    [
        ("a2d_npmix", TRAININGS, "[A2D + NP-Mix]"),
        ("knn", TITLES, "[KNN]"),
        ("openood-knn", TITLES, "[KNN (OpenOOD)]"),
        ("openood-odin", TITLES, "[odin (OpenOOD)]"),
        ("openood-gram", TITLES, "openood-gram"),
        ("multimodal_baseline", TRAININGS, "Cross-entropy"),
        ("mine|[MSP]", TRAININGS, r"mine\|\[MSP\]"),
        ("", TRAININGS, ""),
    ],
)
def test_linked(name, titles, shown):
    assert linked(name, titles) == shown


def test_references():
    names = ["knn", "openood-knn", "odin", "knn", "[knn]: http://evil"]
    assert references(names, TITLES) == [
        "[KNN (OpenOOD)]: https://arxiv.org/abs/2204.06507",
        "[KNN]: https://arxiv.org/abs/2204.06507",
        "[odin]: https://arxiv.org/abs/1706.02690",
    ]
