"""VOS, NPOS, mixup and feature mixing: against literal versions with the same draws, and what they draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from openood_multimodal.errors import UserError
from openood_multimodal.registry import SYNTHESES
from openood_multimodal.synthesis import NPOS, VOS, EmbeddingBank, FeatureMixing, Mixup, NoOutliers

WIDTHS = {1: (7,), 2: (3, 5), 3: (4, 2, 3), 6: (2, 3, 1, 4, 2, 2)}


def filled(classes=4, modalities=2, size=6, seed=0, dtype=torch.float64, shape=None):
    generator = torch.Generator().manual_seed(seed)
    widths = WIDTHS[modalities]
    dim = sum(widths)
    bank = EmbeddingBank(classes, dim, size, dtype=dtype, widths=widths)
    centres = torch.randn(classes, dim, generator=generator, dtype=dtype) * 5
    shape = torch.eye(dim, dtype=dtype) if shape is None else shape
    for _ in range(size + 3):  # the ring's oldest row is not in its first slot
        noise = torch.randn(classes, dim, generator=generator, dtype=dtype) @ shape
        bank.push(centres + noise, torch.arange(classes))
    return bank


def draws_of(seed):
    """Return the source that a synthesis seeds from a torch generator of this seed."""
    number = torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(seed))
    return np.random.default_rng(int(number))


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def literal_mixup(bank, rng, alpha):
    rows, count = bank.embeddings.tolist(), bank.num_classes
    classes = [[int(each) for each in pair] for pair in rng.integers(count, size=(count, 2))]
    slots = rng.integers(bank.size, size=(count, 2))
    lam = rng.beta(alpha, alpha, size=count)
    return [
        [
            lam[k] * a + (1 - lam[k]) * b
            for a, b in zip(rows[first][slots[k][0]], rows[second][slots[k][1]], strict=True)
        ]
        for k, (first, second) in enumerate(classes)
    ]


def literal_feature_mixing(bank, rng, count):
    rows, widths = bank.embeddings.tolist(), bank.widths
    slots = rng.integers(bank.size, size=bank.num_classes)
    order = rng.permuted([list(range(len(widths)))] * bank.num_classes, axis=1)
    starts = [sum(widths[:m]) for m in range(len(widths))]
    drawn = [
        rng.permuted([list(range(start, start + width))] * bank.num_classes, axis=1)
        for start, width in zip(starts, widths, strict=True)
    ]
    found = []
    for c in range(bank.num_classes):
        row = rows[c][slots[c]]
        outlier = list(row)
        for place, receiver in enumerate(order[c]):
            giver = order[c][(place + 1) % len(widths)]
            for n in range(count):
                outlier[drawn[receiver][c][n]] = row[drawn[giver][c][n]]
        found.append(outlier)
    return found


def literal_vos(bank, rng, candidates, ridge):
    total = bank.num_classes * bank.size
    assert total <= 256  # every row counts
    dim = bank.dim
    means = [bank.embeddings[c].mean(0).numpy() for c in range(bank.num_classes)]
    covariance = np.zeros((dim, dim))
    for c in range(bank.num_classes):
        for row in bank.embeddings[c].numpy():
            covariance += np.outer(row - means[c], row - means[c]) / total
    covariance += ridge * np.eye(dim)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    uniform = rng.random(bank.num_classes)
    normal = rng.standard_normal((bank.num_classes, dim), dtype=np.float32).astype(float)
    found, distances = [], []
    for c in range(bank.num_classes):
        squared = stats.chi2.ppf(uniform[c] ** (1 / candidates), dim)
        found.append(means[c] + root @ (normal[c] / np.linalg.norm(normal[c]) * math.sqrt(squared)))
        away = found[c] - means[c]
        distances.append(away @ np.linalg.solve(covariance, away))
    return np.array(found), distances


def literal_npos(bank, rng, k, looked_at, boundary, candidates, std, middle_slots):
    """``middle_slots`` tell rows apart whose k-th distances are equal, as those of two rows to each other can be."""
    start = rng.integers(bank.size, size=(bank.num_classes, 1))
    pick = rng.integers(boundary, size=(bank.num_classes, 1))
    rest = bank.dim - (looked_at - 1)
    shape = (bank.num_classes, candidates)
    along = rng.standard_normal((*shape, min(looked_at - 1, bank.dim)), dtype=np.float32).astype(float)
    if rest > 0:
        beyond = rng.chisquare(rest, size=shape)
        directions = rng.standard_normal((bank.num_classes, bank.dim), dtype=np.float32).astype(float)
    found = []
    for c in range(bank.num_classes):
        slots = [(int(start[c, 0]) + j) % bank.size for j in range(looked_at)]
        rows = [bank.embeddings[c, slot].numpy() for slot in slots]
        own = []
        for i, row in enumerate(rows):
            others = sorted(float(np.linalg.norm(row - other)) for j, other in enumerate(rows) if j != i)
            own.append(others[k - 1])
        middle = slots.index(int(middle_slots[c]))
        assert own[middle] == pytest.approx(sorted(own, reverse=True)[pick[c, 0]])
        mean = sum(rows) / looked_at
        spread = math.sqrt(sum(float(((row - mean) ** 2).sum()) for row in rows) / looked_at / bank.dim)
        noise = along[c]
        if (
            rest > 0
        ):  # coordinates along the rows' differences, and one more direction, which all candidates share
            centred = np.array(rows[1:]) - rows[0]
            axes = np.linalg.solve(np.linalg.cholesky(centred @ centred.T), centred)
            outside = directions[c] - axes.T @ (axes @ directions[c])
            outside /= np.linalg.norm(outside)
            noise = [axes.T @ z + math.sqrt(b) * outside for z, b in zip(along[c], beyond[c], strict=True)]
        points = [rows[middle] + std * spread * each for each in noise]
        reach = [sorted(float(np.linalg.norm(point - row)) for row in rows)[k - 1] for point in points]
        found.append(points[int(np.argmax(reach))])
    return np.array(found)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("modalities", [2, 3, 6])
def test_against_literal_versions(classes, modalities):
    bank = filled(classes, modalities, size=9)
    for seed in range(5):
        for synthesis, literal in (
            (Mixup(alpha=2.0), literal_mixup(bank, draws_of(seed), 2.0)),
            (FeatureMixing(num_channels=1), literal_feature_mixing(bank, draws_of(seed), 1)),
            (VOS(num_candidates=50, ridge=1e-3), literal_vos(bank, draws_of(seed), 50, 1e-3)[0]),
        ):
            found = synthesis(bank, generator_of(seed)).embeddings
            torch.testing.assert_close(found, torch.as_tensor(np.array(literal)), rtol=1e-6, atol=1e-6)
        drawn = NPOS(3, 7, 4, 5, 0.5)(bank, generator_of(seed))
        literal = literal_npos(bank, draws_of(seed), 3, 7, 4, 5, 0.5, drawn.info["boundary"])
        torch.testing.assert_close(drawn.embeddings, torch.as_tensor(literal), rtol=1e-6, atol=1e-6)


def test_feature_mixing_takes_half_of_the_narrowest_modality():
    bank = filled(modalities=2)  # widths 3 and 5: one channel
    assert torch.equal(
        FeatureMixing()(bank, generator_of(3)).embeddings, FeatureMixing(1)(bank, generator_of(3)).embeddings
    )


@pytest.mark.parametrize("modalities", [2, 3, 6])
def test_feature_mixing_moves_n_channels_of_each_modality_to_another(modalities):
    bank = filled(classes=5, modalities=modalities)
    count = min(bank.widths)
    owner = torch.cat([torch.full((width,), m) for m, width in enumerate(bank.widths)])
    for seed in range(20):
        drawn = FeatureMixing(count)(bank, generator_of(seed))
        source, rows = drawn.info["source"], drawn.info["rows"]
        whole = bank.embeddings[torch.arange(5), rows]
        assert torch.equal(drawn.embeddings, whole.gather(1, source))
        assert torch.equal(drawn.embeddings.sort(dim=1).values, whole.sort(dim=1).values)
        for c in range(5):
            moved = source[c] != torch.arange(bank.dim)
            assert torch.equal(
                torch.bincount(owner[moved], minlength=modalities), torch.full((modalities,), count)
            )
            assert (owner[source[c][moved]] != owner[moved]).all()
        if modalities == 2:  # the bound that the paper proves
            first, second = whole.split(bank.widths, dim=1)
            most = (first.unsqueeze(2) - second.unsqueeze(1)).abs().amax((1, 2))
            assert ((drawn.embeddings - whole).norm(dim=1) <= math.sqrt(2 * count) * most + 1e-12).all()


def test_vos_draws_the_least_likely_of_n():
    """Its likelihood has the distribution of the least of n draws, as drawing them shows; below the 1/n quantile's."""
    shape = torch.diag(torch.tensor([3.0, 1.0, 0.3, 2.0, 0.5, 1.0, 1.0, 0.1], dtype=torch.float64))
    bank, n, ridge = filled(classes=40, shape=shape), 100, 1e-2
    drawn = [VOS(n, ridge=ridge)(bank, generator_of(seed)) for seed in range(20)]
    rows = drawn[0].info["rows"]
    assert torch.equal(rows, torch.cartesian_prod(torch.arange(40), torch.arange(6)))
    means = bank.embeddings.mean(1)
    deviations = bank.embeddings[rows[:, 0], rows[:, 1]] - means[rows[:, 0]]
    covariance = deviations.T @ deviations / len(rows) + ridge * torch.eye(8, dtype=torch.float64)
    away = torch.cat([each.embeddings - means for each in drawn])
    squared = (away * torch.linalg.solve(covariance, away.T).T).sum(1)
    torch.testing.assert_close(squared, torch.cat([each.info["squared_distances"] for each in drawn]))
    rng = np.random.default_rng(0)
    candidates = rng.multivariate_normal(np.zeros(8), covariance.numpy(), size=(2000, n))
    least_likely = (
        (candidates * np.linalg.solve(covariance.numpy(), candidates.swapaxes(1, 2)).swapaxes(1, 2))
        .sum(2)
        .max(1)
    )
    assert stats.ks_2samp(squared.numpy(), least_likely).pvalue > 1e-3
    below = (squared.numpy() > stats.chi2.isf(1 / n, 8)).mean()
    assert below == pytest.approx(1 - (1 - 1 / n) ** n, abs=0.05)  # 63 % beyond the 1/n quantile
    one = torch.cat([VOS(1, ridge=ridge)(bank, generator_of(s)).info["squared_distances"] for s in range(20)])
    assert stats.kstest(one.numpy(), stats.chi2(8).cdf).pvalue > 1e-3  # a plain draw
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), away.T, upper=False).T
    directions = whitened / whitened.norm(dim=1, keepdim=True)
    torch.testing.assert_close(
        directions.T @ directions / len(away) * 8, torch.eye(8, dtype=torch.float64), rtol=0, atol=0.2
    )


def test_vos_in_single_precision_and_with_more_channels_than_rows():
    """The shape of the space outside the rows' span is the ridge's."""
    bank = EmbeddingBank(3, 40, 2, widths=(30, 10))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        bank.push(torch.randn(3, 40, generator=generator), torch.arange(3))
    drawn = VOS(ridge=0.01)(bank, generator_of(1))
    means = bank.prototypes()
    deviations = (bank.embeddings.double() - means.unsqueeze(1)).flatten(0, 1)
    covariance = deviations.T @ deviations / 6 + 0.01 * torch.eye(40, dtype=torch.float64)
    away = drawn.embeddings.double() - means
    squared = (away * torch.linalg.solve(covariance, away.T).T).sum(1)
    torch.testing.assert_close(squared, drawn.info["squared_distances"], rtol=1e-4, atol=0)
    assert (drawn.info["squared_distances"] > stats.chi2.isf(0.01, 40)).all()


def test_vos_of_identical_rows_and_of_a_part_of_the_rows():
    bank = EmbeddingBank(2, 3, 2, widths=(2, 1))
    for _ in range(2):
        bank.push(torch.ones(2, 3), torch.arange(2))
    drawn = VOS(ridge=0.25)(bank, generator_of(0))
    torch.testing.assert_close(
        ((drawn.embeddings - 1) / 0.5).square().sum(1).double(), drawn.info["squared_distances"]
    )
    rows = torch.cat([VOS(num_rows=10)(filled(classes=5), generator_of(s)).info["rows"] for s in range(100)])
    assert rows.shape == (1000, 2)
    counts = torch.bincount(rows[:, 0] * 6 + rows[:, 1], minlength=30)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_npos_ranks():
    """The boundary sample is among the farthest of the rows, and the outlier the farthest of its candidates."""
    bank = filled(classes=6, size=20)
    places = []
    for seed in range(60):
        drawn = NPOS(num_neighbors=4, num_rows=12, num_boundary=3)(bank, generator_of(seed))
        for c in range(6):
            slots = drawn.info["slots"][c]
            assert len(set(slots.tolist())) == 12
            rows = bank.embeddings[c, slots]
            kth = torch.cdist(rows, rows).sort(dim=1).values[:, 4]
            own = kth[slots.tolist().index(int(drawn.info["boundary"][c]))]
            places.append(int((kth > own * (1 + 1e-9)).sum()))  # two rows may have each other as k-th: a tie
            reach = (drawn.embeddings[c] - rows).norm(dim=1).sort().values[3]
            assert reach.item() == pytest.approx(drawn.info["distances"][c].max().item())
            spread = (rows - rows.mean(0)).square().mean().sqrt()
            torch.testing.assert_close(drawn.info["std"][c], spread, rtol=1e-9, atol=0)
    assert set(places) == {0, 1, 2}
    counts = [places.count(place) for place in range(3)]
    assert min(counts) > 0.2 * len(places)


@pytest.mark.parametrize(
    ("size", "modalities"), [(4, 2), (9, 3), (12, 2)]
)  # fewer rows than channels, as many, more
def test_npos_noise_is_gaussian_in_every_channel(size, modalities):
    """One candidate: what is added to the boundary sample is standard normal noise, times the deviation."""
    bank = filled(classes=50, size=size, modalities=modalities)
    noise = []
    for seed in range(20):
        drawn = NPOS(num_candidates=1, num_rows=size, std=0.7)(bank, generator_of(seed))
        middle = bank.embeddings[torch.arange(50), drawn.info["boundary"]]
        noise.append((drawn.embeddings - middle) / drawn.info["std"].unsqueeze(1))
    noise = torch.cat(noise)
    assert stats.kstest(noise.flatten().numpy(), stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(noise.square().sum(1).numpy(), stats.chi2(bank.dim).cdf).pvalue > 1e-3
    torch.testing.assert_close(noise.T.cov(), torch.eye(bank.dim, dtype=torch.float64), rtol=0, atol=0.2)


def test_npos_of_identical_rows():
    bank = EmbeddingBank(2, 5, 3, widths=(2, 3))
    for _ in range(3):
        bank.push(torch.ones(2, 5), torch.arange(2))
    drawn = NPOS()(bank, generator_of(0))
    torch.testing.assert_close(drawn.embeddings, torch.ones(2, 5))


def test_npos_with_few_rows():
    bank = filled(size=2)
    assert NPOS()(bank, generator_of(0)).embeddings.shape == (4, 8)
    with pytest.raises(UserError, match="bank of size 1"):
        NPOS()(filled(size=1))


def test_mixup_draws_any_classes():
    bank = filled(classes=5)
    drawn = [Mixup(alpha=3.0)(bank, generator_of(seed)) for seed in range(200)]
    classes = torch.cat([each.info["classes"] for each in drawn])
    pairs = torch.bincount(classes[:, 0] * 5 + classes[:, 1], minlength=25)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-3
    lam = torch.cat([each.info["lam"] for each in drawn]).numpy()
    assert stats.kstest(lam, stats.beta(3, 3).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", SYNTHESES.names())
def test_a_steps_work_does_not_grow_with_the_bank(name):
    """Counted in the elements of all tensors that a step makes, once the rows that it looks at are bounded."""
    small = {"vos": {"num_rows": 16}, "npos": {"num_rows": 8}}.get(name, {})
    made = []
    for size in (20, 200):
        bank = filled(size=size, dtype=torch.float32)
        with Elements() as counted:
            SYNTHESES.get(name)(**small)(bank, generator_of(0))
        made.append(counted.elements)
    assert made[0] == made[1]


class Elements(torch.overrides.TorchFunctionMode):
    """Counts the elements of the tensors that torch's functions return, views of the bank's memory left out."""

    elements = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not any(
            isinstance(each, torch.Tensor) and each.data_ptr() == result.data_ptr() for each in args
        ):
            self.elements += result.numel()
        return result


def test_none_makes_none():
    assert NoOutliers()(filled()).embeddings.shape == (0, 8)
    with pytest.raises(UserError, match="isn't full"):
        NoOutliers()(EmbeddingBank(2, 3, 2))


@pytest.mark.parametrize(
    ("synthesis", "parameters", "message"),
    [
        (VOS, {"num_candidates": 0}, "VOS needs num_candidates >= 1, got 0"),
        (VOS, {"ridge": 0.0}, "VOS needs a finite ridge > 0"),
        (NPOS, {"num_rows": 1}, "NPOS needs num_rows >= 2, got 1"),
        (NPOS, {"std": math.nan}, "NPOS needs a finite std > 0, got nan"),
        (Mixup, {"alpha": -1.0}, "mixup needs a finite alpha > 0"),
        (FeatureMixing, {"num_channels": 0}, "feature mixing needs num_channels >= 1"),
    ],
)
def test_wrong_parameters(synthesis, parameters, message):
    with pytest.raises(UserError, match=message):
        synthesis(**parameters)


def test_feature_mixing_needs_modalities_of_n_channels():
    with pytest.raises(UserError, match="swaps channels between modalities; the bank has one"):
        FeatureMixing()(filled(modalities=1))
    with pytest.raises(UserError, match="num_channels = 4; the narrowest modality has 3"):
        FeatureMixing(4)(filled(modalities=2))
    with pytest.raises(UserError, match=r"widths \[3, 4\] don't sum to the bank's dim 8"):
        EmbeddingBank(2, 8, 3, widths=(3, 4))
