"""Titles and papers of training methods and postprocessors."""

from __future__ import annotations

import pytest

from openood_multimodal.registry import POSTPROCESSORS, TRAINERS
from openood_multimodal.reporting.methods import PAPERS, TITLES, TRAININGS, linked, references


def test_papers_are_those_that_components_name():
    scores = {name: POSTPROCESSORS.get(name).info.url for name in POSTPROCESSORS.names() if name in PAPERS}
    assert set(TITLES) - {"logitnorm"} <= set(scores)
    trainings = {name: TRAINERS.get(name).method.get("url") for name in TRAINERS.names()}
    for name, url in {**scores, **trainings}.items():
        assert PAPERS.get(name) == url, name
    assert set(trainings) <= set(TRAININGS)


@pytest.mark.parametrize(
    ("name", "titles", "shown"),
    [
        ("a2d_npmix", TRAININGS, "[A2D + NP-Mix]"),
        ("knn", TITLES, "[KNN]"),
        ("openood-knn", TITLES, "[KNN (OpenOOD)]"),
        ("openood-odin", TITLES, "openood-odin"),
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
    ]
