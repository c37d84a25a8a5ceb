"""Files of local folders and of object stores and clusters: URLs of fsspec, such as gs://, s3:// and hdfs://.

Why fsspec and not tf.io.gfile: that knows gs:// alone, since there is no release of TensorFlow's plugins for other
places beside TensorFlow 2.15, and it would bring TensorFlow into programs that only hand out work. fsspec, which
TensorFlow Datasets brings, knows all of them through packages of their own: gcsfs, s3fs, and pyarrow for hdfs://.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from glob import escape
from typing import Any, Optional

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


def kind(argument: str, place: str) -> Optional[str]:
    """'file', 'folder', or None for what is neither, such as a pattern.

    Raises:
        UserError: there is no such kind of place, or it cannot be read.
    """
    if not is_remote(place):
        return 'folder' if os.path.isdir(place) else 'file' if os.path.isfile(place) else None
    filesystem, root = open_filesystem(argument, place)
    with _read(argument, place):
        return 'folder' if filesystem.isdir(root) else 'file' if filesystem.isfile(root) else None


def walk(argument: str, folder: str) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """As os.walk, for a URL: (URL of a folder, names of its folders, names of its files).

    Raises:
        UserError: it cannot be read.
    """
    filesystem, root = open_filesystem(argument, folder)
    with _read(argument, folder):
        for directory, folders, files in filesystem.walk(root, on_error='raise'):
            # As the user spells it: fsspec would name s3a:// otherwise, and HDFS without its server.
            yield folder.rstrip('/') + directory[len(root) :], list(folders), [name for name in files if name]


def glob(argument: str, pattern: str) -> tuple[list[str], str]:
    """The files that match a pattern with *, ? or [], in which ** stands for any number of folders, and **.jpg for the
    files in these; but not hidden ones, unless the pattern names them.

    Args:
        argument: name of the argument that has the pattern, for messages.
        pattern: a path or a URL.

    Returns:
        Their paths as the pattern spells them, sorted; and the folder before its first sign.

    Raises:
        UserError: the place cannot be read.
    """
    fixed = re.split(r'[*?\[]', pattern)[0].rpartition('/')[0]
    folder = fixed or ('/' if pattern.startswith('/') else '.')
    below = pattern[len(fixed) :].lstrip('/')
    url = folder if is_remote(folder) else f'file://{os.path.abspath(folder)}'
    filesystem, root = open_filesystem(argument, url)
    with _read(argument, pattern):
        # For fsspec, ** is a folder's name, so that **.jpg has to be **/*.jpg.
        pattern = f'{escape(root.rstrip("/"))}/' + re.sub(r'\*\*(?=[^/*])', '**/*', below)
        found = filesystem.glob(pattern, detail=True)
    inner = [path[len(root.rstrip('/')) :].lstrip('/') for path, about in found.items() if about['type'] != 'directory']
    names = [path for path in inner if '/.' in f'/{below}' or '/.' not in f'/{path}']
    prefix = f'{fixed}/' if fixed or pattern.startswith('/') else ''
    return sorted(prefix + name for name in names), folder


@contextlib.contextmanager
def _read(argument: str, place: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or first_line(error)
        raise UserError(f"`{argument}` ('{place}') cannot be read ({reason}); correct that.") from error


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
        """Whether there is such a file that is not empty; raises OSError if that cannot be told."""
        path = os.path.join(self._root, name)
        if self._filesystem is None:
            # After a crash of the machine, a file may be there without its content.
            return os.path.isfile(path) and os.path.getsize(path) > 0
        # What is remembered of the folder may be older than a file that another process has put there.
        self._filesystem.invalidate_cache(os.path.dirname(path))
        return self._filesystem.isfile(path) and self._filesystem.size(path) > 0

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
        folder, lock = self._make(scratch)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            with contextlib.suppress(OSError):  # others are at work in it
                scratch.rmdir()

    def _make(self, scratch: pathlib.Path) -> tuple[pathlib.Path, int]:
        """A new folder, and the descriptor that keeps it locked."""
        for is_last in (False, False, True):
            # Containers may share a host's name and have numbers of processes of their own.
            folder = scratch / f'{unique_name()}-{secrets.token_hex(4)}'
            try:
                folder.mkdir(parents=True)
                lock = os.open(folder, os.O_RDONLY)
                with contextlib.suppress(OSError):  # some file systems have no locks; nothing is deleted there
                    fcntl.flock(lock, fcntl.LOCK_SH)
                if folder.exists():
                    return folder, lock
                os.close(lock)
            except FileNotFoundError:  # another process that was the last one has just deleted its parent
                if is_last:
                    raise
            except OSError as error:
                raise UserError(
                    f"`{self._argument}` ('{self.place}') cannot be written ({error.strerror}); set it to another."
                ) from error
        raise UserError(f"`{self._argument}` ('{self.place}') is being deleted; set it to another folder.")


def _delete_orphans(scratch: pathlib.Path) -> None:
    """Deletes what processes of this machine have left that no longer exist, since they were killed: what nobody keeps
    locked. Other machines may not see locks."""
    for folder in scratch.glob(f'{socket.gethostname()}-*'):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:  # another process deletes it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody is at work in it, or there are no locks here
            continue
        finally:
            os.close(lock)
