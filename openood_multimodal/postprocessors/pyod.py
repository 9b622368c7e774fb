"""PyOD's detectors: ``pyod/ECOD`` and the like, fitted to training embeddings of unit norm."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays import Embeddings, Scores
from ..errors import MissingPackageError, UserError
from ..naming import did_you_mean
from ..registry import ENGINES
from .one_class import OneClass
from .params import ScoreInfo
from .rows import Rows

PYOD = "pyod"


@ENGINES.register(PYOD)
class PyODEngine:
    """PyOD's detectors under their class names, with PyOD's parameters; needs ``openood-multimodal[pyod]``."""

    has_presets = False

    @staticmethod
    def build(name: str, preset: str, parameters: Mapping[str, Any], seed: int) -> PyODScore:
        """Return the detector called ``name``, not fitted yet; its defaults are PyOD's, whatever the preset."""
        return PyODScore(name, parameters, seed)

    @staticmethod
    def hint(name: str) -> str:
        """Return how a detector is asked for in a run of another engine; "" where PyOD isn't installed or has none."""
        if importlib.util.find_spec(PYOD) is None or not name.isidentifier() or _module_of(name) is None:
            return ""
        return f"'{name}' is one of PyOD's detectors: name it pyod/{name}."


class PyODScore(OneClass):
    """A detector of PyOD on embeddings divided by their norms: minus its outlier score.

    A whole set is scored at once, since some detectors (ECOD, COPOD) score a sample by those beside it, too.

    Args:
        detector: its class's name.
        arguments: of the class.
        seed: ``random_state``, where the class takes one.

    Raises:
        MissingPackageError: without PyOD.
        UserError: for an unknown detector or parameter.
    """

    info = ScoreInfo(
        title="PyOD: A Python Toolbox for Scalable Outlier Detection",
        authors="Yue Zhao, Zain Nasrullah, Zheng Li",
        venue="JMLR",
        year=2019,
        url="https://jmlr.org/papers/v20/19-011.html",
    )
    grows = "D numbers a training row, and what the detector holds"

    def __init__(self, detector: str, arguments: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.name = detector
        super().__init__()
        self.kind = detector_class(detector)
        self.engine = {"name": PYOD, "version": importlib.metadata.version(PYOD)}
        self._arguments = dict(arguments or {})
        known = [name for name in inspect.signature(self.kind).parameters if name != "kwargs"]
        for key in self._arguments:
            if key not in known:
                raise UserError(f"{detector}.{key} is not a parameter.{did_you_mean(key, known)}")
        if "random_state" in known:
            self._arguments.setdefault("random_state", seed)

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments in force that differ from PyOD's defaults, and the seed."""
        return dict(self._arguments)

    def make(self, rows: int) -> Any:
        """Return PyOD's detector.

        Raises:
            UserError: for a value that PyOD refuses.
        """
        try:
            return self.kind(**self._arguments)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.name}: PyOD refuses its parameters: {error}") from error

    def score(self, embeddings: Embeddings) -> Scores:
        """Score a set at once; see `Postprocessor.score`."""
        self.check_ready(embeddings)
        rows = Rows(embeddings, slice(0, len(embeddings)), self.head)
        return self.score_rows(rows)

    def score_rows(self, rows: Rows) -> Scores:
        """Return minus PyOD's outlier scores.

        Raises:
            UserError: where PyOD gives a score that isn't finite.
        """
        found = -np.asarray(self.detector.decision_function(rows.unit), dtype=float)
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found))[0])
            raise UserError(f"{self.name}: PyOD gives row {row} the score {-found[row]}.")
        return Scores(rows.pred, found)


def detector_class(name: str) -> Any:
    """Return PyOD's class called ``name``.

    Raises:
        MissingPackageError: without PyOD, or a package that the detector needs.
        UserError: where PyOD has none.
    """
    if importlib.util.find_spec(PYOD) is None:
        raise MissingPackageError(
            f'pyod/{name} needs PyOD: pip install "openood-multimodal[pyod]" (or: pip install pyod).'
        )
    module = _module_of(name)
    if module is None:
        known = [each.name for each in pkgutil.iter_modules(importlib.import_module("pyod.models").__path__)]
        raise UserError(f"PyOD has no detector '{name}'.{did_you_mean(name.lower(), known)}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise MissingPackageError(f"pyod/{name} needs a package that isn't here: {error}") from error
    if not inspect.isclass(found):
        raise UserError(
            f"PyOD's module {module} has no class '{name}'; names are PyOD's classes', e.g. ECOD."
        )
    return found


def _module_of(name: str) -> str | None:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    for each in (name.lower(), snake):
        if each.isidentifier() and importlib.util.find_spec(f"pyod.models.{each}") is not None:
            return f"pyod.models.{each}"
    return None
