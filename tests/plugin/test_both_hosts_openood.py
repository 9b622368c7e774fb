"""OpenOOD's own ``main.py`` and ours, on clips and on tables: every reported digit.

A selection of postprocessors; all of them, in several minutes, with ``OPENOOD_ALL_POSTPROCESSORS=1``.
"""

import importlib.util
import os
import re

import hosts_page as hosts  # scripts/openood_pages
import pytest

from openood_multimodal.plugin.recipes import RECIPES, UNSUITABLE

ROOT = os.environ.get("OPENOOD_ROOT")
real = pytest.mark.skipif(
    not ROOT and importlib.util.find_spec("openood") is None,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)
CHOSEN = (  # statistics of training, a logit scale, subspaces, random draws, batches, refusals, and ours
    *(
        "msp",
        "mds",
        "temperature_scaling",
        "vim",
        "residual",
        "cfood",
        "dropout",
        "nnguide",
        "iodin",
        "rankfeat",
    ),
    *("mm_msp", "mm_vim"),
)


@pytest.fixture(scope="module", params=hosts.PROBLEMS)
def trained(request, tmp_path_factory):
    if request.param == "clips":
        pytest.importorskip("mmaction")
    else:
        pytest.importorskip("multiviewstacking")
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, hosts.prepare(hosts.PROBLEMS[request.param], folder)


@real
@pytest.mark.timeout(1800)
def test_both_hosts_report_the_same_digits(trained):
    from openood_multimodal.plugin.host import find_openood

    problem, folder, checkpoint = trained
    names = hosts.postprocessor_names() if os.environ.get("OPENOOD_ALL_POSTPROCESSORS") else list(CHOSEN)
    _, rows = hosts.measure(str(find_openood()), problem, folder, checkpoint, names)
    assert [row.name for row in rows] == names
    assert [row for row in rows if hosts.differs(row)] == []
    for row in rows:
        for said in (row.theirs, row.ours):
            if isinstance(said, str):  # a refusal, which says why; no traceback
                assert not re.match(r"\w+(Error|Exception): ", said), row
        if row.name in UNSUITABLE:
            assert isinstance(row.theirs, str)
            assert isinstance(row.ours, str)
    assert {row.name for row in rows if row.same} >= {"msp", "mds", "vim", "dropout", "mm_msp", "mm_vim"}


def test_the_page_says_what_agrees_and_what_does_not():
    one, other = (
        [["near", "1.00", "2.00", "3.00", "4.00", "5.00"]],
        [["near", "1.00", "2.01", "3.00", "4.00", "5.00"]],
    )
    rows = [
        hosts.Row("msp", one, one),
        hosts.Row("gram", one, other, ("gram: a | b",)),
        hosts.Row("iodin", "perturbs pixels.", one),
        hosts.Row("rankfeat", "no blocks", "no blocks either"),
    ]
    text = hosts.page([("v9", "tables", rows)])
    assert "1 of the 2 postprocessors that run in both hosts" in text
    assert "| msp | same | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 |  |" in text
    assert "| gram | differ | 1.00 | 2.00 / 2.01 | 3.00 | 4.00 | 5.00 | gram: a \\| b |" in text
    assert "| iodin | own only | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 | perturbs pixels |" in text
    assert "| rankfeat | no blocks | no blocks either |" in text
    assert [hosts.differs(row) for row in rows] == [False, True, False, False]


def test_every_postprocessor_is_asked():
    assert {*RECIPES, *UNSUITABLE, *CHOSEN, "mm_knn"} <= set(hosts.postprocessor_names())
