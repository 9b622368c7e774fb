"""Submissions: what verifying accepts, and what it refuses, each with its own reason."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.evaluators.sets import evaluate_sets
from openood_multimodal.files import file_sha256
from openood_multimodal.pipelines.submission import SUMS, submit, verify_folder

OOD = "synthetic_near"


@pytest.fixture(scope="module")
def whole(tested, tmp_path_factory):
    """A submission with embeddings; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "submission"
    submit(tested, folder, embeddings=True)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A submission without embeddings, of one score; free to be changed."""
    without = shutil.ignore_patterns("embeddings", "msp*")
    shutil.copytree(whole, tmp_path / "submission", ignore=without)
    sign(tmp_path / "submission")
    return tmp_path / "submission"


def sign(folder):
    """Write the list of files again, as somebody who forges results would."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines))


def record_path(folder):
    return folder / "records" / f"knn@{OOD}.record.json"


def edit(folder, change):
    """Change a record's fields by a function of them, and sign."""
    fields = json.loads(record_path(folder).read_text())
    change(fields)
    record_path(folder).write_text(json.dumps(fields))
    sign(folder)


def rescore(folder, change, consistent=True):
    """Change the scores, ``(id, ood) -> (id, ood)``; by ``consistent`` the record's counts, digest and metrics, too."""
    files = [folder / "scores" / "knn" / f"{name}.npz" for name in ("id", OOD)]
    known, unknown = change(*(SetScores(**np.load(file)) for file in files))
    for file, scores in zip(files, (known, unknown), strict=True):
        np.savez(file, **scores._asdict())

    def agree(fields):
        found = evaluate_sets(known, {OOD: unknown})["average"][OOD]
        fields["metrics"] = {name: metric.as_dict() for name, metric in found.items()}
        fields |= {"n_id": len(known.conf), "n_ood": len(unknown.conf)}
        fields["digests"]["scores"] = scores_digest(known, unknown)

    edit(folder, agree if consistent else lambda fields: None)


def refusal(folder):
    """The only reason for which a submission is refused, and its message."""
    refused = [each for each in verify_folder(folder) if each.reason]
    assert len(refused) == 1, [(each.reason, each.message) for each in refused]
    return refused[0].reason, refused[0].message


def tiers(folder):
    found = verify_folder(folder)
    assert not [each.message for each in found if each.reason]
    return {each.record.postprocessor: each.tier for each in found}


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


def swap_conventions(fields):
    metrics = fields["metrics"]
    metrics["FPR@95"], metrics["FPR@95_ID_TPR"] = metrics["FPR@95_ID_TPR"], metrics["FPR@95"]


def better(fields):
    for name in ("value", "ci_high"):
        fields["metrics"]["AUROC"][name] = min(1.0, fields["metrics"]["AUROC"][name] + 1e-6)


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        (better, "metric", "AUROC is "),
        (lambda f: f["metrics"]["FPR@95"].update(ci_low=0.0), "metric", "ci_low of FPR@95"),
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
