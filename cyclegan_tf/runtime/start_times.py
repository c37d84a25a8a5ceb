"""Where the seconds of a program's start go, from the start of its process on."""

from __future__ import annotations

import os
import pathlib
import time


class StartTimes:
    """The phases of a start, one after the other, each with its seconds; the first begins with the process."""

    def __init__(self):
        self._begin = self._last = time.monotonic() - process_seconds()
        self._phases: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """A phase ends now that began when the one before it ended."""
        now = time.monotonic()
        self._phases[phase] = now - self._last
        self._last = now

    def describe(self, end: str) -> str:
        """The seconds in all, and a line for each phase, but for those that round to nothing.

        Args:
            end: what the last phase ended with, as in 'the first step'.
        """
        rows = [f'{seconds:8.1f} s  {phase}' for phase, seconds in self._phases.items() if round(seconds, 1)]
        return '\n'.join([f'Start: {self._last - self._begin:.1f} s to the end of {end}, of which', *rows])


def process_seconds(stat: pathlib.Path = pathlib.Path('/proc/self/stat')) -> float:
    """Seconds since this process was started.

    Args:
        stat: where Linux tells of this process, in hundredths of a second; where there is no such file psutil is asked.
    """
    if stat.is_file():
        # The twenty-second field, in ticks since the machine was started; the second is a name in brackets, which may
        # hold anything.
        ticks = int(stat.read_text().rpartition(')')[2].split()[22 - 3])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf('SC_CLK_TCK')
    import psutil

    return time.time() - psutil.Process().create_time()
