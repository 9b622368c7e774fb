"""`evaluate_sets`: scores in, metrics out, without a network, loaders or files."""

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import SetScores, compute_ood_metrics, evaluate_sets
from openood_multimodal.evaluators.outputs import scores_digest


def draw(seed, shift, rows=80, ood=False):
    rng = np.random.default_rng(seed)
    labels = np.full(rows, 7) if ood else rng.integers(0, 3, rows)
    return SetScores(rng.integers(0, 3, rows), rng.normal(shift, 1, rows), labels)


KNOWN, ONE, TWO = draw(0, 1), draw(1, 0, ood=True), draw(2, -1, 50, ood=True)


def test_each_set_against_the_id_set_and_their_mean():
    result = evaluate_sets(KNOWN, {"one": ONE, "two": TWO}, postprocessor="mine", seed=3, n_bootstrap=50)
    assert list(result) == ["average"]
    for name, unknown in (("one", ONE), ("two", TWO)):
        given = (KNOWN.conf, unknown.conf, KNOWN.pred, KNOWN.label)
        assert result["average"][name] == compute_ood_metrics(*given, n_bootstrap=50, seed=3)
        assert result.digests[name] == scores_digest(
            KNOWN, unknown._replace(label=np.full(len(unknown.conf), -1))
        )
    mean = np.mean([result["average"][name]["AUROC"].value for name in ("one", "two")])
    assert result.means["average"]["AUROC"].value == pytest.approx(mean)
    assert (result.n_id, result.n_ood, result.postprocessor) == (80, {"one": 80, "two": 50}, "mine")
    assert [row["dataset"] for row in result.rows()] == ["one", "two", "average"]


def test_groups_may_have_a_set_of_one_name():
    result = evaluate_sets(KNOWN, {"nearood": {"x": ONE}, "farood": {"x": TWO}}, intervals=False)
    near, far = (result[group]["x"]["AUROC"].value for group in ("nearood", "farood"))
    assert near < far
    assert result.means["farood"]["AUROC"].value == far


def test_rows_of_unseen_recordings():
    unseen = {"id": np.arange(80) < 60, "one": np.arange(80) < 55, "two": np.arange(50) < 49}
    result = evaluate_sets(KNOWN, {"one": ONE, "two": TWO}, intervals=False, unseen=unseen)
    given = (KNOWN.conf[:60], ONE.conf[:55], KNOWN.pred[:60], KNOWN.label[:60])
    assert result.unseen["one"].metrics == compute_ood_metrics(*given, intervals=False)
    assert (result.unseen["two"].metrics, result.unseen["two"].n_ood) == (None, 49)  # too few


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ({}, "no OOD set"),
        ({"one": ONE, "far": {"two": TWO}}, r"sets \(one\) and groups of sets \(far\); give one of the two"),
        (
            {"one": ONE._replace(conf=np.full(80, np.nan))},
            "NaN for 80 of 80 samples of 'one', the first in row 0",
        ),
        ({"one": ONE._replace(pred=np.zeros(3))}, r"one length; for 'one' their shapes are \(3,\), \(80,\)"),
        ({"one": SetScores(*(each[:0] for each in ONE))}, "mine on one: the OOD set is empty"),
    ],
)
def test_refusals_name_the_set(unknown, message):
    with pytest.raises(UserError, match=message):
        evaluate_sets(KNOWN, unknown, postprocessor="mine")
