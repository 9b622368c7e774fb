"""What an OpenOOD user sees first when something isn't right: one message, before anything is written."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from openood_multimodal.cli.main import main as own
from openood_multimodal.errors import UserError
from openood_multimodal.plugin import is_registered, launching
from openood_multimodal.plugin.__main__ import main
from openood_multimodal.plugin.arguments import prepare_arguments
from openood_multimodal.postprocessors.run import resolve

DATA = ("configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml")
TRAIN = ("--config", *DATA, "configs/pipelines/train/a2d.yml", "--pipeline.name", "train")
TEST = ("--config", *DATA, "configs/pipelines/test/near_ood.yml", "--pipeline.name", "test_ood")


@pytest.fixture(autouse=True)
def _restored(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("root", "said"), [("here", "not a checkout of OpenOOD"), ("nowhere", "does not exist")]
)
def test_a_wrong_root(monkeypatch, tmp_path, capsys, root, said):
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path / root))
    assert main(["main.py", *TRAIN]) == 2
    assert said in capsys.readouterr().err


def _last(words: list[str]) -> dict:
    return yaml.safe_load(Path(words[-1]).read_text())


def test_our_scores_need_no_file(standin, tmp_path):
    for more in (["--postprocessor.name", "mm_vim"], ["--postprocessor.name=mm_vim"]):
        words = prepare_arguments(
            [*TEST, *more, "--postprocessor.postprocessor_args.dim", "5"], standin, tmp_path
        )
        section = yaml.safe_load(Path(words[-2]).read_text())["postprocessor"]
        assert (section["name"], section["APS_mode"], section["postprocessor_args"]) == (
            "mm_vim",
            False,
            {"dim": 256},
        )
        assert _last(words)["postprocessor"]["postprocessor_args"] == {"dim": 5}


def test_a_file_with_the_section_counts(standin, tmp_path):
    (tmp_path / "knn.yml").write_text(
        "postprocessor: {name: knn, APS_mode: true, postprocessor_args: {K: 3}}\n"
    )
    files = (*TEST[:4], str(tmp_path / "knn.yml"), *TEST[4:])
    words = prepare_arguments([*files, "--postprocessor.name", "mm_knn"], standin, tmp_path)
    assert not any("postprocessor.yml" in word for word in words)


def test_openoods_scores_need_theirs(tmp_path):
    (tmp_path / "configs" / "postprocessors").mkdir(parents=True)
    (tmp_path / "configs" / "postprocessors" / "she.yml").write_text("postprocessor: {name: she}\n")
    with pytest.raises(UserError, match=r"add configs/postprocessors/she\.yml after --config"):
        prepare_arguments([*TEST, "--postprocessor.name", "she"], tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"no config sets 'postprocessor\.name'"):
        prepare_arguments([*TEST, "--postprocessor.name", "shee"], tmp_path, tmp_path)


def test_a_score_that_only_openood_has():
    for name in ("openmax", "knn"):
        assert resolve(f"openood/{name}").engine == "openood"
    with pytest.raises(UserError, match="name it openood/openmax, or set engine: openood"):
        resolve("openmax")
    with pytest.raises(UserError, match=r"rankfeat.*can't run on embeddings"):
        resolve("rankfeat")
    assert resolve("openmax", "openood").label == "openmax"


def test_a_name_of_both_engines_is_the_run_s_own():
    assert resolve("rmds") == ("rmds", "native", "rmds")
    assert resolve("openood/rmds") == ("openood-rmds", "openood", "rmds")
    assert resolve("rmds", "openood") == ("rmds", "openood", "rmds")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            "datasets/hmdb51/hmdb51_25_26.yml",
            "splits import --from MultiOOD --benchmark hmdb51_25_26 --out splits",
        ),
        ("datasets/moving_shapes/moving_shapes.yml", "prepare moving_shapes --root data/moving_shapes"),
    ],
)
def test_missing_manifests(capsys, config, said):
    assert own(["run", "--config", config, "networks/clip_fusion_small.yml", "pipelines/train/a2d.yml"]) == 2
    assert said in capsys.readouterr().err


def test_more_processes_than_gpus(monkeypatch):
    code = "def _distributed_worker(): ...\ndef launch(*args): return len(args)\n"
    theirs: dict = {}
    exec(code, theirs)
    for there, said in ((0, "has no GPU.*--num_gpus 1"), (1, "has 1 GPU:.*--num_gpus 1"), (2, "")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda there=there: there)
        if said:
            with pytest.raises(UserError, match=said):
                launching.launch(theirs["launch"], print, print, 2, 1)
        else:
            assert launching.launch(theirs["launch"], print, print, 2, 1) == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launching.launch(theirs["launch"], print, print, 1, 1) == 3


def test_a_folder_below_a_file(standin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file; name another folder: --output_dir"):
        prepare_arguments([*TRAIN, "--output_dir", str(tmp_path / "file" / "x")], standin, tmp_path)


def test_doctor_registers(standin, cli):
    done = cli(["doctor"])
    assert done.code == 0, done.err
    assert "has all that the plugin relies on" in done.out
    assert not is_registered()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: shutil.rmtree(root / "openood" / "trainers"), "it has no openood.trainers"),
        (
            lambda root: (root / "openood" / "trainers" / "utils.py").write_text(
                "def get_trainer(net): pass\n"
            ),
            "takes",
        ),
        (
            lambda root: (root / "openood" / "trainers" / "utils.py").write_text("1 / 0\n"),
            "ZeroDivisionError",
        ),
        (
            lambda root: (root / "openood" / "evaluation_api" / "postprocessor.py").write_text(
                "get_postprocessor=1\n"
            ),
            "",
        ),
    ],
)
def test_doctor_finds_what_would_fail(standin, cli, tmp_path, monkeypatch, break_it, said):
    shutil.copytree(standin, tmp_path / "copy")
    break_it(tmp_path / "copy")
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path / "copy"))
    done = cli(["doctor"])
    assert done.code == 1
    assert said in done.err.splitlines()[-1]
    assert "openood" in done.out


def test_doctor_and_a_root_that_is_none(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENOOD_ROOT", str(tmp_path / "nowhere"))
    assert cli(["doctor"]).code == 1
