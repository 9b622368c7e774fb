"""`evaluate`: every kind of input, one table; every refusal says what to do."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import openood_multimodal
from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import compute_ood_metrics
from openood_multimodal.postprocessors import KNN, MSP
from openood_multimodal.vocabulary import AVERAGE

METRICS = ["AUROC", "FPR@95", "ACC", "AUPR_IN", "AUPR_OUT", "FPR@95_ID_TPR"]
NINE = ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"]
FREE = ["msp", "ebo", "mls", "gen", "ash"]


def store(path, features, labels, head=None, slices=None, digests=None):
    weight, bias = head if head is not None else (np.zeros((4, features.shape[1])), np.zeros(4))
    made = EmbeddingStore.create(
        path,
        len(features),
        slices or {"all": (0, features.shape[1])},
        len(weight),
        digests or {},
        [str(row) for row in range(len(features))],
        modality_logits=False,
    )
    made.write(np.arange(len(features)), features, features @ weight.T + bias, None, labels)
    made.finish()
    return made


def test_all_nine_on_arrays(arrays):
    table = evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, val=arrays.val)
    assert list(table.columns) == ["postprocessor", "dataset", *METRICS]
    assert list(zip(table.postprocessor, table.dataset, strict=True)) == [
        (score, name) for score in NINE for name in ("near", "other", AVERAGE)
    ]
    assert table[METRICS].to_numpy().min() >= 0
    assert table[METRICS].to_numpy().max() <= 100
    for _, rows in table.groupby("postprocessor"):
        means = rows[rows.dataset != AVERAGE][METRICS].mean()
        average = rows[rows.dataset == AVERAGE][METRICS].iloc[0]
        np.testing.assert_allclose(average, means, rtol=1e-12)


def test_values_are_percent_of_the_scores_own(arrays):
    head, test = LinearHead(*arrays.head), Embeddings(*arrays.test)
    score = KNN(K=7).fit(Embeddings(*arrays.train), None, head)
    known = score.score(test)
    unknown = score.score(Embeddings(arrays.ood["near"], np.full(50, -1)))
    expected = compute_ood_metrics(known.conf, unknown.conf, known.pred, test.labels, intervals=False)
    row = evaluate(
        arrays.train,
        arrays.test,
        {"near": arrays.ood["near"]},
        arrays.head,
        postprocessors="knn",
        parameters={"knn": {"K": np.int64(7)}},
    ).iloc[0]
    assert {name: row[name] for name in METRICS} == {n: 100 * expected[n].value for n in METRICS}


def test_printed_in_80_columns_it_shows_every_column_auroc_first(arrays, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(**more):
        return evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp,ebo", **more)

    lines = str(run()).splitlines()
    assert lines[0].split() == METRICS
    assert lines[1].split() == ["postprocessor", "dataset"]
    row = run().iloc[3]
    assert lines[5].split() == ["ebo", "near", *(f"{row[name]:.2f}" for name in METRICS)]
    text = str(run(intervals=True))
    assert max(map(len, [*lines, *text.splitlines()])) <= 80
    assert all(f"{name}_ci_{bound}" in text for name in METRICS for bound in ("low", "high"))
    assert "..." not in text


def test_what_is_made_from_the_table_is_plain(arrays):
    table = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp")
    assert isinstance(table, pd.DataFrame)
    assert type(table[["AUROC"]]) is type(table.round(2)) is type(table[table.AUROC > 50]) is pd.DataFrame
    del table["postprocessor"], table["dataset"]
    assert "AUROC" in str(table)


def test_one_set_has_no_average(arrays):
    table = evaluate(None, arrays.test, {"near": arrays.ood["near"]}, arrays.head, postprocessors=["msp"])
    assert list(table.dataset) == ["near"]


def test_every_kind_of_input_gives_the_same_table(arrays, tmp_path):
    sets = {"train": arrays.train, "val": arrays.val, "test": arrays.test}
    sets |= {name: (each, np.full(len(each), -1)) for name, each in arrays.ood.items()}
    for name, (features, labels) in sets.items():
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    np.savez(tmp_path / "head.npz", weight=arrays.head[0], bias=arrays.head[1])
    stores = {name: store(tmp_path / name, *pair, arrays.head) for name, pair in sets.items()}
    linear = torch.nn.Linear(300, 4)
    linear.load_state_dict({"weight": torch.tensor(arrays.head[0]), "bias": torch.tensor(arrays.head[1])})

    def run(make, head):
        return evaluate(make("train"), make("test"), {n: make(n) for n in arrays.ood}, head, val=make("val"))

    expected = run(sets.__getitem__, arrays.head)
    forms = [
        (lambda n: Embeddings(*sets[n]), LinearHead(*arrays.head)),
        (lambda n: tmp_path / f"{n}.npz", tmp_path / "head.npz"),
        (lambda n: str(tmp_path / n), str(tmp_path / "head.npz")),
        (stores.__getitem__, linear),
        (lambda n: tuple(map(torch.tensor, sets[n])), torch.nn.ModuleDict({"fc": linear})["fc"]),
    ]
    for make, head in forms:
        pd.testing.assert_frame_equal(run(make, head), expected, rtol=1e-6)


def test_heads_by_get_fc_and_without_bias(arrays):
    class Net:
        def get_fc(self):
            return arrays.head[0], np.zeros(4, "f4")

    linear = torch.nn.Linear(300, 4, bias=False)
    linear.load_state_dict({"weight": torch.tensor(arrays.head[0])})
    one, other = (
        evaluate(None, arrays.test, arrays.ood, head, postprocessors=FREE) for head in (Net(), linear)
    )
    pd.testing.assert_frame_equal(one, other)


def test_half_and_double_precision(arrays):
    low = arrays.test[0].astype("f2").astype("f8"), arrays.test[1]
    half = arrays.test[0].astype("f2"), arrays.test[1].astype("u1")
    tables = [evaluate(None, t, arrays.ood, arrays.head, postprocessors=FREE) for t in (low, half)]
    pd.testing.assert_frame_equal(*tables)


def test_logits_stand_in_for_the_head(arrays, tmp_path):
    sets = {n: store(tmp_path / n, *getattr(arrays, n), arrays.head) for n in ("train", "test")}
    ood = {"near": store(tmp_path / "near", arrays.ood["near"], np.full(50, -1), arrays.head)}
    names = ["msp", "ebo", "mls", "gen", "mds", "knn"]
    table = evaluate(sets["train"], sets["test"], ood, None, postprocessors=names)
    full = evaluate(sets["train"], sets["test"], ood, arrays.head, postprocessors=names)
    pd.testing.assert_frame_equal(table, full)
    with pytest.raises(UserError, match=r'ash, vim need the head: give head=\. .*postprocessors="msp"$'):
        evaluate(sets["train"], sets["test"], ood, None, postprocessors="msp,ash,vim")
    with pytest.raises(UserError, match=r"near has no logits, so the head is needed"):
        evaluate(sets["train"], sets["test"], arrays.ood, None, postprocessors="msp")


def test_presets_slices_and_parameters(arrays):
    arguments = {"postprocessors": ["react", "ash"], "val": arrays.val, "preset": "multiood"}
    run = lambda **more: evaluate(None, arrays.test, arrays.ood, arrays.head, **{**arguments, **more})  # noqa: E731
    with pytest.raises(UserError, match=r"react, ash would treat each modality .* slices=,"):
        evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, **arguments)
    with pytest.raises(UserError, match=r"react needs a validation or a training set"):
        run(val=None)
    cut = evaluate(
        arrays.train, arrays.test, arrays.ood, arrays.head, **arguments, slices={"v": 100, "f": 200}
    )
    pairs = evaluate(
        arrays.train,
        arrays.test,
        arrays.ood,
        arrays.head,
        **arguments,
        slices={"v": (0, 100), "f": (100, 300)},
    )
    whole = evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, **{**arguments, "preset": "openood"})
    pd.testing.assert_frame_equal(cut, pairs)
    assert not cut.equals(whole)
    for slices, message in (
        ({"v": 100, "f": 100}, "cover 200 columns, but the features have 300"),
        ({"v": (0, 100), "f": (150, 300)}, "'f' is 150 to 300 where 100"),
    ):
        with pytest.raises(UserError, match=message):
            run(slices=slices)


def test_fit_on_val(arrays):
    on_val = evaluate(None, arrays.test, arrays.ood, arrays.head, val=arrays.val, postprocessors="knn,mds",
                      fit_on="val", parameters={"knn": {"K": 5}})  # fmt: skip
    as_train = evaluate(arrays.val, arrays.test, arrays.ood, arrays.head, postprocessors="knn,mds",
                        parameters={"knn": {"K": 5}})  # fmt: skip
    pd.testing.assert_frame_equal(on_val, as_train)
    with pytest.raises(UserError, match=r"knn needs a val set"):
        evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, postprocessors="knn", fit_on="val")


def test_intervals_hold_the_values(arrays):
    table = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="msp", intervals=True)
    sets = table[table.dataset != AVERAGE]
    for name in METRICS:
        assert (sets[f"{name}_ci_low"] <= sets[name]).all()
        assert (sets[name] <= sets[f"{name}_ci_high"]).all()
    assert table[table.dataset == AVERAGE]["AUROC_ci_low"].isna().all()


def test_missing_sets_are_named_with_the_remedy(arrays):
    run = lambda **more: evaluate(None, arrays.test, arrays.ood, arrays.head, **more)  # noqa: E731
    with pytest.raises(UserError) as caught:
        run()
    assert "mds, knn, vim need a train set" in str(caught.value)
    assert "react needs a validation or a training set" in str(caught.value)
    assert str(caught.value).endswith('postprocessors="msp,ebo,mls,gen,ash"')
    with pytest.raises(UserError, match=r'mds, knn, vim need a train set.*give train= or.*fit_on="val"\. Or'):
        run(val=arrays.val)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"postprocessors": "mps"}, "Did you mean 'm"),
        ({"postprocessors": []}, "names no score"),
        ({"postprocessors": "msp,msp"}, "'msp' is asked for twice"),
        ({"postprocessors": "knn,native/knn"}, "'knn' is asked for twice"),
        ({"preset": "multood"}, "Did you mean 'multiood'"),
        ({"engine": "openod"}, "there is no engine 'openod'"),
        ({"fit_on": "test"}, "fit_on is 'test'"),
        ({"parameters": {"knn": {"K": 1}}, "postprocessors": "msp"}, "'knn', which is not run"),
        ({"parameters": {"knn": {"k": 1}}}, r"knn\.k is not a parameter"),
        ({"parameters": {"knn": {"K": 1.5}}}, r"knn\.K must be a whole number"),
        ({"parameters": {"knn": {"K": 0}}}, "K must be at least 1"),
        ({"parameters": {"knn": {"K": 401}}}, 'K=401 exceeds the 400 training rows.*postprocessors="msp,'),
        ({"parameters": {"vim": {"dim": 300}}}, "dim=300 must be below the features' 300"),
        ({"ood": {}}, "no OOD set"),
        ({"ood": [np.ones((2, 300))]}, "ood must be a dict"),
        ({"ood": {"ID": np.ones((2, 300))}}, "can't be called 'ID'"),
        ({"ood": {"average": np.ones((2, 300))}}, "can't be called 'average'"),
        ({"ood": {"a/b": np.ones((2, 300))}}, "can't be a file name"),
        ({"ood": {"UCF": np.ones((2, 300)), "ucf": np.ones((2, 300))}}, "'UCF' and 'ucf'"),
        ({"ood": {"x": np.ones((2, 299))}}, "x has features of 299 columns, test of 300"),
        ({"ood": {"x": np.ones((0, 300))}}, "x is empty"),
        ({"ood": {"x": np.ones((2, 300), int)}}, "x: features must be float16, float32 or float64, got int64"),
        ({"ood": {"x": np.ones(300)}}, r"x: features must be \[N, D\]"),
        ({"ood": {"x": [[1.0], [1.0, 2.0]]}}, "can't make an array"),
        ({"test": np.ones((2, 300))}, "test has no labels"),
        ({"test": (np.ones((2, 300)), [0, 1, 2])}, r"labels must be \[2\]"),
        ({"test": (np.ones((2, 300)), [0.0, 1.0])}, "labels must be integers"),
        ({"test": (np.ones((2, 300)), [0, 4])}, r"label 4 in row 1 is none of the 4 classes \(0 to 3\)"),
        ({"test": (np.ones((2, 300)), [-1, 1])}, "label -1 in row 0"),
        ({"test": (np.ones((2, 300)), np.array([0, 2**64 - 1], "u8"))}, "larger than any class"),
        ({"test": (1, 2, 3)}, r"\(features, labels\)"),
        ({"head": (np.ones((4, 200)), np.ones(4))}, "weight has 200 columns, but test has features of 300"),
        ({"head": (np.ones((4, 300)), np.ones(5))}, r"weight must be \[C, D\] and bias \[C\]"),
        ({"head": (np.full((4, 300), np.nan), np.ones(4))}, "weight hold nan at row 0, column 0"),
        ({"head": torch.nn.ReLU()}, "head must be"),
    ],
)  # fmt: skip
def test_refusals(arrays, change, message):
    arguments = {"train": arrays.train, "test": arrays.test, "ood": arrays.ood, "head": arrays.head}
    with pytest.raises(UserError, match=message):
        evaluate(**{**arguments, "val": arrays.val, **change})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["train", "val", "test", "ood"])
def test_values_that_are_not_finite_are_named(arrays, value, which):
    arguments = {"train": arrays.train, "test": arrays.test, "ood": arrays.ood, "val": arrays.val}
    broken = (arguments[which]["other"] if which == "ood" else arguments[which][0]).copy()
    broken[31, 7] = value
    arguments[which] = {"other": broken} if which == "ood" else (broken, arguments[which][1])
    where = "other" if which == "ood" else which
    with pytest.raises(UserError, match=rf"{where}: features hold {value} at row 31, column 7"):
        evaluate(head=arrays.head, **arguments)


def test_a_head_that_did_not_make_the_logits_is_refused(arrays, tmp_path):
    test = store(tmp_path / "test", *arrays.test, arrays.head)
    wrong = (arrays.head[0][::-1].copy(), arrays.head[1])
    with pytest.raises(UserError, match=r"did not make the logits"):
        evaluate(None, test, arrays.ood, wrong, postprocessors="msp")


def test_stores_of_other_columns_are_refused(arrays, tmp_path):
    test = store(tmp_path / "test", *arrays.test, arrays.head, {"a": (0, 100), "b": (100, 300)})
    ood = store(
        tmp_path / "x", arrays.ood["near"], np.full(50, -1), arrays.head, {"b": (0, 200), "a": (200, 300)}
    )
    with pytest.raises(UserError, match=r"x.*a:100,b:200|x.*b:200,a:100"):
        evaluate(None, test, {"x": ood}, arrays.head, postprocessors="msp")
    with pytest.raises(UserError, match=r"a:100,b:200"):
        evaluate(None, test, arrays.ood, arrays.head, postprocessors="msp", slices={"a": 300})


def test_shaped_features_are_scored_by_energy_alone(arrays, tmp_path):
    test = store(tmp_path / "test", *arrays.test, arrays.head, digests={"shaped": "ash"})
    ood = {
        "x": store(
            tmp_path / "x", arrays.ood["near"], np.full(50, -1), arrays.head, digests={"shaped": "ash"}
        )
    }
    table = evaluate(None, test, ood, None, postprocessors="ash,ebo", preset="multiood")
    assert list(table.postprocessor) == ["ash", "ebo"]
    assert table.iloc[0, 2:].equals(table.iloc[1, 2:])
    plain = evaluate(None, arrays.test, {"x": arrays.ood["near"]}, arrays.head, postprocessors="ebo")
    np.testing.assert_allclose(table.iloc[1]["AUROC"], plain.iloc[0]["AUROC"], atol=0.1)
    assert any("already shaped by ash" in note for note in table.attrs["notes"])
    with pytest.raises(UserError, match=r"shaped by ash already.*msp, mls"):
        evaluate(None, test, ood, arrays.head)
    with pytest.raises(UserError, match=r"parameters can't be changed"):
        evaluate(None, test, ood, None, postprocessors="ash", parameters={"ash": {"percentile": 80}})
    with pytest.raises(UserError, match=r"shaped by nothing"):
        evaluate(None, test, arrays.ood, arrays.head, postprocessors="ebo")
    shaped_train = store(tmp_path / "train", *arrays.train, arrays.head, digests={"shaped": "ash"})
    with pytest.raises(UserError, match=r"train.*shaped by ash"):
        evaluate(shaped_train, arrays.test, arrays.ood, arrays.head, postprocessors="knn")


def test_one_sample_and_constant_scores_warn_and_give_results(arrays):
    with pytest.warns(UserWarning, match=r"single sample.*msp on one, ebo on one"):
        table = evaluate(
            None, arrays.test, {"one": arrays.ood["near"][:1]}, arrays.head, postprocessors="msp,ebo"
        )
    assert table[METRICS].notna().all(axis=None)
    zero = (np.zeros_like(arrays.head[0]), np.zeros(4))
    with pytest.warns(UserWarning, match=r"all scores are equal.*msp on near"):
        table = evaluate(None, arrays.test, arrays.ood, zero, postprocessors="msp")
    assert (table.AUROC == 50).all()


def test_a_class_without_a_training_row_is_told(arrays):
    features, labels = arrays.train
    some = features[labels != 2], labels[labels != 2]
    with pytest.warns(UserWarning, match=r"class 2 of 4 has no row; .*\(mds\)"):
        table = evaluate(some, arrays.test, arrays.ood, arrays.head, postprocessors="knn")
    assert table[METRICS].notna().all(axis=None)


def test_notes_reach_the_table(arrays):
    table = evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, postprocessors="react")
    assert any("no validation features" in note for note in table.attrs["notes"])


def test_inputs_are_left_alone(arrays):
    before = dataclasses.asdict(Embeddings(*arrays.test))["features"].copy()
    for array in (*arrays.train, *arrays.test, *arrays.ood.values(), *arrays.head):
        array.flags.writeable = False
    evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, val=arrays.val)
    np.testing.assert_array_equal(arrays.test[0], before)


def test_importing_the_package_is_light():
    code = (
        "import sys, openood_multimodal as o; assert 'numpy' not in sys.modules, 'numpy';"
        "o.evaluate; assert 'torch' not in sys.modules, 'torch'; print(o.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match=r"no attribute 'evalute'"):
        openood_multimodal.evalute  # noqa: B018


def test_another_registered_score_runs(arrays):
    from openood_multimodal.registry import POSTPROCESSORS

    class Mine(MSP):
        name = "mine"

    POSTPROCESSORS._entries["mine"] = Mine
    try:
        table = evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors="mine,msp")
    finally:
        del POSTPROCESSORS._entries["mine"]
    mine, msp = (table[table.postprocessor == n][METRICS].to_numpy() for n in ("mine", "msp"))
    np.testing.assert_array_equal(mine, msp)


@pytest.mark.parametrize("size", [1e155, -1e160, 1e300])
def test_features_whose_squares_overflow_are_named(arrays, size):
    features = arrays.train[0].astype("f8")
    features[7, 3] = size
    with pytest.raises(
        UserError, match=r"train: features hold .* at row 7, column 3, whose square overflows"
    ):
        evaluate((features, arrays.train[1]), arrays.test, arrays.ood, arrays.head, postprocessors="mds")
    with pytest.raises(UserError, match="at row 7, column 3"):
        KNN(K=3).fit(
            Embeddings(features, np.asarray(arrays.train[1], "i8")), None, LinearHead(*arrays.head)
        ).score(Embeddings(features, np.asarray(arrays.train[1], "i8")))
