"""Writes prepared data sets of TensorFlow Datasets file by file, so that several processes can write one.

A data set is written to a folder beside its place, whose name begins with 'incomplete.', as TensorFlow Datasets does
it: each of its files (shards) by `write_shard`, in any order and by any process, and in the end `write_metadata`. Then
the folder is renamed. Nothing here knows an engine; TensorFlow is imported where it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime.console import progress_bar
from cyclegan_tf.runtime.files import sync, unique_name
from cyclegan_tf.runtime.threads import map_ahead

if TYPE_CHECKING:  # they take seconds to import
    import tensorflow_datasets as tfds

    from cyclegan_tf.data.pictures import ReadOptions

AHEAD = 4  # images that are read ahead of the one that is written, for each thread

_STORED_AS_THEY_ARE = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n')  # the first bytes of JPEG and PNG
_INCOMPLETE, _PARTIAL = 'incomplete.', '.part'  # how names of what is not complete begin and end


# -------------------------------------------------------------------------------------------------------- any data set
def refuse_taken_name(argument: str, name: str) -> None:
    """Raises UserError if a data set of TensorFlow Datasets has this name, as --dataroot=tfds:NAME would open that.

    Args:
        argument: of the user, for the message.
        name: of the data set to write.
    """
    import tensorflow_datasets as tfds

    if name in tfds.list_builders(with_community_datasets=False):
        raise UserError(
            f"`{argument}` ('{name}') is that of a data set of TensorFlow Datasets; set --{argument} to another."
        )


@contextlib.contextmanager
def unfinished(target: str, key: Optional[str] = None) -> Iterator[str]:
    """A context with a folder to write a data set to, which becomes `target` when the context ends without an error.

    Args:
        target: NAME/VERSION in the folder of all data sets; it must not exist.
        key: letters and digits that depend on all that determines the shards. The folder of a key is kept if there is
            an error, and taken over with its shards, each of which is whole, if it is there already: of what a killed
            program has written, nothing has to be written again. None: a new folder, deleted if there is an error.

    Raises:
        OSError, tf.errors.OpError: it cannot be written.
    """
    import tensorflow as tf

    folder = _incomplete(target, key or secrets.token_hex(6))
    tf.io.gfile.makedirs(folder)
    try:
        yield folder
        for name in tf.io.gfile.listdir(folder):
            if name.endswith(_PARTIAL):  # of a process that was killed
                tf.io.gfile.remove(os.path.join(folder, name))
        tf.io.gfile.rename(folder, target)
    except BaseException:
        if key is None:
            tf.io.gfile.rmtree(folder)
        raise


def leftovers(target: str, key: Optional[str] = None) -> list[str]:
    """The folders of this data set that programs have left which were killed, or are writing to now; but for the one of
    a key, which `unfinished` takes over."""
    import tensorflow as tf

    parent, own = os.path.dirname(target), _incomplete(target, key or '')
    if not tf.io.gfile.isdir(parent):
        return []
    names = (name.rstrip('/') for name in tf.io.gfile.listdir(parent))  # not by glob, for which [ would be a pattern
    found = [os.path.join(parent, name) for name in names if name.startswith(_INCOMPLETE)]
    return sorted(folder for folder in found if folder.endswith(_version_of(target)) and folder != own)


def _incomplete(target: str, key: str) -> str:
    return os.path.join(os.path.dirname(target), f'{_INCOMPLETE}{key}{_version_of(target)}')


def _version_of(target: str) -> str:
    return f'_{os.path.basename(target)}'


def shard_path(folder: str, name: str, split: str, file_format: str, number: int, count: int) -> str:
    """The path of a shard, as TensorFlow Datasets names it.

    Args:
        folder: that of the data set, see `unfinished`.
        name: of the data set.
        split: 'trainA', ...
        file_format: 'array_record' or 'tfrecord'.
        number: of the shard, from 0.
        count: of the split's shards.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, split=split, filetype_suffix=file_format
    )
    return os.fspath(template.sharded_filepath(shard_index=number, num_shards=count))


def write_shard(
    path: str, examples: Iterable[Mapping[str, Any]], features: tfds.features.FeaturesDict, file_format: str
) -> tuple[int, int]:
    """Writes a shard, which appears as a whole or not at all, even if another process is writing the same one.

    Args:
        path: see `shard_path`; its folder exists.
        examples: in their order; one at a time is held in memory. With image_features: {'image': an encoded image,
            bytes; 'name': text}.
        features: of the data set.
        file_format: 'array_record' or 'tfrecord'.

    Returns:
        The number of examples, and of bytes.

    Raises:
        OSError, RuntimeError, tf.errors.OpError: it cannot be written.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    number = 0

    def serialized():
        nonlocal number
        for example in examples:
            yield number, features.serialize_example(example)
            number += 1

    partial = os.path.join(os.path.dirname(path), f'.{unique_name()}{_PARTIAL}')
    try:
        tfds.core.ExampleWriter(file_format=tfds.core.FileFormat(file_format)).write(partial, serialized())
        if '://' not in partial:
            sync([pathlib.Path(partial)])
        size = tf.io.gfile.stat(partial).length
        tf.io.gfile.rename(partial, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(partial)
        raise
    return number, size


def write_metadata(
    folder: str,
    name: str,
    version: str,
    splits: Mapping[str, Sequence[tuple[int, int]]],
    features: tfds.features.FeaturesDict,
    file_format: str,
) -> None:
    """Writes what makes a folder of shards a prepared data set: dataset_info.json and features.json.

    Args:
        folder: see `unfinished`; all shards are there.
        name: of the data set.
        version: '1.0.0', ...
        splits: name -> (number of examples, of bytes) of each of its shards.
        features: of the data set.
        file_format: 'array_record' or 'tfrecord'.

    Raises:
        OSError, tf.errors.OpError: it cannot be written.
        ValueError: a split has no shard there.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(data_dir=folder, dataset_name=name, filetype_suffix=file_format)
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[number for number, _ in shards],
            num_bytes=sum(size for _, size in shards),
            filename_template=template.replace(split=split),
        )
        for split, shards in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        version=version,
        filename_template=template,
        check_data=False,  # it reads by as_dataset, for which ArrayRecord files are not made
        disable_shuffling=True,
    )


# ------------------------------------------------------------------------------------------------------------- images
def image_features(channels: Collection[int], is_deep: bool) -> tfds.features.FeaturesDict:
    """What TensorFlow Datasets is told about images and their names; our own reader looks at the images themselves.

    Args:
        channels: the numbers of channels that they have.
        is_deep: whether some have more than 8 bits.
    """
    import numpy as np
    import tensorflow_datasets as tfds

    channels = set(channels)
    shape = (None, None, channels.pop() if channels in ({1}, {4}) else 3)
    kind = dict(dtype=np.uint16, encoding_format='png') if is_deep else dict(dtype=np.uint8)
    image = tfds.features.Image(shape=shape, **kind)
    return tfds.features.FeaturesDict({'image': image, 'name': tfds.features.Text()})


@dataclasses.dataclass(frozen=True)
class ImageShard:
    """A shard that holds image files.

    Attributes:
        path: where it is written, see `shard_path`.
        file_format: 'array_record' or 'tfrecord'.
        files: the images.
        folder: to which their names are relative.
        options: how they are read.
        channels, is_deep: see `image_features`; of the whole data set.
    """

    path: str
    file_format: str
    files: Sequence[str]
    folder: str
    options: ReadOptions
    channels: tuple[int, ...]
    is_deep: bool


def write_images(shard: ImageShard, pool: Executor, threads: int) -> tuple[int, int]:
    """Writes a shard of image files: JPEG and PNG as they are, others as PNG, upright, with the same pixels.

    Args:
        shard: the shard.
        pool: with so many threads, which read and encode images.
        threads: their number.

    Returns, raises:
        As write_shard; and UserError for an image that cannot be read.
    """
    from cyclegan_tf.data import sources
    from cyclegan_tf.data.decode import BadImage

    source = sources.of_files(shard.files, shard.folder, shard.options)

    def read(index):
        try:
            return _as_stored(source.read(index), shard.options)
        except BadImage as error:  # it could be decoded when it was checked
            raise source.error(index, error) from error

    encoded = map_ahead(read, range(len(source)), pool, AHEAD * threads)
    names = (os.path.relpath(path, shard.folder).replace(os.sep, '/') for path in shard.files)
    shown = progress_bar(encoded, f'Writing {shard.folder}', len(source))
    examples = ({'image': image, 'name': name} for image, name in zip(shown, names))
    return write_shard(shard.path, examples, image_features(shard.channels, shard.is_deep), shard.file_format)


def _as_stored(data: bytes, options: ReadOptions) -> bytes:
    from cyclegan_tf.data import decode, png

    if data.startswith(_STORED_AS_THEY_ARE):
        return data
    return png.encode(decode.to_array(decode.decode(data, options)))
