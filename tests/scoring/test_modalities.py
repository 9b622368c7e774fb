"""Scores that look at modalities, from files: keys of the ``.npz``, heads, stores, commands, and bad input."""

import csv
import json

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.cli import main
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import compute_ood_metrics
from openood_multimodal.postprocessors import MSP, Discrepancy, Ensemble, PerModality

SLICES = {"video": (0, 100), "imu": (100, 300)}
SCORES = ("discrepancy", "per_modality(knn,combine=min)", "ensemble(msp,per_modality(react),normalize=rank)")
ASKED = ["msp", *SCORES]


@pytest.fixture
def heads(arrays):
    weight, bias = arrays.head
    rng = np.random.default_rng(1)
    own = {
        name: LinearHead(weight[:, a:b], rng.standard_normal(len(bias))) for name, (a, b) in SLICES.items()
    }
    return LinearHead(weight, bias, own)


def keys(features, labels, head, with_logits=True):
    """The arrays of one ``.npz``."""
    own = [head.modality_heads[name].logits(features[:, a:b]) for name, (a, b) in SLICES.items()]
    found = {
        "features": features,
        "modalities": np.array(list(SLICES)),
        "slices": np.array(list(SLICES.values())),
    }
    if with_logits:
        found |= {"logits": head.logits(features), "modality_logits": np.stack(own, axis=1)}
    return found if labels is None else found | {"labels": labels}


@pytest.fixture
def folder(arrays, heads, tmp_path, monkeypatch):
    for name in ("train", "val", "test"):
        np.savez(tmp_path / f"{name}.npz", **keys(*getattr(arrays, name), heads))
    for name, features in arrays.ood.items():
        np.savez(tmp_path / f"{name}.npz", **keys(features, None, heads))
    np.savez(tmp_path / "head.npz", **heads.arrays())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sets(arrays, heads):
    def embeddings(features, labels):
        found = keys(features, labels, heads)
        return Embeddings(features, np.asarray(labels), found["logits"], found["modality_logits"], SLICES)

    ood = {name: embeddings(each, np.full(len(each), -1)) for name, each in arrays.ood.items()}
    return [embeddings(*getattr(arrays, name)) for name in ("train", "val", "test")], ood


COMMAND = [
    *("score", "--train", "train.npz", "--val", "val.npz", "--test", "test.npz"),
    *("--ood", "near=near.npz", "other=other.npz", "--head", "head.npz", "--out", "out"),
]


def score(*more, names=ASKED, code=0):
    assert main([*COMMAND, "--postprocessors", ",".join(names), *more]) == code


def test_files_objects_and_stores_give_one_table(arrays, heads, folder):
    (train, val, test), ood = sets(arrays, heads)
    expected = evaluate(train, test, ood, heads, val=val, postprocessors=ASKED)
    for name in ("discrepancy",):
        alone = Discrepancy().fit(head=heads)
        known, unknown = alone.score(test), alone.score(ood["near"])
        metrics = compute_ood_metrics(known.conf, unknown.conf, known.pred, test.labels)
        row = expected[(expected.postprocessor == name) & (expected.dataset == "near")].iloc[0]
        assert row["AUROC"] == pytest.approx(100 * metrics["AUROC"].value)
    from_files = evaluate(
        "train.npz",
        "test.npz",
        {name: f"{name}.npz" for name in ood},
        "head.npz",
        val="val.npz",
        postprocessors=", ".join(ASKED),
    )
    objects = [MSP(), Discrepancy(), *ASKED[2:]]
    from_objects = evaluate(train, test, ood, heads, val=val, postprocessors=objects)
    for table in (from_files, from_objects):
        assert list(table.postprocessor) == list(expected.postprocessor)
        np.testing.assert_allclose(table["AUROC"], expected["AUROC"], rtol=1e-9)

    stores = {}
    for name, each in {"train": train, "val": val, "test": test, **ood}.items():
        made = EmbeddingStore.create(
            folder / "stores" / name, len(each), SLICES, 4, {}, [str(row) for row in range(len(each))]
        )
        made.write(np.arange(len(each)), each.features, each.logits, each.modality_logits, each.labels)
        made.finish()
        stores[name] = folder / "stores" / name
    from_stores = evaluate(
        stores["train"], stores["test"], {name: stores[name] for name in ood}, "head.npz", val=stores["val"],
        postprocessors=ASKED,
    )  # fmt: skip
    np.testing.assert_allclose(from_stores["AUROC"], expected["AUROC"], atol=0.02)


def test_modality_logits_from_heads_alone(arrays, heads, folder):
    expected = evaluate("train.npz", "test.npz", {"near": "near.npz"}, "head.npz", "val.npz", ASKED)
    for name in ("train", "val", "test"):
        np.savez(folder / f"{name}.npz", **keys(*getattr(arrays, name), heads, with_logits=False))
    np.savez(folder / "near.npz", **keys(arrays.ood["near"], None, heads, with_logits=False))
    found = evaluate("train.npz", "test.npz", {"near": "near.npz"}, "head.npz", "val.npz", ASKED)
    np.testing.assert_allclose(found["AUROC"], expected["AUROC"], atol=1e-6)


def test_the_command_writes_table_scores_and_records(folder, capsys):
    score("--set", "per_modality(knn,combine=min).normalize=zscore", "discrepancy.discrepancy=hellinger")
    assert "per_modality(knn,combine=min)" in capsys.readouterr().out
    with open("out/ood.csv", newline="") as file:
        assert list(dict.fromkeys(row["postprocessor"] for row in csv.DictReader(file))) == ASKED
    for name in ASKED:
        assert np.load(f"out/scores/{name}/id.npz")["conf"].shape == (60,)
    records = [json.loads(path.read_text()) for path in folder.glob("out/records/*.json")]
    assert {each["postprocessor"] for each in records} == set(ASKED)
    (one,) = {json.dumps(each["parameters"]) for each in records if each["postprocessor"] == ASKED[2]}
    assert json.loads(one)["normalize"] == "zscore"
    assert json.loads(one)["scores"]["knn"]["K"] == 50
    assert {tuple(each["modalities"]) for each in records} == {("video", "imu")}


def change(folder, name, **arrays):
    with np.load(folder / f"{name}.npz") as old:
        np.savez(folder / f"{name}.npz", **{k: v for k, v in ({**old} | arrays).items() if v is not None})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("val", {"modality_logits": np.zeros((40, 3, 4))}, "val (val.npz): modality_logits have 3 modalities"),
        ("near", {"modality_logits": np.zeros((50, 2, 5))}, "modality_logits have 5 classes"),
        ("near", {"modality_logits": np.zeros((49, 2, 4))}, "have 49 rows, features 50"),
        ("test", {"modality_logits": np.zeros((60, 2))}, "modality_logits must be [N, M, C]"),
        ("test", {"modality_logits": np.zeros((60, 2, 4), int)}, "must be float16, float32 or float64"),
        ("near", {"modality_logits": np.full((50, 2, 4), np.nan)}, "modality_logits hold nan at row 0"),
        ("test", {"slices": np.array([[0, 100], [100, 299]])}, "the slices cover 299 columns"),
        ("test", {"slices": np.array([[0, 100], [120, 300]])}, "'imu' is 120 to 300 where 100 should begin"),
        ("test", {"slices": np.array([0, 300])}, "slices must be integers [M, 2]"),
        ("test", {"modalities": None}, "slices must be integers [M, 2]"),
        ("test", {"modalities": np.array(["a", "a"])}, "modalities must be the modalities' names, each once"),
        ("test", {"modalities": np.array([1, 2])}, "modalities must be the modalities' names"),
        ("near", {"modalities": np.array(["imu", "video"])}, "near"),
        ("near", {"modality_logits": None, "slices": None, "modalities": None}, ""),
        ("head", {"weight.imu": np.zeros((3, 200)), "bias.imu": np.zeros(3)}, "head of modality 'imu' has 3 classes"),
        ("head", {"bias.imu": None}, "has no array 'bias.imu'"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused_with_one_line(folder, capsys, name, changes, message):
    change(folder, name, **changes)
    if not message:  # the other sets say which columns are whose, and the head gives the logits
        return score()
    score(code=2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]


def test_what_is_missing_is_one_error_with_the_remedy(folder, capsys):
    for name in ("train", "val", "test", "near", "other"):
        change(folder, name, modality_logits=None, slices=None, modalities=None)
    score(names=["msp", "discrepancy"], code=2)
    said = capsys.readouterr().err
    assert "discrepancy needs modality_logits [N, M, C]" in said
    assert "--postprocessors msp" in said
    score(names=["msp", "per_modality(knn)"], code=2)
    assert "--slices, e.g. video:2304" in capsys.readouterr().err
    change(folder, "head", **{"weight.imu": None, "bias.imu": None})
    score("--slices", "video:100,imu:200", names=["per_modality(vim(dim=20))"], code=2)
    assert "needs modality_logits" in capsys.readouterr().err


def test_names_that_do_not_exist_are_refused(folder, capsys):
    for names, message in (
        (["per_modality(mspp)"], "Did you mean 'msp'"),
        (["ensemble(msp"], "lacks ')'"),
        (["per_modality(msp)", "per_modality( msp )"], "asked for twice"),
        (["per_modality(openood/knn)"], "openood/knn"),
    ):
        score(names=names, code=2)
        assert message in capsys.readouterr().err


def test_combinations_of_objects_keep_their_parameters(arrays, heads):
    (train, val, test), ood = sets(arrays, heads)
    made = Ensemble(MSP(), PerModality(MSP(), combine="max"))
    table = evaluate(train, test, ood, heads, val=val, postprocessors=["msp", made])
    assert set(table.postprocessor) == {"msp", "ensemble(msp,per_modality(msp,combine=max))"}
    with pytest.raises(UserError, match="parameters are set for 'ensemble"):
        evaluate(
            train,
            test,
            ood,
            heads,
            val=val,
            postprocessors=[made],
            parameters={made.name: {"combine": "min"}},
        )
