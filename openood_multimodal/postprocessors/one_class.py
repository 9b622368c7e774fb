"""One-class detectors of scikit-learn on embeddings of unit norm."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..arrays import Embeddings, Scores
from ..linalg.rows import Floats
from ..linalg.spectra import squared_distances
from ..linalg.unit_rows import unit_rows
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .params import ScoreInfo, require_number, require_whole
from .rows import Rows

if TYPE_CHECKING:
    from .shared import Shared


class OneClass(Postprocessor):
    """A detector that is fitted to all training rows at once, divided by their norms, and ignores labels and logits."""

    needs = frozenset({"train"})
    fit_reads_params = True

    detector: Any

    @abstractmethod
    def make(self, rows: int) -> Any:
        """Return the detector, not fitted yet, for a number of training rows."""

    def learn(self, shared: Shared) -> None:
        """Fit the detector to the training rows, or ``rows`` of them; these are held in memory, in float64."""
        train = shared.train_set
        most = getattr(self.params, "rows", len(train))
        if most < len(train):
            chosen = np.linspace(0, len(train) - 1, most).astype(np.int64)
            train = Embeddings(np.asarray(train.features[chosen]), np.asarray(train.labels)[chosen])
            self.notes.append(f"{self.name}: fitted to {most} of the {len(shared.train_set)} training rows.")
        features = np.concatenate([unit_rows(block) for block in shared.feature_blocks(train)])
        self.detector = self.make(len(features)).fit(features)

    def score_rows(self, rows: Rows) -> Scores:
        """Return the detector's score, higher for rows like those of training."""
        return Scores(rows.pred, self.detector.score_samples(rows.unit))


@POSTPROCESSORS.register("ocsvm")
class OCSVM(OneClass):
    """One-class support vector machine with a Gaussian kernel: its decision function."""

    name = "ocsvm"
    info = ScoreInfo(
        title="Estimating the Support of a High-Dimensional Distribution",
        authors="Bernhard Schölkopf, John C. Platt, John Shawe-Taylor, Alex J. Smola, Robert C. Williamson",
        venue="Neural Computation",
        year=2001,
        url="https://doi.org/10.1162/089976601750264965",
    )

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``nu``, above 0 to 1, and ``gamma`` of the kernel, None: 1 / (D · variance) (0.5 and None:
        scikit-learn's); ``rows``, training rows used at most, evenly spaced (5000, ours: time grows with their square).
        """

        nu: float = 0.5
        gamma: float | None = None
        rows: int = 5000

        def __post_init__(self) -> None:
            require_number("nu", self.nu, 0.0, 1.0, above=True)
            if self.gamma is not None:
                require_number("gamma", self.gamma, 0.0, above=True)
            require_whole("rows", self.rows, 2)

    params: Params

    def make(self, rows: int) -> Any:
        """Return scikit-learn's machine, which gets kernels that matrix products make."""
        return KernelMachine(self.params.nu, self.params.gamma)


class KernelMachine:
    """scikit-learn's one-class machine with a Gaussian kernel, as quick as products are.

    libsvm's own kernel takes one inner product after the other, ten times as long.

    Args:
        nu: as `OCSVM`'s.
        gamma: as `OCSVM`'s.
    """

    def __init__(self, nu: float, gamma: float | None) -> None:
        self.nu, self.gamma = nu, gamma

    def fit(self, rows: Floats) -> Self:
        """Find the support among ``rows`` ``[n, D]``, and its weights."""
        from sklearn.svm import OneClassSVM

        if self.gamma is None:
            variance = float(rows.var())
            self.gamma = 1.0 / (rows.shape[1] * variance) if variance > 0.0 else 1.0
        machine = OneClassSVM(nu=self.nu, kernel="precomputed").fit(self._kernel(rows, rows))
        self._support, self._weights = rows[machine.support_], machine.dual_coef_[0]
        return self

    def score_samples(self, rows: Floats) -> Floats:
        """Return the decision function of ``rows`` ``[B, D]``, without its offset."""
        return np.asarray(self._kernel(rows, self._support) @ self._weights)

    def _kernel(self, rows: Floats, others: Floats) -> Floats:
        assert self.gamma is not None
        exponents = squared_distances(rows, others)
        exponents *= -self.gamma
        return np.asarray(np.exp(exponents, out=exponents))


@POSTPROCESSORS.register("iforest")
class IsolationForest(OneClass):
    """Isolation forest: minus its anomaly score."""

    name = "iforest"
    info = ScoreInfo(
        title="Isolation Forest",
        authors="Fei Tony Liu, Kai Ming Ting, Zhi-Hua Zhou",
        venue="ICDM",
        year=2008,
        url="https://doi.org/10.1109/ICDM.2008.17",
    )
    grows = "D numbers a training row, while it is fitted"

    @dataclass(frozen=True)
    class Params(Postprocessor.Params):
        """Parameters: ``trees``, ``samples`` a tree (100 and 256: the authors') and ``seed`` (ours)."""

        trees: int = 100
        samples: int = 256
        seed: int = 0

        def __post_init__(self) -> None:
            require_whole("trees", self.trees, 1)
            require_whole("samples", self.samples, 2)
            require_whole("seed", self.seed, 0)

    params: Params

    def make(self, rows: int) -> Any:
        """Return scikit-learn's forest."""
        from sklearn.ensemble import IsolationForest as Forest

        return Forest(
            n_estimators=self.params.trees,
            max_samples=min(self.params.samples, rows),
            random_state=self.params.seed,
        )
