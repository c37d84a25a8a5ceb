"""How far a translation is and about how long it still takes, for the page; from what our progress bars tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Optional

_OUTER_FIRST = ('pictures', 'frames', 'tiles')  # what is counted; one of a former may consist of several of a later


class Progress:
    """Puts bars within bars together: a picture of several or a frame of a clip may itself be made in tiles, and the
    page has room for one bar. The outermost of them is named, and those within it move it on.

    Args:
        show: called as gradio.Progress is, with the share that is done, from 0 to 1, and a description such as
            '3 of 12 frames, about 1:20 left'; or, where the number of all is not known, with how many are done, None,
            and what is counted. It is not called for one thing alone, of which nothing could be said before its end.
        clock: returns the time in seconds.
    """

    def __init__(self, show: Callable[..., object], clock: Callable[[], float] = time.monotonic):
        self._show, self._clock = show, clock
        self._counts: dict[str, tuple[int, Optional[int]]] = {}
        self._first: Optional[tuple[float, float]] = None  # when something was done first, and its share

    def tell(self, unit: str, done: int, total: Optional[int]) -> None:
        """What a listener of runtime.console is told."""
        if unit not in _OUTER_FIRST or total == 1:
            return
        level = _OUTER_FIRST.index(unit)
        # What was counted within the one before is over.
        self._counts = {one: count for one, count in self._counts.items() if _OUTER_FIRST.index(one) < level}
        self._counts[unit] = done, total
        outer = min(self._counts, key=_OUTER_FIRST.index)
        done, total = self._counts[outer]
        if total is None:
            self._show((done, None), unit=outer)
            return
        share = self._share()
        left = self._seconds_left(share)
        self._show(share, desc=f'{done} of {total} {outer}' + (f', about {_clock(left)} left' if left else ''))

    def _share(self) -> float:
        share, part = 0.0, 1.0
        for unit in sorted(self._counts, key=_OUTER_FIRST.index):
            done, total = self._counts[unit]
            if not total:
                break
            share += part * done / total
            part /= total
        return min(share, 1.0)  # a file may have more frames than it says

    def _seconds_left(self, share: float) -> int:
        """From the time since the first one was done, for which the network is compiled. 0: not known yet, or less than
        a second."""
        now = self._clock()
        if self._first is None:
            if share > 0:
                self._first = now, share
            return 0
        since, done = now - self._first[0], share - self._first[1]
        return round(since * (1 - share) / done) if done > 0 else 0


def _clock(seconds: int) -> str:
    """'0:05', '1:20' or '1:02:03'."""
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
