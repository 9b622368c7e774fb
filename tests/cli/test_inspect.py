"""``openood-mm inspect``: runs' folders, arrays and stores in; a page, tables, a figure and contact sheets out."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.cli import main
from openood_multimodal.config import load_config
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.decisions.inspection_tables import COLUMNS
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.evaluators.outputs import SetScores, write_scores
from openood_multimodal.moving_shapes import generate

OLD_RUN = Path(__file__).parents[1] / "old_files" / "test"
DATASETS = ["datasets/synthetic/synthetic_far.yml", "datasets/synthetic/synthetic_far_ood.yml"]


def run(capsys, *words):
    code = main(["inspect", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(folder, table):
    with (folder / "tables" / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def kept(tmp_path):
    """The folder of a test that kept embeddings and no scores, with its config."""
    folder = tmp_path / "run"
    shutil.copytree(OLD_RUN, folder)
    numbers = {"num_workers": 0, "num_gpus": 0, "num_machines": 1, "seed": 0}
    load_config([*DATASETS, numbers]).dump(folder / "config.yml")
    return folder


def test_the_embeddings_of_a_run_are_scored_and_its_config_names_the_classes(kept, tmp_path, capsys):
    code, out, err = run(capsys, kept, "--postprocessors", "msp,knn", "--worst", 3, "--out", tmp_path / "out")
    assert code == 0, err
    assert set(COLUMNS) == {path.stem for path in (tmp_path / "out" / "tables").iterdir()}
    assert {row["class"][0] for row in rows(tmp_path / "out", "id_classes")} == {"c"}  # and no number
    assert {row["class"] for row in rows(tmp_path / "out", "ood_classes")} == {"far_shift"}
    page = (tmp_path / "out" / "inspection.md").read_text()
    for heading in ("Accepted as ID", "ID classes that", "OOD classes that pass", "Samples that most of the 2 scores",
                    "Scores that disagree", "Modalities that disagree", "Likely label errors"):  # fmt: skip
        assert f"## {heading}" in page
    assert (tmp_path / "out" / "classes.png").stat().st_size > 1000
    assert not (tmp_path / "out" / "sheets").exists()  # rows of a table have no clips
    assert "contact sheets" not in out
    assert "thresholds accept 95 % of the ID test set" in out  # the run kept no validation set


def test_the_scores_of_a_run_are_taken_as_they_are(kept, tmp_path, capsys):
    labels = EmbeddingStore.open(kept / "embeddings" / "test").embeddings().labels
    conf = np.linspace(0, 1, 90)
    new = SetScores(np.zeros(200, int), np.linspace(-1, 0.5, 200), np.full(200, -1))
    for name, scores in (("id", SetScores(labels, conf, labels)), ("synthetic_shift", new)):
        write_scores(kept, "mine", name, scores)
    assert run(capsys, kept, "--out", tmp_path / "out", "--no-label-errors")[0] == 0
    worst = rows(tmp_path / "out", "worst")
    assert [row["row"] for row in worst if row["dataset"] == "test"] == list(map(str, range(10)))
    assert [row["row"] for row in worst if row["dataset"] != "test"][:2] == ["199", "198"]
    # 95 % of 90 are 86: the threshold is the fifth lowest
    share = np.mean(np.linspace(-1, 0.5, 200) >= conf[4])
    assert [float(row["share"]) for row in rows(tmp_path / "out", "sets")] == [86 / 90, share]
    assert not (tmp_path / "out" / "tables" / "label_errors.csv").exists()
    write_scores(kept, "mine", "id", SetScores(labels[:80], conf[:80], labels[:80]))
    code, out, err = run(capsys, kept, "--out", tmp_path / "out")
    assert code == 0, err
    assert "The embeddings of test are not looked at: the scores are of other samples." in out
    assert "Clips and classes of test have no names: its manifest is of other samples." in out


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips, and stores whose embeddings come from nowhere, with the clips' names."""
    small = {
        "classes": 2,
        "near": 1,
        "far": 1,
        "train_recordings": 1,
        "val_recordings": 1,
        "test_recordings": 2,
    }
    numbers = small | {"ood_recordings": 2, "clips": 1, "frames": 16, "val": 1}
    data = generate(tmp_path_factory.mktemp("clips"), "hac", size="tiny", flow=False, audio=False, **numbers)
    stores, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(0)
    weight, found = rng.standard_normal((6, 2)), {}
    for name, path in data.manifests.items():
        manifest = Manifest.read(path)
        n, slices = len(manifest), {"a": (0, 3), "b": (3, 6)}
        store = EmbeddingStore.create(
            stores / name, num_samples=n, slices=slices, num_classes=2, digests={}, clips=manifest.clips
        )
        features = rng.standard_normal((n, 6))
        logits = features @ weight
        store.write(np.arange(n), features, logits, np.stack([logits, -logits], axis=1), manifest.labels)
        store.finish()
        found[name] = stores / name, path
    return data.root, found


def test_contact_sheets_are_drawn_linked_and_replaced(clips, tmp_path, capsys):
    root, found = clips
    ood = next(name for name in found if name.startswith("farood"))
    sets = [
        "--test",
        found["test"][0],
        "--ood",
        f"far={found[ood][0]}",
        "--postprocessors",
        "msp",
        "--tpr",
        0.5,
    ]
    words = [*sets, "--manifests", f"test={found['test'][1]}", "--out", tmp_path, "--sheets"]
    code, out, err = run(capsys, *words, 1, "--root", root)
    assert code == 0, err
    [sheet] = (tmp_path / "sheets").iterdir()
    clip = next(row["clip"] for row in rows(tmp_path, "hardest") if row["dataset"] == "test")
    assert sheet.name == f"test-{clip.replace('/', '_')}.png"
    assert f"[{clip}](sheets/{sheet.name})" in (tmp_path / "inspection.md").read_text()
    assert "No contact sheets of clips of far: nothing says where their files are" in out
    _, out, _ = run(capsys, *words, 1, "--root", tmp_path / "gone")
    assert f"No contact sheets of 1 of 1 clips: there is no folder {tmp_path / 'gone'}" in out
    assert not (tmp_path / "sheets").exists()
    assert "](sheets/" not in (tmp_path / "inspection.md").read_text()
    assert run(capsys, *words, -1)[2] == "openood-mm: --sheets must be a number of clips, got -1.\n"


def test_bad_inputs_are_told_in_a_line(kept, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    test, far = kept / "embeddings" / "test", f"far={kept / 'embeddings' / 'synthetic_shift'}"
    out = ["--out", tmp_path / "out"]
    for words, message in (
        ([], "name a run's folder, or --test and --ood"),
        ([tmp_path / "empty"], "is not the folder of a run"),
        ([tmp_path / "none"], "there is no such folder"),
        ([kept, "--test", test], "--test can't be given with a run's folder"),
        ([kept, "--tpr", 95], "--tpr is a fraction: 0.95, not 95."),
        ([kept, "--worst", 0], "--worst must be a whole number of at least 1, got 0."),
        ([kept, "--manifests", "a.csv"], "--manifests is written NAME=FILE"),
        ([kept, "--manifests", "a=a.csv", "a=b.csv"], "--manifests names 'a' twice: a.csv and b.csv"),
        (["--test", test, "--ood", far, far], "--ood names 'far' twice"),
        (
            ["--test", test, "--ood", far, "--manifests", "fra=a.csv"],
            "--manifests names no set of these: 'fra'.",
        ),
        (
            ["--test", test, "--ood", far, "--postprocessors", "all"],
            "'all' can't be inspected; name the scores.",
        ),
        (["--test", test, "--ood", far, "--postprocessors", "knn"], "--train"),
    ):
        code, _, err = run(capsys, *words, *out)
        assert (code, err.count("\n"), message in err) == (2, 1, True), err
    shutil.rmtree(kept / "embeddings")
    assert "has neither scores of single samples" in run(capsys, kept, *out)[2]
    assert not (tmp_path / "out").exists()
