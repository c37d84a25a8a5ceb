"""Measures a run on its test images: python -m cyclegan_tf.evaluate --name=RUN [--epoch=all] [--metrics=kid,fid]

Or the images of two folders, without a run: python -m cyclegan_tf.evaluate --fakes=FOLDER --reals=FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence

from cyclegan_tf.runtime import importing
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings import flags
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.reference_flags import REFUSED_WITH_A_RUN


def parse(argv: Sequence[str]) -> EvaluateConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(EvaluateConfig, argv, REFUSED_WITH_A_RUN)


def main(settings: EvaluateConfig) -> int:
    """Measures, prints, writes; returns the exit status."""
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.evaluation import run, two_folders
        from cyclegan_tf.runtime import hardware

    hardware.prepare_translation()

    return two_folders.evaluate(settings) if settings.fakes else run.evaluate(settings)


if __name__ == '__main__':
    run_program('cyclegan_tf.evaluate', parse, main)
