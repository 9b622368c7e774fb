"""NP-Mix: each outlier is the stated mix of the stated rows, drawn as the paper says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scipy import stats

from openood_multimodal.errors import UserError
from openood_multimodal.registry import SYNTHESES
from openood_multimodal.synthesis import EmbeddingBank, NPMix

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["bank"]


def filled(classes=7, dim=6, size=5, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    bank = EmbeddingBank(classes, dim, size, **options)
    centres = torch.randn(classes, dim, generator=generator) * 3
    for _ in range(size):
        bank.push(centres + torch.randn(classes, dim, generator=generator), torch.arange(classes))
    return bank


def literal_nearest(bank, neighbours):
    means = [bank.history(c).double().mean(0) for c in range(bank.num_classes)]
    nearest = []
    for c, mean in enumerate(means):
        others = sorted((float((mean - m).norm()), j) for j, m in enumerate(means) if j != c)
        nearest.append({j for _, j in others[:neighbours]})
    return nearest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neighbours", [1, 2, 4])
def test_each_outlier_is_the_stated_mix(neighbours, dtype):
    bank = filled(dtype=dtype)
    nearest = literal_nearest(bank, neighbours)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        drawn = NPMix(num_neighbors=neighbours)(bank, generator)
        assert drawn.embeddings.shape == (7, 6)
        assert drawn.embeddings.dtype == drawn.info["lam"].dtype == dtype
        assert not drawn.embeddings.requires_grad
        assert drawn.info["rows"].shape == (7, 2)
        for c in range(7):
            s, (i, j) = int(drawn.info["neighbours"][c]), drawn.info["rows"][c].tolist()
            assert s in nearest[c]
            lam = float(drawn.info["lam"][c])
            mix = lam * bank.embeddings[c, i].double() + (1 - lam) * bank.embeddings[s, j].double()
            torch.testing.assert_close(drawn.embeddings[c].double(), mix, rtol=1e-6, atol=1e-6)


def test_the_authors_own_outliers():
    """With the rows, the neighbour and λ that their step drew, the mix and the candidates are the same."""
    bank = EmbeddingBank(4, 2, GOLDEN["size"], dtype=torch.float64)
    outliers = {each["batch"]: each for each in GOLDEN["outliers"]}
    number = 0
    for step, (labels, second) in enumerate(zip(GOLDEN["labels"], GOLDEN["second_column"], strict=True)):
        first = torch.arange(number, number + len(labels), dtype=torch.float64) + 1
        number += len(labels)
        bank.push(
            torch.stack((first, torch.tensor(second, dtype=torch.float64)), dim=1), torch.tensor(labels)
        )
        if step not in outliers:
            continue
        nearest = bank.nearest(2).sort(dim=1).values.tolist()
        draws = outliers[step]["draws"]
        for c, z in enumerate(outliers[step]["embeddings"]):
            own, (candidates, chosen), other, lam = draws[4 * c : 4 * c + 4]
            assert nearest[c] == candidates
            mix = lam * bank.history(c)[own] + (1 - lam) * bank.history(chosen)[other]
            assert mix.tolist() == pytest.approx(z, rel=1e-12)
    assert len(outliers) == 8


def draws(times, **parameters):
    bank, generator = filled(classes=20), torch.Generator().manual_seed(4)
    return bank, [NPMix(**parameters)(bank, generator) for _ in range(times)]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 10.0])
def test_lambda_follows_beta(alpha):
    _, drawn = draws(150, alpha=alpha)
    lam = torch.cat([each.info["lam"] for each in drawn]).numpy()
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(lam, stats.beta(2 * alpha, 2 * alpha).cdf).pvalue < 1e-6  # the test can tell


def test_rows_and_neighbours_are_uniform():
    bank, drawn = draws(200, num_neighbors=3)
    rows = torch.stack([each.info["rows"] for each in drawn])
    for column in range(2):
        counts = torch.bincount(rows[:, :, column].flatten(), minlength=bank.size)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    nearest = bank.nearest(3)
    chosen = torch.stack([each.info["neighbours"] for each in drawn])
    position = (chosen.unsqueeze(-1) == nearest).float().argmax(-1).flatten()
    assert stats.chisquare(torch.bincount(position, minlength=3).numpy()).pvalue > 1e-3
    pairs = torch.bincount((rows[:, :, 0] * bank.size + rows[:, :, 1]).flatten(), minlength=bank.size**2)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-3  # and independent of each other


def test_reproducible_by_seed():
    bank = filled()
    one, two = (NPMix()(bank, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.embeddings, two.embeddings)
    assert all(torch.equal(one.info[name], two.info[name]) for name in ("neighbours", "lam", "rows"))
    generator = torch.Generator().manual_seed(5)
    first, second = NPMix()(bank, generator), NPMix()(bank, generator)
    assert torch.equal(first.info["lam"], one.info["lam"])
    assert not torch.equal(first.info["lam"], second.info["lam"])
    torch.manual_seed(8)
    one = NPMix()(bank)
    torch.manual_seed(8)
    assert torch.equal(NPMix()(bank).embeddings, one.embeddings)


def test_later_pushes_leave_drawn_outliers_alone():
    bank = filled()
    drawn = NPMix()(bank)
    before = drawn.embeddings.clone()
    bank.push(torch.zeros(7, 6), torch.arange(7))
    NPMix()(bank)
    assert torch.equal(drawn.embeddings, before)


def test_nothing_before_all_classes_are_full():
    bank = EmbeddingBank(3, 2, 2)
    for labels in ([0, 1, 2], [0, 1, 1], [0, 0, 0]):
        bank.push(torch.randn(3, 2), torch.tensor(labels))
        with pytest.raises(UserError, match="isn't full"):
            NPMix()(bank)
    bank.push(torch.randn(1, 2), torch.tensor([2]))
    assert NPMix()(bank).embeddings.shape == (3, 2)


def test_with_fewer_classes_than_neighbours_all_others_are_neighbours():
    bank = filled(classes=3)
    seen = {tuple(NPMix(num_neighbors=10)(bank).info["neighbours"].tolist()) for _ in range(100)}
    assert len(seen) == 8  # two choices for each of three classes
    bank = filled(classes=2)
    assert NPMix(num_neighbors=2)(bank).info["neighbours"].tolist() == [1, 0]


def test_identical_prototypes_still_exclude_the_class_itself():
    bank = EmbeddingBank(4, 3, 2)
    for _ in range(2):
        bank.push(torch.ones(4, 3), torch.arange(4))
    for _ in range(20):
        drawn = NPMix()(bank)
        assert not (drawn.info["neighbours"] == torch.arange(4)).any()
        torch.testing.assert_close(drawn.embeddings, torch.ones(4, 3))


def test_mistakes():
    with pytest.raises(UserError, match="single class"):
        NPMix()(filled(classes=1))
    with pytest.raises(UserError, match="num_neighbors >= 1"):
        NPMix(num_neighbors=0)
    for alpha in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="alpha > 0"):
            NPMix(alpha=alpha)


def test_is_registered():
    assert SYNTHESES.get("npmix") is NPMix
    with pytest.raises(UserError, match="Did you mean 'npmix'"):
        SYNTHESES.get("np_mix")
