"""Stand-ins for packages that OpenOOD imports and that are missing, or broken, here.

OpenOOD imports everything it might ever need at its top: imgaug for one image preprocessor, libmr for OpenMax.
While one of its modules is being imported, and only then, a package that can't be imported is answered by a
placeholder.  What OpenOOD took from it raises one clear error when it is really used.

A placeholder's members are classes, since OpenOOD inherits from torchvision's ResNet and others.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from ..errors import MissingPackageError


@dataclass(frozen=True)
class Package:
    """A third-party package that OpenOOD imports and ours doesn't.

    Attributes:
        name: of the top-level module.
        command: installs it.
        modules: what OpenOOD imports of it; the package works when these can be imported.
        purpose: what OpenOOD uses it for.
        needed_by: prefixes of the OpenOOD modules that import it; empty for its core.
    """

    name: str
    command: str
    modules: tuple[str, ...]
    purpose: str
    needed_by: tuple[str, ...] = ()


_EVALUATION = ("openood.evaluation_api", "openood.attacks")

PACKAGES = (
    Package(
        "torchvision",
        "pip install torchvision (in one command with torch, so that the two fit)",
        ("torchvision.transforms", "torchvision.models", "torchvision.datasets"),
        "image transforms, ResNet-50, ViT",
    ),
    Package(
        "imgaug",
        'pip install imgaug "numpy<2" (it does not run on NumPy 2)',
        ("imgaug.augmenters",),
        "DRAEM's preprocessor",
    ),
    Package("faiss", "pip install faiss-cpu", ("faiss",), "KNN, NNGuide, NPOS and others"),
    Package("PIL", "pip install pillow", ("PIL.Image", "PIL.ImageFile"), "reading images"),
    Package("cv2", "pip install opencv-python-headless", ("cv2",), "DRAEM, PatchCore"),
    Package(
        "libmr",
        "pip install cython setuptools wheel && pip install --no-build-isolation libmr",
        ("libmr",),
        "OpenMax",
    ),
    Package("diffdist", "pip install diffdist", ("diffdist.functional",), "CSI's trainer"),
    Package(
        "statsmodels",
        "pip install statsmodels",
        ("statsmodels.distributions.empirical_distribution",),
        "AdaSCALE",
    ),
    Package("gdown", "pip install gdown", ("gdown",), "downloads of evaluation_api", _EVALUATION),
    Package(
        "foolbox",
        "pip install foolbox",
        ("foolbox", "foolbox.attacks", "foolbox.criteria"),
        "attacks of evaluation_api",
        _EVALUATION,
    ),
    Package("timm", "pip install timm", ("timm",), "attacks of evaluation_api", _EVALUATION),
)

_states: dict[str, str] = {}


def state_of(package: Package) -> str:
    """Return ``""`` when the package works, ``"missing"``, or ``"broken: <why>"``; it is tried once.

    To find out, it is imported.
    """
    if package.name not in _states:
        _states[package.name] = _try(package)
    return _states[package.name]


def _try(package: Package) -> str:
    if package.name not in sys.modules and importlib.util.find_spec(package.name) is None:
        return "missing"
    before = set(sys.modules)
    try:
        for module in package.modules:
            importlib.import_module(module)
    except Exception as error:  # imgaug raises AttributeError on NumPy 2, torchvision RuntimeError
        for name in set(sys.modules) - before:
            if _belongs(name, package.name):
                del sys.modules[name]
        return f"broken: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return ""


def _belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


# --- what stands in for a package ------------------------------------------------------------------------


class _Unusable(type):
    """Metaclass of placeholders: attributes are placeholders too; using one raises."""

    _message: str

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _member(f"{cls.__module__}.{cls.__qualname__}.{name}", cls._message)

    def _refuse(cls, *_: Any, **__: Any) -> Any:
        raise MissingPackageError(f"OpenOOD uses {cls.__module__}.{cls.__qualname__}, but {cls._message}")

    # Constructed, called, indexed, iterated over: all are uses.  A class that inherits from one is built as
    # any class is, and raises when it is constructed.
    __call__ = __getitem__ = __iter__ = __len__ = __contains__ = __or__ = __add__ = _refuse


def _member(path: str, message: str) -> _Unusable:
    module, _, name = path.rpartition(".")
    return _Unusable(name, (), {"__module__": module, "_message": message})


class _PlaceholderModule(ModuleType):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, "Placeholder: the package could not be imported.")
        self._message = message
        self.__version__ = "0"
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        member = _member(f"{self.__name__}.{name}", self._message)
        setattr(self, name, member)
        return member


class _Placeholders(MetaPathFinder, Loader):
    """Answers for the packages in ``messages`` (name → what to say), and for nothing else."""

    def __init__(self, messages: dict[str, str]) -> None:
        self.messages = messages

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in self.messages:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _PlaceholderModule(spec.name, self.messages[spec.name.partition(".")[0]])

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute."""


def _message(package: Package, state: str) -> str:
    problem = "is not installed" if state == "missing" else f"can't be imported here ({state})"
    return f"{package.name} {problem}: {package.command}"


@contextmanager
def placeholders(packages: Iterable[Package] = PACKAGES) -> Iterator[None]:
    """Answer imports of those ``packages`` that don't work, until the block ends.

    Afterwards ``sys.meta_path`` and ``sys.modules`` hold nothing of it.
    """
    states = {package: state_of(package) for package in packages}
    finder = _Placeholders({p.name: _message(p, state) for p, state in states.items() if state})
    sys.meta_path.insert(0, finder)  # first: a broken package is found by the others
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _PlaceholderModule)]:
            del sys.modules[name]


# --- when ----------------------------------------------------------------------------------------------------


class _OpenOODImports(MetaPathFinder):
    """Puts placeholders in place while a module of OpenOOD is executed, whenever that is."""

    def __init__(self) -> None:
        self.active = False
        self.after: dict[str, Callable[[], None]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if self.active or not _belongs(fullname, "openood"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            self.active = True
            try:
                with placeholders(packages_for(fullname)):
                    execute(module)
            finally:
                self.active = False
            if fullname in self.after:
                self.after[fullname]()

        loader.exec_module = exec_module  # of this spec's own loader; its class, and so its source, stay
        return spec


def packages_for(module: str) -> list[Package]:
    """Return the packages that importing the OpenOOD module ``module`` may ask for."""
    return [p for p in PACKAGES if not p.needed_by or any(_belongs(module, prefix) for prefix in p.needed_by)]


_watch = _OpenOODImports()


def watch_imports() -> None:
    """From now on, import OpenOOD's modules with placeholders."""
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


def after_import(module: str, act: Callable[[], None]) -> None:
    """Call ``act`` once OpenOOD's ``module`` has been imported: now, where it is; while imports are watched."""
    _watch.after[module] = act
    if module in sys.modules:
        act()


def stop_watching() -> None:
    """End `watch_imports`."""
    _watch.after.clear()
    if _watch in sys.meta_path:
        sys.meta_path.remove(_watch)
