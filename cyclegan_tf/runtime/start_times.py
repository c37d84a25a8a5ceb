"""How long the phases of a program's start-up take, from the start of its process."""

from __future__ import annotations

import os
import pathlib
import time


class StartTimes:
    """The durations of consecutive phases of the start-up; the first phase begins with the process."""

    def __init__(self):
        self._begin = self._last = time.monotonic() - process_seconds()
        self._phases: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """Ends a phase, which began when the previous one ended."""
        now = time.monotonic()
        self._phases[phase] = now - self._last
        self._last = now

    def describe(self, end: str) -> str:
        """The seconds in total, and a line for each phase except those that round to zero.

        Args:
            end: what the last phase ended with, such as 'the first step'.
        """
        rows = [f'{seconds:8.1f} s  {phase}' for phase, seconds in self._phases.items() if round(seconds, 1)]
        return '\n'.join([f'Start: {self._last - self._begin:.1f} s to the end of {end}, of which', *rows])


def process_seconds(stat: pathlib.Path = pathlib.Path('/proc/self/stat')) -> float:
    """Seconds since this process was started.

    Args:
        stat: Linux's file about this process, in hundredths of a second; if it does not exist, psutil is used.
    """
    if stat.is_file():
        # The start is field 22, in ticks since the machine was booted. Field 2 is a name in brackets, which may contain
        # anything.
        ticks = int(stat.read_text().rpartition(')')[2].split()[22 - 3])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf('SC_CLK_TCK')
    import psutil

    return time.time() - psutil.Process().create_time()
