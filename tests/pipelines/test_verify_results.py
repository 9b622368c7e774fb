"""Submissions: what verifying accepts, and what it refuses, each with its own reason."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.embeddings.format import StoreMeta
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.evaluators.failure import autc
from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.evaluators.sets import evaluate_sets
from openood_multimodal.files import file_sha256
from openood_multimodal.pipelines import TestPipeline
from openood_multimodal.pipelines.submission import SUMS, submit, verify_folder
from openood_multimodal.reporting.claims import manifests_digest
from openood_multimodal.reporting.verification import report

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
        found = evaluate_sets(known, {OOD: unknown}, failure=True)
        fields["metrics"] = {name: metric.as_dict() for name, metric in found["average"][OOD].items()}
        fields["failure"] = found.failure[OOD].as_dict()
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


def swap_conventions(fields):
    metrics = fields["metrics"]
    metrics["FPR@95"], metrics["FPR@95_ID_TPR"] = metrics["FPR@95_ID_TPR"], metrics["FPR@95"]


def better(fields):
    for name in ("value", "ci_high"):
        fields["metrics"]["AUROC"][name] = min(1.0, fields["metrics"]["AUROC"][name] + 1e-6)


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


def test_files_that_changed_are_missing_or_not_listed(folder):
    (folder / "split" / "train.csv").unlink()
    (folder / "scores" / "knn" / "more.npz").write_bytes(b"")
    (folder / "config.yml").write_text((folder / "config.yml").read_text() + "# changed\n")
    found = {each.path.name: each for each in verify_folder(folder) if each.reason == "files"}
    assert {name: each.message for name, each in found.items()} == {
        SUMS: "split/train.csv is listed and missing",
        "more.npz": "SHA256SUMS does not list it",
        "config.yml": "it has changed since SHA256SUMS was written: its SHA-256 differs",
    }
    (record,) = [each for each in verify_folder(folder) if each.path == record_path(folder)]
    assert (record.reason, "train.csv" in record.message) == ("split", True)


def test_a_missing_score_file_is_refused(folder):
    (folder / "scores" / "knn" / "id.npz").unlink()
    sign(folder)
    assert refusal(folder) == ("scores", "scores/knn/id.npz is missing")


@pytest.mark.parametrize(
    "line", ["../outside.txt", "/etc/hostname", "scores/../../outside.txt", "C:/outside.txt", "~/outside.txt"]
)
def test_paths_that_leave_the_folder_are_refused(folder, line):
    (folder.parent / "outside.txt").write_text("secret")
    with (folder / SUMS).open("a") as file:
        file.write(f"{'0' * 64}  {line}\n")
    reason, message = refusal(folder)
    assert (reason, "leaves the data folder" in message) == ("unsafe", True)


def test_links_and_large_files_are_refused_unread(folder, monkeypatch):
    monkeypatch.setenv("OPENOOD_MM_LIMITS", "submission_bytes=100000")
    with (folder / "notes.txt").open("wb") as file:
        file.truncate(100_001)
    sign(folder)
    record = record_path(folder)
    shutil.copy(record, folder.parent / "outside.json")
    record.unlink()
    record.symlink_to(folder.parent / "outside.json")
    (folder / "linked").symlink_to(folder.parent)
    found = [(each.reason, each.path.relative_to(folder).as_posix()) for each in verify_folder(folder)]
    assert ("unsafe", "linked") in found
    assert ("unsafe", f"records/{record.name}") in found
    assert not [
        each for each in verify_folder(folder) if each.record is not None
    ]  # the link's target isn't read
    assert any(
        "submission_bytes" in each.message for each in verify_folder(folder) if each.reason == "unsafe"
    )


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_scores_are_never_unpickled(folder):
    path = folder / "scores" / "knn" / "id.npz"
    known = SetScores(**np.load(path))
    np.savez(path, **{**known._asdict(), "conf": np.array([Bomb()] * len(known.conf), dtype=object)})
    sign(folder)
    reason, message = refusal(folder)
    assert (reason, "Python objects" in message) == ("scores", True)


def without_last(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))


def test_another_split_is_refused(folder):
    """Whose record, card and manifests agree with each other, but not with the benchmark's data; and one where not."""
    card_path, test = folder / "split" / "split.json", folder / "split" / "test.csv"
    without_last(test)
    sign(folder)
    assert refusal(folder) == ("split", "split/test.csv is not the manifest that the split card lists")
    card = json.loads(card_path.read_text())
    manifests = {name: Manifest.read(folder / "split" / f"{name}.csv") for name in card["splits"]}
    card["splits"]["test"]["sha256"] = manifests["test"].digest()
    card_path.write_text(json.dumps(card))
    sign(folder)
    assert "the manifests in split/ have" in refusal(folder)[1]
    sets = {name.replace(f"nearood_{OOD}", "ood"): each.digest() for name, each in manifests.items()}
    edit(folder, lambda fields: fields["digests"].update(manifest=manifests_digest(sets)))
    reason, message = refusal(folder)
    assert (reason, "synthetic_far, partition 0, seed 0 has" in message) == ("split", True)
    card["benchmark"] = "mine"  # of one's own, it is what it says; but a sample is missing
    card_path.write_text(json.dumps(card))
    edit(folder, lambda fields: fields.update(benchmark="mine"))
    assert refusal(folder) == ("counts", "90 samples of test have scores, and the split has 89")


def test_a_grouped_split_has_no_recording_on_both_sides(folder):
    """Of one's own benchmark, on track grouped: known by the recordings, whatever the card says."""
    card_path = folder / "split" / "split.json"
    card = json.loads(card_path.read_text()) | {"benchmark": "mine", "track": "grouped", "synthetic": False}
    manifests = {name: Manifest.read(folder / "split" / f"{name}.csv") for name in card["splits"]}

    def with_recordings(recordings):
        for name, each in manifests.items():
            file = folder / "split" / f"{name}.csv"
            Manifest.create(
                each.clips, each.labels, each.class_names, each.files, [recordings[name]] * len(each)
            ).write(file)
            card["splits"][name]["sha256"] = Manifest.read(file).digest()
        card_path.write_text(json.dumps(card))
        sets = {n.replace(f"nearood_{OOD}", "ood"): each["sha256"] for n, each in card["splits"].items()}
        digests = {
            **json.loads(record_path(folder).read_text())["digests"],
            "manifest": manifests_digest(sets),
        }
        edit(
            folder,
            lambda f: f.update(track="grouped", benchmark="mine", unseen_recordings=None, digests=digests),
        )

    with_recordings({"train": "r0", "val": "r0", "test": "r1", f"nearood_{OOD}": "r2"})
    assert tiers(folder) == {"knn": "verified"}
    with_recordings({"train": "r0", "val": "r0", "test": "r1", f"nearood_{OOD}": "r0"})
    assert refusal(folder) == (
        "track",
        "the record is on track 'grouped', and recordings are in both train and ood: 'r0', for one",
    )
    with_recordings({"train": "", "val": "r0", "test": "", f"nearood_{OOD}": "r2"})
    assert "that of a clip is not known" in refusal(folder)[1]
    edit(folder, lambda fields: fields.update(track="demo"))
    assert refusal(folder) == ("track", "the record is on track 'demo', and the split card on 'grouped'")


@pytest.fixture
def embedded(whole, tmp_path):
    """A submission with embeddings, of one score; free to be changed."""
    shutil.copytree(whole, tmp_path / "embedded", ignore=shutil.ignore_patterns("msp*"))
    sign(tmp_path / "embedded")
    return tmp_path / "embedded"


def test_scores_that_differ_in_rounding_follow_from_their_embeddings(embedded):
    rng = np.random.default_rng(0)

    def elsewhere(known, unknown):
        return [
            each._replace(conf=each.conf * (1 + 1e-6 * rng.normal(size=len(each.conf))))
            for each in (known, unknown)
        ]

    rescore(embedded, elsewhere)
    assert tiers(embedded) == {"knn": "re-scored"}


def test_scores_of_other_embeddings_are_refused(embedded):
    def separated(known, unknown):
        return known._replace(conf=known.conf + 100), unknown

    rescore(embedded, separated)
    reason, message = refusal(embedded)
    assert (reason, "and the scores of its embeddings give" in message) == ("embeddings", True)


@pytest.mark.parametrize(
    ("file", "says"), [("test/features.npy", "features"), (f"{OOD}/meta.json", "another checkpoint")]
)
def test_other_embeddings_are_refused(embedded, file, says):
    path = embedded / "embeddings" / file
    if path.suffix == ".npy":
        features = np.load(path)
        features[3] += 1
        np.save(path, features)
    else:
        meta = StoreMeta.read(path)
        replace(meta, digests={**meta.digests, "checkpoint": "0" * 64}).write(path)
    sign(embedded)
    reason, message = refusal(embedded)
    assert (reason, says in message) == ("embeddings", True), message


def test_commands(tested, folder, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = cli(["leaderboard", "submit", str(tested)])
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "leaderboard/submissions/test: 2 results: 2 verified"
    done = cli(["leaderboard", "verify", "leaderboard/submissions", "--report", "report.md"])
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "report.md").read_text() == done.out
    assert "**Nothing refused**\n\n2 results: 2 verified\n" in done.out
    assert f"| `leaderboard/submissions/test/records/knn@{OOD}.record.json` | demo | verified |" in done.out
    assert "not an empty folder" in cli(["leaderboard", "submit", str(tested)]).err
    edit(folder, swap_conventions)
    done = cli(["leaderboard", "verify", "leaderboard/submissions", "submission"])
    assert done.code == 1
    assert "**1 refused**\n\n2 results: 2 verified\n" in done.out
    assert (
        f"- `submission/records/knn@{OOD}.record.json`: **the convention of FPR@95**. FPR@95 is what"
        in done.out
    )
    assert (
        "can't be submitted (convention)" in cli(["leaderboard", "submit", "submission", "--to", "again"]).err
    )
    assert not (tmp_path / "again").exists()
    assert "no such folder" in cli(["leaderboard", "verify", "nowhere"]).err
    (tmp_path / "empty").mkdir()
    assert "nothing could be verified" in cli(["leaderboard", "verify", "empty"]).err


def test_a_leaderboard_of_verified_results(tested, folder, tmp_path, cli):
    """The synthetic benchmark has no board, so the records are of one's own data."""
    for path in (folder / "records").iterdir():
        fields = json.loads(path.read_text())
        fields |= {"benchmark": "mine", "track": "own", "notes": []}
        path.write_text(json.dumps(fields))
    sign(folder)
    words = [
        "leaderboard",
        "build",
        "--records",
        str(folder),
        "--no-published",
        "--out",
        str(tmp_path / "board"),
    ]
    for more, tier in (([], "self-reported"), (["--verify"], "verified")):
        done = cli([*words, *more])
        assert done.code == 0, done.err
        rows = list(csv.DictReader((tmp_path / "board" / "mine.csv").open()))
        assert [row["tier"] for row in rows] == [tier]
    edit(folder, better)
    done = cli([*words, "--verify"])
    assert (done.code, "is refused (metric): AUROC is" in done.err) == (2, True)


def test_changed_submissions_of_a_pull_request(folder, tmp_path, capsys, monkeypatch):
    import verify_submissions

    repository = tmp_path / "repository"

    def git(*words):
        named = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *named, *words], cwd=repository, check=True, capture_output=True)

    submissions = repository / "leaderboard" / "submissions"
    shutil.copytree(folder, submissions / "old")
    git("init", "--quiet", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    git("checkout", "--quiet", "-b", "proposed")
    monkeypatch.chdir(tmp_path)
    assert verify_submissions.main(["main", "--in", str(repository)]) == 0
    assert "No submission" in capsys.readouterr().out
    edit(folder, swap_conventions)
    shutil.copytree(folder, submissions / "new")
    (submissions / "README.md").write_text("how to submit\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "two")
    assert verify_submissions.main(["main", "--in", str(repository)]) == 1
    out = capsys.readouterr().out
    assert "submissions/new/records" in out
    assert "submissions/old" not in out
    assert "**1 refused**" in out
    monkeypatch.chdir(tmp_path)
    (submissions / "new" / SUMS).unlink()
    git("commit", "--quiet", "--all", "--message", "no list")
    with pytest.raises(SystemExit, match="submissions/new has no SHA256SUMS"):
        verify_submissions.main(["main", "--in", str(repository)])
    (submissions / "linked").symlink_to(submissions / "old")
    git("add", ".")
    git("commit", "--quiet", "--message", "three")
    with pytest.raises(SystemExit, match="leaderboard/submissions/linked is, or is behind, a symbolic link"):
        verify_submissions.main(["main", "--in", str(repository)])
    with pytest.raises(SystemExit, match="can't be compared with nowhere"):
        verify_submissions.main(["nowhere", "--in", str(repository)])


def test_names_of_files_are_inert_in_the_report(folder):
    for name in ("a`|<script>.txt", "b\u202etxt", "c | d.txt"):
        (folder / name).write_text("")
    page = report(verify_folder(folder))
    assert "`|<" not in page
    assert "\u202e" not in page
    assert "'\\|<script>.txt`: **the list of files**" in page
