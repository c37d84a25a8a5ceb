"""Writes a run's generators for servers and phones: python -m cyclegan_tf.export --name=RUN --output=DIR."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from cyclegan_tf.runtime import importing
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings import flags, run_flags
from cyclegan_tf.settings.export import ExportConfig
from cyclegan_tf.settings.reference_flags import REFUSED_WITH_A_RUN


def parse(argv: Sequence[str]) -> ExportConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(ExportConfig, argv, REFUSED_WITH_A_RUN)


def main(settings: ExportConfig) -> int:
    """Exports; returns the exit status.

    Raises:
        UserError: the run or the checkpoint does not exist, or lacks a generator that was asked for; the version exists
            already; or the output cannot be written. In all these cases, nothing is written.
    """
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.runs import checkpoints
        from cyclegan_tf.serving import warmup
        from cyclegan_tf.serving.card import Exported
        from cyclegan_tf.serving.export import export
        from cyclegan_tf.translation.translator import Translator

    if settings.format == 'saved_model' and settings.warmup:
        warmup.import_messages()  # a missing package is reported before the work, not after it
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = run_flags.load_config(run_directory)
    translator = Translator.from_checkpoint(
        config, checkpoints.find(run_directory, settings.epoch), weights=settings.weights
    )
    wanted = {one.name: one for one in translator.choose(settings.direction)}
    ranges = {name: translator.value_ranges(name) for name in wanted}
    export(Exported(config, translator.step, wanted, ranges), settings)
    return 0


if __name__ == '__main__':
    run_program('cyclegan_tf.export', parse, main)
