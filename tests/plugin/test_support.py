"""The real OpenOOD, wherever ``OPENOOD_ROOT`` or an installed package names it: what runs, and both engines' figures.

It is run once, in a process of its own, so that its modules don't meet other tests' stand-ins.
"""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import hosts_page  # scripts/openood_pages
import pages
import parity
import pytest
import support_page as support
from trial import make_trial

from openood_multimodal.errors import UserError
from openood_multimodal.plugin.host import find_openood
from openood_multimodal.plugin.recipes import RECIPES

PAGES = Path(__file__).resolve().parents[2] / "scripts" / "openood_pages"
SAME = {"odin", "gram"}  # these read the input or inner layers, so a network gives other scores than its head


def _measure() -> dict[str, Any]:
    """What the tests below look at; runs in the process that imports OpenOOD."""
    import numpy as np
    import torch

    from openood_multimodal.evaluators.metrics import auroc
    from openood_multimodal.plugin.adapters import OpenOODPostprocessor
    from openood_multimodal.plugin.recipes import openood_defaults, postprocessor_config

    torch.set_num_threads(1)
    trial = make_trial()
    before = {name: each.features.copy() for name, each in trial.sets.items()}
    rows = support.run_all(trial)
    unchanged = all(np.array_equal(before[name], each.features) for name, each in trial.sets.items())
    cases = [case.name for case in parity.CASES if case.dim < 1000]
    errors = {}
    for name, args in {"vim": {"dim": 48}, "residual": None, "knn": {"K": 401}, "nnguide": None}.items():
        try:
            score = OpenOODPostprocessor(name, args, batch_size=50)
            score.fit(trial.sets["train"], trial.sets["val"], trial.head)
        except UserError as error:
            errors[name] = str(error)
    energies = OpenOODPostprocessor("ebo").fit(head=trial.head).score(trial.sets["test"]).conf
    shaped = OpenOODPostprocessor("ash").fit(head=trial.head).score(trial.sets["test"]).conf
    searched = OpenOODPostprocessor("ash").fit(head=trial.head)
    search = {}
    for percentile in searched.args_dict["percentile_list"]:
        searched.set_hyperparam([percentile])
        known, unknown = (searched.score(trial.sets[each]).conf for each in ("test", "ood"))
        search[percentile] = auroc(known, unknown)
    without = [name for name in RECIPES if postprocessor_config(name) is None]
    defaults = {name: openood_defaults(name) for name in ("knn", "temperature_scaling", "cfood")}
    return {
        "rows": [row._asdict() for row in rows],
        "again": [row._asdict() for row in support.run_all(trial, ("gram", "dropout", "cfood"))],
        "unchanged": unchanged,
        "comparisons": [
            {**each._asdict(), "within": each.within, "native_is_closer": each.native_is_closer}
            for case in cases
            for each in parity.compare_engines(case)
        ],
        "errors": errors,
        "ash_is_energy": bool(np.allclose(energies, shaped)),
        "search": search,
        "without": without,
        "defaults": defaults,
        "modules": sorted(name for name in ("torchvision", "imgaug") if name in sys.modules),
    }


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "openood", raising=False)  # another test's stand-in
        try:
            root = find_openood()
        except UserError as error:
            pytest.skip(f"the real OpenOOD is not tested: {error}")
    if not (root / "openood" / "postprocessors" / "gen_postprocessor.py").is_file():
        pytest.skip(f"{root} is older than OpenOOD's main: it lacks some of the postprocessors compared here")
    return pages.ask_process([__file__], root)


def _ran(measured: dict[str, Any], column: str) -> dict[str, float]:
    return {row["name"]: row[column] for row in measured["rows"] if isinstance(row[column], float)}


def test_all_of_them_run_on_stored_embeddings(measured: dict[str, Any]) -> None:
    reasons = {
        row["name"]: row["embeddings"] for row in measured["rows"] if isinstance(row["embeddings"], str)
    }
    for name, reason in reasons.items():  # a package that isn't here, or a class that an older OpenOOD lacks
        assert reason.startswith("not tried: ") or "has no openood." in reason, (name, reason)
    assert len(_ran(measured, "embeddings")) >= 20


def test_networks_give_what_their_stored_embeddings_give(measured: dict[str, Any]) -> None:
    stored, network = _ran(measured, "embeddings"), _ran(measured, "network")
    assert set(stored) - set(network) <= {name for name, recipe in RECIPES.items() if recipe.no_network}
    for name in set(network) - SAME:
        assert network[name] == pytest.approx(stored[name], abs=1e-4), name


def test_ood_is_told_apart_by_most(measured: dict[str, Any]) -> None:
    assert all(value > 0.55 for value in _ran(measured, "embeddings").values())


def test_stored_embeddings_stay_as_they_are(measured: dict[str, Any]) -> None:
    assert measured["unchanged"]


def test_random_ones_repeat(measured: dict[str, Any]) -> None:
    first = {row["name"]: row for row in measured["rows"]}
    assert [first[row["name"]] for row in measured["again"]] == measured["again"]


def test_ash_is_not_energy(measured: dict[str, Any]) -> None:
    assert not measured["ash_is_energy"]
    assert len(set(measured["search"].values())) == len(measured["search"])  # the search changes something


def test_parameters_that_do_not_fit(measured: dict[str, Any]) -> None:
    errors = measured["errors"]
    assert "dim=48" in errors["vim"]
    assert "dim=512" in errors["residual"]
    assert "K=401 neighbours among 400 embeddings" in errors["knn"]
    if "has no openood" not in errors["nnguide"]:
        assert "K=100 neighbours among 50 rows of its bank" in errors["nnguide"]


def test_engines_agree_or_ours_is_closer_to_float64(measured: dict[str, Any]) -> None:
    for each in measured["comparisons"]:
        assert each["within"] or each["native_is_closer"], each
        for figure in (each["auroc"], each["fpr"]):
            assert figure[0] == pytest.approx(figure[2], abs=parity.LIMIT), each
    apart = {(each["score"], each["case"]) for each in measured["comparisons"] if not each["within"]}
    assert {score for score, _ in apart} <= {
        "msp",
        "gen",
        "mds",
    }  # float32 probabilities saturate; rank, see below
    noted = {each["case"]: each["notes"] for each in measured["comparisons"] if each["score"] == "mds"}
    assert ("mds", "large_activations") in apart
    assert "of 120 rows has rank 116 of 160; OpenOOD's inverse" in noted["large_activations"][0]
    assert noted["more_rows_than_columns"] == []
    assert {case for score, case in apart if score == "mds"} <= {
        case for case, notes in noted.items() if notes
    }


def test_parameters_are_those_of_openoods_yaml(measured: dict[str, Any]) -> None:
    assert measured["without"] == []  # OpenOOD has a file for each
    assert measured["defaults"]["knn"] == [{"K": 50}, {"K_list": [50, 100, 200, 500, 1000]}]
    assert measured["defaults"]["temperature_scaling"] == [{}, {}]
    args, sweep = measured["defaults"]["cfood"]
    assert args == {"alpha": 0.1, "k": 0.01, "avg_topk": False}
    assert sweep["list"][:2] == [[0.1, 0.001], [0.1, 0.005]]


def test_placeholders_are_gone_afterwards(measured: dict[str, Any]) -> None:
    from openood_multimodal.plugin.placeholders import PACKAGES, state_of

    missing = [package.name for package in PACKAGES if state_of(package)]
    assert not set(measured["modules"]) & set(missing)


# --- without OpenOOD


def test_the_trial_is_the_same_every_time() -> None:
    one, other = make_trial(), make_trial()
    for name in one.sets:
        assert (one.sets[name].features == other.sets[name].features).all()
    hits = [one.net(batch["data"]).argmax(1) == batch["label"] for batch in one.loaders["test"]]
    assert sum(int(each.sum()) for each in hits) > 0.8 * 200


@pytest.mark.parametrize("score", parity.SCORES)
def test_native_scores_give_the_references_figures(score: str) -> None:
    from openood_multimodal.evaluators.metrics import auroc
    from openood_multimodal.registry import POSTPROCESSORS

    case = parity.CASES[2]
    problem = parity.make_problem(case)
    args = {"knn": {"K": case.neighbours}, "vim": {"dim": case.vim_dim}}.get(score, {})
    native = POSTPROCESSORS.get(score)(**args).fit(problem.train, problem.val, problem.head)
    conf, reference = native.score(problem.test).conf, parity.REFERENCES[score](problem, **args)
    half = parity.TEST_ROWS
    assert auroc(conf[:half], conf[half:]) == pytest.approx(
        auroc(reference[:half], reference[half:]), abs=1e-5
    )


def test_the_page() -> None:
    rows = [
        support.Row("msp", 0.91, 0.5, "", "a | b"),
        support.Row("ash", "no: it\nfailed", "not tried", "`ASHNet`", ""),
    ]
    comparison = parity.Comparison(
        "more_rows_than_columns", "gen", (0.5, 0.51, 0.5), (0.2, 0.2, 0.2), (0, 4, 0), 600
    )
    assert not comparison.within
    assert comparison.native_is_closer
    deficient = comparison._replace(score="mds", notes=("mds: rank 3 of 5",))
    unknown = comparison._replace(score="knn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(support, "describe_openood", lambda: "v9")
        text = support.page(rows, [comparison, deficient, unknown])
    assert "| msp | 91.0 | 50.0 |  | a \\| b |" in text
    assert "| ash | no: it failed | not tried | `ASHNet` |  |" in text
    assert "1 of OpenOOD's postprocessors run on stored embeddings" in text
    assert "| gen * | 50.000 | 51.000 | 50.000 | 20.000 | 20.000 | 20.000 |" in text
    assert "- gen on more_rows_than_columns: native is 0.000 (AUROC)" in text
    assert "Of the 1 cases whose covariance has a rank r below D, mds agrees on 0." in text
    assert "use the native `mds` there:\n\n- mds on" in text
    assert "OpenOOD 1.000 (AUROC) and 0.000 (FPR@95) points; mds: rank 3 of 5." in text
    assert "Not explained:\n\n- knn on" in text
    assert "| rankfeat | asks for" in text


@pytest.mark.parametrize("page", ["postprocessors", "hosts", "trainers"])
def test_the_command_without_openood(page: str, tmp_path: Path) -> None:
    words = [page, "--openood-root", str(tmp_path), "--out", str(tmp_path / "page.md")]
    done = subprocess.run([sys.executable, str(PAGES), *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not a checkout of OpenOOD" in done.stderr
    assert not (tmp_path / "page.md").exists()


def test_a_misspelt_postprocessor_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r"no postprocessor 'vimm'.*vim"):
        hosts_page.make(["nowhere"], Namespace(only="msp,vimm", problem=["tables"]))


def test_tables_keep_what_is_in_a_cell() -> None:
    lines = pages.table(("a", "b"), [("x | y", "two\nlines"), (1, "")])
    assert lines == ["| a | b |", "|---|---|", "| x \\| y | two lines |", "| 1 |  |"]


if __name__ == "__main__":
    print(json.dumps(_measure()))
