"""Full-spectrum evaluation: covariate-shifted ID sets count as ID, in `evaluate` and ``openood-mm score --csid``."""

import json

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.reporting.leaderboard import collect, make_boards

NAMES = ["night", "cartoon"]


@pytest.fixture
def csid(arrays):
    rng = np.random.default_rng(3)
    features, labels = arrays.test

    def shifted(count, noise):
        moved = features[:count] + noise * rng.standard_normal((count, features.shape[1]))
        return moved.astype("f4"), labels[:count]

    return {name: shifted(*how) for name, how in zip(NAMES, ((30, 6.0), (41, 12.0)), strict=True)}


@pytest.fixture
def folder(folder, arrays, csid):
    more = {
        "wide": (np.ones((4, 301), "f4"), np.zeros(4, int)),
        "unknown": (arrays.test[0], arrays.test[1] + 4),
    }
    for name, (features, labels) in {**csid, **more}.items():
        np.savez(folder / f"{name}.npz", features=features, labels=labels)
    return folder


def literally(arrays, known, unknown):
    """Return AUROC by pairs, and accuracy, of maximum softmax probabilities."""

    def softmax(features):
        logits = features.astype(float) @ arrays.head[0].astype(float).T + arrays.head[1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    found = softmax(known[0])
    ours, others = found.max(axis=1)[:, None], softmax(unknown).max(axis=1)[None]
    auroc = np.mean((ours > others) + 0.5 * (ours == others))
    return auroc, np.mean(found.argmax(axis=1) == known[1])


def words(*more, csid=("night=night.npz", "cartoon=cartoon.npz")):
    return ["score", "--test", "test.npz", "--csid", *csid, "--ood", "near=near.npz", "other=other.npz",
            "--head", "head.npz", "--postprocessors", "msp", "--out", "out", *more]  # fmt: skip


def test_metrics_are_those_of_all_id_sets_together(arrays, csid):
    table = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp", csid=csid)
    sets = {"id": arrays.test, **csid}
    everything = tuple(np.concatenate(column) for column in zip(*sets.values(), strict=True))
    for row in table[table.dataset != "average"].to_dict("records"):
        auroc, accuracy = literally(arrays, everything, arrays.ood[row["dataset"]])
        assert (row["AUROC"], row["ACC"]) == pytest.approx((100 * auroc, 100 * accuracy), rel=1e-9)
    of_each = {name: literally(arrays, each, arrays.ood["near"])[1] for name, each in sets.items()}
    assert table.attrs["accuracy"] == {"msp": pytest.approx(of_each, rel=1e-12)}
    assert len(set(of_each.values())) == 3
    kinds = ("failure", "calibration")
    tables = [
        evaluate(None, test, arrays.ood, arrays.head, arrays.val, "msp", metrics=kinds, csid=more).attrs
        for test, more in ((arrays.test, csid), (everything, None))
    ]
    assert tables[0]["failure"] == tables[1]["failure"]
    assert tables[0]["calibration"] == tables[1]["calibration"]
    clean = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp")
    assert "accuracy" not in clean.attrs
    assert (clean.AUROC != table.AUROC).all()


def test_score_writes_what_evaluate_returns_and_the_leaderboard_ranks_it_apart(folder, arrays, csid, capsys):
    assert main(words("--metrics", "failure")) == 0
    table = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp", csid=csid)
    accuracy = table.attrs["accuracy"]["msp"]
    note = "full spectrum: ID includes night, cartoon; accuracy of each ID set in percent: " + ", ".join(
        f"{name} {100 * value:.2f}" for name, value in accuracy.items()
    )
    assert f"Note: {note}\n" in capsys.readouterr().out
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    for row in table[table.dataset != "average"].to_dict("records"):
        assert 100 * metrics["msp"][row["dataset"]]["AUROC"] == pytest.approx(row["AUROC"], rel=1e-12)
    meta = metrics["_meta"]
    assert (meta["n_id"], meta["n_csid"]) == (60, {"night": 30, "cartoon": 41})
    assert meta["accuracy"] == {"msp": accuracy}
    assert set(meta["inputs"]) == {"test", "csid night", "csid cartoon", "ood near", "ood other"}
    with np.load(folder / "out" / "scores" / "msp" / "cartoon.npz") as saved:
        np.testing.assert_array_equal(saved["label"], csid["cartoon"][1])
    assert main([word for word in words("--out", "clean") if "=night" not in word and "=cartoon" not in word
                 and word != "--csid"]) == 0  # fmt: skip
    records = collect([folder], published=False).records
    assert {(tuple(each.csid), each.n_id) for each in records} == {(("night", "cartoon"), 131), ((), 60)}
    assert all((note in each.notes) == bool(each.csid) for each in records)
    (board,) = make_boards(records).values()
    rows = [row for row in board.rows if row.ood_set == "near"]
    assert sorted((row.values["csid"], row.rank) for row in rows) == [("", 1), ("night+cartoon", 1)]
    assert "full spectrum with night+cartoon" in board.markdown()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["near.npz"], "--csid is written NAME=FILE"),
        (["a=night.npz", "a=cartoon.npz"], "--csid names 'a' twice"),
        (["a=night.npz", "A=cartoon.npz"], "two test sets are called 'a' and 'A'"),
        (["near=night.npz"], "two test sets are called 'near' and 'near'"),
        (["id=night.npz"], "a csid set can't be called 'id'"),
        (["a=near.npz"], "csid a (near.npz) has no labels"),
        (["a=wide.npz"], "csid a (wide.npz) has features of 301 columns, test (test.npz) of 300"),
        (["a=unknown.npz"], "csid a (unknown.npz): the label 4 in row 0 is none of the 4 classes"),
        (["a=none.npz"], "none.npz: there is no such file"),
    ],
)
def test_refusals(folder, capsys, given, message):
    assert main(words(csid=given)) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("ood", "csid", "message"),
    [
        ({}, {"a": None}, "there is no OOD set"),
        ({"a": None}, ["b"], "csid must be a dict"),
        ({"a": None}, {3: None}, "the name of a csid set must be text, got 3"),
    ],
)
def test_arguments_that_evaluate_refuses(arrays, ood, csid, message):
    with pytest.raises(UserError, match=message):
        evaluate(None, arrays.test, ood, arrays.head, postprocessors="msp", csid=csid)


def test_rows_of_another_set_are_told_and_never_searched_on(arrays, csid):
    mixed = {"night": arrays.test, "cartoon": (arrays.ood["near"], np.zeros(50, int))}
    with pytest.warns(UserWarning, match="rows in two sets") as told:
        evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp", csid=mixed)
    assert [str(each.message).partition(": ")[2] for each in told] == [
        "60 of 60 rows of csid night are also in test",
        "50 of 50 rows of ood near are also in csid cartoon",
    ]
    with pytest.raises(UserError, match="csid night"):
        evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, arrays.val, "knn", search="validation",
                 csid=csid, ood_val={"v": csid["night"][0]})  # fmt: skip
