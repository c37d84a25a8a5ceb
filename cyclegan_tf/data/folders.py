"""Finds the image files of a folder and its subfolders, each real folder once, and counts what else is there."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from cyclegan_tf.data.decode import ARRAY_EXTENSIONS, EXTENSIONS
from cyclegan_tf.errors import UserError, first_line

# Folders that programs put among images: thumbnails of Synology's servers, and what macOS adds to archives.
_FOLDERS_OF_PROGRAMS = ('@eaDir', '__MACOSX')


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds: the paths of its images, sorted; and in words what was passed over, or nothing."""

    paths: Sequence[str]
    passed_over: str


Walk = Callable[[str], Iterator[tuple[str, Sequence[str], Sequence[str]]]]


def find_images(folder: str, arrays: bool = False, walk_remote: Optional[Walk] = None) -> Listing:
    """Finds the images in a folder, which may be a URL, and in its subfolders.

    Hidden files and folders, whose names begin with a dot, and those that programs put there are passed over.

    Args:
        folder: the folder; its own name may begin with a dot.
        arrays: whether the files of arrays are images.
        walk_remote: as os.walk, for a URL; None: tf.io.gfile's.

    Raises:
        UserError: a subfolder cannot be read, or a name is not UTF-8.
    """
    endings = EXTENSIONS + (ARRAY_EXTENSIONS if arrays else ())
    paths: list[str] = []
    hidden, others = 0, collections.Counter()
    walked = _visible(folder, (walk_remote or _walk_remote)(folder)) if '://' in folder else _walk(folder)
    for directory, folders, files in walked:
        hidden += sum(map(_is_hidden, folders))
        for name in files:
            if _is_hidden(name):
                hidden += 1
            elif name.lower().endswith(endings):
                _require_text(directory, name)
                paths.append(os.path.join(directory, name))
            else:
                others[os.path.splitext(name)[1].lower() or 'without an ending'] += 1
    # Departs from the reference: paths are sorted before max_dataset_size limits them, so that every machine takes the
    # same ones.
    return Listing(sorted(paths), _in_words(hidden, others))


def _require_text(directory: str, name: str) -> None:
    """Raises UserError for a name whose bytes are not UTF-8, for which Python has surrogates."""
    if not name.isascii() and any('\udc80' <= letter <= '\udcff' for letter in name):
        raise UserError(f"a name in '{directory}' is not UTF-8 ({os.fsencode(name)!r}); rename it.")


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name in _FOLDERS_OF_PROGRAMS or name == 'Thumbs.db'


def _walk(folder: str) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Each real folder once: (its path, names of its folders, names of its files), without entering hidden folders.

    Links are followed after all real folders, so that a folder is known by its own name if it has one here.
    """
    seen = set()
    waiting, links = [folder], []
    while waiting or links:
        directory = waiting.pop() if waiting else links.pop(0)
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"'{directory}' cannot be read ({error.strerror}); correct that.") from error
        folders, files = [], []
        for entry in found:
            (folders if _is_folder(entry) else files).append(entry)
        files = [entry.name for entry in files]
        yield directory, [entry.name for entry in folders], files
        entered = [entry for entry in folders if not _is_hidden(entry.name)]
        for entry in entered:
            _require_text(directory, entry.name)
        waiting += [entry.path for entry in reversed(entered) if not entry.is_symlink()]
        links += [entry.path for entry in entered if entry.is_symlink()]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where this user may not look; whatever it is, reading it tells why it cannot be read
        return False


def _visible(folder: str, walked: Iterator) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """What was walked, without hidden folders and what is in them."""
    for directory, folders, files in walked:
        inner = os.path.relpath(directory, folder)
        if not any(map(_is_hidden, inner.split(os.sep))) or inner == '.':
            yield directory, [name.rstrip('/') for name in folders], files


def _walk_remote(folder: str) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """As os.walk, for file systems that have no links."""
    import tensorflow as tf  # here, since clients of a server list folders without it

    try:
        yield from tf.io.gfile.walk(folder)
    except (UnicodeDecodeError, tf.errors.OpError) as error:
        raise UserError(f"'{folder}' cannot be read ({first_line(error)}); correct that.") from error


def _in_words(hidden: int, others: collections.Counter[str]) -> str:
    """'3 hidden files or folders, 2 .heic, 1 .txt'; empty for none."""
    parts = [f'{hidden} hidden files or folders'] if hidden else []
    parts += [f'{count} {ending}' for ending, count in sorted(others.items())]
    return ', '.join(parts)
