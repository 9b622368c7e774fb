"""The search for parameters: its choice depends on validation sets alone, and equals a literal loop over the grid."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openood_multimodal import evaluate
from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.cli import main
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators.metrics import auroc, compute_ood_metrics
from openood_multimodal.postprocessors.base import Postprocessor
from openood_multimodal.postprocessors.run import choose, run
from openood_multimodal.postprocessors.search import Search
from openood_multimodal.postprocessors.shared import Shared
from openood_multimodal.registry import POSTPROCESSORS
from openood_multimodal.reporting.records import load_records

SEARCHED = ("ash", "react", "vra", "knn", "gen", "odin")


@pytest.fixture
def sets(arrays: Any) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    val_ood = np.maximum(rng.standard_normal((30, arrays.test[0].shape[1])), 0).astype("f4")
    return {
        **{name: getattr(arrays, name) for name in ("train", "val", "test", "ood", "head")},
        "ood_val": {"noise": val_ood},
        "search": "validation",
    }


def embeddings(given: Any) -> Embeddings:
    features, labels = given if isinstance(given, tuple) else (given, np.full(len(given), -1))
    return Embeddings(features, labels)


def literal(sets: dict[str, Any], name: str) -> tuple[dict[str, Any], float]:
    """Fit a new score for every setting, in OpenOOD's order; return the first of the best."""
    kind = POSTPROCESSORS.get(name)
    names = [key.removesuffix("_list") for key in kind.sweep]
    best: tuple[dict[str, Any], float] | None = None
    for values in itertools.product(*reversed(list(kind.sweep.values()))):
        setting = dict(zip(names, reversed(values), strict=True))
        try:
            score = kind(**setting).fit(
                embeddings(sets["train"]), embeddings(sets["val"]), LinearHead(*sets["head"])
            )
            known = score.score(embeddings(sets["val"])).conf
            unknown = np.concatenate(
                [score.score(embeddings(each)).conf for each in sets["ood_val"].values()]
            )
        except UserError:
            continue
        value = auroc(known, unknown)
        if best is None or value > best[1]:
            best = setting, value
    assert best is not None
    return best


@pytest.mark.parametrize("name", SEARCHED)
def test_the_choice_is_that_of_a_literal_loop(sets: dict[str, Any], name: str) -> None:
    sets["ood_val"]["more"] = sets["ood_val"]["noise"][:7] + np.float32(0.25)
    chosen, value = literal(sets, name)
    table = evaluate(**sets, postprocessors=[name])
    found = table.attrs["search"]["scores"][name]
    assert found["chosen"] == chosen
    assert found["value"] == pytest.approx(value, abs=1e-12)
    plain = {key: sets[key] for key in ("train", "val", "test", "ood", "head")}
    given = evaluate(**plain, postprocessors=[name], parameters={name: chosen})
    assert (table["AUROC"] == given["AUROC"]).all()


def test_the_choice_does_not_depend_on_the_test_sets(sets: dict[str, Any]) -> None:
    first = evaluate(**sets, postprocessors=SEARCHED)
    rng = np.random.default_rng(9)
    others = {"far": (50 * rng.standard_normal((20, sets["test"][0].shape[1]))).astype("f4")}
    test = sets["test"][0][::-1].copy() + np.float32(0.5), sets["test"][1]
    second = evaluate(**{**sets, "ood": others, "test": test}, postprocessors=SEARCHED)
    assert first.attrs["search"] == second.attrs["search"]
    assert set(first.attrs["search"]["scores"]) == set(SEARCHED)


def test_the_first_of_tied_settings_is_taken(sets: dict[str, Any]) -> None:
    sets["ood_val"] = {"easy": np.full((20, sets["test"][0].shape[1]), -1, "f4")}  # opposite to every row
    table = evaluate(**sets, postprocessors=["knn"])
    found = table.attrs["search"]["scores"]["knn"]
    ks = POSTPROCESSORS.get("knn").sweep["K_list"]
    assert found["chosen"] == {"K": ks[0]}
    assert (found["value"], found["tied"]) == (1.0, sum(k <= 400 for k in ks))
    assert f"{found['tied']} settings tie, the first is taken" in table.attrs["notes"][0]


def test_what_the_data_do_not_allow_is_left_out_and_noted(sets: dict[str, Any]) -> None:
    table = evaluate(**sets, postprocessors=["knn", "vra"])
    tried = table.attrs["search"]["scores"]["knn"]["tried"]
    too_many = [each for each in tried if each["parameters"]["K"] > 400]
    assert too_many
    assert all("exceeds the 400 training rows" in each["left_out"] for each in too_many)
    assert any(
        "knn: K = 500 was left out of the search: K=500 exceeds" in note for note in table.attrs["notes"]
    )
    sets["train"] = tuple(
        each[:40] for each in sets["train"]
    )  # OpenOOD's default K is no longer possible either
    with pytest.raises(UserError, match="K=50 exceeds the 40"):
        evaluate(**sets, postprocessors=["knn"])
    score = POSTPROCESSORS.get("knn")()
    score.args_dict = {"K_list": [100, 30]}
    assert evaluate(**sets, postprocessors=[score]).attrs["search"]["scores"]["knn"]["chosen"] == {"K": 30}


def test_no_possible_setting_is_an_error(sets: dict[str, Any]) -> None:
    sets["train"] = tuple(each[:4] for each in sets["train"])
    score = POSTPROCESSORS.get("knn")()
    score.args_dict = {"K_list": [100, 200]}
    with pytest.raises(UserError, match="knn: K=100 exceeds the 4 training rows"):
        evaluate(**sets, postprocessors=[score])


def test_a_sweep_of_one_value_and_given_parameters(sets: dict[str, Any]) -> None:
    one = POSTPROCESSORS.get("knn")()
    one.args_dict = {"K_list": [7]}
    found = evaluate(**sets, postprocessors=[one]).attrs["search"]["scores"]["knn"]
    assert (found["chosen"], found["tied"], len(found["tried"])) == ({"K": 7}, 1, 1)

    given = {"vra": {"percentile_low": 3}}
    found = evaluate(**sets, postprocessors=["vra"], parameters=given).attrs["search"]["scores"]["vra"]
    assert found["chosen"]["percentile_low"] == 3
    assert {each["parameters"]["percentile_low"] for each in found["tried"]} == {3}
    assert len(found["tried"]) == len(POSTPROCESSORS.get("vra").sweep["percentile_high_list"])
    with pytest.raises(UserError, match="there is nothing to search: msp, knn have no sweep, or their swept"):
        evaluate(**sets, postprocessors=["msp", "knn"], parameters={"knn": {"K": 3}})


def test_another_criterion(sets: dict[str, Any]) -> None:
    table = evaluate(**sets, postprocessors=["react"], search_criterion="FPR@95")
    found = table.attrs["search"]["scores"]["react"]
    values = [each["value"] for each in found["tried"]]
    assert found["value"] == min(values)
    score = POSTPROCESSORS.get("react")(**found["chosen"])
    score.fit(embeddings(sets["train"]), embeddings(sets["val"]), LinearHead(*sets["head"]))
    known, unknown = (score.score(embeddings(each)) for each in (sets["val"], sets["ood_val"]["noise"]))
    expected = compute_ood_metrics(known.conf, unknown.conf, known.pred, sets["val"][1], intervals=False)
    assert found["value"] == expected["FPR@95"].value
    assert "parameters chosen by FPR@95 on the validation OOD set: percentile = " in table.attrs["notes"][0]


def test_a_combination_keeps_its_own_parameters(sets: dict[str, Any]) -> None:
    together = evaluate(**sets, postprocessors="ensemble(knn,msp),knn")
    plain = {key: sets[key] for key in ("train", "val", "test", "ood", "head")}
    alone = evaluate(**plain, postprocessors="ensemble(knn,msp)")
    of = together[together["postprocessor"] == "ensemble(knn,msp)"]
    assert (of["AUROC"].to_numpy() == alone["AUROC"].to_numpy()).all()
    assert set(together.attrs["search"]["scores"]) == {"knn"}


def test_fits_share_the_pass_over_the_training_rows(sets: dict[str, Any], monkeypatch: Any) -> None:
    passes = []
    original = Shared.statistics

    def counted(self: Shared, products: bool = False) -> Any:
        before = self._found
        found = original(self, products)
        if found is not before:
            passes.append(products)
        return found

    monkeypatch.setattr(Shared, "statistics", counted)
    score = POSTPROCESSORS.get("vim")()
    score.args_dict = {"dim_list": [10, 50, 100, 256]}
    table = evaluate(**sets, postprocessors=[score, "mds"])
    assert len(table.attrs["search"]["scores"]["vim"]["tried"]) == 4
    assert len(passes) == 1


class HasItsOwn(Postprocessor):
    """A score with a `set_hyperparam` of its own, as OpenOOD's have."""

    name = "own"
    info = POSTPROCESSORS.get("msp").info
    sweep = {"x_list": (1, 2, 3)}  # noqa: RUF012
    x = 1

    def set_hyperparam(self, hyperparam: Any) -> None:  # type: ignore[override]
        """Take the value."""
        (self.x,) = hyperparam

    def score_rows(self, rows: Any) -> Any:
        """Return a confidence that is best at x = 2."""
        pred, conf = POSTPROCESSORS.get("msp")().score_rows(rows)
        return pred, conf if self.x == 2 else 0 * conf


def test_scores_with_a_set_hyperparam_of_their_own(sets: dict[str, Any]) -> None:
    chosen = choose([HasItsOwn()])
    search = Search(
        embeddings(sets["val"]),
        {"noise": embeddings(sets["ood_val"]["noise"])},
        lambda known, unknown: float(np.std(known.conf)),
    )
    test = {"test": embeddings(sets["test"])}
    head = LinearHead(*sets["head"])
    (found,) = run(chosen, embeddings(sets["train"]), None, head, test, search=search)
    assert search.found["own"].chosen == {"x": 2}
    assert np.std(found["test"].conf) > 0


def test_outliers_of_np_mix_only_when_named(sets: dict[str, Any]) -> None:
    del sets["ood_val"]
    with pytest.raises(
        UserError, match=r"needs an OOD validation set.*never chosen on test data.*search=.npmix."
    ):
        evaluate(**sets, postprocessors=["knn"])
    sets["search"] = "npmix"
    tables = [evaluate(**sets, postprocessors=["knn", "react"], seed=seed) for seed in (3, 3, 4)]
    first, again, other = (table.attrs["search"]["scores"]["react"]["tried"] for table in tables)
    assert first == again
    assert first != other
    assert "by AUROC on outliers synthesised by NP-Mix" in tables[0].attrs["notes"][0]
    assert "against npmix (40)" in tables[0].attrs["search"]["sets"]


def test_np_mix_mixes_rows_of_two_classes(sets: dict[str, Any]) -> None:
    from openood_multimodal.synthesis import NPMix

    labels = np.arange(90) % 3
    corners = 10 * np.eye(3)[labels]
    mixed = NPMix().from_rows(corners, labels, 3, 20, seed=1)
    assert mixed.shape == (20, 3)
    assert mixed.dtype == np.float64
    np.testing.assert_allclose(mixed.sum(axis=1), 10)
    assert ((mixed > 0).sum(axis=1) == 2).all()
    with pytest.raises(UserError, match="class 3 has no training row"):
        NPMix().from_rows(corners, labels, 4, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"val": None}, r"needs an ID validation set: give val="),
        (lambda s: {"search": "npmx"}, r"search is 'npmx'\. Did you mean 'npmix'"),
        (lambda s: {"search": "npmix"}, r"there are OOD validation sets \(noise\), too"),
        (lambda s: {"search": "npmix", "ood_val": None, "train": None}, "give train= and head="),
        (lambda s: {"search": None}, "OOD validation sets are for a search"),
        (lambda s: {"search_criterion": "ACC"}, "search_criterion is 'ACC'"),
        (lambda s: {"fit_on": "val"}, "on the rows that scores are fitted to"),
        (lambda s: {"ood_val": [1]}, "ood_val must be a dict"),
        (lambda s: {"ood_val": {"id": s["ood_val"]["noise"]}}, "an OOD set can't be called 'id'"),
        (lambda s: {"ood_val": {"x": s["ood_val"]["noise"][:, :9]}}, r"ood_val x has features of 9 columns"),
        (
            lambda s: {"ood_val": {"x": np.concatenate([s["ood_val"]["noise"], s["ood"]["near"][:2]])}},
            r"2 rows are in both ood_val x and ood near: parameters would be chosen on test rows",
        ),
        (lambda s: {"ood_val": {"x": s["test"][0][:3]}}, "3 rows are in both ood_val x and test"),
        (lambda s: {"val": s["test"]}, "60 rows are in both val and test"),
        (
            lambda s: {"ood": {"x": np.concatenate([s["ood"]["near"], s["val"][0][:1]])}},
            "1 rows are in both val and ood x",
        ),
    ],
)
def test_what_is_refused(sets: dict[str, Any], change: Any, message: str) -> None:
    given = {**sets, **change(sets)}
    with pytest.raises(UserError, match=message):
        evaluate(**given, postprocessors=["gen"] if given["train"] is None else ["knn"])


@pytest.fixture
def words(sets: dict[str, Any], tmp_path: Path) -> list[str]:
    for name in ("train", "val", "test"):
        np.savez(tmp_path / f"{name}.npz", features=sets[name][0], labels=sets[name][1])
    np.savez(tmp_path / "near.npz", features=sets["ood"]["near"])
    np.savez(tmp_path / "noise.npz", features=sets["ood_val"]["noise"])
    np.savez(tmp_path / "head.npz", weight=sets["head"][0], bias=sets["head"][1])
    words = ["score", "--ood", f"near={tmp_path / 'near.npz'}"]
    for name in ("train", "val", "test", "head"):
        words += [f"--{name}", str(tmp_path / f"{name}.npz")]
    return words


def test_the_command_and_its_records(
    sets: dict[str, Any], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words += ["--postprocessors", "msp,knn,react"]
    out = tmp_path / "out"
    search = ["--search", "--ood-val", f"noise={tmp_path / 'noise.npz'}"]
    assert main([*words, *search, "--set", "react.percentile=70", "--out", str(out)]) == 0
    k = literal(sets, "knn")[0]["K"]
    assert (
        f"Note: knn: parameters chosen by AUROC on the validation OOD set: K = {k} ("
        in capsys.readouterr().out
    )
    records = {each.postprocessor: each for each in load_records(out)}
    by = {name: each.parameters_from for name, each in records.items()}
    assert by == {"msp": "preset", "knn": "searched", "react": "given"}
    assert records["knn"].parameters == {**records["knn"].parameters, "K": k}
    (note,) = [note for note in records["knn"].notes if "chosen by" in note]
    assert "on ID val (40 rows) against OOD val noise (30)" in note
    assert "K of [" in note
    meta = json.loads((out / "metrics.json").read_text())["_meta"]
    assert meta["search"]["scores"]["knn"]["chosen"] == {"K": k}
    assert meta["inputs"]["ood_val noise"]["rows"] == 30

    plain = tmp_path / "plain"
    assert main([*words, "--set", f"knn.K={k}", "react.percentile=70", "--out", str(plain)]) == 0
    other = {each.postprocessor: each for each in load_records(plain)}["knn"]
    assert (other.parameters_from, other.metrics) == ("given", records["knn"].metrics)
    assert other.run_id != records["knn"].run_id


def test_the_command_seeds_np_mix(
    sets: dict[str, Any], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words += ["--postprocessors", "react", "--out", str(tmp_path / "out")]
    found = []
    for seed in ([], ["--search-seed", "0"], ["--search-seed", "3", "--seed", "9"]):
        assert main([*words, "--search", "npmix", *seed]) == 0
        found.append(json.loads((tmp_path / "out" / "metrics.json").read_text())["_meta"]["search"])
    assert found[0] == found[1]
    assert (found[0]["search_seed"], found[2]["search_seed"]) == (0, 3)
    assert found[2]["scores"]["react"]["tried"] != found[0]["scores"]["react"]["tried"]
    del sets["ood_val"]
    table = evaluate(**{**sets, "search": "npmix"}, postprocessors="react", seed=3)
    assert table.attrs["search"]["scores"] == found[2]["scores"]
    (record,) = load_records(tmp_path / "out")
    assert record.seed == 9  # the training's
    assert any("synthesised by NP-Mix (seed 3)" in note for note in record.notes)
    capsys.readouterr()
    noise = ["--ood-val", f"noise={tmp_path / 'noise.npz'}"]
    for more, message in (
        (["--search-seed", "1"], "--search-seed draws the outliers of --search npmix"),
        (["--search", *noise, "--search-seed", "1"], "--search-seed draws the outliers of --search npmix"),
        (["--search", "npmix", "--search-seed", "-1"], "seed of a search must be at least 0, got -1"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
