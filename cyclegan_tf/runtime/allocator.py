"""How the C library, if that is glibc, keeps memory that TensorFlow frees on CPUs. Call before TensorFlow computes."""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST = 2**31 - 1
_MOST_BEFORE_2_35 = 32 * 2**20  # bytes; older releases of glibc refuse more


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


def _set(parameter: int, value: int) -> bool:
    """Calls mallopt; returns whether it took the value, which it does not where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
    return mallopt is not None and mallopt(parameter, value) == 1
