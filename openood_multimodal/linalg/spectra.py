"""Symmetric eigenproblems: partial ones, with fewer rows than columns, and with one eigenvalue far above the rest.

Tolerance, everywhere: an eigenvalue counts when it exceeds D · 2.2e-16 times the largest one, D being the
width of the features.  It is `scipy.linalg.pinvh`'s cutoff for a D × D covariance in float64, which is also
what scikit-learn's `EmpiricalCovariance` takes its precision from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from .arithmetic import Floats

EPS = float(np.finfo(np.float64).eps)

DOMINANT = 1e3
"""A squared offset this many times the total variance is split off before the rest is decomposed."""

KRYLOV_FROM = 1024
"""Order of a matrix from which on few eigenvectors are sought by block Lanczos, and LAPACK's partial solver pays."""

CONVERGED = 1e-5
"""Bound on the angle of each sought eigenvector to the sought subspace: residual norm over spectral gap."""


class Eigen(NamedTuple):
    """``vectors`` ``[D, r]``, orthonormal, and ``values`` ``[r]`` of a second moment on its numerical range."""

    values: Floats
    vectors: Floats


def on_range(values: Floats, vectors: Floats, dim: int) -> Eigen:
    """Return the eigenpairs that count, for features of width ``dim``."""
    kept = values > dim * EPS * values.max(initial=0.0)
    return Eigen(values[kept], vectors[:, kept])


def eigen_of_matrix(matrix: Floats) -> Eigen:
    """Return the eigenpairs of a symmetric ``[D, D]`` matrix that count, ascending."""
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
    return on_range(values, vectors, len(matrix))


def eigen_of_rows(rows: Floats, size: int | None = None) -> Eigen:
    """Return the eigenpairs that count of ``rowsᵀ rows / N``, ascending, from the N × N products of the rows.

    For N <= D: nothing of size D × D is made.

    Args:
        rows: ``[N, D]``.
        size: return the ``size`` largest alone.
    """
    count, dim = rows.shape
    products = scipy.linalg.blas.dsyrk(1.0, rows.T, trans=1, lower=1)
    squares, left = scipy.linalg.eigh(products, check_finite=False, overwrite_a=True, driver="evd")
    kept = squares > dim * EPS * squares.max(initial=0.0)
    if size is not None:
        kept[: max(0, count - size)] = False
    squares, left = squares[kept], left[:, kept]
    vectors = rows.T @ (left / np.sqrt(squares))
    return Eigen(squares / count, vectors)


@dataclass
class Subspace:
    """The leading eigenvectors of a second moment around a point u, with mean m of the rows.

    Attributes:
        basis: orthonormal ``[D, k]``.
        values: ``[k]`` eigenvalues, falling.
        outside: ``[D]``, what the basis leaves of m - u; exact also where m - u is huge.
        scale: mean squared distance of the rows to u.
        cutoff: what eigenvalues have to exceed to be more than rounding.
    """

    basis: Floats
    values: Floats
    outside: Floats
    scale: float
    cutoff: float

    @property
    def rank(self) -> int:
        """How many of the directions carry anything."""
        return int((self.values > self.cutoff).sum())


def leading_subspace(covariance: Floats, offset: Floats, size: int) -> Subspace:
    """Return the ``size`` leading eigenvectors of ``covariance + offset offsetᵀ``.

    Args:
        covariance: symmetric ``[D, D]``; may be written to.
        offset: ``[D]``, mean minus the point that the second moment is taken around.
        size: at most D.

    A huge offset (the origin of a nearly singular head is far away) would drown the rest of the spectrum in
    the rounding of the sum; its eigenvector is then split off first.
    """
    squared = float(offset @ offset)
    variance = float(np.trace(covariance))
    if squared > DOMINANT * variance:
        return _leading_with_far_offset(covariance, offset, size, variance + squared)
    for row, value in zip(covariance, offset, strict=True):  # in the cache, not by a matrix of the same size
        row += value * offset
    values, basis = leading_eigenpairs(covariance, size)
    cutoff = len(offset) * EPS * float(values.max(initial=0.0))
    return Subspace(basis, values, _outside(offset, basis), variance + squared, cutoff)


def leading_subspace_of_rows(rows: Floats, offset: Floats, size: int) -> Subspace:
    """Return the same from rows ``[N, D]`` around their mean, N <= D, without a D × D matrix."""
    squared = float(offset @ offset)
    variance = float(np.einsum("ij,ij->", rows, rows)) / len(rows)
    if squared <= DOMINANT * variance:
        found = eigen_of_rows(rows + offset, size)
        values, basis = found.values[::-1], found.vectors[:, ::-1]
        cutoff = len(offset) * EPS * float(values.max(initial=0.0))
        return Subspace(basis, values, _outside(offset, basis), variance + squared, cutoff)
    values, vectors = eigen_of_rows(rows)
    inside = vectors.T @ offset
    left = _outside(offset, vectors)
    length = float(np.linalg.norm(left))
    if length > len(offset) * EPS * np.linalg.norm(offset):
        vectors = np.column_stack([vectors, _outside(left / length, vectors)])
        values, inside = np.append(values, 0.0), np.append(inside, length)
    small = leading_subspace(np.diag(values), inside, min(size, len(values)))
    basis = vectors @ small.basis
    cutoff = small.cutoff * len(offset) / max(1, len(values))
    return Subspace(basis, small.values, vectors @ small.outside, small.scale, cutoff)


def _outside(vector: Floats, basis: Floats) -> Floats:
    for _ in range(2):  # the second time takes away what rounding left of the first
        vector = vector - basis @ (basis.T @ vector)
    return vector


def _leading_with_far_offset(covariance: Floats, offset: Floats, size: int, scale: float) -> Subspace:
    """Return the leading subspace where |offset|² is far above the trace of the covariance.

    A reflection H turns the offset into the first axis: H (C + o oᵀ) H = [[a, cᵀ], [c, E]] with a = |o|² + e.
    Its first eigenvector is (1, t), with t = (c + E t - t cᵀt) / a, which converges at the rate trace / |o|²;
    the others are those of the matrix on the complement of (1, t), where |o|² enters only through t.
    """
    dim = len(offset)
    length = float(np.linalg.norm(offset))
    axis = offset / length
    sign = -1.0 if axis[0] > 0 else 1.0
    mirror = axis.copy()
    mirror[0] -= sign
    mirror /= np.linalg.norm(mirror)  # H = I - 2 m mᵀ takes the axis to sign · e1
    rotated = _reflected(covariance, mirror)
    corner, column, rest = float(rotated[0, 0]), rotated[1:, 0].copy(), rotated[1:, 1:]
    top = length**2 + corner
    tilt = column / top
    for _ in range(100):
        before = tilt
        tilt = (column + rest @ tilt - tilt * float(column @ tilt)) / top
        if np.linalg.norm(tilt - before) <= EPS * np.linalg.norm(tilt):
            break
    norm = float(np.sqrt(1.0 + tilt @ tilt))
    first = np.concatenate([[1.0], tilt]) / norm
    value = top + float(column @ tilt)
    # the complement of (1, t): the columns but the first of a second reflection, which takes e1 to (1, t)
    second = first.copy()
    second[0] += 1.0
    second /= np.linalg.norm(second)
    leaning = -2.0 * second[0] * second[1:]  # first row of those columns: all that |o|² sees
    inner = _reflected(rotated, second)[1:, 1:]
    inner += length**2 * np.outer(leaning, leaning)
    values, vectors = leading_eigenpairs(inner, size - 1)
    whole = np.zeros((dim, size))
    whole[:, 0] = first
    whole[1:, 1:] = vectors
    whole[:, 1:] -= 2.0 * np.outer(second, second @ whole[:, 1:])
    basis = whole - 2.0 * np.outer(mirror, mirror @ whole)
    # |o| (e1 - (1, t) / norm²), each entry without a difference of nearly equal numbers
    left = np.concatenate([[float(tilt @ tilt)], -tilt]) * (sign * length / norm**2)
    left = _outside(left, whole[:, 1:])
    left -= 2.0 * mirror * float(mirror @ left)
    # what is left of the offset's size in the rest is its rounding, squared
    cutoff = dim * EPS * max(float(values.max(initial=0.0)), EPS * value)
    return Subspace(basis, np.concatenate([[value], values]), left, scale, cutoff)


def _reflected(matrix: Floats, mirror: Floats) -> Floats:
    """Return (I - 2 m mᵀ) A (I - 2 m mᵀ) of a symmetric A."""
    image = matrix @ mirror
    half = 2.0 * image - 2.0 * float(mirror @ image) * mirror
    return np.asarray(matrix - np.outer(half, mirror) - np.outer(mirror, half))


def leading_eigenpairs(matrix: Floats, size: int) -> Eigen:
    """Return the ``size`` largest eigenvalues of a symmetric matrix, falling, and their vectors.

    Block Lanczos where few are wanted of many, checked by residuals and by a look beside what was found; else,
    and where it does not get there, LAPACK.
    """
    order = len(matrix)
    if size < 1:
        return Eigen(np.zeros(0), np.zeros((order, 0)))
    if order >= KRYLOV_FROM and 16 * size <= order:
        found = block_lanczos(matrix, size)
        if found is not None:
            return found
    values, vectors = _largest(matrix, size)
    return Eigen(values[::-1], vectors[:, ::-1])


def _largest(matrix: Floats, size: int) -> Eigen:
    """Return LAPACK's ``size`` largest eigenvalues, rising, and their vectors."""
    order = len(matrix)
    if order >= KRYLOV_FROM:
        wanted = [order - size, order - 1]
        values, vectors = scipy.linalg.eigh(matrix, check_finite=False, subset_by_index=wanted)
        if len(values) == size:  # the partial solver loses some of many equal eigenvalues, without a word
            return Eigen(values, vectors)
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False, driver="evd")
    return Eigen(values[-size:], vectors[:, -size:])


def smallest_eigenvectors(matrix: Floats, wanted: Callable[[Floats], int]) -> Eigen:
    """Return all eigenvalues of a symmetric matrix, rising, and the vectors of the smallest ``wanted(values)``.

    Vectors take most of the time, so only these are made.
    """
    order, lapack = len(matrix), scipy.linalg.lapack
    reduced, diagonal, beside, scales, _ = lapack.dsytrd(matrix, lower=1, lwork=64 * order)
    values = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside)
    count = wanted(values)
    if 4 * count <= order:
        _, vectors = scipy.linalg.eigh_tridiagonal(
            diagonal, beside, select="i", select_range=(0, count - 1), lapack_driver="stemr"
        )
        if vectors.shape[1] == count:  # see `_largest`
            turned, _, _ = lapack.dormqr("L", "N", reduced[1:, :-1], scales, vectors[1:], 64 * count)
            return Eigen(values, np.vstack([vectors[:1], turned]))
    values, vectors = scipy.linalg.eigh(matrix, check_finite=False, driver="evd")
    return Eigen(values, vectors[:, : wanted(values)])


def block_lanczos(matrix: Floats, size: int, tolerance: float = CONVERGED) -> Eigen | None:
    """Return the ``size`` leading eigenpairs of a symmetric matrix, or None if they don't converge.

    A block Krylov basis from a fixed random start, orthogonalised in full; converged where every residual
    norm is below ``tolerance`` times the distance of its eigenvalue to the next one that isn't sought (which
    bounds the sine of its angle to the sought subspace).
    """
    order = len(matrix)
    width = max(16, size // 8)
    limit = min(8 * size, order // 2)
    basis = np.empty((order, limit + width), order="F")
    image = np.empty_like(basis)
    block = np.random.default_rng(0).standard_normal((order, width))
    block, _ = np.linalg.qr(block)
    filled = 0
    check_at = 7 * size // 2
    while True:
        basis[:, filled : filled + width] = block
        image[:, filled : filled + width] = matrix @ block
        filled += width
        if filled >= check_at or filled >= limit:
            found = _ritz_pairs(basis[:, :filled], image[:, :filled], size, tolerance)
            if found is not None:
                return found if _nothing_missed(matrix, found) else None
            check_at = filled + max(width, size // 2)
        if filled >= limit:
            return None
        block = image[:, filled - width : filled]
        for _ in range(2):
            block = block - basis[:, :filled] @ (basis[:, :filled].T @ block)
        block, triangle = np.linalg.qr(block)
        if np.abs(np.diag(triangle)).min() <= EPS * np.abs(triangle).max():
            return None  # the Krylov space is exhausted: a matter for LAPACK


def _nothing_missed(matrix: Floats, found: Eigen, width: int = 16, steps: int = 4) -> bool:
    """Return whether no larger eigenvalue than the found ones shows up beside them.

    A block finds no more vectors of one eigenvalue than it is wide, and residuals don't tell.
    """
    block = np.random.default_rng(1).standard_normal((len(matrix), width))
    for step in range(steps + 1):
        block, _ = np.linalg.qr(_outside(block, found.vectors))
        if step < steps:
            block = matrix @ block
    ritz = scipy.linalg.eigvalsh(block.T @ (matrix @ block))
    return bool(ritz[-1] <= found.values[-1] * (1.0 + 1e-6))


def _ritz_pairs(basis: Floats, image: Floats, size: int, tolerance: float) -> Eigen | None:
    small = basis.T @ image
    values, vectors = _largest(0.5 * (small + small.T), size + 1)
    values, vectors = values[::-1], vectors[:, ::-1]
    found = basis @ vectors[:, :size]
    residual = image @ vectors[:, :size] - found * values[:size]
    norms = np.sqrt(np.einsum("ij,ij->j", residual, residual))
    if (norms > tolerance * (values[:size] - values[size])).any():
        return None
    return Eigen(values[:size].copy(), found)


def squared_distances(points: Floats, centres: Floats) -> Floats:
    """Return ``[B, C]`` squared distances of ``points`` ``[B, r]`` to ``centres`` ``[C, r]``, from products.

    Their error is the rounding of the squared norms.
    """
    point_norms = np.einsum("ij,ij->i", points, points)
    centre_norms = np.einsum("ij,ij->i", centres, centres)
    return np.maximum(point_norms[:, None] + centre_norms - 2.0 * (points @ centres.T), 0.0)


def nearest_squared_distance(points: Floats, centres: Floats) -> Floats:
    """Return ``[B]``: squared distances of ``points`` ``[B, r]`` to the nearest of ``centres`` ``[C, r]``.

    The products expand the square to find the nearest; its distance is then taken from the difference
    itself, as is that of every centre within the expansion's rounding, so that nothing cancels.
    """
    size = points.shape[1]
    point_norms = np.einsum("ij,ij->i", points, points)
    centre_norms = np.einsum("ij,ij->i", centres, centres)
    expanded = centre_norms[None, :] - 2.0 * (points @ centres.T)
    slack = 4.0 * EPS * (size + 4) * (point_norms + centre_norms.max(initial=0.0))
    close = expanded <= (expanded.min(axis=1) + slack)[:, None]
    nearest = np.argmin(expanded, axis=1)
    best = np.empty(len(points))
    step = max(1, 2**18 // max(1, size))  # two megabytes: stays in the cache
    for start in range(0, len(points), step):
        where = slice(start, start + step)
        difference = centres[nearest[where]]
        np.subtract(points[where], difference, out=difference)
        np.einsum("ij,ij->i", difference, difference, out=best[where])
    close[np.arange(len(points)), nearest] = False
    rows, columns = np.nonzero(close)
    for start in range(0, len(rows), step):
        row, column = rows[start : start + step], columns[start : start + step]
        difference = points[row] - centres[column]
        np.minimum.at(best, row, np.einsum("ij,ij->i", difference, difference))
    return best
