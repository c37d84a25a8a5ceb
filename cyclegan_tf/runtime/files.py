"""Files that are written atomically and survive a power cut, and folders that are checked before the work."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import pathlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cyclegan_tf.errors import UserError

_numbers = itertools.count()


def unique_name() -> str:
    """A part of a file's name that no other process uses, even on another machine that shares the folder."""
    return f'{socket.gethostname()}-{os.getpid()}-{next(_numbers)}'


def make_folder(argument: str, value: str, folder: pathlib.Path) -> pathlib.Path:
    """Makes a folder and checks that it is writable.

    Args:
        argument: name of the argument that sets the folder, for the message.
        value: value of the argument.
        folder: folder to make, with its parents.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f'.{unique_name()}.part'  # of this process alone, since others may probe at the same time
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"`{argument}` ('{value}') cannot be written ({error.strerror}); set it to another.") from error
    return folder


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A context with a path to write to; on success that file replaces `path` atomically, otherwise it is deleted."""
    # Without the file's own name, which may already have the maximum length.
    partial = path.with_name(f'.{unique_name()}.part')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file atomically; makes its folder.

    Raises:
        OSError: it cannot be written; a previous file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(data)


def sync(paths: Iterable[pathlib.Path]) -> None:
    """Waits until these files are physically on disk, and then, for their names, the folders that contain them.

    Raises:
        OSError: the disk is full, or a file no longer exists.
    """
    paths = list(paths)
    folders = dict.fromkeys(path.parent for path in paths)
    for path in (*paths, *folders):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some file systems, such as CIFS, cannot do that for folders, and take care of names themselves.
            if path not in folders or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file. JSON has no infinity, as in the PSNR of equal images: it becomes a string, 'inf'."""
    write_whole(path, (json.dumps(json_values(values), indent=2, allow_nan=False) + '\n').encode())


def json_values(value: Any) -> Any:
    """A value as JSON can hold it; numbers that are not finite become strings."""
    if isinstance(value, Mapping):
        return {key: json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
