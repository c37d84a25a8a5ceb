"""Files that outlast a power cut, or are there whole or not at all."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable


def sync(paths: Iterable[pathlib.Path]) -> None:
    """Waits until these files are on the disk itself, and then, for their names, the folders that they are in.

    Raises:
        OSError: the disk is full, or a file is gone.
    """
    paths = list(paths)
    for path in (*paths, *dict.fromkeys(path.parent for path in paths)):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file so that nobody ever sees a part of it; makes its folder.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
