"""Trains a model: python -m cyclegan_tf.train --dataroot=FOLDER --name=RUN."""

from __future__ import annotations

from typing import Optional

from cyclegan_tf.runtime import allocator, importing
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.runtime.start_times import StartTimes
from cyclegan_tf.settings.run_flags import parse_training
from cyclegan_tf.settings.training import Config


def main(settings: tuple[Config, Optional[Config]]) -> int:
    """Trains; returns the exit status."""
    allocator.restart_with_huge_pages('cyclegan_tf.train')
    times = StartTimes()
    times.mark('starting Python and reading flags')
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.training import session

    times.mark('importing TensorFlow')
    return session.train(*settings, times)


if __name__ == '__main__':
    run_program('cyclegan_tf.train', parse_training, main)
