"""Recordings → sides: a split with no recording on two of them, its classes as even as the recordings allow.

A recording goes to one side as a whole, with the clips of all its classes.  The sides' target is a share of every
class; what is minimised is how far the classes are from it,

    sum over classes c and sides s of  (n[c, s] - t[c, s])² / t[c, s],

plus, for recordings that out-of-distribution (OOD) clips share, a small price for each OOD clip that training or
validation would cost the OOD set (such clips have to go), plus prices for a class that a side lacks and for one
that leaves its bound.  Large recordings first, each goes where the sum grows least; then recordings move, small ones
first (and, where they are few, change places), while that lowers the sum.

The order is that of size times a factor from 1/2 to 1 that SHA-256 draws from seed and recording, and all sums are of
IEEE doubles in a fixed order: the same seed gives the same split on any machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..vocabulary import ID_SETS

ALGORITHM_VERSION = 1
"""Raised whenever the same request would give another split."""

OOD_PRICE = 0.05  # of an OOD clip that can't be used; one class ten clips off a target of a hundred costs 1
_MISSING_PRICE = {"train": 1e6, "test": 1e4, "val": 1e3}  # of a class that the side lacks
_BOUND_PRICE = 10.0
_SWAP_LIMIT = 150  # recordings; with more of them, moves alone come as close
_MAX_PASSES = 50
_EPSILON = 1e-9


@dataclass(frozen=True)
class Shares:
    """Per cent of every class's clips that each side shall have; they add up to 100, each at least 1."""

    train: int = 70
    val: int = 15
    test: int = 15

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.test) < 1 or self.train + self.val + self.test != 100:
            raise UserError(
                f"shares of {self.val} % for validation and {self.test} % for test leave {self.train} % to train on; "
                "each must be at least 1."
            )

    @classmethod
    def of(cls, val: int, test: int) -> Shares:
        """Return the shares with these for validation and test, and the rest for training."""
        return cls(100 - val - test, val, test)

    def target(self, clips: int, side: str) -> float:
        """Return how many of ``clips`` clips ``side`` shall have."""
        return clips * int(getattr(self, side)) / 100


@dataclass(frozen=True)
class ClassBalance:
    """What became of one class.

    Attributes:
        class_name: which one.
        clips: how many it has in all.
        recordings: that it is spread over.
        largest: clips of it in the recording that has most of them.
        sides: side → its clips.
        bound: how far from its share a side may be, in clips: half of ``largest``, at least 1.
        deviation: of the side that is farthest from its share, in clips.
    """

    class_name: str
    clips: int
    recordings: int
    largest: int
    sides: Mapping[str, int]
    bound: float
    deviation: float

    @property
    def missing(self) -> tuple[str, ...]:
        """Sides without a clip of this class."""
        return tuple(side for side in ID_SETS if not self.sides[side])

    @property
    def within(self) -> bool:
        """Whether every side is within the bound."""
        return self.deviation <= self.bound + _EPSILON


def assign(
    recordings: Sequence[str],
    class_names: Sequence[str],
    shares: Shares,
    seed: int,
    ood_clips: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return recording → side.

    Args:
        recordings: of each in-distribution clip, ``[N]``; none empty.
        class_names: of each, ``[N]``.
        shares: what each side shall have of every class.
        seed: of the order of recordings.
        ood_clips: recording → number of OOD clips in it; such recordings are rather tested on.

    Raises:
        UserError: when there are fewer than three recordings, or one is unknown (empty).
    """
    if "" in recordings:
        raise UserError("a clip without a recording can't be put on a side.")
    groups: dict[str, Counter[str]] = {}
    for recording, name in zip(recordings, class_names, strict=True):
        groups.setdefault(recording, Counter())[name] += 1
    if len(groups) < len(ID_SETS):
        raise UserError(
            f"the clips come from {len(groups)} recording(s); a split with no recording on two sides needs at least 3."
        )
    balance = _Balance(groups, shares, ood_clips or {})
    order = sorted(groups, key=lambda each: (-groups[each].total() * seeded_factor(seed, each), each))
    sides: dict[str, str] = {}
    for recording in order:
        sides[recording] = min(ID_SETS, key=lambda side: balance.growth(recording, side))
        balance.put(recording, sides[recording])
    balance.with_prices = True
    for _ in range(_MAX_PASSES):
        changed = _move_each(balance, sides, reversed(order))
        if len(order) <= _SWAP_LIMIT:
            changed |= _swap_pairs(balance, sides, order)
        if not changed:
            break
    return sides


def seeded_factor(seed: int, name: str) -> float:
    """Return the factor from 1/2 to 1 that SHA-256 draws from ``seed`` and ``name``."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return 0.5 + int.from_bytes(digest[:6], "big") / 2**49


def balance_of(
    recordings: Sequence[str], class_names: Sequence[str], sides: Mapping[str, str], shares: Shares
) -> list[ClassBalance]:
    """Return what became of every class, in the order in which the classes appear."""
    spread: dict[str, Counter[str]] = {}
    for recording, name in zip(recordings, class_names, strict=True):
        spread.setdefault(name, Counter())[recording] += 1
    found = []
    for name, of_class in spread.items():
        clips, largest = of_class.total(), max(of_class.values())
        counts = dict.fromkeys(ID_SETS, 0)
        for recording, number in of_class.items():
            counts[sides[recording]] += number
        deviation = max(abs(counts[side] - shares.target(clips, side)) for side in ID_SETS)
        found.append(ClassBalance(name, clips, len(of_class), largest, counts, bound_of(largest), deviation))
    return found


def bound_of(largest: int) -> float:
    """Return the bound of a class whose largest recording has ``largest`` clips of it: half of them, at least 1."""
    return max(1.0, largest / 2)


class _Balance:
    """Clips of each class on each side, and what a change costs."""

    def __init__(
        self, groups: Mapping[str, Counter[str]], shares: Shares, ood_clips: Mapping[str, int]
    ) -> None:
        self._groups = {name: tuple(counts.items()) for name, counts in groups.items()}
        self._ood = ood_clips
        totals: Counter[str] = Counter()
        self._bound: dict[str, float] = {}
        for counts in groups.values():
            for name, number in counts.items():
                totals[name] += number
                self._bound[name] = max(self._bound.get(name, 0.0), bound_of(number))
        self._target = {
            side: {name: shares.target(clips, side) for name, clips in totals.items()} for side in ID_SETS
        }
        self._count = {side: dict.fromkeys(totals, 0) for side in ID_SETS}
        self.with_prices = False

    def put(self, recording: str, side: str, sign: int = 1) -> None:
        """Count a recording's clips on ``side``, or with ``sign`` -1 no longer."""
        count = self._count[side]
        for name, number in self._groups[recording]:
            count[name] += sign * number

    def growth(self, recording: str, side: str, sign: int = 1) -> float:
        """Return how much dearer the split gets by `put`."""
        count, total = self._count[side], 0.0
        for name, number in self._groups[recording]:
            before = count[name]
            total += self._cost(name, side, before + sign * number) - self._cost(name, side, before)
        if side != "test":
            total += sign * OOD_PRICE * self._ood.get(recording, 0)
        return total

    def _cost(self, name: str, side: str, clips: int) -> float:
        target = self._target[side][name]
        off = abs(clips - target)
        cost = off * off / target
        if self.with_prices:
            over = off - self._bound[name]
            cost += _BOUND_PRICE * over * over if over > 0 else 0.0
            cost += _MISSING_PRICE[side] if clips == 0 else 0.0
        return cost


def _move_each(balance: _Balance, sides: dict[str, str], order: Iterable[str]) -> bool:
    changed = False
    for recording in order:
        old = sides[recording]
        balance.put(recording, old, -1)
        back = balance.growth(recording, old)
        costs = {side: balance.growth(recording, side) for side in ID_SETS if side != old}
        best = min(costs, key=lambda side: costs[side])
        if costs[best] < back - _EPSILON:
            sides[recording] = best
            changed = True
        balance.put(recording, sides[recording])
    return changed


def _swap_pairs(balance: _Balance, sides: dict[str, str], order: Sequence[str]) -> bool:
    changed = False
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            a, b = sides[first], sides[second]
            if a == b:
                continue
            cost = _moved(balance, first, a, b) + _moved(balance, second, b, a)
            if cost < -_EPSILON:
                sides[first], sides[second] = b, a
                changed = True
            else:
                _moved(balance, second, a, b)
                _moved(balance, first, b, a)
    return changed


def _moved(balance: _Balance, recording: str, old: str, new: str) -> float:
    cost = balance.growth(recording, old, -1)
    balance.put(recording, old, -1)
    cost += balance.growth(recording, new)
    balance.put(recording, new)
    return cost
