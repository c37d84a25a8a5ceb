"""Where decoded images are cached, in memory, on disk or nowhere; and which of these have room for them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Optional, Protocol

import numpy as np

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.files import unique_name, write_whole
from cyclegan_tf.runtime.hardware import free_memory

MEMORY_SHARE = 0.5  # of the free memory, for both domains together
_DISK_SHARE = 0.8  # of the free space on the disk


class Store(Protocol):
    """Decoded images one after the other; the position `start` counts elements, not bytes."""

    complete: bool
    """Whether the store holds all images already, from an earlier run."""

    problems: Mapping[int, str]
    """Index -> reason, of images that could not be decoded. Known once complete; they may still be written later."""

    def write(self, start: int, image: np.ndarray) -> None:
        """Stores an image. Threads may write different images at the same time."""

    def finish(self, problems: Mapping[int, str]) -> None:
        """Declares the store complete, except for images with problems. Called again if some of these were written."""

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        """The elements from `start` on, in this shape."""


class MemoryStore:
    """A store in this process's memory.

    Args:
        elements: total number of elements.
        dtype: uint8, uint16 or float32.
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
    """A store in a file, which later runs with the same images and sizes use again.

    The file is read with ordinary reads rather than memory-mapped, so that the process's memory does not grow with what
    it has read.

    Args:
        directory: a local directory, created if necessary.
        key: name of the file, different for other images, sizes or depths.
        elements, dtype: as MemoryStore.
    """

    def __init__(self, directory: str, key: str, elements: int, dtype: np.dtype):
        self._path, self._about = _places(directory, key)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._dtype, self._partial = np.dtype(dtype), None
        self.complete, self.problems = False, {}
        size = elements * self._dtype.itemsize
        if is_stored(directory, key, size):
            self.complete = True
            self.problems = {int(i): text for i, text in json.loads(self._about.read_text())['problems'].items()}
            self._file = os.open(self._path, os.O_RDWR if self.problems else os.O_RDONLY)
        else:
            self._partial, self._file = _begin(self._path)
            os.truncate(self._file, size)

    def __del__(self):
        if hasattr(self, '_file'):
            os.close(self._file)
            if self._partial is not None:
                self._partial.unlink(missing_ok=True)

    def write(self, start: int, image: np.ndarray) -> None:
        data, offset = memoryview(np.ascontiguousarray(image)).cast('B'), start * self._dtype.itemsize
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def finish(self, problems: Mapping[int, str]) -> None:
        if self.complete and problems == self.problems:
            return
        os.fsync(self._file)
        if not self.complete:
            os.replace(self._partial, self._path)
        # Written last: its existence says that the file of pixels is complete.
        write_whole(self._about, json.dumps({'problems': problems}).encode())
        self.complete, self.problems = True, dict(problems)

    def read(self, start: int, shape: Sequence[int]) -> np.ndarray:
        array = np.empty(shape, self._dtype)
        data, offset = memoryview(array).cast('B'), start * self._dtype.itemsize
        while data:
            count = os.preadv(self._file, [data], offset)
            if not count:
                raise OSError(f"'{self._path}' is shorter than it was; delete it, and it will be made again.")
            data, offset = data[count:], offset + count
        return array


def is_stored(directory: str, key: str, size: int) -> bool:
    """Whether the directory has a complete DiskStore of this key and of `size` bytes."""
    path, about = _places(directory, key)
    return about.is_file() and path.is_file() and path.stat().st_size == size


def _places(directory: str, key: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of a DiskStore: the pixels, and a description of them."""
    folder = pathlib.Path(directory) / 'images'
    return folder / f'{key}.pixels', folder / f'{key}.json'


def _begin(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Creates a file beside `path` for this process alone, locked while it is written; returns path and descriptor."""
    while True:
        partial = path.with_suffix(f'.{unique_name()}.part')
        try:
            file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # left by a process with the same number
            continue
        with contextlib.suppress(OSError):  # some file systems have no locks; leftovers remain on these
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return partial, file
        os.close(file)  # another process took it for a leftover and deleted it before it was locked


def _remove_leftovers(directory: str) -> None:
    """Removes the unfinished files of DiskStores whose processes were stopped.

    A process that still writes a file holds its lock, which ends with the process. That distinguishes processes in
    containers of the same name, too.
    """
    for path in _places(directory, '')[0].parent.glob('[!.]*.part'):  # without the temporary files of write_whole
        with contextlib.suppress(OSError):  # deleted meanwhile, another user's, or locked
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def choose(
    cache: str,
    size: int,
    directory: Optional[str],
    limit: Optional[int] = None,
    stored: Callable[[], int] = lambda: 0,
) -> tuple[str, str]:
    """Chooses where to cache decoded images. Also removes unfinished files of stopped processes from the directory.

    Args:
        cache: 'memory', 'disk', 'none', or 'auto': memory if the images fit, else disk if they fit there, else none.
        size: of all decoded images, in bytes.
        directory: for 'disk'; None: there is none.
        limit: maximum memory to use, in bytes; None: MEMORY_SHARE of the free memory.
        stored: returns how many of these bytes are in the directory already; called only if that matters.

    Returns:
        'memory', 'disk' or 'none'; and the reason, for the user.

    Raises:
        UserError: the images do not fit where `cache` asks for.
    """
    if directory is not None:
        _remove_leftovers(directory)
    memory = free_memory() * MEMORY_SHARE if limit is None else limit
    disk = 0 if directory is None else _free_disk(directory) * _DISK_SHARE
    need = f'{size / 1e6:,.1f} MB of decoded images'
    if cache == 'auto':
        if size <= memory:
            return 'memory', f'{need} are kept in memory'
        if directory is not None and size - stored() <= disk:
            return 'disk', f'{need} exceed the {memory / 1e6:,.0f} MB of memory for them and are kept in {directory}'
        return 'none', f'{need} fit neither into memory nor onto the disk: images are decoded each time'
    if cache == 'memory' and size > free_memory():
        raise UserError(
            f'`cache` (memory) needs {size / 1e6:,.0f} MB, but {free_memory() / 1e6:,.0f} MB are free; '
            f'set it to disk or none.'
        )
    if cache == 'disk' and directory is None:
        raise UserError('`cache` (disk) has no folder that can be written; set --cache_dir to one.')
    if cache == 'disk' and (missing := size - stored()) > disk:
        raise UserError(
            f"`cache` (disk) needs {missing / 1e6:,.0f} MB more in '{directory}', where "
            f'{_free_disk(directory) / 1e6:,.0f} MB are free; set --cache_dir to a larger disk, or --cache to none.'
        )
    return cache, {
        'memory': f'{need} are kept in memory',
        'disk': f'{need} are kept in {directory}',
        'none': 'images are decoded each time',
    }[cache]


def _free_disk(directory: str) -> int:
    """Free bytes on the disk where a directory is or will be."""
    path = pathlib.Path(directory).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
