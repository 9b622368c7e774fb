"""``python -m openood_multimodal.plugin SCRIPT ...``, and processes that OpenOOD spawns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from openood_multimodal.errors import UserError
from openood_multimodal.plugin import is_registered
from openood_multimodal.plugin.__main__ import main
from openood_multimodal.plugin.arguments import prepare_arguments

TRAIN = (
    *("--config", "configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml"),
    *("configs/pipelines/train/a2d.yml", "--network.hidden_dim", "8", "--network.embedding_dim", "6"),
    *("--optimizer.num_epochs", "2", "--pipeline.name", "train", "--exp_name", "run"),
)


@pytest.fixture(autouse=True)
def _restored(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)


def test_openoods_own_main_trains_from_anywhere(standin, tmp_path):
    # `main.py` is in OPENOOD_ROOT, the configs are ours, and a list is overridden
    words = [word.replace("a2d.yml", "multimodal_baseline.yml") for word in TRAIN]
    assert main(["main.py", *words, "--output_dir", str(tmp_path), "--dataset.modalities", "b"]) == 0
    weights = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)
    assert weights["fc.weight"].shape == (6, 6)


def test_the_script_sees_what_it_would_see_without_us(standin, tmp_path, capsys):
    script = tmp_path / "look.py"
    script.write_text(
        "import json, pickle, sys\n"
        "from openood.networks import get_network\n"
        "def f(): pass\n"
        "assert pickle.loads(pickle.dumps(f)) is f\n"
        "print(json.dumps([__name__, __file__, sys.argv, sys.path[0], vars(sys.modules['__main__']) is globals()]))\n"
        "sys.exit(3)\n"
    )
    with pytest.raises(SystemExit) as left:
        main(["look.py", "--batch-size", "3"])
    assert left.value.code == 3
    file = str(script)
    assert json.loads(capsys.readouterr().out) == [
        "__main__",
        file,
        [file, "--batch-size", "3"],
        str(tmp_path),
        True,
    ]
    assert is_registered()


def test_exit_codes(standin, tmp_path, capsys):
    (tmp_path / "stop.py").write_text("raise KeyboardInterrupt\n")
    assert main(["stop.py"]) == 130
    (tmp_path / "fine.py").write_text("")
    assert main(["fine.py"]) == 0
    assert main(["no.py"]) == 2
    error = capsys.readouterr().err
    assert "there is no script 'no.py'" in error
    assert "Traceback" not in error


def test_openood_beside_the_script_is_found(standin, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OPENOOD_ROOT")
    monkeypatch.chdir(standin)
    assert main(["main.py", *TRAIN, "--output_dir", str(tmp_path)]) == 0
    assert (tmp_path / "run" / "best.ckpt").is_file()


def test_our_own_main_is_not_a_script_of_openoods(standin, monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    assert main(["main.py", *TRAIN]) == 2
    assert "this package's own main.py" in capsys.readouterr().err


def test_words_of_image_runs_and_other_scripts_stay(standin, tmp_path, image_config):
    assert prepare_arguments(["--root", "x", "-b"], standin, tmp_path) == ["--root", "x", "-b"]
    file = tmp_path / "image.yml"
    file.write_text(yaml.safe_dump(image_config()))
    words = ["--config", str(file), "--optimizer.lr", "0.1:float"]
    assert prepare_arguments(words, standin, tmp_path) == words


def test_files_are_found_here_then_in_openood_then_among_ours(standin, tmp_path):
    root = tmp_path / "root"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "theirs.yml").write_text("mark: theirs\n")
    (tmp_path / "mine.yml").write_text("mark: mine\n")
    names = ["mine.yml", "configs/theirs.yml", "configs/networks/mlp_fusion.yml", *TRAIN[1:4:2]]
    found = prepare_arguments(["--config", *names], root, tmp_path)
    assert found[1:3] == ["mine.yml", str(root / "configs" / "theirs.yml")]
    assert all(Path(name).is_file() for name in found[1:])
    assert prepare_arguments([f"--config={names[0]}", *names[1:]], root, tmp_path) == found
    with pytest.raises(UserError, match=r"config 'configs/nowhere.yml'.*Nor is it in OpenOOD's folder"):
        prepare_arguments(["--config", "configs/nowhere.yml"], root, tmp_path)


def test_overrides_reach_openood_in_a_file_that_it_can_read(standin, tmp_path):
    words = [*TRAIN, "--dataset.modalities", "b", "--mark", "a:b"]
    found = prepare_arguments(words, standin, tmp_path)
    assert found[0] == "--config"
    assert not [word for word in found[1:] if word.startswith("--")]
    last = yaml.safe_load(Path(found[-1]).read_text())
    assert last["dataset"]["modalities"] == ["b"]
    assert last["mark"] == "a:b"
    assert last["network"] == {"hidden_dim": 8, "embedding_dim": 6}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--optimizer.num_epoch", "3"], "no config sets 'optimizer.num_epoch'.*num_epochs"),
        (["--network.hidden_dim", "many"], "--network.hidden_dim many"),
        (["--machine_rank", "null"], "machine_rank is not set, and OpenOOD's main.py reads it"),
    ],
)  # fmt: skip
def test_mistakes_in_overrides_are_named_before_anything_runs(standin, tmp_path, words, message, capsys):
    assert main(["main.py", *TRAIN, "--output_dir", str(tmp_path / "out"), *words]) == 2
    import re

    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_spawned_processes_register_and_stay_in_step(standin, tmp_path, environment):
    if torch.cuda.is_available():
        pytest.skip("the stand-in's processes talk through the CPU")
    command = [sys.executable, "-m", "openood_multimodal.plugin", "main.py", *TRAIN]
    command += ["--output_dir", str(tmp_path), "--num_gpus", "2", "--evaluator.name", "base"]
    done = subprocess.run(
        command,
        env={**environment, "OPENOOD_ROOT": str(standin)},
        cwd=standin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        torch.load(tmp_path / "run" / name, weights_only=True) for name in ("best.ckpt", "best1.ckpt")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_config_without_a_seed_takes_0(standin, tmp_path):
    (tmp_path / "theirs.yml").write_text(
        "exp_name: x\noutput_dir: y\nnum_gpus: 0\nnum_workers: 0\npipeline: {name: train}\ntrainer: {name: base}\n"
    )
    files = ["configs/datasets/synthetic/synthetic_far.yml", "configs/networks/mlp_fusion.yml"]
    found = prepare_arguments(["--config", *files, str(tmp_path / "theirs.yml")], standin, tmp_path)
    assert yaml.safe_load(Path(found[1]).read_text()) == {"seed": 0, "num_machines": 1, "machine_rank": 0}
    (tmp_path / "seed.yml").write_text("seed: 3\nnum_machines: 1\nmachine_rank: 0\n")
    given = ["--config", *files, str(tmp_path / "theirs.yml"), str(tmp_path / "seed.yml")]
    assert len(prepare_arguments(given, standin, tmp_path)) == len(given)
