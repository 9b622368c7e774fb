"""Rows in two sets are counted and noted; what else a set of odd arrays is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from openood_multimodal.arrays import Embeddings
from openood_multimodal.scoring import evaluate
from openood_multimodal.scoring.shared_rows import shared_rows

RNG = np.random.default_rng(0)
HEAD = (RNG.normal(size=(3, 40)), np.zeros(3))


def rows(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 40)).astype(np.float32)


def embeddings(features):
    return Embeddings(features, np.zeros(len(features), dtype=np.int64))


def test_counts_against_every_pair():
    train, test, ood = rows(50, 0), rows(20, 1), rows(30, 2)
    test[:7], ood[:5], ood[10:12] = train[3:10], test[10:15], train[:2]
    test[9] = train[3]  # a row of train twice in test counts twice
    near = rows(4, 3)
    near[0] = train[0]
    near[0, 20] += 1  # differs in one column only
    sets = {"train": train, "test": test, "ood a": ood.astype(np.float64), "ood b": near}
    found = shared_rows((name, embeddings(each)) for name, each in sets.items())
    expected = []
    names = list(sets)
    for later in range(1, 4):
        for earlier in range(later):
            known = {each.tobytes() for each in np.asarray(sets[names[earlier]], dtype=np.float64)}
            count = sum(each.tobytes() in known for each in np.asarray(sets[names[later]], dtype=np.float64))
            if count:
                one, other = names[later], names[earlier]
                expected.append(f"{count} of {len(sets[one])} rows of {one} are also in {other}")
    assert [each.removeprefix("rows in two sets: ") for each in found] == expected
    assert len(expected) == 3


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_rows_of_zeros(value):
    some = np.zeros((3, 4), dtype=np.float32)
    found = shared_rows([("train", embeddings(some)), ("test", embeddings(some[:2] + value))])
    assert found == ["rows in two sets: 2 of 2 rows of test are also in train"]


def test_evaluate_warns():
    train = rows(60, 0)
    test = np.concatenate([train[:10], rows(10, 1)])
    sets = {"train": (train, np.arange(60) % 3), "test": (test, np.arange(20) % 3), "ood": {"o": test[10:15]}}
    with pytest.warns(UserWarning, match="10 of 20 rows of test are also in train"):
        table = evaluate(**sets, head=HEAD, postprocessors=["knn"], parameters={"knn": {"K": 1}})
    assert "rows in two sets: 5 of 5 rows of ood o are also in test" in table.attrs["notes"]


def test_score_notes_it_on_the_terminal_and_in_the_record(tmp_path, cli):
    train, ood = rows(60, 0), rows(20, 2)
    np.savez(tmp_path / "train.npz", features=train, labels=np.arange(60) % 3)
    np.savez(tmp_path / "test.npz", features=train[:20], labels=np.arange(20) % 3)
    np.savez(tmp_path / "ood.npz", features=ood)
    np.savez(tmp_path / "head.npz", weight=HEAD[0], bias=HEAD[1])
    sets = [
        word for name in ("train", "test", "head") for word in (f"--{name}", str(tmp_path / f"{name}.npz"))
    ]
    out = tmp_path / "out"
    done = cli(
        ["score", *sets, "--ood", f"o={tmp_path / 'ood.npz'}", "--postprocessors", "msp", "--out", str(out)]
    )
    assert done.code == 0, done.err
    note = "rows in two sets: 20 of 20 rows of test are also in train"
    assert note in done.out + done.err
    records = [json.loads(path.read_text()) for path in out.rglob("*.record.json")]
    assert records
    assert all(note in record["notes"] for record in records)
