"""The bank against a literal one: lists of rows a class, one sample at a time."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openood_multimodal.errors import UserError
from openood_multimodal.synthesis import EmbeddingBank, NPMix

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text())["bank"]


class LiteralBank:
    def __init__(self, classes, size):
        self.rows = [[] for _ in range(classes)]
        self.size = size

    def push(self, embeddings, labels):
        full = all(len(rows) == self.size for rows in self.rows)  # once a batch
        for z, y in zip(embeddings, labels.tolist(), strict=True):
            if full:
                self.rows[y] = [*self.rows[y][1:], z]
            elif len(self.rows[y]) < self.size:
                self.rows[y].append(z)

    def prototypes(self):
        return torch.stack([torch.stack(rows).double().mean(0) for rows in self.rows])


def assert_same(bank, literal):
    assert bank.counts.tolist() == [len(rows) for rows in literal.rows]
    assert bank.full == all(len(rows) == literal.size for rows in literal.rows)
    for c, rows in enumerate(literal.rows):
        expected = torch.stack(rows) if rows else torch.zeros(0, bank.dim)
        assert torch.equal(bank.history(c), expected.to(bank.dtype))
    if all(literal.rows):
        torch.testing.assert_close(bank.prototypes(), literal.prototypes(), rtol=1e-12, atol=1e-12)


@settings(max_examples=120, deadline=None)
@given(
    classes=st.integers(1, 4),
    size=st.integers(1, 5),
    batches=st.lists(st.lists(st.integers(0, 3), max_size=14), max_size=14),
    seed=st.integers(0, 1000),
)
def test_fills_and_rolls_as_the_literal_bank(classes, size, batches, seed):
    generator = torch.Generator().manual_seed(seed)
    bank, literal = EmbeddingBank(classes, 3, size), LiteralBank(classes, size)
    for batch in batches:
        labels = torch.tensor([y % classes for y in batch], dtype=torch.int64)
        z = torch.randn(len(batch), 3, generator=generator)
        bank.push(z, labels)
        literal.push(z, labels)
        assert_same(bank, literal)


def test_long_random_run_with_skewed_classes():
    rng = np.random.default_rng(3)
    bank, literal = EmbeddingBank(5, 4, 7), LiteralBank(5, 7)
    weights = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    for _ in range(300):
        labels = torch.from_numpy(rng.choice(5, size=rng.integers(1, 20), p=weights))
        z = torch.from_numpy(rng.normal(size=(len(labels), 4)).astype(np.float32))
        bank.push(z, labels)
        literal.push(z, labels)
    assert bank.full
    assert_same(bank, literal)


def test_holds_what_the_authors_own_step_holds():
    bank = EmbeddingBank(4, 2, GOLDEN["size"], dtype=torch.float64)
    number = 0
    for labels, second, held in zip(GOLDEN["labels"], GOLDEN["second_column"], GOLDEN["held"], strict=True):
        first = torch.arange(number, number + len(labels), dtype=torch.float64) + 1
        number += len(labels)
        bank.push(
            torch.stack((first, torch.tensor(second, dtype=torch.float64)), dim=1), torch.tensor(labels)
        )
        for c, expected in enumerate(held):
            assert bank.history(c)[:, 0].int().tolist() == [v for v in expected if v]


def test_the_batch_that_fills_the_bank_drops_its_surplus():
    bank = EmbeddingBank(2, 1, 2)
    bank.push(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1]))
    assert not bank.full
    bank.push(torch.tensor([[4.0], [5.0], [6.0], [7.0]]), torch.tensor([0, 1, 1, 0]))  # full after the 5
    assert bank.full
    assert bank.history(0).flatten().tolist() == [1, 2]
    assert bank.history(1).flatten().tolist() == [3, 5]
    bank.push(torch.tensor([[8.0], [9.0], [10.0]]), torch.tensor([0, 0, 0]))
    assert bank.history(0).flatten().tolist() == [9, 10]
    assert bank.history(1).flatten().tolist() == [3, 5]


def test_running_sums_do_not_drift():
    """What rows of 1e12 leave behind when they are subtracted must be gone once the ring has turned."""
    bank = EmbeddingBank(2, 2, 5)
    labels = torch.tensor([0, 1])
    for _ in range(5):
        bank.push(torch.randn(2, 2), labels)
    for _ in range(1000):
        bank.push(torch.randn(2, 2) * 1e12, labels)
    for _ in range(10):
        bank.push(torch.full((2, 2), 0.1), labels)
    exact = torch.full((2, 2), 0.1).double()
    torch.testing.assert_close(bank.prototypes(), exact, rtol=1e-15, atol=0)


def test_nan_rows_leave_no_trace_once_the_ring_has_turned():
    bank = EmbeddingBank(2, 1, 3)
    labels = torch.tensor([0, 1])
    for _ in range(3):
        bank.push(torch.ones(2, 1), labels)
    bank.push(torch.full((2, 1), torch.nan), labels)
    for _ in range(6):
        bank.push(torch.ones(2, 1), labels)
    assert bank.prototypes().tolist() == [[1.0], [1.0]]
    assert bank.nearest(1).tolist() == [[1], [0]]


def filled(classes=6, dim=5, size=4, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    bank = EmbeddingBank(classes, dim, size, **options)
    for _ in range(size):
        bank.push(torch.randn(classes, dim, generator=generator), torch.arange(classes))
    return bank


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neighbours", [1, 2, 5])
def test_nearest_prototypes_are_kept_up_to_date(neighbours, dtype):
    """After every push the N nearest of a float64 computation from scratch, on clustered, shifted rows."""
    rng = np.random.default_rng(5)
    bank = EmbeddingBank(12, 8, 6, dtype=dtype)
    centres = torch.from_numpy(rng.normal(size=(12, 8))) * 0.1 + 10
    for step in range(90):
        labels = torch.from_numpy(rng.integers(12, size=9)) if step >= 6 else torch.arange(12)
        bank.push(centres[labels] + torch.from_numpy(rng.normal(size=(len(labels), 8))) * 0.05, labels)
        if not bank.full:
            continue
        means = torch.stack([bank.history(c).double().mean(0) for c in range(12)])
        distances = (means[:, None] - means).norm(dim=-1).fill_diagonal_(torch.inf)
        expected = distances.topk(neighbours, largest=False).values
        chosen = bank.nearest(neighbours)
        assert not (chosen == torch.arange(12)[:, None]).any()
        assert all(len(set(row)) == neighbours for row in chosen.tolist())
        found = distances.gather(1, chosen).sort(dim=1).values
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_state_round_trip_continues_bitwise():
    rng = np.random.default_rng(11)
    labels = [torch.from_numpy(rng.integers(4, size=6)) for _ in range(80)]
    batches = [torch.from_numpy(rng.normal(size=(6, 5)).astype(np.float32)) for _ in range(80)]
    for stop in (0, 2, 9, 40, 41):
        bank, generator = EmbeddingBank(4, 5, 3), torch.Generator().manual_seed(1)
        other, other_generator = EmbeddingBank(4, 5, 3), torch.Generator()
        mix = NPMix()
        for step, (z, y) in enumerate(zip(batches, labels, strict=True)):
            if step == stop:
                state = bank.state_dict()
                before = copy.deepcopy(state)
                other.load_state_dict(state)
                other_generator.set_state(generator.get_state())
            bank.push(z, y)
            drawn = mix(bank, generator) if bank.full and step % 3 else None
            if step >= stop:
                other.push(z, y)
                if drawn is not None:
                    again = mix(other, other_generator)
                    assert torch.equal(drawn.embeddings, again.embeddings)
                    assert drawn.info.keys() == again.info.keys() > set()
                    assert all(torch.equal(drawn.info[name], again.info[name]) for name in drawn.info)
        one, two = bank.state_dict(), other.state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert bank.full
        assert other.full
        assert all(
            torch.equal(state[name], before[name]) for name in state
        )  # later pushes don't reach into it


def test_state_survives_a_safe_save(tmp_path):
    bank = filled()
    torch.save(bank.state_dict(), tmp_path / "bank.pt")
    other = EmbeddingBank(6, 5, 4)
    other.load_state_dict(torch.load(tmp_path / "bank.pt", weights_only=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(bank.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    "other", [{"classes": 5}, {"dim": 4}, {"size": 3}, {"dtype": torch.float64}], ids=lambda o: next(iter(o))
)
def test_state_of_another_bank_is_refused(other):
    bank = filled(**other)
    before = bank.state_dict()
    with pytest.raises(UserError, match="saved bank"):
        bank.load_state_dict(filled(seed=9).state_dict())
    assert all(torch.equal(before[name], value) for name, value in bank.state_dict().items())
    with pytest.raises(UserError, match="no tensor 'embeddings'"):
        bank.load_state_dict({})


def test_rows_are_detached_copies():
    z = torch.ones(2, 3, requires_grad=True)
    bank = EmbeddingBank(2, 3, 1)
    bank.push(z, torch.tensor([0, 1]))
    assert not bank.embeddings.requires_grad
    with torch.no_grad():
        z.zero_()
    assert bank.history(0).tolist() == [[1, 1, 1]]


def test_an_empty_batch_changes_nothing():
    for bank in (EmbeddingBank(2, 3, 2), filled(2, 3, 2)):
        before = bank.state_dict()
        bank.push(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
        assert all(torch.equal(before[name], value) for name, value in bank.state_dict().items())


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 1]), r"\[B, 5\]"),
        (torch.zeros(2, 5).long(), torch.tensor([0, 1]), "floating point"),
        (torch.zeros(2, 5), torch.tensor([0]), r"integers \[2\]"),
        (torch.zeros(2, 5), torch.zeros(2), "integers"),
        (torch.zeros(2, 5), torch.tensor([0, 6]), r"labels\[1\] is 6, outside the bank's 6"),
        (torch.zeros(2, 5), torch.tensor([-1, 0]), r"labels\[0\] is -1"),
        (torch.zeros(2, 5, device="meta"), torch.tensor([0, 1]), "bank.to"),
    ],
)
def test_a_push_that_does_not_fit_changes_nothing(embeddings, labels, message):
    bank = filled()
    before = bank.state_dict()
    with pytest.raises(UserError, match=message):
        bank.push(embeddings, labels)
    assert all(torch.equal(before[name], value) for name, value in bank.state_dict().items())


def test_questions_that_come_too_early():
    bank = EmbeddingBank(3, 2, 2)
    bank.push(torch.zeros(2, 2), torch.tensor([0, 2]))
    with pytest.raises(UserError, match="class 1 has no embeddings"):
        bank.prototypes()
    with pytest.raises(UserError, match=r"3 of 3 classes .*class 1 has 0"):
        bank.nearest(1)
    with pytest.raises(UserError, match="3 classes there can be 1 to 2"):
        filled(3).nearest(3)
    with pytest.raises(UserError, match="size >= 1"):
        EmbeddingBank(3, 2, 0)


def test_no_pass_over_the_bank():
    """Rows that a step doesn't touch aren't read: destroying them changes no prototype and no neighbour."""
    one, two = filled(), filled()
    two.embeddings[:, 1:] = torch.nan  # slot 0 is the next to be replaced, and so read
    for bank in (one, two):
        bank.push(torch.ones(3, 5), torch.tensor([0, 2, 5]))
    assert torch.equal(one.prototypes(), two.prototypes())
    assert torch.equal(one.nearest(2), two.nearest(2))
