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

import contextlib
import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime import signals  # noqa: E402
from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.records import RecordsConfig  # noqa: E402


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

    signals.interrupt()  # what is half written is removed
    record_files.store(config, lambda: contextlib.nullcontext(record_files.Threads(config.num_threads)))
    return 0


if __name__ == '__main__':
    run_program('tools/prepare_records.py', parse, main)
