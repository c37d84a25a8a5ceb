"""Curves as a picture: scales, ticks and lines, which gallery.html draws as SVG."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 460, 230  # of a chart, in the units of its drawing; narrow, so that its text stays legible on phones
LEFT, RIGHT, TOP, BOTTOM = 52, 26, 8, 36  # margins, the left and bottom ones with the numbers
_TICKS = 5  # at most, of an axis
_DOTS = 30  # points; a line with more shows none of them


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve as it is drawn.

    Attributes:
        name: in the legend.
        value: the newest value, as text.
        path: its corners, as SVG's `points`.
        dots: (x, y, text) of points that are shown as such; none for long curves.
        summary: the curve in words.
    """

    name: str
    value: str
    path: str
    dots: Sequence[tuple[str, str, str]]
    summary: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves on common axes.

    Attributes:
        title: above it.
        curves: name -> (step, value) in order, at least one, all finite.
        newest: name -> its newest value, where the last point is a mean; it may be inf or nan.
    """

    title: str
    curves: Mapping[str, Sequence[tuple[int, float]]]
    newest: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def _bounds(self) -> tuple[float, float, float, float]:
        """First and last step, lowest and highest value, with some room."""
        points = [point for curve in self.curves.values() for point in curve]
        (left, right), (low, high) = ((min(values), max(values)) for values in zip(*points))
        room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
        return (left - (left == right), right + (left == right), low - room, high + room)

    def _x(self, step: float) -> str:
        left, right, _, _ = self._bounds
        return f'{LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT):.1f}'

    def _y(self, value: float) -> str:
        _, _, low, high = self._bounds
        return f'{TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}'

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(x, text) of the ticks of the steps."""
        left, right, _, _ = self._bounds
        return [(self._x(tick), f'{tick:,.0f}') for tick in _ticks(left, right, 1)]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(y, text) of the ticks of the values."""
        _, _, low, high = self._bounds
        ticks = _ticks(low, high)
        return [(self._y(tick), text) for tick, text in zip(ticks, _texts(ticks))]

    @property
    def lines(self) -> list[Line]:
        """The curves, in order."""
        return [self._line(name, curve) for name, curve in self.curves.items()]

    def _line(self, name: str, curve: Sequence[tuple[int, float]]) -> Line:
        corners = [(self._x(step), self._y(value)) for step, value in curve]
        texts = [f'{name} at step {step:,}: {value:.4g}' for step, value in curve]
        dots = [(x, y, text) for (x, y), text in zip(corners, texts)] if len(curve) <= _DOTS else []
        newest = f'{self.newest.get(name, curve[-1][1]):.4g}'
        return Line(name, newest, ' '.join(f'{x},{y}' for x, y in corners), dots, f'{texts[0]}; {texts[-1]}')


def _ticks(low: float, high: float, least: float = 0) -> list[float]:
    """At most five round numbers in a range, at equal distances of at least `least`."""
    power = 10 ** math.floor(math.log10((high - low) / _TICKS))
    distance = next(
        factor * power
        for factor in (1, 2, 5, 10, 20, 50)
        if factor * power >= least and math.floor(high / (factor * power)) - math.ceil(low / (factor * power)) < _TICKS
    )
    return [number * distance for number in range(math.ceil(low / distance), math.floor(high / distance) + 1)]


def _texts(ticks: Sequence[float]) -> list[str]:
    """The numbers with as many decimals as it takes to tell them apart; very large and very small ones with powers."""
    if not ticks:
        return []
    largest, distance = max(map(abs, ticks)), ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1
    if largest >= 1e5 or largest < 1e-3:
        return [f'{tick:.3g}' for tick in ticks]
    decimals = max(0, -math.floor(math.log10(distance) + 1e-9))
    return [f'{tick:,.{decimals}f}' for tick in ticks]
