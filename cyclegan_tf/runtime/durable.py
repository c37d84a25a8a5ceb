"""Files that outlast a power cut."""

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
