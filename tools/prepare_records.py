"""Stores a folder of images as records: python tools/prepare_records.py --dataroot=FOLDER --output=DIR

This is for storage on which many small files are a burden. The records are those of TensorFlow Datasets. trainA,
trainB, valA, valB, testA and testB (aligned: train, val, test) become splits. Images keep their names and their order,
so that training takes the same steps as from the folder. JPEG and PNG are stored byte for byte. Other formats, most of
which TensorFlow does not decode, are stored as PNG with the same pixels, of GIF only the first frame.

Before anything is written, each image is checked as it is before training. TFRecord stores a CRC-32C of each record,
which is verified when the data set is opened; ArrayRecord stores a hash, which is verified when the record is read. The
data set is written beside its place, and renamed when it is complete.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import ClassVar, Optional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.fields import same, setting, validate_fields  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """What to store, and where."""

    VERSION: ClassVar[str] = '1.0.0'  # of the data set

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


def parse(argv: Sequence[str]) -> RecordsConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(RecordsConfig, argv)


def main(config: RecordsConfig) -> int:
    """Writes the records; returns the exit status.

    Raises:
        UserError: folders are missing, the data set exists already or cannot be written, or images cannot be used, and
            the message lists all of them.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    import record_files

    record_files.store(config)
    return 0


if __name__ == '__main__':
    # As after SIGINT, what is half written is removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    run_program('tools/prepare_records.py', parse, main)
