"""Files of local folders and of object stores and clusters: URLs of fsspec, such as gs://, s3:// and hdfs://.

Why fsspec and not tf.io.gfile: that knows gs:// alone, since there is no release of TensorFlow's plugins for other
places beside TensorFlow 2.15, and it would bring TensorFlow into programs that only hand out work. fsspec, which
TensorFlow Datasets brings, knows all of them through packages of their own: gcsfs, s3fs, and pyarrow for hdfs://.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.runtime.files import unique_name

SCRATCH = '.unfinished'  # a folder in the output folder; hidden, so that it is passed over where images are looked for
# These show a file when it is complete; renaming one there would be copying it.
_STORES = {'s3', 's3a', 'gs', 'gcs', 'abfs', 'abfss', 'az', 'oci'}


def is_remote(place: str) -> bool:
    """Whether a place is a URL."""
    return '://' in place


def open_filesystem(argument: str, url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Args:
        argument: name of the argument that names the place, for messages.
        url: of a file or folder.

    Raises:
        UserError: the package for it is missing, or there is no such kind of place.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        reason = first_line(error).rstrip('.')
        raise UserError(f"`{argument}` ('{url}') cannot be opened ({reason}); correct that.") from error


def walk(argument: str, folder: str) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """As os.walk, for a URL: (URL of a folder, names of its folders, names of its files).

    Raises:
        UserError: it cannot be read.
    """
    filesystem, root = open_filesystem(argument, folder)
    try:
        for directory, folders, files in filesystem.walk(root, on_error='raise'):
            yield filesystem.unstrip_protocol(directory), list(folders), [name for name in files if name]
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"`{argument}` ('{folder}') cannot be read ({reason}); correct that.") from error


def read(path: str) -> bytes:
    """A file; raises OSError if it cannot be read."""
    if not is_remote(path):
        return pathlib.Path(path).read_bytes()
    import fsspec

    with fsspec.open(path, 'rb') as file:
        return file.read()


class Folder:
    """A folder that files are put into, each whole or not at all.

    Args:
        argument: name of the argument that sets the folder, for messages.
        place: the folder, which need not exist: a path or a URL.

    Raises:
        UserError: no files of this kind of place can be written here.
    """

    def __init__(self, argument: str, place: str):
        self.place, self._argument = place, argument
        self._filesystem, self._root = None, os.path.expanduser(place)
        if is_remote(place):
            self._filesystem, self._root = open_filesystem(argument, place)

    def path(self, name: str) -> str:
        """The place of a file of this name, which may have folders."""
        return os.path.join(self.place, name)

    def has(self, name: str) -> bool:
        """Whether there is such a file; raises OSError if that cannot be told."""
        path = os.path.join(self._root, name)
        if self._filesystem is None:
            return os.path.isfile(path)
        # What is remembered of the folder may be older than a file that another process has put there.
        self._filesystem.invalidate_cache(os.path.dirname(path))
        return self._filesystem.isfile(path)

    def put(self, path: pathlib.Path, name: str) -> None:
        """Moves a local file to its place, in which it replaces another one.

        Args:
            path: of a file in `scratch`.
            name: see `path`.

        Raises:
            OSError: it cannot be put there.
        """
        target = os.path.join(self._root, name)
        folder = os.path.dirname(target)
        if self._filesystem is None:
            os.makedirs(folder, exist_ok=True)
            os.replace(path, target)
            return
        filesystem = self._filesystem
        protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
        if protocols & _STORES:
            filesystem.put_file(str(path), target)
        else:
            filesystem.makedirs(folder, exist_ok=True)
            partial = os.path.join(folder, f'.{unique_name()}.part')
            filesystem.put_file(str(path), partial)
            try:
                filesystem.mv(partial, target)
            except OSError:
                if not self.has(name):
                    raise
                filesystem.rm_file(partial)  # HDFS does not replace a file; another attempt has put the same one there
        path.unlink()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[pathlib.Path]:
        """A context with a new local folder for files that are not yet complete; it is deleted afterwards.

        Raises:
            UserError: it cannot be made.
        """
        if self._filesystem is not None:
            with tempfile.TemporaryDirectory() as folder:
                yield pathlib.Path(folder)
            return
        # On the same disk, where moving a file is renaming it.
        scratch = pathlib.Path(self._root) / SCRATCH
        _delete_orphans(scratch)
        folder = self._make(scratch / unique_name())
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are at work in it
                scratch.rmdir()

    def _make(self, folder: pathlib.Path) -> pathlib.Path:
        for is_last in (False, False, True):
            try:
                folder.mkdir(parents=True)
                break
            except FileNotFoundError:  # another process that was the last one has just deleted its parent
                if is_last:
                    raise
            except OSError as error:
                raise UserError(
                    f"`{self._argument}` ('{self.place}') cannot be written ({error.strerror}); set it to another."
                ) from error
        return folder


def _delete_orphans(scratch: pathlib.Path) -> None:
    """Deletes what processes of this machine have left that no longer exist, since they were killed."""
    prefix = f'{socket.gethostname()}-'
    for folder in scratch.glob(f'{prefix}*'):
        process = folder.name.removeprefix(prefix).split('-')[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
