"""The settings of downloading published weights and data sets."""

from __future__ import annotations

import dataclasses
import urllib.parse
from typing import Optional

from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.fields import same, setting, validate_fields
from cyclegan_tf.settings.training import Config


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """How the names are listed."""

    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)


@dataclasses.dataclass(frozen=True)
class _FileConfig:
    """From where files are downloaded, and where they are kept."""

    mirror: Optional[str] = setting(
        None, "address that has the same files as the authors' host, which is http://efrosgans.eecs.berkeley.edu"
    )
    cache_dir: Optional[str] = setting(
        None, "folder that keeps what was downloaded; unset: cyclegan_tf in the user's cache folder", group='files'
    )
    retries: int = setting(
        4,
        'how many times in a row a download is tried again without a new byte before it is given up; the next start '
        'continues it',
        group='files',
        minimum=0,
    )
    verbose: bool = setting(False, 'print the traceback of an error')

    def __post_init__(self):
        validate_fields(self)
        if self.mirror is not None:
            problem = UserError(
                f"`mirror` ('{self.mirror}') is not an address; set it to one that begins with http:// or https://."
            )
            try:
                parts = urllib.parse.urlsplit(self.mirror)
            except ValueError as error:
                raise problem from error
            if parts.scheme not in ('http', 'https') or not parts.netloc or parts.query or parts.fragment:
                raise problem


@dataclasses.dataclass(frozen=True)
class WeightsConfig(_FileConfig):
    """Which run is made from downloaded weights."""

    name: Optional[str] = setting(
        None,
        'name of the run, whose directory is CHECKPOINTS_DIR/NAME; unset: the name of the weights',
        is_run=True,
    )
    checkpoints_dir: str = same(Config, 'checkpoints_dir')


@dataclasses.dataclass(frozen=True)
class DataConfig(_FileConfig):
    """Where a data set comes from, and the folder that it becomes."""

    output: Optional[str] = setting(None, "folder for the data set; unset: 'datasets/NAME'")
    source: Optional[str] = setting(
        None,
        "where the images come from; tfds: TensorFlow Datasets; archive: the authors' archive; unset: tfds if it is "
        'there and no mirror is set, else archive',
        choices=('tfds', 'archive'),
    )
    data_dir: Optional[str] = same(Config, 'data_dir')
    gtFine_dir: Optional[str] = setting(
        None, 'for cityscapes, the folder that gtFine_trainvaltest.zip was unpacked to', group='data'
    )
    leftImg8bit_dir: Optional[str] = setting(
        None, 'for cityscapes, the folder that leftImg8bit_trainvaltest.zip was unpacked to', group='data'
    )

    def __post_init__(self):
        super().__post_init__()
        if self.output == '':
            raise UserError("`output` ('') is empty; set it to the folder for the data set, or leave it out.")
        if self.source == 'tfds' and self.mirror is not None:
            raise UserError(
                f"`mirror` ('{self.mirror}') has the authors' archives; leave it out, or set --source=archive."
            )
