"""Images in records of TensorFlow Datasets, read one by one in any order."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cyclegan_tf.data.image_source import Source, stamp_file
from cyclegan_tf.data.names import unique_names
from cyclegan_tf.errors import UserError, first_line

if TYPE_CHECKING:  # it takes seconds to import, so only functions that open its data sets import it
    import tensorflow_datasets as tfds

# Text features that may hold an image's name, in the order in which they are tried; tools/prepare_records.py writes the
# first.
NAME_FEATURES = ('name', 'filename', 'file_name')

_RECORD_HEADER, _RECORD_FOOTER = 12, 4  # bytes: length and its checksum; checksum of the data (TFRecord's format)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A prepared data set of TensorFlow Datasets.

    Attributes:
        builder: its builder.
        where: its name or directory, for messages.
    """

    builder: tfds.core.DatasetBuilder
    where: str

    @property
    def splits(self) -> Sequence[str]:
        """The names of its splits."""
        return tuple(self.builder.info.splits)

    @property
    def image_features(self) -> Sequence[str]:
        """The names of its features that are images."""
        import tensorflow_datasets as tfds

        features = self.builder.info.features
        return [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]

    @property
    def has_names(self) -> bool:
        """Whether its images have names, by which they can be matched."""
        return any(name in self.builder.info.features for name in NAME_FEATURES)

    def open(self, split: str, feature: Optional[str] = None) -> Source:
        """The images of a split.

        Args:
            split: 'trainA', ...
            feature: the feature that is the image; None: the only one, or `image`.

        Raises:
            UserError: there is no such split or feature, or it is damaged.
        """
        return _split_source(self, split, feature)


def open_dataset(name: str, data_dir: Optional[str] = None) -> DataSet:
    """Opens a data set, which is downloaded and prepared if necessary.

    Args:
        name: NAME, NAME/CONFIG or NAME:CONFIG, as in cycle_gan/horse2zebra.
        data_dir: the folder of prepared data sets; None: the default of TensorFlow Datasets.

    Raises:
        UserError: the data set does not exist, cannot be downloaded, or is damaged.
    """
    import tensorflow_datasets as tfds

    if not re.search(r':(\d+|\*)\.', name):  # a version, before which TensorFlow Datasets writes a colon, too
        name = name.replace(':', '/', 1)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            # ArrayRecord has random access to its records; some data sets allow no other format than their own.
            builder = tfds.builder(name, data_dir=data_dir, file_format='array_record')
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"`dataroot` ('tfds:{name}') is not a data set of TensorFlow Datasets ({first_line(error)}); "
            f'check the name, or --data_dir if it is one of your own.'
        ) from error
    try:
        builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError, tf.errors.OpError) as error:
        raise UserError(
            f"`dataroot` ('tfds:{name}') could not be downloaded ({first_line(error)}); check the connection, or set "
            f'--data_dir to where it has been prepared.'
        ) from error
    return DataSet(builder, f'tfds:{name}')


def find_directory(root: str) -> Optional[str]:
    """The directory (NAME/VERSION) of the only prepared data set at or below a folder; None if there is none.

    Raises:
        UserError: there are several data sets.
    """
    folders = [root]
    for depth in range(3):
        if '://' in root:
            paths = tf.io.gfile.glob(os.path.join(root, *['*'] * depth, 'dataset_info.json'))
        else:
            # Without glob, which would look for that file in each file of a folder of images, too.
            folders = [inner for folder in folders for inner in _folders_in(folder)] if depth else folders
            paths = [os.path.join(folder, 'dataset_info.json') for folder in folders]
            paths = [path for path in paths if os.path.exists(path)]
        # TensorFlow Datasets gives such names to data sets that it has not finished.
        paths = [path for path in paths if not os.path.basename(os.path.dirname(path)).startswith('incomplete.')]
        if len(paths) > 1:
            found = ', '.join(sorted(os.path.dirname(path) for path in paths))
            raise UserError(f"`dataroot` ('{root}') holds several prepared data sets; set it to one of: {found}.")
        if paths:
            return os.path.dirname(paths[0])
    return None


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:  # what may not be looked at is no data set; opening it as a folder of images tells why
        return []


def open_directory(directory: str) -> DataSet:
    """Opens a data set that was prepared in a directory.

    Raises:
        UserError: the data set is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(directory)
    except (json_format.ParseError, ValueError, KeyError) as error:
        raise UserError(f"`dataroot` ('{directory}') is damaged ({first_line(error)}); prepare it again.") from error
    return DataSet(builder, directory)


def _split_source(data_set: DataSet, split: str, feature: Optional[str]) -> Source:
    import tensorflow_datasets as tfds

    builder, where = data_set.builder, data_set.where
    splits = builder.info.splits
    if splits and split not in splits:
        raise UserError(f"`dataroot` ('{where}') has no split {split}; it has: {', '.join(sorted(splits))}.")
    key = _image_key(data_set, feature)
    name_key = next((name for name in NAME_FEATURES if name in builder.info.features), None)
    decoders = {name: tfds.decode.SkipDecoding() for name in data_set.image_features}
    files = [os.fspath(path) for path in splits[split].filepaths] if splits else []
    try:
        if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
            examples: Sequence[Any] = _TFRecords(files)
        else:
            examples = builder.as_data_source(split, decoders=decoders)
        count = len(examples)
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"`dataroot` ('{where}') is damaged: split {split} cannot be opened ({first_line(error)}); prepare it "
            f'again.'
        ) from error
    if splits and splits[split].num_examples not in (0, count):
        raise UserError(
            f"`dataroot` ('{where}') is damaged: split {split} has {count} of {splits[split].num_examples} images; "
            f'prepare it again.'
        )
    of_feature = '' if feature is None else f' {feature}'
    files_stamp = hashlib.sha256('\n'.join(stamp_file(path) for path in files).encode()).hexdigest()

    def data(index):
        try:
            return _bytes(examples[index][key])
        except (RuntimeError, TypeError, ValueError, LookupError, DecodeError) as error:
            raise OSError(f'damaged record: {first_line(error)}') from error

    def list_names():
        if name_key is None:
            return [f'{split}_{index:06d}' for index in range(len(examples))]
        return unique_names([_text(examples[index][name_key]) for index in range(len(examples))])

    return Source(
        count=count,
        where=f'{where} {split}{of_feature}',
        label=lambda index: f'{where} {split} #{index}{of_feature}',
        data=data,
        stamp=lambda index: f'{builder.data_path} {split} {files_stamp} {index}{of_feature}',
        list_names=list_names,
    )


def _image_key(data_set: DataSet, feature: Optional[str]) -> str:
    images, where = data_set.image_features, data_set.where
    if feature is not None:
        if feature not in images:
            present = ', '.join(images) or 'none'
            raise UserError(
                f"`dataroot` ('{where}') has no image feature '{feature}' (its image features: {present}); correct "
                f'--input_feature or --output_feature.'
            )
        return feature
    if 'image' in images:
        return 'image'
    if len(images) != 1:
        raise UserError(
            f"`dataroot` ('{where}') has no feature 'image' and {len(images)} other image features; it needs exactly "
            f'one.'
        )
    return images[0]


class _TFRecords:
    """Random access to TFRecord files. They have no index: the place of each record is found by reading them once."""

    def __init__(self, paths: Sequence[str]):
        self._places = []  # path, offset and length of each record
        for path in paths:
            offset = 0
            for length in tf.data.TFRecordDataset(path).map(tf.strings.length).as_numpy_iterator():
                self._places.append((path, offset + _RECORD_HEADER, int(length)))
                offset += _RECORD_HEADER + int(length) + _RECORD_FOOTER

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        path, offset, length = self._places[index]
        with tf.io.gfile.GFile(path, 'rb') as file:
            file.seek(offset)
            example = tf.train.Example.FromString(file.read(length))
        return {name: value.bytes_list.value[0] for name, value in example.features.feature.items() if _is_bytes(value)}


def _is_bytes(feature: tf.train.Feature) -> bool:
    return len(feature.bytes_list.value) == 1


def _bytes(value: Any) -> bytes:
    return value.item() if isinstance(value, np.ndarray) else bytes(value)


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode() if isinstance(value, bytes) else str(value)
