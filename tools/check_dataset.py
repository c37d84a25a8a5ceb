"""Checks a data set as training will, and prints what is in it: python tools/check_dataset.py --dataroot=FOLDER

It accepts the flags of training, so that --flagfile=flags/maps.cfg works, too; only those about data matter. Exit
status: 0 if all images can be used, 1 if not (standard error lists each of them with the reason), 2 for bad flags.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from cyclegan_tf.runtime.program import run_program  # noqa: E402
from cyclegan_tf.settings import flags  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402


def parse(argv: Sequence[str]) -> Config:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(Config, argv)


def main(config: Config) -> int:
    """Prints the report; returns the exit status.

    Raises:
        UserError: training images are missing; or images cannot be used, and the message lists all of them.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    import dataset_report

    dataset_report.report(config)
    return 0


if __name__ == '__main__':
    run_program('tools/check_dataset.py', parse, main)
