"""The curves of a run in memory, a few hundred points each, as the page of its training draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Optional

_MOST = 200  # points of a curve; when there are twice as many, each two become one
_KEPT = ('loss/', 'eval/')  # what tags begin with


class Curve:
    """The points of one tag, thinned as they come: the same points give the same curve, however often it was begun.

    Attributes:
        last: the newest value, which no mean has changed and which need not be finite; None before the first.
    """

    def __init__(self):
        self.last: Optional[float] = None
        self._every = 1  # added points in each of the following
        self._points: list[tuple[int, float]] = []
        self._rest: list[tuple[int, float]] = []  # fewer than that, added since

    def add(self, step: int, value: float) -> None:
        """Adds a point; one that is not finite is only the newest value, as a line cannot show it."""
        self.last = value
        if not math.isfinite(value):
            return
        self._rest.append((step, value))
        if len(self._rest) < self._every:
            return
        self._points.append(_mean(self._rest))
        self._rest = []
        if len(self._points) == 2 * _MOST:
            self._points = [_mean(pair) for pair in zip(self._points[::2], self._points[1::2])]
            self._every *= 2

    def points(self) -> list[tuple[int, float]]:
        """(step, value) in order, fewer than 400; each is the mean of as many values and has the step of the last."""
        return [*self._points, *([_mean(self._rest)] if self._rest else [])]


def _mean(points: list[tuple[int, float]]) -> tuple[int, float]:
    return points[-1][0], sum(value for _, value in points) / len(points)


class Curves(dict[str, Curve]):
    """The curves of losses and of measures of test images, by tag."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Adds a point to each curve, by tag; tags of other kinds are left out."""
        for tag, value in values.items():
            if tag.startswith(_KEPT):
                self.setdefault(tag, Curve()).add(step, value)
