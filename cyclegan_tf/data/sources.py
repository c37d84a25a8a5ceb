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
from cyclegan_tf.data.folders import find_images
from cyclegan_tf.data.image_source import Source, stamp_file, unique_names
from cyclegan_tf.data.pictures import ReadOptions
from cyclegan_tf.errors import UserError

DATASET_MODES = ('unaligned', 'aligned', 'single')


def open_domains(
    dataroot: str,
    phase: str,
    dataset_mode: str = 'unaligned',
    max_size: Optional[int] = None,
    data_dir: Optional[str] = None,
    options: Sequence[ReadOptions] = (),
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
        options: how the files of each source are read; empty: with the default options.

    Returns:
        Two sources, or one for 'single'.

    Raises:
        UserError: a folder or split is missing, or holds no images.
    """
    parts = {'unaligned': [f'{phase}A', f'{phase}B'], 'aligned': [phase], 'single': ['']}[dataset_mode]
    options = options or [decode.PLAIN, decode.PLAIN]
    opened = [
        dataclasses.replace(_open_part(dataroot, part, data_dir, arrays=of_part.raw), options=of_part)
        for part, of_part in zip(parts, options)
    ]
    if max_size is not None:
        opened = [source.select(range(min(max_size, len(source)))) for source in opened]
    if dataset_mode == 'aligned':
        channels = tuple(dict.fromkeys(count for of_half in options for count in of_half.channels))
        of_halves = [dataclasses.replace(of_half, channels=channels) for of_half in options]
        shared = _remember_last(dataclasses.replace(opened[0], options=of_halves[0]))
        halves = zip(('left', 'right'), of_halves)
        a, b = (dataclasses.replace(shared, half=half, options=of_half) for half, of_half in halves)
        return a, dataclasses.replace(b, notes=())  # they are about the same files
    return tuple(opened)


def _open_part(dataroot: str, part: str, data_dir: Optional[str], arrays: bool) -> Source:
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
    return _folder_source(root, part, arrays)


def _folder_source(root: str, part: str, arrays: bool) -> Source:
    """The images of a folder and its subfolders; `arrays`: with the files of arrays among them."""
    folder = os.path.join(root, part) if part else root
    if not tf.io.gfile.isdir(folder):
        folders = sorted(name.rstrip('/') for name in tf.io.gfile.listdir(root))
        present = ', '.join(name for name in folders if tf.io.gfile.isdir(os.path.join(root, name))) or 'none'
        raise UserError(f"`dataroot` ('{root}') has no folder {part} (folders in it: {present}); put the images there.")
    listing = find_images(folder, arrays)
    if not listing.paths:
        endings = ' '.join(ending[1:] for ending in decode.EXTENSIONS + decode.ARRAY_EXTENSIONS * arrays)
        beside = f' ({listing.passed_over})' if listing.passed_over else ''
        endings += '' if arrays else ' (npy only with --value_range)'
        raise UserError(f"'{folder}' holds no images{beside}; put files there that end in one of: {endings}.")
    source = _files_source(listing.paths, folder)
    notes = [f"Passed over in '{folder}': {listing.passed_over}."] if listing.passed_over else []
    return dataclasses.replace(source, notes=notes)


def open_files(place: str, options: ReadOptions = decode.PLAIN) -> Source:
    """Opens one image, a folder of images with its subfolders, or the images that match a pattern with *, ? or [].

    Args:
        place: the file, folder or pattern.
        options: how the files are read.

    Raises:
        UserError: the file does not exist, or no file matches.
    """
    return dataclasses.replace(_open_files(os.path.expanduser(place), options.raw), options=options)


def _open_files(place: str, arrays: bool) -> Source:
    if tf.io.gfile.isdir(place):
        return _folder_source(place, '', arrays)
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
        path=lambda index: None if '://' in paths[index] else paths[index],
        list_names=lambda: unique_names([os.path.relpath(path, folder or '.') for path in paths]),
    )


def _read(path: str) -> bytes:
    # Local files by Python, which also reads names that are no text in the locale's encoding.
    with tf.io.gfile.GFile(path, 'rb') if '://' in path else open(path, 'rb') as file:
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
            memory.index = None
            memory.decoded = decode.decode_with_metadata(source.read(index), source.options)
            memory.index = index
        return memory.decoded

    return dataclasses.replace(source, decoded=decoded)
