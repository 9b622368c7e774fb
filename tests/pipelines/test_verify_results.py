"""Submissions: what verifying accepts, and what it refuses, each with its own reason."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from scipy.special import log_softmax
from submissions import OOD, better, edit, record_path, refusal, rescore, sign, swap_conventions, tiers

from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.evaluators.failure import autc
from openood_multimodal.evaluators.outputs import SetScores
from openood_multimodal.pipelines import TestPipeline
from openood_multimodal.pipelines.submission import SUMS, submit, verify_folder


def test_what_a_run_left_is_accepted_by_what_backs_it(tested, whole, folder, tmp_path):
    assert tiers(whole) == {"msp": "re-scored", "knn": "re-scored"}
    assert tiers(folder) == {"knn": "verified"}
    found = submit(tested, tmp_path / "small")
    assert {each.tier for each in found} == {"verified"}
    assert not (tmp_path / "small" / "embeddings").exists()
    shutil.rmtree(folder / "scores")
    sign(folder)
    assert tiers(folder) == {"knn": "self-reported"}


def test_the_list_of_files_is_sha256sums(whole):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=whole, capture_output=True, text=True
    )
    assert done.returncode == 0
    listed = {line.split("  ")[1] for line in (whole / SUMS).read_text().splitlines()}
    assert listed == {p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()} - {SUMS}


def test_scores_without_a_split_are_not_more_than_reported(folder):
    shutil.rmtree(folder / "split")
    sign(folder)
    (found,) = verify_folder(folder)
    assert (found.tier, found.reason) == ("self-reported", "")
    assert "no split" in found.remarks[0]


NIGHT = """
ood_dataset:
  split_names: [nearood, csid]
  csid:
    datasets: [night]
    night:
      data_dir: ''
      imglist_pth: {benchmark: synthetic_far, split: val, modalities: [a, b]}
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "near_ood",
            ("--condition.name", "noise:a=3", "--search", "validation", "--postprocessors", "react"),
        ),
        (
            "near_ood",
            (
                "--evaluator.ood_scheme",
                "fsood",
                "--postprocessors",
                "msp",
                "--metrics",
                "failure",
                "calibration",
            ),
        ),
        ("far_ood", ("--postprocessors", "msp", "--seed", "3")),
    ],
)
def test_other_kinds_of_runs_are_accepted(tiny, trained, tmp_path, kind, words):
    """Conditions, searched parameters, covariate-shifted ID sets, several OOD sets, another seed of the bootstrap."""
    (tmp_path / "night.yml").write_text(NIGHT)
    files = (str(tmp_path / "night.yml"),) if "fsood" in words else ()
    config = tiny.test(*words, checkpoint=trained / "best.ckpt", evaluator=kind, files=files)
    records = TestPipeline(tiny.config(config)).run()
    found = submit(tiny.folder / "test", tmp_path / "submission")
    assert (
        [each.tier for each in found]
        == ["verified"] * len(records)
        == [each.tier for each in verify_folder(tmp_path / "submission")]
    )
    if "fsood" in words:
        stores = [
            EmbeddingStore.open(tiny.folder / "test" / "embeddings" / each) for each in ("test", "night")
        ]
        own = np.concatenate([log_softmax(each.embeddings().logits.astype("f8"), axis=1) for each in stores])
        labels = np.concatenate([each.embeddings().labels for each in stores])
        nll = -own[np.arange(len(labels)), labels].mean()  # shifted ID samples count, too
        assert records[0].calibration["metrics"]["NLL"]["value"] == pytest.approx(nll)
        with np.load(tmp_path / "submission" / "scores" / "msp" / "night.npz") as night:
            changed = {**night, "label": night["label"][::-1]}
        np.savez(tmp_path / "submission" / "scores" / "msp" / "night.npz", **changed)
        sign(tmp_path / "submission")
        assert refusal(tmp_path / "submission")[0] == "labels"


def test_results_of_given_embeddings_are_accepted(tmp_path, cli):
    """Track own: nothing is claimed of clips, so there is no split to check."""
    rng = np.random.default_rng(0)
    for name, shift in (("train", 0), ("test", 0), ("far", 2)):
        features, labels = rng.normal(shift, 1, (60, 8)), rng.integers(0, 3, 60)
        np.savez(tmp_path / f"{name}.npz", features=features, labels=labels, logits=features[:, :3])
    sets = [
        "--train",
        f"{tmp_path}/train.npz",
        "--test",
        f"{tmp_path}/test.npz",
        "--ood",
        f"far={tmp_path}/far.npz",
    ]
    done = cli(["score", *sets, "--postprocessors", "msp,knn", "--out", str(tmp_path / "scored")])
    assert done.code == 0, done.err
    found = submit(tmp_path / "scored", tmp_path / "submission")
    assert [each.tier for each in found] == ["verified", "verified"]
    assert all("track own" in each.remarks[0] for each in found)


def of_failure(name, key):
    """Make one number of failure detection a little smaller."""
    return lambda fields: fields["failure"]["metrics"][name].update(
        {
            key: max(0.0, fields["failure"]["metrics"][name][key] - 1e-6),
            **({"ci_low": 0.0} if key == "value" else {}),
        }
    )


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (better, "metric", "AUROC is "),
        (lambda f: f["metrics"]["FPR@95"].update(ci_low=0.0), "metric", "ci_low of FPR@95"),
        (of_failure("AURC", "value"), "failure", "AURC is "),
        (of_failure("OSCR", "ci_low"), "failure", "ci_low of OSCR is "),
        (of_failure("AUTC", "value"), "failure", "AUTC is "),
        (lambda f: f["failure"].update(val_range=[-1e3, 1e3]), "failure", "AUTC is "),
        (lambda f: f["failure"]["metrics"].pop("FPR@95_right"), "failure", "don't both give FPR@95_right"),
        (swap_conventions, "convention", "FPR@95 is what its scores give for FPR@95_ID_TPR"),
        (lambda f: f.update(track="grouped"), "track", "on track 'grouped', and the benchmark synthetic_far on 'demo'"),
        (lambda f: f.update(track="multiood"), "record", "track 'multiood' is for MultiOOD's own benchmarks"),
        (lambda f: f["digests"].update(manifest="0" * 64), "split", "manifest digest is 000000000000"),
        (lambda f: f.update(partition="1"), "split", ""),
        (lambda f: f.update(n_ood=299), "counts", "n_ood is 299, and 300 samples have scores"),
        (lambda f: f["digests"].update(config="0" * 64), "config", "not the config"),
        (lambda f: f.update(fit_on="val"), "config", "fit_on is 'val'"),
        (lambda f: f.update(setting="far"), "config", "setting is 'far'"),
        (lambda f: f["digests"].update(checkpoint="0" * 64), "config", "run_id"),
        (lambda f: f.update(postprocessor="../../knn"), "record", "must be called"),
        (lambda f: f.update(n_id=-1), "record", "n_id"),
    ],
)  # fmt: skip
def test_an_edited_record_is_refused(folder, change, reason, says):
    edit(folder, change)
    found, message = refusal(folder)
    assert (found, says in message) == (reason, True), message


def test_calibration_is_verified_where_embeddings_are(folder, whole, tmp_path):
    shutil.rmtree(folder)
    without = shutil.ignore_patterns("msp*")
    shutil.copytree(whole, folder, ignore=without)
    sign(folder)
    (found,) = verify_folder(folder)
    assert (found.tier, [each for each in found.remarks if "calibration" in each]) == ("re-scored", [])
    (without_embeddings,) = verify_folder(folder, embeddings=False)
    assert "metrics of calibration are not verified" in " ".join(without_embeddings.remarks)
    assert "AUTC is verified for the range" in " ".join(without_embeddings.remarks)
    for change, says in (
        (lambda each: each["metrics"]["Brier"].update(ci_low=0.0), "ci_low of Brier is 0.000000, and its embeddings"),
        (lambda each: each["scaled"]["NLL"].update(value=each["scaled"]["NLL"]["ci_low"]), "scaled: NLL is"),
        (lambda each: each.update(temperature=1.0), "temperature is 1.0, and the validation set gives"),
        (lambda each: each.update(temperature=None, scaled=None), "temperature is None, and"),
    ):  # fmt: skip
        before = record_path(folder).read_text()
        edit(folder, lambda fields, change=change: change(fields["calibration"]))
        reason, message = refusal(folder)
        assert (reason, says in message) == ("calibration", True), message
        record_path(folder).write_text(before)
    known, unknown = (np.load(folder / "scores" / "knn" / f"{name}.npz")["conf"] for name in ("id", OOD))
    forged = autc(known, unknown, -1e3, 1e3).as_dict()  # of a range that is none of the validation scores'
    edit(folder, lambda fields: fields["failure"].update(val_range=[-1e3, 1e3]))
    edit(folder, lambda fields: fields["failure"]["metrics"].update(AUTC=forged))
    assert [each.reason for each in verify_folder(folder, embeddings=False)] == [""]
    reason, message = refusal(folder)
    assert (reason, message.startswith("AUTC is 0.50")) == ("embeddings", True), message


NOISE = {
    "kind": "noise",
    "modalities": ["a"],
    "severity": 3,
    "level": "embedding",
    "applied_to": "both",
    "seed": 0,
}


@pytest.mark.parametrize("field", [{"condition": NOISE}, {"csid": ["shifted"]}])
def test_a_record_of_another_condition_is_refused(folder, field):
    path = record_path(folder)
    fields = json.loads(path.read_text()) | field
    name = {"condition": f"knn@{OOD}@a~noise~3~embedding~both~0", "csid": f"knn@{OOD}@csid~shifted"}[
        next(iter(field))
    ]
    path.unlink()
    path.with_name(f"{name}.record.json").write_text(json.dumps(fields))
    sign(folder)
    assert refusal(folder)[0] == "condition"


def first(column, value):
    """Change the first sample of the ID set."""

    def change(known, unknown):
        array = getattr(known, column).copy()
        array[0] = value
        return known._replace(**{column: array}), unknown

    return change


def swapped(known, unknown):
    return known._replace(label=np.full_like(known.label, -1)), unknown._replace(
        label=np.zeros_like(unknown.label)
    )


def fewer(known, unknown):
    return SetScores(*(column[:-1] for column in known)), unknown


def other_order(known, unknown):
    order = np.argsort(known.label[::-1], kind="stable")
    order = order if (known.label[order] != known.label).any() else order[::-1]
    return SetScores(*(column[order] for column in known)), unknown


@pytest.mark.parametrize(
    ("change", "consistent", "reason", "says"),
    [
        (first("conf", 99.0), False, "scores", "their SHA-256 differs"),
        (first("conf", np.nan), False, "nan", "scores/knn/id.npz has NaN for 1 samples, the first in row 0"),
        (swapped, False, "labels", "the labels of the ID and the OOD samples are swapped"),
        (lambda known, unknown: (unknown, known), False, "labels", "swapped"),
        (fewer, True, "counts", "89 samples of test have scores, and the split has 90"),
        (other_order, True, "labels", "labels of test are not the split's, in its order"),
        (first("label", 3), True, "labels", "1 labels of test are not the split's"),
        (first("conf", "x"), False, "scores", "conf can't be of type"),
    ],
)
def test_edited_scores_are_refused(folder, change, consistent, reason, says):
    if says.startswith("conf can't"):
        change = lambda known, unknown: (known._replace(conf=known.conf.astype(str)), unknown)  # noqa: E731
    rescore(folder, change, consistent)
    found, message = refusal(folder)
    assert (found, says in message) == (reason, True), message
