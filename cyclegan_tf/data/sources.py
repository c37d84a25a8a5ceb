"""Opens images by name: those of folders and files, of data sets of TensorFlow Datasets, of the demo."""

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
        dataroot: 'demo'; 'tfds:NAME', a data set of TensorFlow Datasets; a directory with a prepared data set; or a
            folder with trainA, trainB, testA and testB (unaligned), train and test (aligned), or the images themselves
            (single). Folders may be anywhere that tf.io.gfile reaches.
        phase: 'train' or 'test'.
        dataset_mode: 'unaligned'; 'aligned': each image shows A in its left half and B in its right; 'single': only one
            domain.
        max_size: maximum number of images of each domain, the first ones after sorting; None: all.
        data_dir: the folder of prepared data sets; None: the default of TensorFlow Datasets.

    Returns:
        Two sources, or one for 'single'.

    Raises:
        UserError: a folder or split is missing, or holds no images.
    """
    parts = {'unaligned': [f'{phase}A', f'{phase}B'], 'aligned': [phase], 'single': ['']}[dataset_mode]
    opened = [_open_part(dataroot, part, data_dir) for part in parts]
    if max_size is not None:
        opened = [source.select(range(min(max_size, len(source)))) for source in opened]
    if dataset_mode == 'aligned':
        shared = _remember_last(opened[0])
        return tuple(dataclasses.replace(shared, half=half) for half in ('left', 'right'))
    return tuple(opened)


def _open_part(dataroot: str, part: str, data_dir: Optional[str]) -> Source:
    if dataroot == 'demo':
        if part not in ('trainA', 'trainB', 'testA', 'testB'):
            raise UserError(
                '`dataset_mode` aligned and single cannot be used with `dataroot` (demo); set it to unaligned.'
            )
        return demo_source(part)
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    if dataroot.startswith('tfds:'):
        if not part:
            raise UserError(
                f"`dataset_mode` (single) takes a folder of images, not `dataroot` ('{dataroot}'); set dataroot to one."
            )
        return records.open_dataset(dataroot.removeprefix('tfds:'), part, data_dir)
    root = os.path.expanduser(dataroot)
    if not tf.io.gfile.isdir(root):
        raise UserError(
            f"`dataroot` ('{dataroot}') is not a folder; set it to one with trainA and trainB, to tfds:NAME or to demo."
        )
    if part and not tf.io.gfile.isdir(os.path.join(root, part)):
        prepared = records.find_directory(root)
        if prepared is not None:
            return records.open_directory(prepared, part)
    return _folder_source(root, part)


def _folder_source(root: str, part: str) -> Source:
    folder = os.path.join(root, part) if part else root
    if not tf.io.gfile.isdir(folder):
        folders = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(root))
        present = ', '.join(name for name in folders if tf.io.gfile.isdir(os.path.join(root, name))) or 'none'
        raise UserError(f"`dataroot` ('{root}') has no folder {part} (folders in it: {present}); put the images there.")
    paths = []
    try:
        for directory, _, files in tf.io.gfile.walk(folder):
            paths += [os.path.join(directory, name) for name in files if name.lower().endswith(decode.EXTENSIONS)]
    except UnicodeDecodeError as error:
        raise UserError(f"a file name in '{folder}' is not UTF-8 ({error.object!r}); rename that file.") from error
    # Departs from the reference: paths are sorted before max_dataset_size limits them, so that every machine takes the
    # same ones.
    paths.sort()
    if not paths:
        endings = ' '.join(ending[1:] for ending in decode.EXTENSIONS)
        raise UserError(f"'{folder}' holds no images; put files there that end in one of: {endings}.")
    return _files_source(paths, folder)


def open_files(place: str) -> Source:
    """Opens one image, a folder of images with its subfolders, or the images that match a pattern with *, ? or [].

    Raises:
        UserError: the file does not exist, or no file matches.
    """
    place = os.path.expanduser(place)
    if tf.io.gfile.isdir(place):
        return _folder_source(place, '')
    if tf.io.gfile.exists(place):
        return _files_source([place], os.path.dirname(place))
    paths = sorted(path for path in tf.io.gfile.glob(place) if not tf.io.gfile.isdir(path))
    if not paths:
        raise UserError(f"`input` ('{place}') is not a file or folder, and matches no file as a pattern; correct it.")
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
    """The source, whose threads each keep their last decoded image: its two halves are usually read in succession."""
    memory = threading.local()

    def decoded(index):
        if getattr(memory, 'index', None) != index:
            memory.index, memory.picture = None, decode.decode(source.read(index))
            memory.index = index
        return memory.picture

    return dataclasses.replace(source, decoded=decoded)
