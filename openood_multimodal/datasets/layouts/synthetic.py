"""Generated two-modality features with near, far and validation OOD sets.  Synthetic: for tests, not results.

Every class has a mean in each modality; a sample is its class's mean, plus a part that its two modalities
share, plus noise.  Far sets: ``far_shift`` lies at one distant mean, orthogonal to the means of all classes
(so that a linear classifier sees nothing of it, and a distance everything); ``far_noise`` is noise without a
class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...config import bind
from ...errors import UserError
from ..benchmarks import Benchmark
from .source import Layout, SourceTable, Stamped

FAR = ("far_shift", "far_noise")


@dataclass(frozen=True)
class Generator:
    """Parameters of the generated data, from the benchmark's ``generator`` section.

    Attributes:
        seed: of everything that is drawn.
        separation: standard deviation of the classes' means, per feature; the noise has 1.
        shared: standard deviation of the part that a sample's modalities have in common.
        far_separation: as ``separation``, for ``far_shift``, before it is made orthogonal.
        far_spread: standard deviation of ``far_noise``.
    """

    seed: int = 0
    separation: float = 0.6
    shared: float = 0.5
    far_separation: float = 1.5
    far_spread: float = 1.3


def files(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return nothing: the data is generated."""
    return ()


def read(benchmark: Benchmark, sources: Sequence[Stamped], modalities: Sequence[str]) -> SourceTable:
    """Return the generated table of these modalities; a modality's values don't depend on the others asked
    for.

    Raises:
        UserError: when the benchmark's ``generator`` has an unknown or wrong parameter.
    """
    unknown = set(benchmark.extra_classes) - set(FAR)
    if unknown:
        raise UserError(
            f"benchmark {benchmark.name}: extra_classes can be {' and '.join(FAR)}, not {min(unknown)}."
        )
    parameters = bind(benchmark.generator, Generator, f"benchmark {benchmark.name}: generator", ignore=())
    counts = {**benchmark.classes, **benchmark.extra_classes}
    class_names, features = _generate(parameters, tuple(counts.items()), tuple(benchmark.modalities.items()))
    return SourceTable(
        class_names=class_names,
        groups=np.full(len(class_names), ""),
        features={name: features[name] for name in modalities},
        files={name: f"{benchmark.name}-{name}.csv" for name in modalities},
    )


@lru_cache(maxsize=4)
def _generate(
    parameters: Generator, counts: tuple[tuple[str, int], ...], widths: tuple[tuple[str, int], ...]
) -> tuple[NDArray[np.str_], Mapping[str, NDArray[np.float64]]]:
    random = np.random.default_rng(parameters.seed)
    class_names = np.repeat([name for name, _ in counts], [count for _, count in counts])
    in_common = random.standard_normal((len(class_names), 1)) * parameters.shared
    is_far = np.asarray([name in FAR for name, _ in counts])
    features = {}
    for modality, width in widths:
        means = random.standard_normal((len(counts), width)) * parameters.separation
        direction = random.standard_normal(width)
        noise = random.standard_normal((len(class_names), width))
        basis, _ = np.linalg.qr(means[~is_far].T)
        for row, (name, _) in enumerate(counts):
            if name == "far_shift":
                distant = means[row] / parameters.separation * parameters.far_separation
                means[row] = distant - basis @ (basis.T @ distant)
            elif name == "far_noise":
                means[row] = 0.0
                noise[class_names == name] *= parameters.far_spread
        features[modality] = (
            np.repeat(means, [count for _, count in counts], axis=0) + in_common * direction + noise
        )
    return class_names, features


LAYOUT = Layout(files, read, "generated two-modality features")
