"""Neighbour search: exact whatever the screen and the blocks, and approximate only when asked for."""

from __future__ import annotations

import numpy as np
import pytest

from openood_multimodal.linalg import neighbours, screens
from openood_multimodal.linalg.arithmetic import Arithmetic
from openood_multimodal.linalg.neighbours import Neighbours, RowNeighbours
from openood_multimodal.linalg.rows import row_norms
from openood_multimodal.linalg.screens import Screen, ShortScreen, TorchScreen
from openood_multimodal.linalg.torch_arithmetic import TorchArithmetic

KINDS = ("plain", "alike", "duplicates", "tight", "zeros", "huge and tiny")
KINDS += ("equal", "two clusters", "one direction", "one column", "two columns")

SCREENS = {
    "blas": lambda: Screen(Arithmetic()),
    "torch": lambda: Screen(TorchArithmetic("cpu")),
    "cuda": lambda: Screen(TorchArithmetic("cuda")),
    "torch's BLAS": lambda: TorchScreen(Arithmetic()),
    "bfloat16": lambda: ShortScreen(Arithmetic()),
}

EVERY_SCREEN = pytest.mark.parametrize(
    "screen", [pytest.param(each, marks=pytest.mark.cuda if each == "cuda" else ()) for each in SCREENS]
)


def literal(train: np.ndarray, test: np.ndarray, rank: int) -> np.ndarray:
    def unit(x: np.ndarray) -> np.ndarray:
        x = x.astype(float)
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(norms > 0, norms, 1)

    train, test = unit(train), unit(test)
    return np.array([np.sort(np.square(train - row).sum(axis=1))[rank - 1] for row in test])


def search(train: np.ndarray, test: np.ndarray, rank: int, screen: str, step: int = 10**6) -> np.ndarray:
    found = Neighbours(train, row_norms(train), Arithmetic())
    found._screen = SCREENS[screen]()
    parts = [test[i : i + step] for i in range(0, len(test), step)]
    return np.concatenate([found.squared_distance(part, row_norms(part), rank) for part in parts])


def data(kind: str, dtype: str = "f4") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 40))
    train = centres[np.arange(700) % 6] + 0.3 * rng.standard_normal((700, 40))
    test = centres[np.arange(50) % 6] + 0.5 * rng.standard_normal((50, 40))
    if kind == "alike":  # bfloat16 can't tell any two apart
        train, test = 1.0 + 1e-4 * train, 1.0 + 1e-4 * test
    if kind == "duplicates":
        train[100:400] = train[0]
        test[:10] = train[0]
    if kind == "tight":  # distances that cancel when expanded
        train[100:400] = train[0] + 1e-6 * rng.standard_normal((300, 40))
        test[:20] = train[0] + 1e-6 * rng.standard_normal((20, 40))
    if kind == "zeros":
        train[::7] = 0.0
        test[::9] = 0.0
    if kind == "huge and tiny":
        train[::2] *= 1e25
        train[1::2] *= 1e-25
        test *= 1e30
    if kind == "equal":
        train[:] = train[0]
        test[:10] = train[0]
    if kind == "two clusters":  # as far apart as rows of unit norm get
        train[:350], train[350:] = 1.0 + 1e-5 * train[:350], -1.0 + 1e-5 * train[350:]
        test[:25], test[25:] = 1.0 + 1e-5 * test[:25], -1.0 + 1e-5 * test[25:]
    if kind == "one direction":
        train[:, 0] += 1e4
        test[:, 0] += 1e4
    if kind == "one column":
        train, test = train[:, :1], test[:, :1]
    if kind == "two columns":
        train, test = train[:, :2], test[:, :2]
    return train.astype(dtype), test.astype(dtype)


@EVERY_SCREEN
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [1, 10, 500, 700])
def test_the_distance_is_exact(kind: str, rank: int, screen: str) -> None:
    train, test = data(kind, "f8" if kind in ("tight", "huge and tiny") else "f4")
    found = search(train, test, rank, screen)
    np.testing.assert_allclose(found, literal(train, test, rank), rtol=1e-9, atol=1e-25)


@EVERY_SCREEN
@pytest.mark.parametrize("size", [1e-43, 1e-39, 1e37])
def test_rows_at_the_ends_of_float32(size: float, screen: str) -> None:
    train, test = data("plain")
    test = test * np.float32(size)
    np.testing.assert_allclose(search(train, test, 10, screen), literal(train, test, 10), rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_random_problems_against_faiss_and_a_literal_one(seed: int) -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    dim, rows, rank = int(rng.integers(2, 601)), int(rng.integers(20, 600)), int(rng.integers(1, 20))
    dtype = ("f2", "f4", "f8")[seed % 3]
    train = (rng.standard_normal((rows, dim)) + rng.uniform(0, 2)).astype(dtype)
    test = (rng.standard_normal((12, dim)) + rng.uniform(0, 2)).astype(dtype)
    test[:4] = train[:4]
    expected = literal(train, test, rank)
    index = faiss.IndexFlatL2(dim)
    index.add(np.ascontiguousarray(train / np.linalg.norm(train.astype("f8"), axis=1)[:, None], dtype="f4"))
    unit = np.ascontiguousarray(test / np.linalg.norm(test.astype("f8"), axis=1)[:, None], dtype="f4")
    for screen in ("blas", "bfloat16"):
        found = search(train, test, rank, screen)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(found, index.search(unit, rank)[0][:, -1], atol=2e-5)
        np.testing.assert_array_equal(search(train, test, 1, screen)[:4], 0.0)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_every_kind_of_float(dtype: str) -> None:
    train, test = data("plain", dtype)
    np.testing.assert_allclose(search(train, test, 10, "bfloat16"), literal(train, test, 10), rtol=1e-9)


@EVERY_SCREEN
def test_blocks_of_either_side_do_not_matter(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data("plain")
    whole = search(train, test, 10, screen)
    for cache in (0, 2**29):
        monkeypatch.setattr(neighbours, "CACHE_BYTES", cache)
        monkeypatch.setattr(neighbours, "SIDE_BYTES", 4 * 40 * 33)
        monkeypatch.setattr(neighbours, "PRODUCT_BYTES", 4 * 33 * 7)
        for step in (1, 13, 50):
            np.testing.assert_array_equal(search(train, test, 10, screen, step), whole)


@EVERY_SCREEN
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_of_parts_merge_to_the_nearest_of_all(kind: str, screen: str) -> None:
    """To the same bits, but for what float64 makes of rows that are equal: a cluster's workers search a part each."""
    train, test = data(kind)
    parts = []
    for part in (train[:300], train[300:320], train[320:]):
        some = Neighbours(part, row_norms(part), Arithmetic())
        some._screen = SCREENS[screen]()
        parts.append(some.smallest_squared_distances(test, row_norms(test), min(40, len(part))))
    merged = np.sort(np.concatenate(parts, axis=1), axis=1)
    for rank in (1, 7, 40):
        np.testing.assert_allclose(merged[:, rank - 1], search(train, test, rank, screen), rtol=0, atol=1e-30)


def test_prepared_rows_are_kept_only_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data("plain")
    for cache, kept in ((4 * 700 * 40, True), (4 * 700 * 40 - 1, False)):
        monkeypatch.setattr(neighbours, "CACHE_BYTES", cache)
        found = Neighbours(train, row_norms(train), Arithmetic())
        found.squared_distance(test, row_norms(test), 5)
        assert (found._blocks is not None) == kept


def test_rows_too_alike_for_bfloat16_are_searched_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data("alike")
    found = Neighbours(train, row_norms(train), Arithmetic())
    found._screen = ShortScreen(Arithmetic())
    found._shift[:] = 0.0  # as if the sample's mean were far off
    found.squared_distance(test, row_norms(test), 10)
    assert type(found._screen) is Screen


def test_the_faster_screen_is_taken_where_there_is_much_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data("plain")
    monkeypatch.setattr(neighbours, "TORCH_WORK", 0.0)
    for seconds, expected in (({"Screen": 1.0, "TorchScreen": 1.0, "ShortScreen": 0.5}, ShortScreen),
                              ({"Screen": 1.0, "TorchScreen": 0.8, "ShortScreen": 0.9}, TorchScreen),
                              ({"Screen": 1.0, "TorchScreen": 0.95, "ShortScreen": 0.9}, Screen)):  # fmt: skip
        monkeypatch.setattr(neighbours, "seconds", lambda screen, dim, s=seconds: s[type(screen).__name__])
        found = Neighbours(train, row_norms(train), Arithmetic())
        found.squared_distance(test, row_norms(test), 10)
        assert type(found._screen) is expected
    monkeypatch.undo()
    monkeypatch.setattr(screens, "_speeds", {})
    assert screens.seconds(Screen(Arithmetic()), 16) > 0.0
    assert list(screens._speeds) == [("Screen", 16)]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
@EVERY_SCREEN
def test_rows_of_any_norm_have_their_own_distances(screen: str, scale: float) -> None:
    random = np.random.default_rng(0)
    train, test = (
        (scale * random.gamma(1.0, 3.0, (n, 1)) * random.standard_normal((n, 300))).astype("f4")
        for n in (900, 60)
    )
    test[:5], test[5:10] = train[:5], 30.0 * test[5:10]
    found = RowNeighbours(train, float(row_norms(train).max()), Arithmetic())
    found._scaled._screen = SCREENS[screen]()
    literal = np.sort(
        [np.square(train.astype(float) - row).sum(axis=1) for row in test.astype(float)], axis=1
    )
    np.testing.assert_allclose(found.smallest_squared_distances(test, 7), literal[:, :7], rtol=1e-12)
    of_seventh = found._scaled.squared_distance(test, np.full(60, found._scale), 7) * found._scale**2
    np.testing.assert_allclose(of_seventh, literal[:, 6], rtol=1e-12)


def test_rows_whose_rounding_adds_up_are_told_apart() -> None:
    # products of constant rows round the same way at every column: of these, a float32 sum is most in error
    dim, test = 4352, np.ones((1, 4352), dtype=np.float32)
    rows = np.repeat(np.linspace(1, 2, 600, dtype=np.float32)[:, None], dim, axis=1)
    sums = 0.5 * np.einsum("ij,ij->i", rows, rows) / row_norms(rows) ** 2
    order = np.argsort(sums - np.einsum("ij,j->i", rows, test[0]) / row_norms(rows) / np.sqrt(dim))
    train = rows[[order[-1], *order[:40]]]
    train[1:, 0] *= np.float32(1.05)
    train = np.concatenate([train, -train])
    for rank in (1, 2, 3):
        expected = literal(train, test, rank)
        np.testing.assert_allclose(search(train, test, rank, "bfloat16"), expected, rtol=1e-6, atol=1e-25)


@pytest.mark.parametrize("screen", ["blas", "bfloat16"])
def test_one_far_query_leaves_the_others_as_they_are(screen: str) -> None:
    train, test = data("plain", "f8")
    far = test.copy()
    far[0] *= 1e60
    results = []
    for queries in (test, far):
        found = RowNeighbours(train, float(row_norms(train).max()), Arithmetic())
        found._scaled._screen = SCREENS[screen]()
        results.append(found.smallest_squared_distances(queries, 5))
    np.testing.assert_array_equal(results[1][1:], results[0][1:])
    np.testing.assert_allclose(results[1][0], np.square(far[0]).sum(), rtol=1e-9)


def test_rows_too_short_for_a_norm_are_zeros() -> None:
    train, test = data("plain", "f8")
    for found in (search(train * 1e-310, test, 5, "blas"), search(train * 0.0, test, 5, "blas")):
        np.testing.assert_allclose(found, 1.0, rtol=1e-12)
