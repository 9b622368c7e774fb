"""One pass over the training embeddings that collects what scores learn from.

`training_pass` reads the rows once, a block at a time, and returns `TrainingStatistics`; on a cluster each worker reads
shards of rows, whose sums are added.  Outer products are summed
around *pilot* centres, the means of a small sample of each class (of all rows, where labels are no classes), so that
nothing cancels afterwards: with n_c rows, mean μ_c and pilot p_c of class c,

    within-class scatter  S_w = Σ (x - p_c)(x - p_c)ᵀ - Σ n_c (μ_c - p_c)(μ_c - p_c)ᵀ,

and the second term is small.  The scatter around any other centre u adds Σ n_c (μ_c - u)(μ_c - u)ᵀ to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from ..arrays import Embeddings, check_labels, empty_classes, without_empty_classes
from ..errors import UserError
from ..linalg.arithmetic import Arithmetic, Floats
from ..linalg.rows import block_slices, require_finite, row_norms
from ..linalg.threads import computing, each
from ..shards import Shards, shard_rows
from .options import ScoringOptions

PILOT_ROWS = 1024
"""Rows of the pilot sample, besides one a class."""


class Needs(Enum):
    """What a score's ``uses`` named in earlier releases.  It is still accepted, and nothing reads it."""

    NORMS = "norms"
    CLASS_MEANS = "class means"
    WITHIN_SCATTER = "within-class scatter"
    SCATTER = "scatter"
    LARGEST_LOGIT = "largest logit"


@dataclass
class TrainingStatistics:
    """What a pass found.

    Attributes:
        count: N.
        dim: D.
        norms: float64 ``[N]``.
        means: float64 ``[K, D]`` class means, or the one mean of all rows (K = 1).
        counts: int64 ``[K]``.
        by_class: whether the groups are the classes.
        which: int64 ``[N]``, the group of every row.
        products: whether one of the following was computed.
        within: float64 ``[D, D]`` mean outer product around the groups' means; where N > D.
        residuals: float64 ``[N, D]``, the rows minus their group's mean; where N <= D.
    """

    count: int
    dim: int
    means: Floats
    counts: NDArray[np.int64]
    by_class: bool
    which: NDArray[np.int64]
    norms: Floats
    products: bool = False
    within: Floats | None = None
    residuals: Floats | None = None

    @property
    def mean(self) -> Floats:
        """Float64 ``[D]``, the mean of all rows."""
        return np.asarray(self.counts @ self.means / self.count)


def class_counts(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return int64 ``[C]``, the rows of every class.

    Raises:
        UserError: for a label outside the classes, or a class without a row.
    """
    check_labels(labels, num_classes, "the training set")
    counts = np.bincount(labels, minlength=num_classes).astype(np.int64)
    if lacking := empty_classes(labels, num_classes):
        raise UserError(
            f"{lacking} 0 of the {len(labels)} training rows, and no mean; "
            f"{without_empty_classes(labels, 'rows')}."
        )
    return counts


def training_pass(
    train: Embeddings,
    products: bool,
    num_classes: int | None,
    arithmetic: Arithmetic,
    options: ScoringOptions,
    progress: Callable[[int], object] = lambda rows: None,
) -> TrainingStatistics:
    """Read the training rows once.

    Args:
        train: the embeddings; may be memory-mapped.
        products: whether to sum outer products, which takes N · D² operations; the rest takes N · D.
        num_classes: C, where groups are to be classes; labels are checked by then.
        arithmetic: where to compute.
        options: block size, whether the rows are known to be finite.
        progress: called with the number of rows after every block.

    Raises:
        UserError: for values that aren't finite.
    """
    count, dim = train.features.shape
    by_class = num_classes is not None
    which = np.asarray(train.labels) if by_class else np.zeros(count, dtype=np.int64)
    groups = num_classes if num_classes is not None else 1
    counts = np.bincount(which, minlength=groups)
    pilots = _pilots(train.features, which, groups, options)
    found = TrainingStatistics(
        count, dim, pilots, counts, by_class, which, np.empty(count), products=products
    )
    gram = arithmetic if products and count > dim else None
    if products and count <= dim:
        found.residuals = np.empty((count, dim))
    rows = _Pass(train.features, pilots, gram, options.of_worker)
    if options.shards is None or found.residuals is not None:
        summed = rows.sums(slice(0, count), which, found.norms, found.residuals, progress)
    else:
        summed = _on_shards(rows, which, options.shards, found.norms, progress)
    shift = summed.features / np.maximum(found.counts, 1)[:, None]
    found.means = pilots + shift
    if gram is not None:
        moment = gram.add_outer(summed.moment, -0.5 * (shift * found.counts[:, None]).T, shift.T)
        found.within = gram.symmetric(moment)
        found.within /= count
    if found.residuals is not None:
        for where in block_slices(count, dim, options.chunk_rows):
            found.residuals[where] -= shift[which[where]]
    return found


class _Sums(NamedTuple):
    """Sums over rows, around the pilots: ``features`` ``[K, D]``, and the ``moment`` or None."""

    features: Floats
    moment: Any


@dataclass
class _Pass:
    """What a pass over some of the rows needs; ``gram`` is the arithmetic that sums outer products, or None."""

    features: NDArray[Any]
    pilots: NDArray[Any]
    gram: Arithmetic | None
    options: ScoringOptions

    def sums(
        self,
        part: slice,
        which: NDArray[Any],
        norms: Floats,
        residuals: Floats | None,
        progress: Callable[[int], object],
    ) -> _Sums:
        """Return the sums over the rows in ``part``; fill their norms, and their differences to the pilots.

        Args:
            part: the rows.
            which: their groups.
            norms: ``[n]``.
            residuals: ``[n, D]``, or None.
            progress: called with the number of rows after every block.
        """
        groups, dim = self.pilots.shape
        moment = None if self.gram is None else self.gram.zeros(dim)
        features = np.zeros((groups, dim))
        last: Floats | None = None
        for where in block_slices(part.stop - part.start, dim, self.options.chunk_rows):
            start = part.start + where.start
            stored = np.asarray(self.features[start : part.start + where.stop])
            if not self.options.checked:
                require_finite(stored, "features", start)
            norms[where] = row_norms(stored)
            last = _minus(stored, self.pilots, which[where], last)
            features += _member(which[where], groups) @ last
            if self.gram is not None:
                moment = self.gram.add_gram(moment, self.gram.put(last, np.float64))
            if residuals is not None:
                residuals[where] = last
            progress(where.stop - where.start)
        return _Sums(features, moment)


SHARD_WIDTHS = 16
"""Rows of a shard at least, as a multiple of D: its sum of outer products takes as much memory as D of them."""


def _on_shards(
    rows: _Pass, which: NDArray[np.int64], shards: Shards, norms: Floats, progress: Callable[[int], object]
) -> _Sums:
    """Do `_Pass.sums` for all rows on the workers of a cluster, which add up the sums of their shards."""
    count, dim = rows.features.shape
    parts = shards.slices(count, shard_rows(dim, rows.options.chunk_rows), SHARD_WIDTHS * dim)
    groups = which.astype(np.min_scalar_type(len(rows.pilots)))
    tasks = [(part, groups[part]) for part in parts]

    def keep(number: int, found: Floats) -> None:
        norms[parts[number]] = found
        progress(len(found))

    sent = shards.send(rows, "the training set")
    return shards.total(_of_shard, _added, sent, tasks, keep, "the training set is read")


def _of_shard(rows: _Pass, part: slice, which: NDArray[Any]) -> tuple[Floats, _Sums]:
    norms = np.empty(len(which))
    with computing(rows.options.threads):
        return norms, rows.sums(part, which, norms, None, lambda rows: None)


def _added(one: _Sums, other: _Sums) -> _Sums:
    moment = None if one.moment is None else one.moment + other.moment
    return _Sums(one.features + other.features, moment)


def _pilots(
    features: NDArray[Any], which: NDArray[np.int64], groups: int, options: ScoringOptions
) -> NDArray[Any]:
    """Return a centre for every group, ``[K, D]``: the mean of a sample's rows."""
    count = len(features)
    spread = np.linspace(0, count - 1, min(count, PILOT_ROWS)).astype(np.int64)
    first = np.unique(which, return_index=True)[1]
    chosen = np.unique(np.concatenate([spread, first]))
    rows = np.asarray(features[chosen])
    if not options.checked and not np.isfinite(rows).all():
        rows = np.where(np.isfinite(rows), rows, 0)  # the pass itself will say where
    rows = rows.astype(np.promote_types(rows.dtype, np.float32), copy=False)
    member = which[chosen]
    sizes = np.bincount(member, minlength=groups)
    centres = (_member(member, groups) @ rows.astype(np.float64)) / np.maximum(sizes, 1)[:, None]
    return centres.astype(rows.dtype)


def _minus(
    stored: NDArray[Any],
    centres: NDArray[Any],
    which: NDArray[np.int64],
    room: Floats | None,
) -> Floats:
    """Return float64 ``stored - centres[which]``, in ``room`` where it is large enough."""
    out = room[: len(stored)] if room is not None and len(room) >= len(stored) else None
    if out is None:
        out = np.empty(stored.shape)

    def part(where: slice) -> None:
        np.subtract(stored[where], centres[which[where]], out=out[where], dtype=np.float64)

    step = max(1, 2**18 // max(1, stored.shape[1]))  # a megabyte: stays in the cache
    each(block_slices(len(stored), 1, step), part)
    return out


def _member(which: NDArray[np.int64], groups: int) -> Any:
    size = len(which)
    return scipy.sparse.csr_matrix((np.ones(size), (which, np.arange(size))), shape=(groups, size))
