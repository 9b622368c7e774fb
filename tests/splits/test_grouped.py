"""Recordings → sides: none on two, classes within their bounds, the same anywhere for the same seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openood_multimodal.errors import UserError
from openood_multimodal.splits.grouped import Shares, assign, balance_of, bound_of, seeded_factor
from openood_multimodal.vocabulary import ID_SETS


def clips(counts):
    """Recordings and classes of clips, from recording → class → number."""
    rows = [(r, c) for r, classes in counts.items() for c, number in classes.items() for _ in range(number)]
    return [r for r, _ in rows], [c for _, c in rows]


def literal_cost(recordings, names, sides, shares):
    """The sum that the module's docstring states, without its prices."""
    totals = Counter(names)
    counts = Counter((sides[r], c) for r, c in zip(recordings, names, strict=True))
    return sum(
        (counts[side, c] - total * getattr(shares, side) / 100) ** 2 / (total * getattr(shares, side) / 100)
        for c, total in totals.items()
        for side in ID_SETS
    )


def made(seed=0, number=60):
    """Recordings of one to three classes and one to eight clips each."""
    found = {}
    for i in range(number):
        draw = int(1e6 * seeded_factor(seed, f"made {i}"))
        found[f"r{i}"] = {f"c{(draw + k) % 5}": 1 + (draw >> k) % 8 for k in range(1 + draw % 3)}
    return found


def test_a_recording_has_one_side_and_classes_are_within_bounds():
    for seed in range(5):
        recordings, names = clips(made(seed))
        sides = assign(recordings, names, Shares(), seed)
        assert set(sides) == set(recordings)
        for each in balance_of(recordings, names, sides, Shares()):
            assert each.within, each
            assert not each.missing
            assert sum(each.sides.values()) == each.clips


def test_no_single_move_is_better():
    recordings, names = clips(made(3, 40))
    sides = assign(recordings, names, Shares(), 0)
    best = literal_cost(recordings, names, sides, Shares())
    for recording, side in sides.items():
        for other in set(ID_SETS) - {side}:
            assert literal_cost(recordings, names, {**sides, recording: other}, Shares()) >= best - 1e-6


def test_the_result_is_this_one_on_any_machine():
    recordings, names = clips(made(0, 12))
    assert seeded_factor(0, "TrumanShow") == 0.7252985144520796  # sha256sum of the same bytes
    first = assign(recordings, names, Shares(), 7)
    shuffled = list(zip(recordings, names, strict=True))[::-1]
    again = assign([r for r, _ in shuffled], [c for _, c in shuffled], Shares(), 7)
    assert first == again  # whatever the order of the clips


def test_seeds_give_other_splits():
    recordings, names = clips(made(1))
    assert len({tuple(sorted(assign(recordings, names, Shares(), seed).items())) for seed in range(6)}) > 1


def test_a_class_of_one_recording_trains_and_of_two_is_tested():
    counts = {f"r{i}": {"many": 4} for i in range(20)}
    recordings, names = clips(counts | {"only": {"single": 9}, "a": {"pair": 5}, "b": {"pair": 5}})
    sides = assign(recordings, names, Shares(), 0)
    assert sides["only"] == "train"
    assert {sides["a"], sides["b"]} == {"train", "test"}
    by_name = {each.class_name: each for each in balance_of(recordings, names, sides, Shares())}
    assert by_name["single"].missing == ("val", "test")
    assert by_name["pair"].missing == ("val",)
    assert not by_name["many"].missing


def test_recordings_with_ood_clips_are_rather_tested_on():
    recordings, names = clips({f"r{i:02}": {"a": 3, "b": 3} for i in range(40)})
    shared = {f"r{i:02}": 30 for i in range(0, 40, 8)}
    with_price = assign(recordings, names, Shares(), 0, shared)
    without = assign(recordings, names, Shares(), 0)
    tested = [sum(sides[r] == "test" for r in shared) for sides in (with_price, without)]
    assert tested[0] == len(shared) > tested[1]
    assert all(each.within for each in balance_of(recordings, names, with_price, Shares()))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=4),
        st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), min_size=1),
        min_size=3,
        max_size=25,
    ),
    st.integers(0, 5),
)
def test_any_clips_get_sides(counts, seed):
    recordings, names = clips(counts)
    sides = assign(recordings, names, Shares(60, 20, 20), seed)
    assert set(sides.values()) <= set(ID_SETS)
    balance = balance_of(recordings, names, sides, Shares(60, 20, 20))
    assert all("train" not in each.missing for each in balance)  # what is tested has been trained


def test_what_is_refused():
    with pytest.raises(UserError, match="at least 3"):
        assign(["a", "b"], ["x", "x"], Shares(), 0)
    with pytest.raises(UserError, match="without a recording"):
        assign(["a", "", "b", "c"], ["x"] * 4, Shares(), 0)
    with pytest.raises(UserError, match="leave 0 % to train on"):
        Shares.of(50, 50)
    assert (bound_of(1), bound_of(9)) == (1.0, 4.5)
