"""Ranges of declared parameters: ``weight: NotNegative = 1.0`` is checked wherever a section is bound."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from ..errors import UserError


class Range(NamedTuple):
    """What a number must lie within; both bounds may be open.

    Attributes:
        low: the least value.
        high: the greatest.
        without_low: whether ``low`` itself is excluded.
        without_high: whether ``high`` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def check(self, value: Any, key: str) -> None:
        """Refuse a value outside, infinity and NaN.

        Raises:
            UserError: naming the key and the range.
        """
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        if not (math.isfinite(value) and above and below):
            kind = "a whole number" if isinstance(value, int) else "a finite number"
            raise UserError(f"{key} is {value}; it must be {kind}{self}.")

    def __str__(self) -> str:
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if self.without_low else 'at least'} {self.low:g}")
        if self.high < math.inf:
            bounds.append(f"{'below' if self.without_high else 'at most'} {self.high:g}")
        return f", {' and '.join(bounds)}" if bounds else ""


Finite = Annotated[float, Range()]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, without_low=True)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
WholeNumber = Annotated[int, Range(0)]
