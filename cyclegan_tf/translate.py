"""Translates images or videos, or a run's test set: python -m cyclegan_tf.translate --name=RUN [--input=FILES]."""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Sequence

from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import garbage, importing
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings import flags, run_flags
from cyclegan_tf.settings.reference_flags import REFUSED_WITH_A_RUN
from cyclegan_tf.settings.translation import TranslateConfig, at_test_time


def parse(argv: Sequence[str]) -> TranslateConfig:
    """Command line to settings; raises as flags.parse."""
    return flags.parse(TranslateConfig, argv, REFUSED_WITH_A_RUN)


def main(settings: TranslateConfig) -> int:
    """Translates; returns the exit status."""
    # Imported here: TensorFlow takes seconds to import, for which --help and wrong flags should not wait.
    with importing.tensorflow():
        from cyclegan_tf.data.video import find_videos
        from cyclegan_tf.evaluation.metrics import PairMeasures
        from cyclegan_tf.networks import choices
        from cyclegan_tf.runs import checkpoints
        from cyclegan_tf.runtime import hardware
        from cyclegan_tf.translation.archive import translate_shard
        from cyclegan_tf.translation.files import translate_input
        from cyclegan_tf.translation.test_set import translate_test_set
        from cyclegan_tf.translation.translator import Translator
        from cyclegan_tf.translation.video import translate_videos

    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = run_flags.load_config(run_directory)
    checkpoint = checkpoints.find(run_directory, settings.epoch)
    hardware.prepare_translation()
    precision, slow = hardware.choose_precision(settings.precision, settings.emulate_precision)
    for warning in filter(None, (hardware.missing_gpu_warning(), slow)):
        print(warning, file=sys.stderr)
    directions = Translator.directions_of_files(config, checkpoint, settings.direction) if settings.input else None
    with garbage.paused():
        translator = Translator.from_checkpoint(
            config, checkpoint, settings.max_pixels, precision, directions=directions, **at_test_time(settings)
        )
    if not translator.is_as_exported:
        print(f'Translating with {translator.statistics_and_dropout}; --eval turns that off.')
    for line in translator.without_effect(settings.batch_statistics, settings.test_dropout):
        print(line, file=sys.stderr)
    with translator.out_of_memory_named():
        if settings.input:
            videos = find_videos(settings.input)
            if videos and settings.shard:
                raise UserError(
                    f"`shard` ({settings.shard}) is for images, but `input` ('{settings.input}') has videos."
                )
            translate = functools.partial(translate_videos, videos=videos) if videos else translate_input
            translate = translate_shard if settings.shard else translate
            outcome = translate(settings, translator)
        else:
            make_measures = functools.partial(PairMeasures, small_without_ssim=True)
            outcome = translate_test_set(settings, config, translator, make_measures)
    if settings.verbose:
        print(choices.describe(one.network for one in translator.translations.values()), file=sys.stderr)
        print(hardware.describe_batches(settings.batch_size), file=sys.stderr)
    for line in outcome.lines:
        print(line, file=sys.stderr)
    if outcome.problems:
        raise UserError(outcome.complaint)
    return 0


if __name__ == '__main__':
    run_program('cyclegan_tf.translate', parse, main)
