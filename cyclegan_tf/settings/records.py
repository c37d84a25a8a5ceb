"""The settings of storing a folder of images as records, on one machine or on Apache Spark."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any, Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.archive import SparkConfig
from cyclegan_tf.settings.fields import same, setting, validate_fields
from cyclegan_tf.settings.training import Config

VERSION = '1.0.0'  # of a data set


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """What to store, and where."""

    dataroot: str = setting(
        '', 'images to store: a folder with trainA, trainB and, if wanted, testA and testB; required', group='data'
    )
    output: str = setting('', f'folder for the records, which are written to OUTPUT/NAME/{VERSION}; required')
    name: Optional[str] = setting(None, 'name of the data set; unset: derived from the name of its folder')
    file_format: str = setting(
        'array_record',
        'format of the files; array_record is made for random access',
        group='files',
        choices=('array_record', 'tfrecord'),
    )
    dataset_mode: str = setting(
        'unaligned',
        'how the images are stored; unaligned: in folders trainA, trainB and so on; aligned: in folders train and, if '
        'wanted, val and test; paired: as unaligned, with further folders such as trainA2 (see --input_folders of '
        'training)',
        group='data',
        choices=('unaligned', 'aligned', 'paired'),
    )
    on_bad_image: str = setting(
        'error',
        'what happens if images cannot be used; error: all are listed and nothing is written; skip: they are left out',
        group='data',
        choices=('error', 'skip'),
    )
    num_shards: Optional[int] = setting(
        None,
        'number of files for each split, at most one for each image; unset: one for each GiB of pixels',
        group='files',
        minimum=1,
    )
    max_image_pixels: Optional[int] = same(Config, 'max_image_pixels')
    num_threads: int = setting(4, 'threads that read images', group='data', minimum=1)
    cache_dir: Optional[str] = setting(
        None, 'folder for the results of checking image files; unset: ~/.cache/cyclegan_tf', group='data'
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if not self.dataroot:
            raise UserError("`dataroot` ('') is required; set it to a folder with trainA and trainB.")
        if not self.output:
            raise UserError("`output` ('') is required; set it to the directory for the records.")
        if not re.fullmatch('[a-z][a-z0-9_]*', self.dataset_name):
            raise UserError(
                f"`name` ('{self.dataset_name}') is not made of a-z, 0-9 and _ with a letter first; correct it."
            )

    @property
    def dataset_name(self) -> str:
        """The given name, or one made from the name of the folder."""
        if self.name is not None:
            return self.name
        folder = os.path.basename(os.path.abspath(os.path.expanduser(self.dataroot))).lower()
        name = re.sub('[^a-z0-9]+', '_', folder).strip('_')
        return name if re.match('[a-z]', name) else f'images_{name}'.rstrip('_')

    @property
    def data_dir(self) -> str:
        """The folder of all data sets, each of which is in a directory of its name."""
        return os.path.expanduser(self.output)

    @property
    def directory(self) -> str:
        """The directory of the data set."""
        return os.path.join(self.data_dir, self.dataset_name, VERSION)


def _spark(name: str, default: Any, meaning: str) -> Any:
    """A field of SparkConfig or RecordsConfig with another default and meaning."""
    fields = {**RecordsConfig.__dataclass_fields__, **SparkConfig.__dataclass_fields__}
    return dataclasses.field(default=default, metadata={**fields[name].metadata, 'meaning': meaning})


@dataclasses.dataclass(frozen=True)
class SparkRecordsConfig(SparkConfig, RecordsConfig):
    """What to store, and where, and where and how wide the work is spread."""

    partitions: Optional[int] = _spark(
        'partitions',
        None,
        'number of parts that the check of the images is divided into, of which each is repeated as a whole if it '
        'fails; unset: as many as have about 200 images each, but four for each worker process. Each file of records '
        'is a part of its own',
    )
    num_threads: int = _spark('num_threads', 2, 'threads of each worker process that read images')

    def __post_init__(self):
        SparkConfig.__post_init__(self)
        RecordsConfig.__post_init__(self)
