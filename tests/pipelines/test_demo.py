"""The demo's stages: every command is one, missing packages are named before anything runs, a failure stops it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from openood_multimodal.config import read_config
from openood_multimodal.errors import MissingPackageError, UserError
from openood_multimodal.pipelines.demo import BEFORE_AFTER, Stage, best_rows, demo_stages, run_demo
from openood_multimodal.resources import configs_dir


def stage(name: str, *commands: tuple[str, ...], packages: dict[str, str] | None = None) -> Stage:
    return Stage(name, f"title of {name}", 95, packages or {}, commands, ("openood-mm its --own",))


@pytest.mark.parametrize("full", [False, True])
def test_every_suite_of_the_demo_can_be_planned(full: bool, tmp_path: Path) -> None:
    suites = [
        words[words.index("--suite") + 1]
        for each in demo_stages(tmp_path, 2, full)
        for words in each.commands
        if words[0] == "benchmark"
    ]
    assert len(suites) == (2 if full else 3)
    for name in suites:
        assert (configs_dir() / "suites" / f"{name}.yml").is_file()


def test_stages_run_in_order_and_end_with_the_leaderboard_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Sequence[str]] = []

    def run(words: Sequence[str]) -> int:
        ran.append(words)
        return 0

    run_demo([stage("a", ("one",), ("two", "a b")), stage("b", ("three",))], tmp_path, run)
    out = capsys.readouterr().out
    assert [words[0] for words in ran] == ["one", "two", "three", "leaderboard", "figures"]
    assert "=== 1 of 2: title of a\n    about 1 min 35 s on two cores" in out
    assert "$ openood-mm two 'a b'" in out
    assert "openood-mm its --own" in out


def test_chosen_stages(tmp_path: Path) -> None:
    ran: list[str] = []
    stages = [stage("a", ("one",)), stage("b", ("two",))]
    run_demo(stages, tmp_path, lambda words: ran.append(words[0]) or 0, ["b"])
    assert ran == ["two", "leaderboard", "figures"]
    with pytest.raises(UserError, match=r"no stage 'c'\. Known: a, b"):
        run_demo(stages, tmp_path, lambda words: 0, ["c"])


def test_figures_are_left_out_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr("openood_multimodal.pipelines.demo.find_spec", lambda name: None)
    assert run_demo([stage("a", ("one",))], tmp_path, lambda words: ran.append(words[0]) or 0) == 0
    assert ran == ["one", "leaderboard"]
    assert "left out: matplotlib is not installed: pip install" in capsys.readouterr().out


def test_the_figures_before_and_after_are_of_runs_that_keep_scores(tmp_path: Path) -> None:
    htad = demo_stages(tmp_path, 1)[0]
    suite = read_config(configs_dir() / "suites" / "demo_htad.yml")
    words = next(words for words in htad.commands if words[0] == "figures")
    assert suite["keep_scores"] is True
    for training, run in zip(BEFORE_AFTER, words[1:3], strict=True):
        assert training in suite["runs"][0]["trainings"]
        assert f"/{'+'.join(suite['runs'][0]['modalities'][0])}/{training}/p0_s0/test" in run


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_failed_command_stops_the_demo(
    code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, bad input and Ctrl-C keep their exit codes."""
    ran: list[str] = []

    def run(words: Sequence[str]) -> int:
        ran.append(words[0])
        return code

    assert run_demo([stage("a", ("one",), ("two",))], tmp_path, run) == code
    assert "resumes there" in capsys.readouterr().err
    assert ran == ["one"]


def test_missing_packages_are_named_before_anything_runs(tmp_path: Path) -> None:
    missing = {"no-such-package-of-anybody": "pip install it"}
    stages = [stage("a", ("one",)), stage("b", ("two",), packages=missing)]
    with pytest.raises(
        MissingPackageError, match=r"needs no-such-package-of-anybody(.|\n)*pip install it(.|\n)*--stages a"
    ):
        run_demo(stages, tmp_path, lambda words: pytest.fail("ran"))


def test_the_best_rows_fit_a_terminal(tmp_path: Path) -> None:
    lines = ["modalities,training,postprocessor,AUROC,AUROC_std,FPR@95,FPR@95_std"]
    lines += [f"fac+fou+kar+mor+pix+zer,a2d_npmix,mds,{90 + n}.5,1.25,{n}.5," for n in range(7)]
    path = tmp_path / "mfeat.csv"
    path.write_text("\n".join(lines) + "\n")
    table = best_rows(path, 5).splitlines()
    assert [line.split()[-4] for line in table[2:]] == ["96.50", "95.50", "94.50", "93.50", "92.50"]
    assert "A2D+NP-Mix" in table[2]
    assert "Mahalanobis" in table[2]
    assert max(map(len, table)) <= 80
