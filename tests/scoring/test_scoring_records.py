"""Records of scores on given embeddings: what they claim, what they replace, and where a leaderboard shows them."""

import json

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings
from openood_multimodal.cli import main
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.reporting import claims
from openood_multimodal.reporting.claims import manifests_digest
from openood_multimodal.reporting.records import load_records
from openood_multimodal.scoring.recording import Recorder

FREE = "msp,ebo"


def score(*more, out="out", code=0):
    words = ["--test", "test.npz", "--ood", "near=near.npz", "other=other.npz", "--head", "head.npz"]
    assert main(["score", *words, "--out", out, "--postprocessors", FREE, *more]) == code


def stores(arrays, folder, manifests, checkpoint="c" * 64):
    sets = {"train": arrays.train, "val": arrays.val, "test": arrays.test}
    sets |= {name: (each, np.full(len(each), -1)) for name, each in arrays.ood.items()}
    weight, bias = arrays.head
    made = {}
    for name, (features, labels) in sets.items():
        digests = {"manifest": manifests[name], "checkpoint": checkpoint} if name in manifests else {}
        made[name] = EmbeddingStore.create(
            folder / name,
            len(features),
            {"video": (0, 200), "flow": (200, 300)},
            len(weight),
            digests,
            [str(row) for row in range(len(features))],
            modality_logits=False,
        )
        made[name].write(np.arange(len(features)), features, features @ weight.T + bias, None, labels)
        made[name].finish()
    return made


def run(made, folder, **more):
    ood = {name: made[name] for name in ("near", "other")}
    evaluate(
        made["train"], made["test"], ood, None, val=made["val"], postprocessors=FREE, records=folder, **more
    )
    return load_records(folder)


def test_the_command_writes_records_that_say_what_is_known(folder):
    score("--train", "train.npz", "--postprocessors", "knn,msp", "--set", "knn.K=7")
    records = {(each.postprocessor, each.ood_set): each for each in load_records("out")}
    assert set(records) == {(name, ood) for name in ("knn", "msp") for ood in ("near", "other")}
    knn, msp = records["knn", "near"], records["msp", "near"]
    assert (knn.track, knn.benchmark, knn.id_set, knn.source) == ("own", "own", "own", "reproduced")
    unknown = ("setting", "modalities", "networks", "training", "seed", "best_epoch", "unseen_recordings")
    assert [getattr(knn, name) for name in unknown] == [None] * len(unknown)
    assert (knn.parameters, knn.parameters_from, knn.preset, knn.fit_on) == (
        {"K": 7},
        "given",
        "openood",
        "train",
    )
    assert (msp.parameters_from, msp.fit_on) == ("preset", None)  # it is fitted on nothing
    assert (knn.n_id, knn.n_ood) == (60, 50)
    with open("out/metrics.json", encoding="utf-8") as file:
        exact = json.load(file)["knn"]["near"]
    for name, entry in knn.metrics.items():
        assert [entry["value"], [entry["ci_low"], entry["ci_high"]]] == [exact[name], exact[f"{name}_ci"]]
    with np.load("out/scores/knn/id.npz") as known, np.load("out/scores/knn/near.npz") as ood:
        assert knn.digests["scores"] == scores_digest(SetScores(**known), SetScores(**ood))
    assert len({each.digests["inputs"] for each in records.values()}) == 1
    assert len({each.digests["scores"] for each in records.values()}) == 4
    assert [knn.digests[key] for key in ("manifest", "training", "checkpoint", "store")] == [None] * 4
    assert knn.metrics["AUROC"]["ci_low"] is not None


def test_python_and_the_command_write_the_same_but_for_the_digests_of_files(folder, arrays):
    named = {
        "benchmark": "mine",
        "method": "a2d",
        "network": "mlp",
        "setting": "far",
        "seed": 3,
        "partition": "2",
    }
    score(*(word for key, value in named.items() for word in (f"--{key}", str(value))), "--note", "an idea")
    about = {**named, "notes": ["an idea"]}
    table = evaluate(
        None, arrays.test, arrays.ood, arrays.head, postprocessors=FREE, records="py", about=about
    )
    assert "AUROC_ci_low" not in table
    one, other = load_records("out"), load_records("py")
    assert (one[0].benchmark, one[0].training, one[0].networks, one[0].setting) == (
        "mine",
        "a2d",
        "mlp",
        "far",
    )
    assert (one[0].seed, one[0].partition, one[0].notes) == (3, "2", ["an idea"])
    for a, b in zip(one, other, strict=True):
        digests = {**b.digests, "inputs": a.digests["inputs"]}
        assert a.to_dict() == {**b.to_dict(), "run_id": a.run_id, "digests": digests}
    assert len({each.digests["inputs"] for each in [*one, *other]}) == 2


def test_what_is_said_of_modalities_reaches_the_record_and_every_array_its_digest(arrays, tmp_path):
    logits = np.random.default_rng(0).standard_normal((60, 2, 4))

    def record(name, modality_logits=logits, **more):
        test = Embeddings(*arrays.test, modality_logits=modality_logits, **more)
        ood = {"near": Embeddings(arrays.ood["near"], np.full(50, -1), modality_logits=logits[:50], **more)}
        scores = "discrepancy" if modality_logits is not None else "msp"
        evaluate(None, test, ood, arrays.head, postprocessors=scores, records=tmp_path / name)
        return load_records(tmp_path / name)[0]

    named = record("a", modalities=("video", "flow"))
    assert named.modalities == ["video", "flow"]
    assert record("b").modalities is None
    digests = {
        record(name, values).digests["inputs"]
        for name, values in (("c", logits), ("d", 2 * logits), ("e", None))
    }
    assert len(digests | {named.digests["inputs"]}) == 3


def test_a_second_run_replaces_the_records(folder):
    score()
    first = {path.name: path.read_bytes() for path in (folder / "out" / "records").iterdir()}
    (folder / "out" / "records" / "mine.txt").write_text("mine")
    score()
    assert {path.name: path.read_bytes() for path in (folder / "out" / "records").glob("*.json")} == first
    score("--postprocessors", "gen")
    assert {path.name for path in (folder / "out" / "records").iterdir()} == {
        "gen@near.record.json",
        "gen@other.record.json",
        "mine.txt",
    }


def test_evaluate_replaces_its_own_records_and_refuses_another_run_s(arrays, tmp_path):
    def again(names=FREE, **about):
        evaluate(
            None,
            arrays.test,
            arrays.ood,
            arrays.head,
            postprocessors=names,
            records=tmp_path / "r",
            about=about,
        )

    again(method="a2d", seed=0)
    again("gen", method="a2d", seed=0)
    assert {each.postprocessor for each in load_records(tmp_path / "r")} == {"gen"}
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    for about, key in (
        ({"method": "a2d", "seed": 1}, "seed is 0, not 1"),
        ({"seed": 0}, "training is 'a2d', not None"),
        ({"method": "a2d", "seed": 0, "benchmark": "b"}, "benchmark is 'own', not 'b'"),
    ):
        with pytest.raises(UserError, match=f"record of another run, whose {key}: name another folder"):
            again(**about)
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_nothing_is_hashed_and_nothing_written_without_records(arrays, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Recorder, "records", lambda *_: pytest.fail("made records"))
    evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors=FREE)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"about": {"seed": 1}}, "give records="),
        ({"records": "r", "about": {"metod": "a"}}, r"about\.metod is not .* Did you mean 'method'"),
        ({"records": "r", "about": {"seed": -1}}, "seed must be at least 0"),
        ({"records": "r", "about": {"seed": "1"}}, r"about\.seed must be a whole number"),
        ({"records": "r", "about": {"method": " "}}, "method is empty"),
        ({"records": "r", "about": {"notes": [""]}}, r"notes\[0\] is empty"),
        ({"records": "r", "about": {"setting": "mid"}}, r"about\.setting must be one of near, far"),
        ({"records": "file"}, "file is a file; records need a folder"),
    ],
)
def test_refusals_come_before_anything_is_scored(arrays, monkeypatch, tmp_path, change, words):
    from openood_multimodal.scoring import table

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(table, "run_jobs", lambda *_, **__: pytest.fail("scored"))
    with pytest.raises(UserError, match=words):
        evaluate(None, arrays.test, arrays.ood, arrays.head, postprocessors=FREE, **change)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_rows_are_beside_the_published_ones_in_a_section_of_their_own(folder, capsys):
    for seed in range(3):
        score("--benchmark", "hmdb51_25_26", "--method", "mine", "--seed", str(seed), out=f"runs/s{seed}")
    assert {each.setting for each in load_records("runs")} == {"near"}
    capsys.readouterr()
    assert main(["leaderboard", "show", "hmdb51_25_26", "--records", "runs"]) == 0
    page = capsys.readouterr().out
    published, own = page.split("## Near-OOD, track own: hmdb51_25_26 against 2 OOD sets")
    assert "## Near-OOD, track multiood: hmdb51_25_26" in published
    assert "mine" not in published
    assert "published |" in published
    assert "published |" not in own
    assert "± 0.00" in own  # over three seeds, of one and the same embeddings
    assert main(["leaderboard", "build", "--records", "runs", "--out", "board"]) == 0
    assert "hmdb51_25_26: 100 rows from 96 published and 12 reproduced results" in capsys.readouterr().out


def test_different_results_of_rows_without_names_are_refused_with_the_remedy(folder, arrays, capsys):
    score(out="a")
    np.savez("head.npz", weight=-arrays.head[0], bias=arrays.head[1])
    score(out="b")
    assert main(["leaderboard", "build", "--records", "a", "b", "--out", "board"]) == 2
    assert (
        "give them different names (method, network, seed or partition, of openood-mm score"
        in capsys.readouterr().err
    )


MANIFESTS = {name: name[0] * 64 for name in ("train", "val", "test", "near", "other")}


def known_lists(monkeypatch, tmp_path, *ood):
    splits = tmp_path / "splits"
    splits.mkdir()
    id_sets = {name: MANIFESTS[name] for name in ("train", "val", "test")}
    lines = [f"- {manifests_digest({**id_sets, 'ood': MANIFESTS[name]})}\n" for name in ood]
    (splits / "far_hmdb51.yml").write_text("manifest_digests:\n" + "".join(lines))
    monkeypatch.setattr(claims, "benchmark_splits_dir", lambda: splits)


def test_stores_of_multiood_s_lists_name_the_benchmark_on_track_own(arrays, tmp_path, monkeypatch):
    known_lists(monkeypatch, tmp_path, "near", "other")
    made = stores(arrays, tmp_path / "stores", MANIFESTS)
    records = run(made, tmp_path / "r")
    assert {(each.track, each.benchmark, each.setting) for each in records} == {("own", "far_hmdb51", "far")}
    record = next(each for each in records if each.ood_set == "near")
    assert record.modalities == ["video", "flow"]
    assert record.digests["checkpoint"] == "c" * 64
    assert record.digests["store"] == made["near"].digest()
    assert record.digests["manifest"] in claims.known_manifest_digests()["far_hmdb51"]
    assert "the clips are those of the benchmark's lists; the training's are not known" in record.notes


def test_stores_of_which_one_follows_other_lists_name_no_benchmark(arrays, tmp_path, monkeypatch):
    known_lists(monkeypatch, tmp_path, "near")
    records = run(stores(arrays, tmp_path / "stores", MANIFESTS), tmp_path / "r")
    assert {each.benchmark for each in records} == {"own"}
    partly = {name: digest for name, digest in MANIFESTS.items() if name != "val"}
    records = run(stores(arrays, tmp_path / "partly", partly), tmp_path / "r2")
    assert {each.digests["manifest"] for each in records} == {None}
    assert {each.digests["checkpoint"] for each in records} == {None}  # one set doesn't say its own


def test_stores_of_two_checkpoints_are_not_scored_together(arrays, tmp_path):
    one, other = (stores(arrays, tmp_path / letter, MANIFESTS, letter * 64) for letter in "ab")
    with pytest.raises(UserError, match=r"near.* and .*train.* are embeddings of two checkpoints"):
        run({**one, "near": other["near"]}, tmp_path / "r")
    assert not (tmp_path / "r").exists()
