"""`decide` and ``openood-mm decide``: from files to decisions, saved and applied again."""

import csv
import json

import numpy as np
import pytest

import openood_multimodal
from openood_multimodal import decide
from openood_multimodal.arrays import Embeddings
from openood_multimodal.cli import main
from openood_multimodal.decisions import SavedDecision
from openood_multimodal.errors import UserError

SETS = {"val": "val.npz", "head": "head.npz"}


def run(capsys, *words):
    code = main(["decide", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_half_of_the_batch_is_found(folder):
    found = decide("new.npz", postprocessor="ebo", **SETS)
    assert found.accepted[:200].mean() > 0.9
    assert found.accepted[200:].mean() < 0.1
    assert found.share.ci_low <= 0.5 <= found.share.ci_high
    assert found.clips[:2] == ("0", "1")
    assert found.frame().columns.tolist() == ["clip", "prediction", "score", "p_value", "decision"]
    assert openood_multimodal.decide is decide


@pytest.mark.parametrize("rule", ["conformal", "mondrian", "threshold", "scod"])
def test_every_rule_keeps_the_tpr_on_clean_data(folder, rule):
    found = decide("clean.npz", rule=rule, tpr=0.9, **SETS)
    assert 0.84 < found.accepted.mean() < 0.97
    assert found.share.value < 0.15


def test_the_rules_agree_with_their_p_values(folder):
    found = decide("new.npz", tpr=0.9, **SETS)
    assert found.accepted.tolist() == (found.p_value > 0.1 + 1e-9).tolist()
    found = decide("new.npz", rule="mondrian", tpr=0.9, **SETS)
    assert found.accepted.tolist() == (found.p_value > 0.1 + 1e-9).tolist()


def test_scod_rejects_what_is_misclassified_first(folder):
    """With the weight on errors alone, it is a threshold on the largest probability."""
    msp = decide("new.npz", rule="threshold", postprocessor="temperature_scaling", train="val.npz", **SETS)
    scod = decide("new.npz", rule="scod", weight=0.0, postprocessor="ebo", **SETS)
    assert scod.saved.threshold < 1
    assert scod.accepted.tolist() == msp.accepted.tolist()


def test_costs(folder):
    cheap = decide("new.npz", rule="cost", costs={"reject": 5.0}, **SETS)
    assert cheap.accepted.all()  # no sample costs more than an OOD one
    dear = decide("new.npz", rule="cost", costs={"reject": 0.0}, **SETS)
    assert not dear.accepted.any()
    none = decide("new.npz", rule="cost", share=0.0, costs={"error": 0.5, "reject": 0.5}, **SETS)
    assert none.accepted.all()
    found = decide("new.npz", rule="cost", postprocessor="ebo", **SETS)
    assert found.saved.share == pytest.approx(0.5, abs=0.1)
    assert found.accepted[:200].mean() > 0.8
    assert found.accepted[200:].mean() < 0.3


@pytest.mark.parametrize("rule", ["conformal", "mondrian", "threshold", "scod", "cost"])
def test_a_saved_decision_is_the_same_on_the_same_data(folder, capsys, rule):
    words = ["--data", "new.npz", "--train", "train.npz", "--head", "head.npz"]
    made = run(capsys, *words, "--val", "val.npz", "--postprocessor", "knn", "--set", "knn.K=7", "--rule", rule,
               "--tpr", "0.9", "--out", "one")  # fmt: skip
    assert made[0] == 0, made[2]
    assert run(capsys, *words, "--apply", "one/decision.json", "--out", "two")[0] == 0
    for name in ("decisions.csv", "summary.txt", "decision.json"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    rows = list(csv.DictReader((folder / "one" / "decisions.csv").open()))
    assert len(rows) == 400
    rejected = sum(row["decision"] == "reject" for row in rows)
    text = (folder / "one" / "summary.txt").read_text()
    assert f"Rejected:    {rejected} (" in text
    assert rule in text
    assert "OOD share:" in text
    assert len(text.splitlines()) < 40
    assert SavedDecision.read("one/decision.json").given == {"K": 7}


def apply(capsys, *words):
    return run(capsys, "--data", "new.npz", "--apply", "one/decision.json", "--out", "two", *words)


def test_what_a_decision_file_refuses(folder, capsys):
    words = ["--data", "new.npz", "--train", "train.npz", "--val", "val.npz", "--head", "head.npz"]
    assert run(capsys, *words, "--postprocessor", "knn", "--out", "one")[0] == 0
    code, _, err = apply(capsys, "--train", "val.npz", "--head", "head.npz")
    assert (code, "the train given is not the one" in err) == (2, True)
    code, _, err = apply(capsys, "--head", "head.npz")
    assert (code, "knn learns from ID samples: give --train" in err) == (2, True)
    code, _, err = apply(capsys, "--train", "train.npz", "--head", "head.npz", "--tpr", "0.9")
    assert (code, "--tpr can't be given with --apply" in err) == (2, True)
    path = folder / "one" / "decision.json"
    good = json.loads(path.read_text())
    assert main(["verify", "one"]) == 0
    assert "1 decisions looked at, 0 differ" in capsys.readouterr().out
    path.write_text(json.dumps({**good, "tpr": 0.5}))
    assert main(["verify", "one"]) == 1
    capsys.readouterr()
    code, _, err = apply(capsys, "--train", "train.npz", "--head", "head.npz")
    assert (code, "is damaged: it has changed since it was written" in err) == (2, True)
    path.write_text(json.dumps({key: value for key, value in good.items() if key != "sha256"}))
    assert "has no checksum" in apply(capsys, "--train", "train.npz", "--head", "head.npz")[2]
    path.write_text('{"rule": "conformal"}')
    assert "is no decision file" in apply(capsys, "--train", "train.npz", "--head", "head.npz")[2]


def test_other_widths_are_refused(folder):
    decided = decide("new.npz", **SETS).saved
    with pytest.raises(UserError, match="features of 12 columns and 3 classes; these have 4 and 3"):
        decide(np.ones((5, 4), "f4"), head=(np.ones((3, 4)), np.zeros(3)), apply=decided)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--val", "small.npz"], "takes at least 19. Give more rows, or a TPR of at most 0.937"),
        (
            ["--val", "val.npz", "--rule", "mondrian", "--tpr", "0.996"],
            "at least 249 validation rows predicted as",
        ),
        (["--val", "val.npz", "--tpr", "1"], "--tpr must be below 1"),
        (["--val", "val.npz", "--tpr", "95"], "--tpr is a fraction: 0.95, not 95."),
        (["--val", "val.npz", "--tpr", "950"], "--tpr must be above 0 and at most 1, got 950"),
        (
            ["--val", "val.npz", "--rule", "scod", "--weight", "2"],
            "--weight must be at least 0 and at most 1, got 2",
        ),
        (["--val", "val.npz", "--rule", "mondrain"], "Did you mean 'mondrian'?"),
        (["--val", "val.npz", "--cost", "odd=1", "--rule", "cost"], "--costs name 'odd'"),
        (["--val", "val.npz", "--cost", "ood"], "--cost is written NAME=NUMBER"),
        (["--val", "val.npz", "--cost", "ood=3"], "belong to the rule cost; the rule is conformal"),
        (["--val", "val.npz", "--postprocessor", "knn"], "a decision needs validation samples"),
        (["--val", "val.npz", "--postprocessor", "msp,ebo"], "takes one score, got 2"),
        (["--val", "val.npz", "--set", "knn.K=3"], "--set names 'knn', but the score is msp"),
        (["--val", "new.npz"], "has no labels"),
        ([], "give --val, an in-distribution validation set, or --apply, a decision file"),
    ],
)
def test_bad_input(folder, capsys, words, said):
    code, out, err = run(capsys, "--data", "new.npz", "--head", "head.npz", "--out", "out", *words)
    assert code == 2
    assert said in err
    assert not out
    assert not (folder / "out").exists()


def test_stores_give_the_names_of_clips(folder):
    with np.load("clean.npz") as file:
        clips = tuple(f"clip {row}" for row in range(400))
        found = decide(Embeddings(file["features"], file["labels"], clips=clips), **SETS)
    assert found.clips == clips
    assert found.columns()["clip"][7] == "clip 7"
