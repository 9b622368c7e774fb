"""Submissions are refused for files, splits and embeddings that contradict them; the commands that say so."""

import csv
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from submissions import OOD, better, edit, record_path, refusal, rescore, sign, swap_conventions, tiers

from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.embeddings.format import StoreMeta
from openood_multimodal.evaluators.outputs import SetScores
from openood_multimodal.pipelines.submission import SUMS, verify_folder
from openood_multimodal.reporting.claims import manifests_digest
from openood_multimodal.reporting.verification import report


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
