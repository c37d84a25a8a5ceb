"""Unpacks archives from the internet: only plain files and folders, within limits, all or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Optional

from cyclegan_tf.errors import first_line
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import unique_name

# What is published is compressed already, images and weights, so that it does not grow. A few kB of an archive that
# would fill the disk do.
MAX_GROWTH, FREE_BYTES = 10, 100_000_000  # an archive may become so many times its size, and this on top
MAX_FILES = 500_000  # the largest published set has 138,767 images
_MAX_HEADER = 1 << 20  # bytes of a tar header that is read into memory, such as a long name
_MAX_PADDING = 1 << 26  # bytes behind the end of a tar archive
_CHUNK = 1 << 20
_BLOCK = 512  # bytes of a tar header

# Files of chance bytes make zipfile and tarfile raise these, and thousands of headers for one file a RecursionError.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError,
            NotImplementedError, RecursionError, ValueError, struct.error)  # fmt: skip


class ArchiveError(Exception):
    """An archive that is damaged, or that is not unpacked for what it holds; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class _Member:
    """A file or folder in an archive: its name, its size if it is a file, and what opens it (None: a folder)."""

    name: str
    size: int
    open: Optional[Callable[[], IO[bytes]]]


def unpack(archive: pathlib.Path, folder: pathlib.Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Unpacks a .zip, .tar.gz or .tar into an empty folder.

    Args:
        archive: the file.
        folder: an existing folder, which after an error may hold some of the files; see new_folder.
        wanted: whether a file of this name is unpacked; the others are checked, too.

    Raises:
        ArchiveError: the archive is damaged or encrypted, or holds more than plain files and folders within the limits.
        OSError: a file cannot be written.
    """
    limit = MAX_GROWTH * archive.stat().st_size + FREE_BYTES
    declared = written = files = 0
    members = _zip_members if archive.suffix == '.zip' else _tar_members
    try:
        with progress_bar(None, f'Unpacking {archive.name}', unit='files') as bar:
            for member in members(archive):
                _check_name(member.name)
                declared, files = declared + member.size, files + 1
                if declared > limit or files > MAX_FILES:
                    raise ArchiveError(f'it becomes more than {limit:,} bytes or {MAX_FILES:,} files')
                path = folder / member.name
                if member.open is None:
                    path.mkdir(parents=True, exist_ok=True)
                elif wanted(member.name):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # What the archive declares need not be true.
                    written += _copy(member, path, min(member.size, limit - written))
                bar.update()
    except (FileExistsError, NotADirectoryError) as error:
        raise ArchiveError(f"it holds '{os.path.relpath(error.filename, folder)}' twice") from error
    except _DAMAGED as error:
        raise ArchiveError(f'it is damaged: {first_line(error)}') from error


@contextlib.contextmanager
def new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A context with a folder beside `folder`, which has to become it in the end and is deleted otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f'.{unique_name()}.part')
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(member: _Member, path: pathlib.Path, most: int) -> int:
    """Writes a member to a new file; returns its size, which has to be the declared one."""
    written = 0
    with member.open() as source, open(path, 'xb') as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > most:
                break
            target.write(chunk)
    if written != member.size:
        raise ArchiveError(f"'{member.name}' has another size than is declared")
    return written


def _check_name(name: str) -> None:
    """Raises ArchiveError for a name that could lead out of the folder, here or on another system."""
    parts = name.rstrip('/').split('/')
    if not parts[0] or {'..', ''} & set(parts) or '\\' in name or '\0' in name or parts[0][1:2] == ':':
        raise ArchiveError(f'it holds {name!r}, which may lead out of the folder')


def _zip_members(archive: pathlib.Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.flag_bits & 1:
                raise ArchiveError(f"'{info.filename}' is encrypted")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"'{info.filename}' is a link or a device")
            # orig_filename, as the archive has it: zipfile itself would cut it at a zero and turn separators.
            opened = None if info.orig_filename.endswith('/') else functools.partial(file.open, info)
            yield _Member(info.orig_filename, info.file_size, opened)


class _Header(tarfile.TarInfo):
    """A tar header that is not read if it claims to be larger than any is."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        header = super().frombuf(buf, encoding, errors)
        of_next = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
        if header.type in of_next and header.type != tarfile.GNUTYPE_SPARSE and header.size > _MAX_HEADER:
            raise ArchiveError(f'it has a header of {header.size:,} bytes')
        return header


def _tar_members(archive: pathlib.Path) -> Iterator[_Member]:
    mode = 'r:gz' if archive.suffix == '.gz' else 'r:'
    with tarfile.open(archive, mode, tarinfo=_Header) as file:
        for info in file:
            if not (info.isreg() or info.isdir()):
                raise ArchiveError(f"'{info.name}' is a link or a device")
            name = info.name.removeprefix('./')
            if info.isdir() and name in ('', '.'):
                continue
            opened = None if info.isdir() else functools.partial(file.extractfile, info)
            yield _Member(name, info.size if info.isreg() else 0, opened)
        # Where a header is damaged, tarfile ends as if the archive did; its end is a block of zeros.
        file.fileobj.seek(file.offset)
        if file.fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise ArchiveError('it is damaged: it breaks off')
        behind = 0
        while chunk := file.fileobj.read(_CHUNK):  # gzip checks its checksum at the end
            behind += len(chunk)
            if behind > _MAX_PADDING:
                raise ArchiveError('it goes on behind its end')
