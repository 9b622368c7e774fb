"""Suites: what is planned, what identifies a run, and what is refused before the first training."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from suite_runs import JOB, SUITE

from openood_multimodal.config import find_config, load_config
from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_json
from openood_multimodal.pipelines.suites import plan_suite, settings_of
from openood_multimodal.version import __version__

FIELDS_OF_OLD_MARKS = (
    *("benchmark", "training", "partition", "seed", "modalities", "network", "evaluator", "postprocessors"),
    *("preset", "postprocessor_args", "settings"),
)


def test_plan():
    jobs = plan_suite({**SUITE, "seeds": 3})
    assert len(jobs) == len({job.folder for job in jobs}) == len({job.digest() for job in jobs}) == 2 * 2 * 3
    assert [(j.partition, j.seed, j.training) for j in jobs[:3]] == [
        (0, 0, "multimodal_baseline"),
        (0, 0, "a2d"),
        (0, 1, "multimodal_baseline"),
    ]
    assert jobs[0].modalities == ("a", "b")
    assert str(jobs[0]) == os.path.join("synthetic_far", "a+b", "multimodal_baseline", "p0_s0")
    assert (
        plan_suite({"runs": [{"benchmark": "x/y", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1})[
            0
        ].modalities
        == ()
    )


def test_settings_of_a_suite_may_be_nested():
    """A YAML reader unfolds dotted keys; they must not replace whole sections of the training's config."""
    nested = {"optimizer": {"num_epochs": 3, "lr": 0.001}, "dataset": {"modalities": ["a", "b"]}}
    dotted = {"optimizer.num_epochs": 3, "optimizer.lr": 0.001, "dataset.modalities": ["a", "b"]}
    expected = {"optimizer.num_epochs": "3", "optimizer.lr": "0.001", "dataset.modalities": "a,b"}
    for settings in (nested, dotted):
        assert plan_suite({**SUITE, "settings": settings})[0].overrides == expected
    both = {**nested, "optimizer.num_epochs": "5"}  # as when --optimizer.num_epochs 5 follows a suite
    assert plan_suite({**SUITE, "settings": both})[0].overrides["optimizer.num_epochs"] == "5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": [{"benchmrk": "x", "trainings": []}]}, "Did you mean 'benchmark'"),
        ({"runs": [{"benchmark": "x"}]}, "trainings is not set"),
        ({"runs": [{"benchmark": "x", "trainings": "a2d"}]}, "must be a list"),
        ({"runs": {"benchmark": "x"}}, "must be a list"),
        ({"partitions": "many"}, "whole number"),
        ({"seeds": 1.5}, "whole number"),
    ],
)
def test_mistakes_in_a_suite(change, message):
    with pytest.raises(UserError, match=message):
        plan_suite({**SUITE, **change})


def test_entries_and_variants():
    """An entry's own numbers take the place of the suite's, a training's own settings hold beside the entry's."""
    rows = [
        "a2d",
        {
            "training": "a2d",
            "variant": "l1",
            "settings": {"trainer.discrepancy": "l1"},
            "postprocessors": ["msp"],
        },
    ]
    settings = {"trainer": {"gamma": 2.0}}
    entry = {
        "benchmark": "x/y",
        "trainings": rows,
        "partitions": 1,
        "seeds": 3,
        "network": "own",
        "settings": settings,
    }
    jobs = plan_suite({**SUITE, "runs": [entry, *SUITE["runs"]], "settings": {}})
    own, others = [j for j in jobs if j.benchmark == "x/y"], [j for j in jobs if j.benchmark != "x/y"]
    assert (len(own), len(others)) == (2 * 1 * 3, 2 * 2 * 1)
    assert {j.network for j in own} == {"own"}
    assert {j.network for j in others} == {"mlp_fusion"}
    plain, variant = own[:2]
    assert (plain.method, variant.method) == ("a2d", "a2d-l1")
    assert str(variant) == os.path.join("y", "default", "a2d-l1", "p0_s0")
    assert plain.overrides == {"trainer.gamma": "2.0"}
    assert variant.overrides == {"trainer.gamma": "2.0", "trainer.discrepancy": "l1"}
    assert (plain.postprocessors, variant.postprocessors) == (("ebo",), ("msp",))
    assert variant.about()["variant"] == "l1"
    assert "variant" not in plain.about()  # marks of older versions hold
    assert [(j.partition, j.seed) for j in jobs] == sorted((j.partition, j.seed) for j in jobs)


def test_counts_asked_for_hold_for_every_entry(tmp_path, cli):
    suite = {**SUITE, "runs": [{**SUITE["runs"][0], "partitions": 4, "seeds": 4}]}
    (tmp_path / "own.yml").write_text(json.dumps(suite))
    words = ["--suite", str(tmp_path / "own.yml"), "--partitions", "1", "--seeds", "2", "--dry-run"]
    done = cli(["benchmark", *words, "--output-dir", str(tmp_path / "out")])
    assert done.code == 0
    assert done.out.count("not begun") == 2 * 1 * 2


def test_settings_of():
    words = ["--a.b", "1", "--c=x y", "--d", "p", "q", "--e", "-3"]
    assert settings_of(words) == {"a.b": "1", "c": "x y", "d": "p,q", "e": "-3"}


def test_a_dry_run_lists_and_runs_nothing(tmp_path, cli):
    words = ["benchmark", "--benchmark", "synthetic/synthetic_far", "--trainings", "a2d", "--partitions", "1"]
    done = cli([*words, "--seeds", "2", "--dry-run", "--output-dir", str(tmp_path / "out")])
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (0, 2 * 3)
    assert lines[0] == f"{Path('synthetic_far', 'default', 'a2d', 'p0_s0')}: not begun; can run"
    assert lines[1].startswith("  openood-mm run --config datasets/synthetic/synthetic_far.yml ")
    assert "pipelines/test/near_ood.yml" in lines[2]
    assert not (tmp_path / "out").exists()


def test_marks_of_older_versions_are_recognised(tmp_path):
    """Until 0.1.0's redesign ``done.json`` called the digest ``job``; what it is the digest of has not changed."""
    job = replace(JOB, output=str(tmp_path))
    job.folder.mkdir(parents=True)
    (job.folder / "done.json").write_text(json.dumps({"job": job.digest(), **job.about()}))
    assert job.is_done()
    version, about, training, test, *_ = job.settings()
    assert (version, sorted(about)) == (__version__, sorted(FIELDS_OF_OLD_MARKS))
    assert test["network"]["checkpoint"] == "training/best.ckpt"
    assert training["trainer"]["name"] == "a2d"


def test_the_printed_commands_of_a_suite_are_what_runs(tmp_path):
    for command in replace(
        JOB, output=str(tmp_path), postprocessor_args={"ebo": {"temperature": 2}}
    ).commands():
        words = shlex.split(str(command))[3:]
        place = next(number for number, word in enumerate(words) if word.startswith("--"))
        assert load_config(words[:place], words[place:]) == command.config()


def test_a_changed_config_is_run_again(tmp_path, monkeypatch):
    """The digest is of the configs' content: the working directory's files come before the packaged ones."""
    monkeypatch.chdir(tmp_path)
    before = JOB.digest()
    own = tmp_path / "pipelines" / "train" / "a2d.yml"
    own.parent.mkdir(parents=True)
    text = find_config("pipelines/train/a2d.yml").read_text()
    assert "gamma: 1.0" in text
    own.write_text(text)
    assert JOB.digest() == before
    own.write_text(text.replace("gamma: 1.0", "gamma: 50.0"))
    assert JOB.digest() != before


def test_two_runs_in_one_folder_are_refused():
    with pytest.raises(UserError, match="asked for twice"):
        plan_suite({**SUITE, "runs": SUITE["runs"] * 2})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partitions", "99"], "synthetic_far has no partition"),
        (["--modalities", "a,x"], "synthetic_far has no modality 'x'"),
        (["--trainings", "a2dd"], "Did you mean 'pipelines/train/a2d.yml'"),
        (["--postprocessors", "mspp"], "Did you mean 'msp'"),
        (["--seed", "3"], "give --seeds alone"),
        (["--dataset.partition", "1"], "give --partitions alone"),
    ],
)
def test_mistakes_show_before_the_first_training(tmp_path, cli, words, message):
    done = cli(
        ["benchmark", "--benchmark", "synthetic/synthetic_far", "--output-dir", str(tmp_path / "out"), *words]
    )
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_suite_may_keep_embeddings(tmp_path):
    """The settings, and so finished runs, stay the same; a run without its stores is not done."""
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,) = plan_suite(suite, tmp_path)
    (kept,) = plan_suite({**suite, "keep_embeddings": True}, tmp_path)
    assert kept.digest() == plain.digest()
    assert kept.tests == plain.tests == ("test",)
    recorders = [each.test_commands()[0].config()["recorder"] for each in (plain, kept)]
    assert [each["save_embeddings"] for each in recorders] == [False, True]
    assert recorders[1]["embeddings"] == str(tmp_path / "htad_4_3/default/a2d/p0_s0/embeddings")
    write_json(plain.folder / "done.json", {"digest": plain.digest()})
    assert plain.is_done()
    assert not kept.is_done()
    (kept.embeddings).mkdir()
    (kept.embeddings / "head.npz").write_bytes(b"")
    assert kept.is_done()


def test_a_suite_may_keep_scores(tmp_path):
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,) = plan_suite(suite, tmp_path)
    (kept,) = plan_suite({**suite, "keep_scores": True}, tmp_path)
    assert kept.digest() == plain.digest()
    recorders = [each.test_commands()[0].config()["recorder"] for each in (plain, kept)]
    assert [each["save_scores"] for each in recorders] == [False, True]
    write_json(plain.folder / "done.json", {"digest": plain.digest()})
    assert plain.is_done()
    assert not kept.is_done()
    (kept.folder / "test" / "scores").mkdir(parents=True)
    assert kept.is_done()


def test_a_suite_may_ask_for_other_metrics(tmp_path):
    suite = {"runs": [{"benchmark": "htad/htad_4_3", "trainings": ["a2d"]}], "partitions": 1, "seeds": 1}
    (plain,), (empty,), (asked,) = (
        plan_suite({**suite, **more}, tmp_path) for more in ({}, {"metrics": []}, {"metrics": ["failure"]})
    )
    assert plain.digest() == empty.digest() != asked.digest()
    assert asked.test_commands()[0].config()["metrics"] == ["failure"]
    assert "metrics" not in plain.about()
    with pytest.raises(UserError, match="metrics name 'failing'"):
        plan_suite({**suite, "metrics": ["failing"]}, tmp_path)
