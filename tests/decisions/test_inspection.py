"""`inspect_scores`: its tables against values worked out by hand, and on a problem with known faults."""

import numpy as np
import pytest

import openood_multimodal
from openood_multimodal import inspect_scores
from openood_multimodal.arrays import Embeddings
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.decisions.inspection import inspected
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.intervals import wilson
from openood_multimodal.evaluators.outputs import SetScores


def scores_of(pred, conf, label):
    return SetScores(np.array(pred), np.array(conf, dtype=float), np.array(label))


def manifest_of(clips, labels, classes):
    return Manifest.create(clips=clips, labels=labels, class_names=classes, files={"a": ["x"] * len(clips)})


@pytest.fixture(scope="module")
def found():
    """Two scores of six ID and four OOD samples; 90 % of the validation samples reach 3."""
    ood_label = [-1] * 4
    scores = {
        "one": {
            "test": scores_of([0, 0, 1, 1, 0, 1], [1, 5, 2, 9, 8, 4], [0, 0, 0, 1, 1, 1]),
            "new": scores_of([0, 1, 1, 0], [7, 0.5, 3, 1.5], ood_label),
        },
        "two": {
            "test": scores_of([0, 0, 1, 1, 0, 1], [7.5, 3.6, 4, 9, 8, 8.5], [0, 0, 0, 1, 1, 1]),
            "new": scores_of([0, 1, 1, 0], [1.7, 2, 2.5, 1.5], ood_label),
        },
    }
    own = np.log([[[0.9, 0.1], [0.8, 0.2]], [[0.6, 0.4], [0.1, 0.9]], [[0.3, 0.7], [0.3, 0.7]]])
    test = Embeddings(
        np.ones((6, 4), dtype="f4"),
        scores["one"]["test"].label,
        np.log([[0.5, 0.5]] * 6),
        np.concatenate([own, own]),
        {"a": (0, 2), "b": (2, 4)},
        clips=tuple("uvwxyz"),
        modalities=("a", "b"),
    )
    return inspected(
        scores,
        {name: np.arange(1.0, 21.0) for name in scores},
        {"test": test},
        None,
        tpr=0.9,
        worst=2,
        manifests={
            "test": manifest_of(
                list("zyxwvu"), [1, 1, 1, 0, 0, 0], ["run", "run", "run", "eat", "eat", "eat"]
            ),
            "new": manifest_of(["p", "q", "r", "s"], [-1] * 4, ["fly", "fly", "dig", "dig"]),
        },
    )


def values(found, table, *names, of="one"):
    return [
        tuple(row[name] for name in names)
        for row in found.tables[table]
        if row.get("postprocessor", of) == of
    ]


def test_the_share_accepted_of_each_set(found):
    rows = values(found, "sets", "dataset", "samples", "accepted", "share", "AUROC")
    # 1 and 2 of test, 0.5 and 1.5 of new are below 3; of 24 pairs of an ID and an OOD sample 17 are in order
    assert rows == [("test", 6, 4, 4 / 6, ""), ("new", 4, 2, 0.5, pytest.approx(17 / 24))]
    row = found.tables["sets"][1]
    assert (row["ci_low"], row["ci_high"]) == wilson(0.5, 4)


def test_id_classes_by_their_share_of_rejections(found):
    names = ("label", "class", "samples", "rejected", "share", "accuracy", "confused_with")
    assert values(found, "id_classes", *names) == [
        (0, "eat", 3, 2, 2 / 3, 2 / 3, "run"),
        (1, "run", 3, 0, 0.0, 2 / 3, "eat"),
    ]


def test_ood_classes_by_their_share_of_acceptances(found):
    names = ("dataset", "class", "samples", "accepted", "share", "predicted_as")
    assert values(found, "ood_classes", *names) == [
        ("new", "dig", 2, 1, 0.5, "run"),
        ("new", "fly", 2, 1, 0.5, "eat"),
    ]
    assert values(found, "ood_classes", *names, of="two") == [
        ("new", "dig", 2, 0, 0.0, ""),
        ("new", "fly", 2, 0, 0.0, ""),
    ]


def test_the_worst_samples_are_the_lowest_of_id_and_the_highest_of_ood(found):
    names = ("place", "dataset", "row", "clip", "class", "predicted", "score", "p_value", "decision")
    assert values(found, "worst", *names) == [
        (1, "test", 0, "u", "eat", "eat", 1.0, 2 / 21, "reject"),
        (2, "test", 2, "w", "eat", "run", 2.0, 3 / 21, "reject"),
        (1, "new", 0, "p", "fly", "eat", 7.0, 8 / 21, "accept"),
        (2, "new", 2, "r", "dig", "run", 3.0, 4 / 21, "accept"),
    ]


def test_the_hardest_samples_are_those_that_most_scores_decide_wrongly(found):
    one = np.argsort(np.argsort([1, 5, 2, 9, 8, 4, 7, 0.5, 3, 1.5])) + 0.5
    two = np.argsort(np.argsort([7.5, 3.6, 4, 9, 8, 8.5, 1.7, 2, 2.5, 1.5])) + 0.5
    mean = (one + two) / 20
    assert values(found, "hardest", "dataset", "clip", "class", "predicted", "wrong_scores", "mean_rank") == [
        ("test", "u", "eat", "eat", 1, pytest.approx(mean[0])),
        ("test", "w", "eat", "run", 1, pytest.approx(mean[2])),
        ("new", "p", "fly", "eat", 1, pytest.approx(mean[6])),
        ("new", "r", "dig", "run", 1, pytest.approx(mean[8])),
    ]
    assert (mean[0], mean[6]) == (0.4, pytest.approx(0.45))


def test_scores_are_compared_by_ranks_and_decisions(found):
    one = np.argsort(np.argsort([1, 5, 2, 9, 8, 4, 7, 0.5, 3, 1.5])) + 1
    two = np.argsort(np.argsort([7.5, 3.6, 4, 9, 8, 8.5, 1.7, 2, 2.5, 1.5])) + 1
    spearman = 1 - 6 * sum((one - two) ** 2) / (10 * 99)
    [row] = found.tables["scores"]
    assert row["rank_correlation"] == pytest.approx(spearman)
    assert row["decided_differently"] == 0.4  # u, w, p, r
    rows = values(found, "disagreements", "dataset", "clip", "highest", "lowest")
    assert rows == [("test", "u", "two", "one"), ("test", "z", "two", "one"), ("new", "p", "one", "two"),
                    ("new", "q", "two", "one")]  # fmt: skip
    spreads = [row["spread"] for row in found.tables["disagreements"]]
    assert spreads == pytest.approx([abs(one - two)[i] / 10 for i in (0, 5, 6, 7)])


def test_modalities_are_compared_by_predictions_and_probabilities(found):
    names = ("dataset", "first", "second", "agreement", "distance", "first_accuracy", "second_accuracy")
    assert values(found, "modalities", *names) == [
        # labels 0 0 0 1 1 1; a says 0 0 1 0 0 1, b says 0 1 1 0 1 1, the fused head 0 throughout
        ("test", "a", "b", pytest.approx(4 / 6), pytest.approx((0.1 + 0.5) / 3), 0.5, pytest.approx(0.5)),
        ("test", "a", "fused", pytest.approx(4 / 6), pytest.approx((0.4 + 0.1 + 0.2) / 3), 0.5, 0.5),
        (
            "test",
            "b",
            "fused",
            pytest.approx(2 / 6),
            pytest.approx((0.3 + 0.4 + 0.2) / 3),
            pytest.approx(0.5),
            0.5,
        ),
    ]
    rows = values(found, "modality_samples", "clip", "fused", "predictions", "distance")
    assert rows == [
        ("v", "eat", "a: eat; b: run", pytest.approx(0.5)),
        ("y", "eat", "a: eat; b: run", pytest.approx(0.5)),
    ]


def test_notes_say_what_is_absent(found):
    assert found.notes == (
        "Modalities are not compared on new: that takes embeddings with the logits of two modalities' own heads.",
        "Label errors are not looked for: that takes the embeddings of a training set.",
    )
    assert (found.threshold_set, found.tpr) == ("val", 0.9)
    assert found.frame("worst").columns[0] == "postprocessor"
    with pytest.raises(UserError, match=r"there is no table 'wurst'\. Did you mean 'worst'"):
        found.frame("wurst")


def test_from_files_with_a_class_that_passes_and_labels_that_are_wrong(folder):
    """OOD class 7 is the data of ID class 1, and ten training labels are shifted."""
    data = dict(np.load("train.npz"))
    features, labels = data["features"], data["labels"].copy()
    wrong = np.arange(0, 300, 30)
    labels[wrong] = (labels[wrong] + 1) % 3
    np.savez("noisy.npz", features=features, labels=labels)
    val = np.load("val.npz")
    like, far = val["features"][val["labels"] == 1][:50], 0.1 * features[:40]
    np.savez("ood.npz", features=np.concatenate([like, far]), labels=np.repeat([7, 8], [50, 40]))
    found = inspect_scores(
        "noisy.npz", "clean.npz", {"ood": "ood.npz"}, "head.npz", "val.npz", ["ebo", "knn"], worst=12
    )
    shares = {
        row["class"]: row["share"] for row in found.tables["ood_classes"] if row["postprocessor"] == "ebo"
    }
    assert shares["7"] > 0.8
    assert shares["8"] < 0.2
    assert {row["row"] for row in found.tables["label_errors"] if row["dataset"] == "train"} >= set(
        wrong.tolist()
    )
    assert len(found.tables["worst"]) == 2 * 2 * 12
    assert openood_multimodal.inspect_scores is inspect_scores


SETS = {"train": None, "test": "clean.npz", "ood": {"new": "new.npz"}, "head": "head.npz", "val": "val.npz"}


def test_a_modality_may_predict_a_class_that_nothing_else_shows():
    own = np.zeros((2, 2, 4))
    own[:, 1, 3] = 5.0
    test = Embeddings(np.ones((2, 2), "f4"), np.array([0, 1]), np.eye(2, 4), own, {"a": (0, 1), "b": (1, 2)},
                      modalities=("a", "b"))  # fmt: skip
    scores = {"one": {"test": scores_of([0, 1], [1, 2], [0, 1]), "new": scores_of([0], [3], [-1])}}
    found = inspected(scores, None, {"test": test}, None, tpr=0.5, worst=1, manifests={})
    assert [row["predictions"] for row in found.tables["modality_samples"]] == ["a: 0; b: 3"]


def test_one_score_without_train_classes_or_modalities_says_so_in_a_line_each(folder):
    found = inspect_scores(**SETS, postprocessors="msp")
    assert set(found.tables) == {"sets", "id_classes", "ood_classes", "worst", "hardest"}
    assert [note.split(":")[0].split(",")[0] for note in found.notes] == [
        "new has no class labels",
        "ID classes are numbers",
        "Scores are not compared",
        "Modalities are not compared on test",
        "Label errors are not looked for",
    ]
    assert [row["class"] for row in found.tables["ood_classes"]] == [""]


def test_thresholds_from_the_test_set_accept_the_tpr_there(folder):
    found = inspect_scores(**{**SETS, "val": None}, postprocessors="msp", tpr=0.9)
    assert found.tables["sets"][0]["share"] == 0.9
    assert "Thresholds are from the ID test set, not from a validation set." in found.notes
    small = inspect_scores(**{**SETS, "val": "small.npz"}, postprocessors="msp")
    assert (
        "The set that thresholds are from has 15 samples; rejecting a share of 0.05 takes 19." in small.notes
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tpr": 95}, "tpr is a fraction: 0.95, not 95"),
        ({"worst": 0}, "worst must be a whole number of at least 1, got 0"),
        ({"postprocessors": "all"}, "'all' can't be inspected; name the scores"),
        ({"ood": {"val": "new.npz"}}, "an OOD set can't be called 'val'"),
        ({"ood": "new.npz"}, "ood must be a dict, name → set, got str"),
        ({"manifests": {"nwe": "x.csv"}}, "manifests names no set of these: 'nwe'. Did you mean 'new'"),
        ({"manifests": {"new": "x.csv"}}, "x.csv"),
        (
            {"manifests": {"new": manifest_of(["p"], [-1], ["a"])}},
            "its manifest has 1 rows, new has 400; give",
        ),
        (
            {"manifests": {"test": manifest_of([f"c{i}" for i in range(400)], [0] * 400, ["a"] * 400)}},
            "test row 1: the label is 1, but 0 in its manifest; give the manifest",
        ),
    ],
)
def test_bad_inputs_are_told(folder, given, message):
    with pytest.raises(UserError, match=message):
        inspect_scores(**{**SETS, "postprocessors": "msp", **given})


def test_a_manifest_without_a_clip_is_told(folder):
    new = Embeddings(np.load("new.npz")["features"][:2], np.array([-1, -1]), clips=("p", "q"))
    given = {**SETS, "ood": {"new": new}, "manifests": {"new": manifest_of(["p"], [-1], ["a"])}}
    with pytest.raises(UserError, match="lacks 1 of the 2 clips of new, 'q' for one; give the manifest"):
        inspect_scores(**given, postprocessors="msp")
