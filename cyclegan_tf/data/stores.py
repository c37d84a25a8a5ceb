"""Where decoded images are kept: in memory, on disk, or nowhere; and what fits."""

from __future__ import annotations

import json
import math
import os
import pathlib
import shutil
import socket
from collections.abc import Mapping, Sequence
from typing import Optional, Protocol

import numpy as np
import psutil

from cyclegan_tf.errors import UserError

CACHES = ('auto', 'memory', 'disk', 'none')

MEMORY_SHARE = 0.5  # of what is free, for both domains together
_DISK_SHARE = 0.8  # of what is free on the disk


class Store(Protocol):
    """Decoded images one after the other; `start` counts elements, not bytes."""

    complete: bool
    """Whether all images are in it already, from an earlier run."""

    problems: Mapping[int, str]
    """Images that could not be decoded, by index, with the reasons; known once complete."""

    def write(self, start: int, image: np.ndarray) -> None:
        """Keeps an image. Threads may write different images at once."""

    def finish(self, problems: Mapping[int, str]) -> None:
        """All images are in it, but those with problems."""

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        """So many elements from there on, in this shape."""


class MemoryStore:
    """In this process's memory.

    Args:
        elements: in all.
        dtype: uint8 or uint16.
    """

    def __init__(self, elements: int, dtype: np.dtype):
        self._buffer = np.empty(elements, dtype)
        self.complete, self.problems = False, {}

    def write(self, start: int, image: np.ndarray) -> None:
        self._buffer[start : start + image.size] = image.reshape(-1)

    def finish(self, problems: Mapping[int, str]) -> None:
        self.complete, self.problems = True, dict(problems)

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        return self._buffer[start : start + math.prod(shape)].reshape(shape)


class DiskStore:
    """In a file, which later runs with the same images and sizes use again.

    It is read with plain reads rather than mapped, so that the process does not grow with what it has read.

    Args:
        directory: a local one; made if need be.
        key: names the file; another one for other images, sizes or depths.
        elements, dtype: as MemoryStore.
    """

    def __init__(self, directory: str, key: str, elements: int, dtype: np.dtype):
        folder = pathlib.Path(directory) / 'images'
        folder.mkdir(parents=True, exist_ok=True)
        self._dtype = np.dtype(dtype)
        self._path, self._about = folder / f'{key}.pixels', folder / f'{key}.json'
        # Processes of one machine, or of several that share the folder, may write the same at once.
        self._own = f'{socket.gethostname()}-{os.getpid()}.part'
        self._partial = folder / f'{key}.{self._own}'
        self.complete, self.problems = False, {}
        size = elements * self._dtype.itemsize
        if self._about.is_file() and self._path.is_file() and self._path.stat().st_size == size:
            self.complete = True
            self.problems = {int(i): text for i, text in json.loads(self._about.read_text())['problems'].items()}
            self._file = os.open(self._path, os.O_RDONLY)
        else:
            self._file = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.truncate(self._file, size)

    def __del__(self):
        if hasattr(self, '_file'):
            os.close(self._file)
            self._partial.unlink(missing_ok=True)

    def write(self, start: int, image: np.ndarray) -> None:
        data, offset = memoryview(np.ascontiguousarray(image)).cast('B'), start * self._dtype.itemsize
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def finish(self, problems: Mapping[int, str]) -> None:
        os.fsync(self._file)
        os.replace(self._partial, self._path)
        # Written last: it is what says that the file is whole.
        partial = self._about.with_suffix(f'.about.{self._own}')
        partial.write_text(json.dumps({'problems': problems}))
        os.replace(partial, self._about)
        self.complete, self.problems = True, dict(problems)

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        array = np.empty(shape, self._dtype)
        data, offset = memoryview(array).cast('B'), start * self._dtype.itemsize
        while data:
            count = os.preadv(self._file, [data], offset)
            if not count:
                raise OSError(f"'{self._path}' is shorter than it was; delete it, and it will be made anew.")
            data, offset = data[count:], offset + count
        return array


def choose(cache: str, size: int, directory: str, limit: Optional[int] = None) -> tuple[str, str]:
    """Where to keep decoded images.

    Args:
        cache: 'memory', 'disk', 'none', or 'auto': memory if they fit, else disk if they fit there, else none.
        size: of all decoded images, bytes.
        directory: for 'disk'.
        limit: most memory to use, bytes; None: MEMORY_SHARE of what is free.

    Returns:
        'memory', 'disk' or 'none'; and why, for the user.

    Raises:
        UserError: what was asked for does not fit.
    """
    memory = free_memory() * MEMORY_SHARE if limit is None else limit
    disk = _free_disk(directory) * _DISK_SHARE
    need = f'{size / 1e6:,.1f} MB of decoded images'
    if cache == 'auto':
        if size <= memory:
            return 'memory', f'{need} are kept in memory'
        if size <= disk:
            return 'disk', f'{need} exceed the {memory / 1e6:,.0f} MB of memory for them and are kept in {directory}'
        return 'none', f'{need} fit neither into memory nor onto the disk: images are decoded each time'
    if cache == 'memory' and size > free_memory():
        raise UserError(
            f'`cache` (memory) needs {size / 1e6:,.0f} MB, but {free_memory() / 1e6:,.0f} MB are free; '
            f'set it to disk or none.'
        )
    if cache == 'disk' and size > disk:
        raise UserError(
            f"`cache` (disk) needs {size / 1e6:,.0f} MB in '{directory}', where {_free_disk(directory) / 1e6:,.0f} MB "
            f'are free; set --cache_dir to a larger disk, or it to none.'
        )
    return cache, {
        'memory': f'{need} are kept in memory',
        'disk': f'{need} are kept in {directory}',
        'none': 'images are decoded each time',
    }[cache]


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control group's if that has less."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
        ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ):
        paths = pathlib.Path(limit), pathlib.Path(used)
        if all(path.is_file() for path in paths):
            most, now = (path.read_text().strip() for path in paths)
            if most != 'max':
                free = min(free, max(0, int(most) - int(now)))
    return free


def _free_disk(directory: str) -> int:
    """Bytes free where a directory is, or will be."""
    path = pathlib.Path(directory).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
