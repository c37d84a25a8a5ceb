"""How the C library, if that is glibc, takes and keeps memory on CPUs. Call before TensorFlow computes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import platform
import re
import sys
from collections.abc import Sequence
from typing import Optional

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST = 2**31 - 1
_MOST_BEFORE_2_35 = 32 * 2**20  # bytes; older releases of glibc refuse more

_TUNABLES, _HUGETLB = 'GLIBC_TUNABLES', 'glibc.malloc.hugetlb'  # a variable, and one of the settings in it
_FIRST_WITH_HUGETLB = (2, 35)
_HUGE_PAGES = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
_SMAPS = pathlib.Path('/proc/self/smaps_rollup')
_RESTARTED = 'cyclegan_tf_huge_pages'  # an option, which Python ignores, of a process that has been restarted


def share_arenas(count: int = 2) -> None:
    """Makes threads that start from here on share this many arenas.

    By default there are up to eight arenas for each core. What TensorFlow's threads free in one of them cannot be used
    by another, which adds some 40 MB to the peak memory of a training.
    """
    _set(_M_ARENA_MAX, count)


def keep_buffers() -> None:
    """Keeps freed memory for the next buffer instead of returning it to the system, which then has to clear its pages
    again; and shares the main arena, since the others are made of heaps of 64 MiB, which hold no larger buffer.

    This is for translation, which needs buffers of the same sizes again and again.
    """
    share_arenas(1)
    if not _set(_M_MMAP_THRESHOLD, _MOST):
        _set(_M_MMAP_THRESHOLD, _MOST_BEFORE_2_35)
    _set(_M_TRIM_THRESHOLD, _MOST)


def restart_with_huge_pages(program: str) -> None:
    """Restarts this process, if that makes its memory come in pages of 2 MiB instead of 4 KiB. Call it early.

    A training step takes and returns gigabytes, and in huge pages that costs a fraction of the time. They are offered
    by Linux to those who ask; glibc asks if its setting says so, which it reads only when a process starts. A process
    whose environment has the setting, with whichever value, is not restarted, nor one in a debugger.

    Args:
        program: what python -m has started; nothing happens in a process that was started for something else.
    """
    started = program in (argument.removeprefix('-m') for argument in sys.orig_argv)
    # An option of Python's stays where a variable may be taken away, as from an interpreter with capabilities.
    if not started or _RESTARTED in sys._xoptions or sys.gettrace() is not None:
        return
    wanted = tunables_for_huge_pages(os.environ.get(_TUNABLES))
    if wanted is not None:
        command = [sys.executable, '-X', _RESTARTED, *sys.orig_argv[1:]]
        with contextlib.suppress(OSError):  # such as too long an environment: then in small pages
            os.execve(sys.executable, command, {**os.environ, _TUNABLES: wanted})


def tunables_for_huge_pages(
    tunables: Optional[str], enabled: pathlib.Path = _HUGE_PAGES, libc: Optional[Sequence[str]] = None
) -> Optional[str]:
    """The value of GLIBC_TUNABLES that asks for huge pages.

    Args:
        tunables: its value in this process; None: it is not set.
        enabled: Linux's file about huge pages.
        libc: name and version of the C library, such as ('glibc', '2.36'); None: this process's.

    Returns:
        The value; None if asking would change nothing, or is up to the user, who has set it to something.
    """
    if _HUGETLB in (tunables or '') or not _offered_to_who_asks(enabled):
        return None
    name, version = libc or platform.libc_ver()
    if name != 'glibc' or tuple(map(int, version.split('.')[:2])) < _FIRST_WITH_HUGETLB:
        return None
    return ':'.join(filter(None, (tunables, f'{_HUGETLB}=1')))


def _offered_to_who_asks(enabled: pathlib.Path) -> bool:
    """Whether the file says 'always [madvise] never'; False if it cannot be read."""
    try:
        return '[madvise]' in enabled.read_text()
    except OSError:
        return False


def bytes_in_huge_pages(smaps: pathlib.Path = _SMAPS) -> Optional[int]:
    """How much of this process's memory is in huge pages now; None if Linux's file about it is not there, or silent."""
    if not smaps.is_file():
        return None
    found = re.search(r'^AnonHugePages:\s*(\d+) kB$', smaps.read_text(), re.MULTILINE)
    return found and int(found.group(1)) * 1024


def _set(parameter: int, value: int) -> bool:
    """Calls mallopt; returns whether it took the value, which it does not where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
    return mallopt is not None and mallopt(parameter, value) == 1
