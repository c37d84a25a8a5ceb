"""Measures checkpoints of a run, and writes what was found for people, for programs and for TensorBoard."""

from __future__ import annotations

import dataclasses
import hashlib
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
from cyclegan_tf.evaluation.features import Extractor
from cyclegan_tf.runs import checkpoints, event_files
from cyclegan_tf.runs.summaries import Summaries
from cyclegan_tf.runtime.console import count
from cyclegan_tf.runtime.files import make_folder, write_json
from cyclegan_tf.runtime.hardware import missing_gpu_warning
from cyclegan_tf.settings.evaluation import EvaluateConfig
from cyclegan_tf.settings.run_flags import load_config
from cyclegan_tf.settings.training import Config
from cyclegan_tf.translation.translator import Translator


def evaluate(settings: EvaluateConfig) -> int:
    """Measures, prints, writes; returns the exit status.

    Raises:
        UserError: there is no such run or checkpoint; measures that the images do not allow; or, after all else was
            done, images or checkpoints that could not be used.
    """
    run_directory = pathlib.Path(settings.checkpoints_dir) / settings.name
    config = load_config(run_directory)
    config = dataclasses.replace(
        config, dataroot=settings.dataroot or config.dataroot, data_dir=settings.data_dir or config.data_dir
    )
    found = find_checkpoints(run_directory, settings.epoch)
    if warning := missing_gpu_warning():
        print(warning, file=sys.stderr)
    path = pathlib.Path(settings.results_dir) / settings.name / f'eval_{settings.phase}_{settings.epoch}'
    make_folder('results_dir', settings.results_dir, path)
    make_folder('checkpoints_dir', settings.checkpoints_dir, run_directory / 'eval')
    images = evaluator.open_test_images(config, settings.phase, settings.num_test, settings.load_size)
    measures = evaluator.choose_measures(settings.metrics, images)
    if settings.metrics is None and images.doubt is not None:
        print(f'Images are not compared as pairs: {images.doubt}. --metrics=psnr,ssim compares them all the same.')
    extractor = evaluator.make_extractor(settings) if {'kid', 'fid'} & set(measures) else None
    if extractor is not None and extractor.name == 'inception_v3':
        print(
            'Features of inception_v3 with ImageNet weights, which are not the weights of 2015 that published FID and '
            'KID are computed with: compare these figures only among themselves.'
        )
    evaluation = evaluator.Evaluation(images, measures, extractor, 'metrics', settings.batch_size, show_progress=True)
    translator = None
    measured, gone, curves = [], [], {}
    try:
        for checkpoint in found:
            try:
                if translator is None:
                    translator = Translator.from_checkpoint(config, checkpoint, settings.max_pixels)
                else:
                    translator.restore(checkpoint)
            except UserError as error:
                if pathlib.Path(checkpoint.prefix + '.index').exists():
                    raise
                # A training that goes on beside this deletes old ones.
                gone.append(f"checkpoint '{checkpoint.prefix}' has been deleted meanwhile")
                if len(gone) == len(found):
                    raise UserError(f'{gone[-1]}; choose another with --epoch.') from error
                continue
            with translator.out_of_memory_named():
                curves[checkpoint.step] = evaluation(translator)
            measured.append({**describe(checkpoint), 'results': curves[checkpoint.step]})
    finally:  # what was measured before a stop is kept
        write_scalars(run_directory / 'eval', curves)
    untranslated = evaluation.untranslated(translator.translations)
    for line in results.table(measured, untranslated):
        print(line)
    write_json(
        path / 'metrics.json',
        {
            'checkpoints': measured,
            'untranslated': untranslated,
            'metrics': list(measures),
            'images': about_images(config, settings.phase, images),
            'features': None if extractor is None else about_features(extractor),
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
    print(f'All of it, with what is needed to repeat it: {path / "metrics.json"}')
    for line in (*evaluation.problems, *gone):
        print(f'Left aside: {line}', file=sys.stderr)
    if evaluation.problems:
        raise UserError(f'{count(len(evaluation.problems), "image")} could not be used, see above; all others count.')
    if gone:
        raise UserError(f'{count(len(gone), "checkpoint")} could not be measured, see above; all others were.')
    return 0


def find_checkpoints(run_directory: pathlib.Path, epoch: str) -> Sequence[checkpoints.CheckpointInfo]:
    """Those of --epoch: one, or all of different steps, the oldest first."""
    if epoch != 'all':
        return [checkpoints.find(run_directory, epoch)]
    by_step: dict[int, checkpoints.CheckpointInfo] = {}
    for one in checkpoints.find_all(run_directory):
        # The same state can be there as an epoch's, as the latest and as the best: the epoch's name tells the most.
        if one.step not in by_step or by_step[one.step].epoch is None:
            by_step[one.step] = one
    if not by_step:
        raise UserError(f"run '{run_directory}' holds no checkpoint; check --name and --checkpoints_dir.")
    return list(by_step.values())


def write_scalars(folder: pathlib.Path, measured: Mapping[int, results.Results]) -> None:
    """Adds results by step to the curves under eval/ in TensorBoard, in the place of earlier ones of the same step.

    In a folder of its own: TensorBoard reads no more of a run's earlier event file once there is a later one beside it.
    """
    if not measured:
        return
    curves = {
        step: {f'eval/{name}': value for name, value in results.scalars(found).items()}
        for step, found in measured.items()
    }
    event_files.rewrite(
        folder, lambda event: not any(value.tag in curves.get(event.step, ()) for value in event.summary.value)
    )
    summaries = Summaries(folder)
    for step, values in curves.items():
        summaries.scalars(values, step)
    summaries.flush()


def describe(checkpoint: checkpoints.CheckpointInfo) -> dict:
    """Which checkpoint it is, for metrics.json."""
    return {'prefix': checkpoint.prefix, 'step': checkpoint.step, 'epoch': checkpoint.epoch}


def about_images(config: Config, phase: str, images: evaluator.TestImages) -> dict:
    """What was measured on, for metrics.json."""
    return {
        'dataroot': config.dataroot,
        'phase': phase,
        'found': {domain: len(source) for domain, source in images.sources.items()},
        'pairs': len(images.pairs['A']),
        'geometry': dataclasses.asdict(images.geometry),
    }


def about_features(extractor: Extractor) -> dict:
    """What the features are, for metrics.json."""
    return {
        'extractor': extractor.name,
        'sha256': digest(pathlib.Path(extractor.name)),
        'input_size': extractor.input_size,
        'input_range': extractor.input_range,
        'output': extractor.output,
        'dimensions': extractor.dimensions,
    }


def digest(path: pathlib.Path) -> Optional[str]:
    """Of a file, or of a folder's files in the order of their names; None for an extractor that is no file."""
    if not path.exists():
        return None
    found = hashlib.sha256()
    for part in sorted(file for file in path.rglob('*') if file.is_file()) if path.is_dir() else [path]:
        found.update(part.read_bytes())
    return found.hexdigest()
