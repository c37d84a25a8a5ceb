"""Evaluates a run's checkpoints, and writes the results for people, for programs and for TensorBoard."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

import cyclegan_tf
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import evaluator, results
from cyclegan_tf.evaluation.features import about_features, digest
from cyclegan_tf.evaluation.label_scores import make_palette
from cyclegan_tf.runs import checkpoints, event_files
from cyclegan_tf.runs.summaries import Summaries
from cyclegan_tf.runtime.console import count
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.runtime.hardware import missing_gpu_warning
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.training import Config
from cyclegan_tf.settings.translation import at_test_time
from cyclegan_tf.translation.translator import Translator


def evaluate(settings: EvaluateConfig) -> int:
    """Evaluates, prints, writes; returns the exit status.

    Raises:
        UserError: the run or the checkpoint does not exist; the images do not allow a measure; or, after everything
            else is done, some images or checkpoints could not be used.
    """
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = load_config(run_directory)
    config = dataclasses.replace(
        config,
        dataroot=settings.dataroot or config.dataroot,
        data_dir=settings.data_dir or config.data_dir,
        max_image_pixels=settings.max_image_pixels or config.max_image_pixels,
        pairs=settings.pairs,
    )
    palette = make_palette(settings.palette)
    statistics_at = find_statistics(settings.statistics, config)
    chosen = find_checkpoints(run_directory, settings.epoch)
    if warning := missing_gpu_warning():
        print(warning, file=sys.stderr)
    path = pathlib.Path(settings.results_dir) / settings.name / f'eval_{settings.phase}_{settings.epoch}'
    make_folder('results_dir', settings.results_dir, path)
    make_folder('checkpoints_dir', settings.checkpoints_dir, run_directory / 'eval')
    images = evaluator.open_test_images(config, settings.phase, settings.num_test, settings.load_size)
    measures = evaluator.choose_measures(settings.metrics, images)
    for line in (line for source in images.sources.values() for line in source.notes):
        print(line, file=sys.stderr)
    for line in evaluator.describe_pairs(images, measures, settings.metrics):
        print(line, file=sys.stderr)
    extractor = evaluator.make_extractor(settings) if {'kid', 'fid'} & set(measures) else None
    if extractor is not None and extractor.name == 'inception_v3':
        print(
            'Features of inception_v3 with ImageNet weights, which are not the weights of 2015 that published FID and '
            'KID are computed with: compare these figures only with each other.'
        )
    if extractor is None and statistics_at:
        others = ','.join(measures) or 'none'
        raise UserError(
            f"`statistics` ('{settings.statistics}') is for kid and fid, but `metrics` is {others}; leave one of them "
            f'out.'
        )
    evaluation = evaluator.Evaluation(
        images, measures, extractor, 'metrics', settings.batch_size, True, palette, statistics_at, settings.phase
    )
    translator = None
    measured, gone, curves, of_images = [], [], {}, []
    try:
        for checkpoint in chosen:
            try:
                if translator is None:
                    translator = Translator.from_checkpoint(
                        config, checkpoint, settings.max_pixels, **at_test_time(settings)
                    )
                    if not translator.is_as_exported:
                        print(f'Translating with {translator.statistics_and_dropout}; --eval turns that off.')
                    for line in translator.without_effect(settings.batch_statistics, settings.test_dropout):
                        print(line, file=sys.stderr)
                else:
                    translator.restore(checkpoint)
            except UserError as error:
                if pathlib.Path(checkpoint.prefix + '.index').exists():
                    raise
                # A training that runs at the same time deletes old checkpoints.
                gone.append(f"checkpoint '{checkpoint.prefix}' has been deleted in the meantime")
                if len(gone) == len(chosen):
                    raise UserError(f'{gone[-1]}; choose another with --epoch.') from error
                continue
            with translator.out_of_memory_named():
                curves[checkpoint.step] = evaluation(translator)
            measured.append({**describe(checkpoint), 'results': curves[checkpoint.step]})
            of_images += [
                {'epoch': checkpoint.epoch, 'step': checkpoint.step, 'direction': direction, 'image': name, **values}
                for direction, images_of in evaluation.of_images.items()
                for name, values in images_of.items()
            ]
    finally:  # results from before an interruption are kept
        write_scalars(run_directory / 'eval', curves)
        results.write_images(path / 'images.csv', of_images)
    untranslated = evaluation.untranslated(translator.translations)
    for line in results.table(measured, untranslated):
        print(line)
    write_json(
        path / 'metrics.json',
        {
            'checkpoints': measured,
            'untranslated': untranslated,
            'metrics': list(measures),
            'test_time': translator.test_time,
            'images': about_images(config, settings.phase, images),
            'features': None if extractor is None else about_features(extractor),
            'statistics': {str(path): digest(path) for path in statistics_at.values()},
            'flags': dataclasses.asdict(settings),
            'run': dataclasses.asdict(config),
            'versions': {
                'cyclegan_tf': cyclegan_tf.__version__,
                'tensorflow': tf.__version__,
                'numpy': np.__version__,
                'python': platform.python_version(),
            },
        },
    )
    print(f'Full results, with what is needed to repeat them: {path / "metrics.json"}')
    if of_images:
        print(f'Each image: {path / "images.csv"}')
    for line in (*evaluation.problems, *gone):
        print(f'Skipped: {line}', file=sys.stderr)
    if evaluation.problems:
        raise UserError(f'{count(len(evaluation.problems), "image")} could not be used, see above; all others were.')
    if gone:
        raise UserError(f'{count(len(gone), "checkpoint")} could not be measured, see above; all others were.')
    return 0


def find_checkpoints(run_directory: pathlib.Path, epoch: str) -> Sequence[checkpoints.CheckpointInfo]:
    """The checkpoints of --epoch: one, or all with different steps, oldest first."""
    if epoch != 'all':
        return [checkpoints.find(run_directory, epoch)]
    by_step: dict[int, checkpoints.CheckpointInfo] = {}
    for one in checkpoints.find_all(run_directory):
        # The same state can be saved as an epoch's, as the latest and as the best: the epoch's name says the most.
        if one.step not in by_step or by_step[one.step].epoch is None:
            by_step[one.step] = one
    if not by_step:
        raise UserError(f"run '{run_directory}' holds no checkpoint; check --name and --checkpoints_dir.")
    return list(by_step.values())


def find_statistics(template: Optional[str], config: Config) -> Mapping[str, pathlib.Path]:
    """The files of --statistics, by the domains into which a run translates.

    Raises:
        UserError: there are two domains and one file.
    """
    targets = {name[-1]: name for name in config.translating_networks}
    if template is None:
        return {}
    if len(targets) > 1 and '{domain}' not in template:
        raise UserError(
            f"`statistics` ('{template}') is one file, but the run translates into {' and '.join(sorted(targets))}; "
            'put {domain} into it, which becomes the letter.'
        )
    return {domain: pathlib.Path(template.replace('{domain}', domain)).expanduser() for domain in targets}


def write_scalars(folder: pathlib.Path, measured: Mapping[int, results.Results]) -> None:
    """Adds results by step to the curves under eval/ in TensorBoard, and replaces earlier ones of the same step.

    They have a folder of their own: TensorBoard stops reading an event file once the folder has a later one.
    """
    if not measured:
        return
    curves = {
        step: {f'eval/{name}': value for name, value in results.scalars(of_step).items()}
        for step, of_step in measured.items()
    }
    event_files.rewrite(
        folder, lambda event: not any(value.tag in curves.get(event.step, ()) for value in event.summary.value)
    )
    summaries = Summaries(folder)
    for step, values in curves.items():
        summaries.scalars(values, step)
    summaries.flush()


def describe(checkpoint: checkpoints.CheckpointInfo) -> dict:
    """Identifies a checkpoint, for metrics.json."""
    return {'prefix': checkpoint.prefix, 'step': checkpoint.step, 'epoch': checkpoint.epoch}


def about_images(config: Config, phase: str, images: evaluator.TestImages) -> dict:
    """Describes the images of the evaluation, for metrics.json."""
    return {
        'dataroot': config.dataroot,
        'phase': phase,
        'found': {domain: len(source) for domain, source in images.sources.items()},
        'pairs': len(images.pairs['A']),
        'geometry': dataclasses.asdict(images.geometry),
    }
