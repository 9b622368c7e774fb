"""Test-time conditions on embeddings, and the table of scores under them."""

import csv
import json

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.reporting.records import load_records
from openood_multimodal.scoring.conditions import (
    NOISE,
    Columns,
    Timeline,
    apply_condition,
    default_conditions,
    parse_condition,
)
from openood_multimodal.scoring.stress import stress

SLICES = {"video": (0, 200), "flow": (200, 300)}
NAMES = tuple(SLICES)


@pytest.fixture
def problem(arrays):
    heads = {
        name: LinearHead(arrays.head[0][:, start:stop], arrays.head[1])
        for name, (start, stop) in SLICES.items()
    }
    head = LinearHead(*arrays.head, heads)
    own = np.stack([heads[name].logits(arrays.test[0][:, slice(*SLICES[name])]) for name in NAMES], axis=1)
    sets = Embeddings(*arrays.test, head.logits(arrays.test[0]), own, SLICES)
    return sets, head, Columns.of(arrays.train[0])


def changed(problem, text, seed=0, name="id"):
    return apply_condition(parse_condition(text, NAMES), *problem, seed, name)


def test_missing(problem, arrays):
    sets, head, _ = problem
    zero = changed(problem, "missing:flow")
    assert not zero.features[:, 200:].any()
    assert np.array_equal(zero.features[:, :200], sets.features[:, :200])
    video = head.modality_heads["video"]
    alone = sets.features[:, :200].astype("f8") @ video.weight.T.astype("f8") + head.bias
    assert zero.logits == pytest.approx(alone, rel=1e-5, abs=1e-5)
    assert zero.modality_logits[:, 0] == pytest.approx(sets.modality_logits[:, 0], rel=1e-4, abs=1e-4)
    assert zero.modality_logits[:, 1] == pytest.approx(np.tile(head.bias, (60, 1)))
    mean = changed(problem, "missing:flow=mean")
    assert mean.features[3, 200:] == pytest.approx(arrays.train[0][:, 200:].mean(axis=0), rel=1e-5)
    assert (sets.features[:, 200:] != 0).any()  # what was given is as it was


def test_missing_is_filled_by_the_nearest_training_sample(problem, arrays, monkeypatch):
    sets, _, _ = problem
    monkeypatch.setattr("openood_multimodal.linalg.rows.BLOCK_BYTES", 8 * 300 * 7)  # more than one block
    found = changed(problem, "missing:flow=nearest").features
    train = arrays.train[0].astype("f8")
    literal = [
        int(((train[:, :200] - row[:200]) ** 2).sum(axis=1).argmin()) for row in sets.features.astype("f8")
    ]
    assert np.array_equal(found[:, 200:], arrays.train[0][literal, 200:])
    assert np.array_equal(found[:, :200], sets.features[:, :200])
    assert len(set(literal)) > 10


def test_shift_takes_the_next_clip_of_the_recording(problem):
    sets, head, columns = problem
    recordings = [f"r{row // 3}" if row < 30 else "" for row in range(60)]  # ten recordings of three clips
    starts = np.array([float(-row) for row in range(60)])  # the last row of a recording is its first clip
    starts[29] = np.nan
    timeline = Timeline(recordings, starts)
    condition = parse_condition("shift:flow=1", NAMES)
    found = apply_condition(condition, sets, head, columns, 0, "id", timeline)
    partner = rows_of(found.features[:, 200:], sets.features[:, 200:])
    expected = np.arange(60)
    for row in range(60):
        if row < 27:
            expected[row] = row - 1 if row % 3 else row
    expected[28] = 27
    assert np.array_equal(partner, expected)
    assert np.array_equal(found.features[:, :200], sets.features[:, :200])
    assert timeline.unmoved(1, "") == 60 - 19
    back = apply_condition(parse_condition("shift:flow=-2", NAMES), sets, head, columns, 0, "id", timeline)
    assert rows_of(back.features[:, 200:], sets.features[:, 200:])[0] == 2
    with pytest.raises(UserError, match="no clip has another one 3 later"):
        apply_condition(parse_condition("shift:flow=3", NAMES), sets, head, columns, 0, "id", timeline)
    with pytest.raises(UserError, match="which clips follow one another"):
        apply_condition(condition, sets, head, columns, 0, "id")


@pytest.mark.parametrize("severity", NOISE)
def test_noise_has_its_size_and_is_the_same_at_every_severity(problem, arrays, severity):
    sets, _, columns = problem
    noise = changed(problem, f"noise:video={severity}").features - sets.features
    assert not noise[:, 200:].any()
    scaled = noise[:, :200] / columns.deviation[:200]
    assert scaled.std() == pytest.approx(NOISE[severity], rel=0.03)
    assert columns.deviation == pytest.approx(arrays.train[0].std(axis=0), rel=1e-5)
    least = changed(problem, "noise:video=1").features - sets.features
    assert noise == pytest.approx(least * (NOISE[severity] / NOISE[1]), rel=1e-3, abs=1e-5)


def rows_of(found, features):
    """Return for each row of ``found`` which row of ``features`` it is."""
    return np.array([np.flatnonzero((features == row).all(axis=1))[0] for row in found])


def test_swap(problem):
    sets, _, _ = problem
    for value in ("same", "other"):
        found = changed(problem, f"swap:flow={value}")
        assert np.array_equal(found.features[:, :200], sets.features[:, :200])
        partner = rows_of(found.features[:, 200:], sets.features[:, 200:])
        assert (partner != np.arange(60)).all()
        assert ((sets.labels[partner] == sets.labels) == (value == "same")).all()
    assert sorted(
        rows_of(changed(problem, "swap:flow=same").features[:, 200:], sets.features[:, 200:])
    ) == list(range(60))


def test_ood_samples_are_swapped_by_predicted_class(problem):
    sets, head, columns = problem
    ood = Embeddings(sets.features, np.full(60, -1), sets.logits, slices=SLICES)
    found = apply_condition(parse_condition("swap:flow=same", NAMES), ood, head, columns, 0, "ood")
    partner, pred = rows_of(found.features[:, 200:], sets.features[:, 200:]), sets.logits.argmax(axis=1)
    assert (pred[partner] == pred).all()
    one_class = Embeddings(sets.features, np.zeros(60, dtype=np.int64), slices=SLICES)
    with pytest.raises(UserError, match="all samples are of one class"):
        apply_condition(parse_condition("swap:flow", NAMES), one_class, head, columns, 0, "id")


def test_the_seed_decides(problem):
    for text in ("noise:video=3", "swap:flow=other"):
        first = changed(problem, text).features
        assert np.array_equal(first, changed(problem, text).features)
        assert not np.array_equal(first, changed(problem, text, seed=1).features)
        assert not np.array_equal(first, changed(problem, text, name="ood").features)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing:vidoe", "no modality 'vidoe'; there are video, flow. Did you mean 'video'"),
        ("missing:video+flow", "nothing is left to score"),
        ("swap:video+flow", "leave at least one"),
        ("noise:video=6", "severity must be a whole number from 1 to 5"),
        ("noise:video", "severity must be"),
        ("noise:video=0", "severity must be"),
        ("missing:video=man", "'man' is none of zero, mean, nearest. Did you mean 'mean'"),
        ("shift:video", "by how many clips"),
        ("shift:video=0", "by how many clips"),
        ("shift:video+flow=1", "leave at least one"),
        ("blur:video=2", "no condition 'blur' at the embedding level; .* is a condition of the input level"),
        ("missing", "a condition is written"),
    ],
)
def test_bad_conditions(text, said):
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        parse_condition(text, NAMES)


def table(arrays, **more):
    names = {"postprocessors": "msp,mds", "slices": {"video": 200, "flow": 100}}
    return stress(arrays.train, arrays.test, arrays.ood, arrays.head, **{**names, **more})


def of(frame, condition):
    return (
        frame[frame["condition"] == condition]
        .drop(columns=["condition", "applied_to"])
        .reset_index(drop=True)
    )


def test_clean_is_evaluate(arrays):
    found = table(arrays, conditions=["missing:flow"])
    clean = evaluate(arrays.train, arrays.test, arrays.ood, arrays.head, postprocessors="msp,mds")
    assert of(found, "clean").equals(clean)
    assert set(found["condition"]) == {"clean", "missing:flow=zero"}


def test_missing_is_scoring_what_is_left(arrays):
    """Against embeddings that are zeroed by hand, on the sets that were asked for."""
    zeroed = {
        name: np.hstack([each[:, :200], np.zeros((len(each), 100), "f4")])
        for name, each in arrays.ood.items()
    }
    test = np.hstack([arrays.test[0][:, :200], np.zeros((60, 100), "f4")]), arrays.test[1]
    for apply_to, own_test, own_ood in (
        ("both", test, zeroed),
        ("id", test, arrays.ood),
        ("ood", arrays.test, zeroed),
    ):
        found = of(table(arrays, conditions=["missing:flow"], apply_to=apply_to), "missing:flow=zero")
        expected = evaluate(arrays.train, own_test, own_ood, arrays.head, postprocessors="msp,mds")
        for column in ("AUROC", "FPR@95", "ACC"):
            assert found[column].to_numpy() == pytest.approx(expected[column].to_numpy(), abs=1e-6), apply_to


def test_default_conditions(arrays):
    found = table(arrays, postprocessors="msp")
    names = list(dict.fromkeys(found["condition"]))
    assert names == default_conditions(NAMES)
    assert len(names) == 13
    assert default_conditions(["video"]) == ["clean", "noise:video=2", "noise:video=4"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"slices": None}, "give slices="),
        ({"apply_to": "id_test"}, "apply_to is 'id_test'"),
        ({"conditions": []}, "there is no condition"),
        ({"postprocessors": "all"}, "name the scores"),
        ({"postprocessors": "discrepancy"}, "modality"),
        ({"conditions": ["shift:flow=1"]}, "manifests of test, near, other"),
        ({"manifests": {"nera": "x.csv"}}, "no set 'nera'.*'near'"),
    ],
)
def test_bad_input(arrays, more, said):
    with pytest.raises(UserError, match=said):
        table(arrays, **more)


def test_the_command(arrays, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (features, labels) in {"train": arrays.train, "test": arrays.test}.items():
        np.savez(f"{name}.npz", features=features, labels=labels)
    for name, features in arrays.ood.items():
        np.savez(f"{name}.npz", features=features)
    np.savez("head.npz", weight=arrays.head[0], bias=arrays.head[1])
    words = ["stress", "--train", "train.npz", "--test", "test.npz", "--ood", "near=near.npz", "other=other.npz",
             "--head", "head.npz", "--slices", "video:200,flow:100", "--out", "out",
             "--postprocessors", "msp,knn"]  # fmt: skip
    assert main([*words, "--conditions", "missing:flow", "noise:video=3"]) == 0
    out = capsys.readouterr().out
    assert "noise:video=3" in out
    rows = list(csv.DictReader((tmp_path / "out" / "stress.csv").open()))
    assert len(rows) == 3 * 2 * 3
    assert {row["applied_to"] for row in rows} == {"-", "both"}
    assert all(
        float(row["AUROC_ci_low"]) <= float(row["AUROC"]) for row in rows if row["dataset"] != "average"
    )
    before = (tmp_path / "out" / "stress.csv").read_bytes()
    assert main([*words, "--conditions", "missing:flow", "noise:video=3"]) == 0
    assert (tmp_path / "out" / "stress.csv").read_bytes() == before
    records = load_records(tmp_path / "out" / "records")
    assert len(records) == 3 * 2 * 2
    conditions = {json.dumps(each.condition) for each in records if each.condition}
    shared = {"level": "embedding", "applied_to": "both", "seed": 0}
    assert conditions == {
        json.dumps({"kind": "missing", "modalities": ["flow"], "severity": "zero", **shared}),
        json.dumps({"kind": "noise", "modalities": ["video"], "severity": 3, **shared}),
    }
    assert sum(each.condition is None for each in records) == 4
    assert main([*words, "--conditions", "noise:flow=1", "--method", "mine"]) == 2  # another run's records
    assert "is a record of another run, whose training" in capsys.readouterr().err
    assert main([*words, "--conditions", "missing:audio"]) == 2
    assert "there is no modality 'audio'; there are video, flow." in capsys.readouterr().err
