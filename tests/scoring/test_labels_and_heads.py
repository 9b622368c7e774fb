"""Labels and heads in other forms than asked for: one clear error, whose remedy helps."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from openood_multimodal import evaluate
from openood_multimodal.errors import UserError

CLASSES = np.arange(9) % 3
NUMBERS = "give each row's class as a number"
WEIGHT = np.eye(3, 4, dtype=np.float32)
HEAD = (WEIGHT, np.zeros(3, dtype=np.float32))


def rows(seed):
    return np.random.default_rng(seed).normal(size=(9, 4)).astype(np.float32)


def run(labels=CLASSES, head=HEAD):
    return evaluate(
        train=(rows(0), CLASSES),
        test=(rows(1), labels),
        ood={"o": rows(2)},
        head=head,
        postprocessors=["msp"],
    )


def message(**given):
    with pytest.raises(UserError) as caught:
        run(**given)
    return str(caught.value)


MENDED = {
    "use numpy.asarray(labels).astype('int64')": lambda labels: np.asarray(labels).astype("int64"),
    "use numpy.ravel(labels).astype('int64')": lambda labels: np.ravel(labels).astype("int64"),
    "use numpy.ravel(labels)": np.ravel,
    "they are one-hot: give labels.argmax(axis=1)": lambda labels: labels.argmax(axis=1),
}


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (CLASSES.astype(np.float32), "use numpy.asarray(labels).astype('int64')"),
        (CLASSES.astype(str), "use numpy.asarray(labels).astype('int64')"),
        (CLASSES.astype(object), "use numpy.asarray(labels).astype('int64')"),
        (CLASSES[:, None], "use numpy.ravel(labels)"),
        (CLASSES[None].astype(np.float64), "use numpy.ravel(labels).astype('int64')"),
        (np.eye(3)[CLASSES], "they are one-hot: give labels.argmax(axis=1)"),
        (np.eye(3, dtype=np.int64)[CLASSES], "they are one-hot: give labels.argmax(axis=1)"),
        (np.eye(3, dtype=bool)[CLASSES], "they are one-hot: give labels.argmax(axis=1)"),
    ],
    ids=["whole", "digits", "objects", "column", "row", "one-hot", "one-hot integers", "one-hot booleans"],
)
def test_the_remedy_in_the_message_mends_the_labels(labels, remedy):
    assert message(labels=labels).endswith(f"; {remedy}.")
    mended = MENDED[remedy](labels)
    np.testing.assert_array_equal(mended, CLASSES)
    assert run(labels=mended).equals(run())


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (np.array(["a", "b", "c"] * 3), NUMBERS),
        (np.array(["1.0"] * 9), NUMBERS),
        ([None] * 9, NUMBERS),
        (np.arange(9) / 2, "fractions"),
        (np.full((9, 3), 1 / 3), NUMBERS),
        (np.full(9, 1e30), "no classes"),
        (np.array([np.nan, *range(8)]), "NaN or infinity: leave such rows out"),
        (np.array([np.inf, *range(8)]), "NaN or infinity: leave such rows out"),
        (np.full((9, 3), np.nan), "NaN or infinity: leave such rows out"),
        (CLASSES.astype(complex), NUMBERS),
        (CLASSES.astype("M8[s]"), NUMBERS),
        (np.zeros((9, 2, 2)), NUMBERS),
        (CLASSES[:8], "one a row"),
    ],
    ids=str,
)
def test_labels_that_no_expression_mends(labels, remedy):
    said = message(labels=labels)
    assert remedy in said
    assert "astype" not in said
    assert "argmax" not in said


@pytest.mark.parametrize(
    "weight",
    [WEIGHT, WEIGHT[:2], WEIGHT[0], WEIGHT.tolist(), torch.from_numpy(WEIGHT), torch.from_numpy(WEIGHT[:2])],
    ids=["array", "two rows", "one row", "list", "tensor", "tensor of two rows"],
)
def test_a_weight_alone_is_no_head(weight):
    said = message(head=weight)
    assert said.startswith("head must be (weight, bias)")
    assert "(weight, None)" in said


def test_a_weight_without_bias():
    assert run(head=(WEIGHT, None)).equals(run())


@pytest.mark.parametrize(
    ("head", "where"),
    [
        (WEIGHT[:2].tolist(), r"weight must be \[C, D\], got shape \[4\]"),
        (HEAD[::-1], r"weight must be \[C, D\], got shape \[3\]"),
        ((WEIGHT, WEIGHT), r"bias must be \[C\]"),
        ((WEIGHT.T, HEAD[1]), "weight must be"),
    ],
)
def test_pairs_that_are_no_head(head, where):
    assert re.search(where, message(head=head))
