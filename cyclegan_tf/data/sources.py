"""Opens images by name: those of folders and files, of records of TensorFlow Datasets, of the demo."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import threading
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import decode, demo, records
from cyclegan_tf.data.image_source import Source, stamp_file, unique_names
from cyclegan_tf.errors import UserError

DATASET_MODES = ('unaligned', 'aligned', 'single')


def open_domains(
    dataroot: str,
    phase: str,
    dataset_mode: str = 'unaligned',
    max_size: Optional[int] = None,
    data_dir: Optional[str] = None,
) -> tuple[Source, ...]:
    """The images of the data set's domains, in the order A, B.

    Args:
        dataroot: 'demo'; 'tfds:NAME', a data set of TensorFlow Datasets; a directory that holds one; or a folder with
            trainA, trainB, testA and testB (unaligned), train and test (aligned), or the images themselves (single).
            Folders may be anywhere that tf.io.gfile reaches.
        phase: 'train' or 'test'.
        dataset_mode: 'unaligned'; 'aligned': each image shows A in its left half and B in its right; 'single': one
            domain alone.
        max_size: use the first so many images of a domain, after sorting.
        data_dir: where TensorFlow Datasets keeps its data sets; None: where it always does.

    Returns:
        Two sources, or with 'single' one.

    Raises:
        UserError: a folder or split is missing, or holds no images.
    """
    parts = {'unaligned': [f'{phase}A', f'{phase}B'], 'aligned': [phase], 'single': ['']}[dataset_mode]
    found = [_open_part(dataroot, part, data_dir) for part in parts]
    if max_size is not None:
        found = [source.select(range(min(max_size, len(source)))) for source in found]
    if dataset_mode == 'aligned':
        shared = _remember_last(found[0])
        return tuple(dataclasses.replace(shared, half=half) for half in ('left', 'right'))
    return tuple(found)


def _open_part(dataroot: str, part: str, data_dir: Optional[str]) -> Source:
    if dataroot == 'demo':
        if part not in ('trainA', 'trainB', 'testA', 'testB'):
            raise UserError('`dataset_mode` aligned and single do not go with `dataroot` (demo), which is unaligned.')
        return demo_source(part)
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    if dataroot.startswith('tfds:'):
        if not part:
            raise UserError(f"`dataset_mode` (single) takes a folder of images, not `dataroot` ('{dataroot}').")
        return records.open_dataset(dataroot.removeprefix('tfds:'), part, data_dir)
    root = os.path.expanduser(dataroot)
    if not tf.io.gfile.isdir(root):
        raise UserError(
            f"`dataroot` ('{dataroot}') is no folder; set it to one with trainA and trainB, to tfds:NAME or to demo."
        )
    if part and not tf.io.gfile.isdir(os.path.join(root, part)):
        prepared = records.find_directory(root)
        if prepared is not None:
            return records.open_directory(prepared, part)
    return _folder_source(root, part)


def _folder_source(root: str, part: str) -> Source:
    folder = os.path.join(root, part) if part else root
    if not tf.io.gfile.isdir(folder):
        here = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(root))
        present = ', '.join(name for name in here if tf.io.gfile.isdir(os.path.join(root, name))) or 'none'
        raise UserError(f"`dataroot` ('{root}') has no folder {part} (folders in it: {present}); put the images there.")
    paths = []
    try:
        for directory, _, files in tf.io.gfile.walk(folder):
            paths += [os.path.join(directory, name) for name in files if name.lower().endswith(decode.EXTENSIONS)]
    except UnicodeDecodeError as error:
        raise UserError(f"a name in '{folder}' is not UTF-8 ({error.object!r}); rename that file.") from error
    # Departs from the reference: sorted before it is cut to max_dataset_size, so that the cut is the same everywhere.
    paths.sort()
    if not paths:
        endings = ' '.join(ending[1:] for ending in decode.EXTENSIONS)
        raise UserError(f"'{folder}' holds no images; put files there that end in one of: {endings}.")
    return _files_source(paths, folder)


def open_files(place: str) -> Source:
    """One image, a folder of images with its subfolders, or those that a pattern with *, ? or [] matches.

    Raises:
        UserError: there is no such file, or none that matches.
    """
    place = os.path.expanduser(place)
    if tf.io.gfile.isdir(place):
        return _folder_source(place, '')
    if tf.io.gfile.exists(place):
        return _files_source([place], os.path.dirname(place))
    paths = sorted(path for path in tf.io.gfile.glob(place) if not tf.io.gfile.isdir(path))
    if not paths:
        raise UserError(f"`input` ('{place}') is no file or folder, and as a pattern it matches none; mend it.")
    common = os.path.commonpath([os.path.dirname(path) for path in paths]) if '://' not in place else ''
    return _files_source(paths, common)


def _files_source(paths: Sequence[str], folder: str) -> Source:
    return Source(
        count=len(paths),
        where=folder or '.',
        label=lambda index: paths[index],
        data=lambda index: _read(paths[index]),
        stamp=lambda index: stamp_file(paths[index]),
        list_names=lambda: unique_names([os.path.relpath(path, folder or '.') for path in paths]),
    )


def _read(path: str) -> bytes:
    with tf.io.gfile.GFile(path, 'rb') as file:
        return file.read()


def demo_source(part: str) -> Source:
    """A part of the demo's data set, 'trainA', ..., as PNGs in memory."""
    pictures = demo.regions(part[:-1], part[-1])
    names, encoded = list(pictures), []
    for pixels in pictures.values():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, 'PNG', compress_level=1)
        encoded.append(file.getvalue())
    return Source(
        count=len(names),
        where=f'demo {part}',
        label=lambda index: f'demo {part} {names[index]}',
        data=encoded.__getitem__,
        stamp=lambda index: hashlib.sha256(encoded[index]).hexdigest(),
        list_names=lambda: names,
    )


def _remember_last(source: Source) -> Source:
    """Each thread keeps its last decoded image, since both halves of one are asked for one after the other."""
    memory = threading.local()

    def decoded(index):
        if getattr(memory, 'index', None) != index:
            memory.index, memory.picture = None, decode.decode(source.read(index))
            memory.index = index
        return memory.picture

    return dataclasses.replace(source, decoded=decoded)
