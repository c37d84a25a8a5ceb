"""How the C library, if that is glibc, takes and keeps memory on CPUs. Call before TensorFlow computes."""

from __future__ import annotations

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
    """Restarts this process, if that makes its memory come in pages of 2 MiB instead of 4 KiB. Call it first of all.

    A training step takes and returns gigabytes, and in huge pages that costs a fraction of the time. They are offered
    by Linux to those who ask; glibc asks if its setting says so, which it reads only when a process starts. A process
    whose environment has the setting, with whichever value, is not restarted.

    Args:
        program: what python -m has started; nothing happens in a process that was started for something else.
    """
    wanted = tunables_for_huge_pages(os.environ.get(_TUNABLES))
    if wanted is not None and program in sys.orig_argv:
        os.environ[_TUNABLES] = wanted
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


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
    if _HUGETLB in (tunables or '') or _selected(enabled) != 'madvise' or not _knows_hugetlb(libc):
        return None
    return ':'.join(filter(None, (tunables, f'{_HUGETLB}=1')))


def has_huge_pages(enabled: pathlib.Path = _HUGE_PAGES) -> bool:
    """Whether large buffers of this process come in huge pages; `enabled` is Linux's file about them."""
    asked = f'{_HUGETLB}=1' in os.environ.get(_TUNABLES, '').split(':') and _knows_hugetlb()
    return _selected(enabled) == 'always' or (asked and _selected(enabled) == 'madvise')


def _selected(enabled: pathlib.Path) -> Optional[str]:
    """The choice in brackets, of 'always [madvise] never'; None if the file does not exist."""
    found = re.search(r'\[(\w+)\]', enabled.read_text()) if enabled.is_file() else None
    return found and found.group(1)


def _knows_hugetlb(libc: Optional[Sequence[str]] = None) -> bool:
    name, version = libc or platform.libc_ver()
    return name == 'glibc' and tuple(map(int, version.split('.')[:2])) >= _FIRST_WITH_HUGETLB


def _set(parameter: int, value: int) -> bool:
    """Calls mallopt; returns whether it took the value, which it does not where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
    return mallopt is not None and mallopt(parameter, value) == 1
