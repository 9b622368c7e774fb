"""Eigensolvers against LAPACK, and nearest distances against literal ones."""

from __future__ import annotations

import numpy as np
import pytest

from openood_multimodal.linalg import spectra
from openood_multimodal.linalg.spectra import (
    block_lanczos,
    eigen_of_matrix,
    eigen_of_rows,
    leading_eigenpairs,
    leading_subspace,
    leading_subspace_of_rows,
    nearest_squared_distance,
    smallest_eigenvectors,
)


def rows_of(count: int, dim: int, decay: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return (rng.standard_normal((count, dim)) * np.arange(1, dim + 1) ** -decay) @ turn


def angle(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other @ (other.T @ one), 2))


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_block_lanczos_finds_what_lapack_finds(decay: float) -> None:
    rows = rows_of(700, 500, decay)
    matrix = rows.T @ rows / 700
    found = block_lanczos(matrix, 24)
    assert found is not None
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(found.values, values[::-1][:24], rtol=1e-9)
    assert angle(found.vectors, vectors[:, ::-1][:, :24]) < 1e-6
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(24), atol=1e-12)


def test_block_lanczos_gives_up_rather_than_be_wrong() -> None:
    assert block_lanczos(np.eye(300), 10) is None  # every subspace is as good
    low = np.diag(np.r_[np.ones(5), np.zeros(395)])
    assert block_lanczos(low, 20) is None
    random = np.random.default_rng(0).standard_normal((400, 400))
    assert block_lanczos(random @ random.T, 40, tolerance=1e-30) is None


def test_lapack_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "KRYLOV_FROM", 10)
    matrix = np.diag(np.r_[np.ones(5), np.zeros(395)])
    found = leading_eigenpairs(matrix, 20)
    np.testing.assert_allclose(found.values, np.r_[np.ones(5), np.zeros(15)], atol=1e-12)
    monkeypatch.setattr(spectra, "block_lanczos", lambda matrix, size: "asked")
    assert leading_eigenpairs(matrix, 20) == "asked"
    assert leading_eigenpairs(matrix, 50) != "asked"  # too many of so few
    assert leading_eigenpairs(matrix, 0).vectors.shape == (400, 0)


@pytest.mark.parametrize(("count", "dim"), [(30, 30), (12, 40)])
def test_gram_side(count: int, dim: int) -> None:
    rows = rows_of(count, dim, 0.5)
    few, full = eigen_of_rows(rows), eigen_of_matrix(rows.T @ rows / count)
    assert len(few.values) == len(full.values) == min(count, dim)
    np.testing.assert_allclose(few.values, full.values, rtol=1e-8)
    np.testing.assert_allclose(
        few.vectors @ np.diag(1 / few.values) @ few.vectors.T,
        full.vectors @ np.diag(1 / full.values) @ full.vectors.T,
        rtol=1e-6,
        atol=1e-6 / full.values.min(),
    )


def test_the_range_is_cut_as_scipy_cuts_it() -> None:
    from scipy import linalg

    values = 10.0 ** -np.arange(0, 18)
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((18, 18)))
    matrix = turn @ np.diag(values) @ turn.T
    _, rank = linalg.pinvh(0.5 * (matrix + matrix.T), return_rank=True)
    assert len(eigen_of_matrix(0.5 * (matrix + matrix.T)).values) == rank


@pytest.mark.parametrize("far", [0.0, 1.0, 30.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("gram", [False, True])
def test_a_shifted_subspace(far: float, gram: bool) -> None:
    count, dim, size = (40, 60, 7) if gram else (200, 30, 7)
    rows = rows_of(count, dim, 0.5)
    rows -= rows.mean(axis=0)
    direction = np.random.default_rng(9).standard_normal(dim)
    offset = far * direction / np.linalg.norm(direction)
    if gram:
        found = leading_subspace_of_rows(rows, offset, size)
    else:
        found = leading_subspace(rows.T @ rows / count, offset, size)
    basis = found.basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(size), atol=1e-13)
    # the singular vectors of the shifted rows; a far offset takes digits from these, so the rest comes from
    # the second moment on the complement of the exact first vector
    right = np.linalg.svd(rows + offset, full_matrices=False)[2]
    assert angle(basis, right[:size].T) < 1e-9 + 1e-15 * far
    assert found.scale == pytest.approx(np.square(rows).sum() / count + far**2)
    # what the basis leaves of the offset: also where a difference of huge numbers couldn't say
    assert np.abs(basis.T @ found.outside).max() < 1e-12 * max(1.0, np.linalg.norm(found.outside))
    direct = offset - basis @ (basis.T @ offset)
    np.testing.assert_allclose(found.outside, direct, atol=1e-12 + 1e-14 * far)


def test_what_is_left_of_a_far_offset_has_all_digits() -> None:
    import mpmath

    rows = rows_of(20, 4, 0.5)
    rows -= rows.mean(axis=0)
    offset = 1e9 * np.array([1.0, -2.0, 0.5, 1.0])
    found = leading_subspace(rows.T @ rows / 20, offset, 2)
    with mpmath.workdps(60):
        moment = mpmath.zeros(4)
        for row in rows:
            point = mpmath.matrix((row).tolist()) + mpmath.matrix(offset.tolist())
            moment += point * point.T / 20
        _, vectors = mpmath.eigsy(moment)
        null = vectors[:, :2]
        left = null * (null.T * mpmath.matrix(offset.tolist()))
        np.testing.assert_allclose(found.outside, [float(v) for v in left], rtol=1e-6, atol=1e-17)


@pytest.mark.parametrize("spread", [1.0, 1e6])
def test_nearest_distance_does_not_cancel(spread: float) -> None:
    rng = np.random.default_rng(0)
    centres = spread * rng.standard_normal((7, 9))
    points = centres[np.arange(40) % 7] + 1e-3 * rng.standard_normal((40, 9))
    literal = np.square(points[:, None] - centres[None]).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_squared_distance(points, centres), literal, rtol=1e-12)


def test_nearest_distance_of_equal_points_is_zero() -> None:
    centres = np.full((129, 5), 1e5)
    np.testing.assert_array_equal(nearest_squared_distance(centres[:3], centres), 0.0)


@pytest.mark.parametrize("equal", [1100, 100, 40])
def test_many_equal_eigenvalues(equal: int) -> None:
    # identity: LAPACK's partial solver returns fewer vectors than were asked for, here and there
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((1100, 1100)))
    values = np.r_[np.ones(equal), 0.5 * 0.9 ** np.arange(1100 - equal)]
    matrix = (turn * values) @ turn.T
    found = leading_eigenpairs(0.5 * (matrix + matrix.T), 64)
    assert found.vectors.shape == (1100, 64)
    np.testing.assert_allclose(found.values, values[:64], atol=1e-9)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(64), atol=1e-10)


@pytest.mark.parametrize(
    ("count", "dim", "wanted"), [(700, 200, 40), (700, 200, 60), (30, 200, 170), (9, 3, 1)]
)
def test_the_smallest_eigenvectors(count: int, dim: int, wanted: int) -> None:
    rows = rows_of(count, dim, 1.0)
    matrix = rows.T @ rows / count
    expected, whole = np.linalg.eigh(matrix)
    values, vectors = smallest_eigenvectors(matrix, lambda values: wanted if len(values) == dim else 0)
    np.testing.assert_allclose(values, expected, atol=1e-14)
    assert vectors.shape == (dim, wanted)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(wanted), atol=1e-12)
    assert angle(vectors, whole[:, :wanted]) < 1e-9


def test_what_lapack_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = spectra.scipy.linalg.eigh

    def losing(matrix: np.ndarray, **how: object) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = original(matrix, **how)
        return (values[2:], vectors[:, 2:]) if "subset_by_index" in how else (values, vectors)

    matrix = np.diag(np.arange(30.0))
    expected = leading_eigenpairs(matrix, 5).values
    monkeypatch.setattr(spectra.scipy.linalg, "eigh", losing)
    np.testing.assert_allclose(leading_eigenpairs(matrix, 5).values, expected)


def test_rank_is_counted_apart_from_a_far_offset() -> None:
    rows = rows_of(200, 30, 0.5)
    rows -= rows.mean(axis=0)
    for far in (0.0, 1e12):
        found = leading_subspace(rows.T @ rows / 200, far * np.ones(30), 7)
        assert found.rank == 7
