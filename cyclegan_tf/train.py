"""Trains a model: python -m cyclegan_tf.train --dataroot=FOLDER --name=RUN."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf import checkpoints, options, training_data
from cyclegan_tf.config import Config
from cyclegan_tf.console import Console
from cyclegan_tf.errors import UserError
from cyclegan_tf.models import MODELS
from cyclegan_tf.summaries import Summaries
from cyclegan_tf.trainer import Interrupted, Progress, Trainer

TEST_PICTURES = 4  # of each domain, translated after every epoch for TensorBoard


def main(settings: tuple[Config, Optional[Config]]) -> int:
    """Trains; returns the exit status."""
    config, stored = settings
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    console = Console(config.batch_size)
    prepare_directory(run_directory, config)
    for line in compare_with_stored(config, stored):
        console.line(line)

    strategy = make_strategy()
    if config.batch_size % strategy.num_replicas_in_sync:
        replicas = strategy.num_replicas_in_sync
        near = [
            n for n in (config.batch_size // replicas * replicas, -(-config.batch_size // replicas) * replicas) if n
        ]
        raise UserError(
            f'`batch_size` ({config.batch_size}) does not divide over {replicas} devices; '
            f'set it to {" or ".join(map(str, near))}.'
        )
    data = training_data.open_training_data(config, console)
    test_images = training_data.open_test_pictures(config, TEST_PICTURES, console)

    with strategy.scope():
        model = MODELS[config.model](config, sizes=data.sizes, jit_compile=use_xla(config, strategy, data.sizes))
    progress = Progress(len(model.metric_names))
    store = checkpoints.Checkpoints(run_directory, model, progress, config.keep_checkpoints)
    if config.continue_train:
        restored, deleted = store.restore(config.epoch)
        console.line(f'Continuing from step {restored.step}.')
        if deleted:
            console.line(f'Deleted {len(deleted)} checkpoints of later steps, which this run will make again.')
    options.save_config(config, run_directory)

    summaries = Summaries(run_directory)
    trainer = Trainer(model, progress, strategy, config, data, test_images, store, summaries, console)
    introduce(console, config, run_directory, strategy, model, data, trainer)
    summaries.configuration(dataclasses.asdict(config), trainer.step)
    if trainer.step >= trainer.total_steps:
        console.line(f'Epoch {config.total_epochs}, the last one, is done already; raise n_epochs or n_epochs_decay.')
    try:
        trainer.train()
    except Interrupted as interruption:
        console.line(f'{interruption} at step {trainer.step}: the state is saved; --continue_train goes on from here.')
        return 128 + interruption.signal_number
    except tf.errors.OpError as error:
        # What goes wrong inside the stream arrives as TensorFlow's error; the sentence for the user is here.
        if data.failure is None:
            raise
        raise data.failure from error
    console.line(f'Done: {trainer.step} steps, in {run_directory}.')
    return 0


def prepare_directory(run_directory: pathlib.Path, config: Config) -> None:
    """Makes the run's directory; refuses one that would be overwritten, that cannot be resumed or cannot be written."""
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        probe = run_directory / '.writable'
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"`checkpoints_dir` ('{config.checkpoints_dir}') cannot be written ({error.strerror}); set it to another."
        ) from error
    has_checkpoint = bool(checkpoints.find_all(run_directory))
    if has_checkpoint and not config.continue_train:
        raise UserError(
            f"run '{run_directory}' holds a checkpoint; resume it with --continue_train, or set another --name."
        )
    if config.continue_train and not has_checkpoint:
        raise UserError(
            f"run '{run_directory}' holds no checkpoint to continue from; check --name and --checkpoints_dir, "
            f'or leave out --continue_train.'
        )


def compare_with_stored(config: Config, stored: Optional[Config]) -> list[str]:
    """One line for each setting that a continued run changes.

    Raises:
        UserError: a setting that cannot change, with both values.
    """
    if stored is None:
        return []
    lines = []
    for field in dataclasses.fields(Config):
        new, old = getattr(config, field.name), getattr(stored, field.name)
        if field.name == 'dataroot':
            # Only a local folder may be written in several ways.
            new, old = (os.path.abspath(value) if os.path.isdir(value) else value for value in (new, old))
        if new == old or field.name in (
            'continue_train',
            'epoch',
            'name',
            'suffix',
            'checkpoints_dir',
            'profile_steps',
        ):
            continue
        if field.metadata['fixed']:
            raise UserError(
                f'`{field.name}` ({new}) is not what the run was trained with ({old}); leave it out, '
                f'or start another run with another --name.'
            )
        lines.append(f'{field.name} is now {new}, it was {old}.')
    return lines


def make_strategy() -> tf.distribute.Strategy:
    """Mirrored over all visible GPUs, or the CPU."""
    gpus = tf.config.list_physical_devices('GPU')
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = [f'/gpu:{i}' for i in range(len(gpus))] or ['/cpu:0']
    return tf.distribute.MirroredStrategy(names)


def use_xla(config: Config, strategy: tf.distribute.Strategy, sizes) -> bool:
    """What --jit_compile comes to: 'auto' is on for GPUs, where the step gains; on CPUs it loses.

    It is off too where images differ in size, since XLA compiles anew for each size.
    """
    several = strategy.num_replicas_in_sync > 1
    if config.norm == 'batch' and several:
        if config.jit_compile == 'true':
            raise UserError('`jit_compile` (true) cannot compile batch norm over several devices; set it to false.')
        return False
    if config.jit_compile == 'auto':
        return bool(tf.config.list_physical_devices('GPU')) and None not in sizes
    return config.jit_compile == 'true'


def introduce(console, config, run_directory, strategy, model, data, trainer) -> None:
    """Says what will run."""
    for name, network in model.networks().items():
        kind = config.netG if name.startswith('G') else config.netD
        count = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        console.line(f'Network {name}: {kind}, {count:,} parameters.')
        if config.verbose:
            network.summary(print_fn=console.line)
    device = 'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'
    compiled = ', compiled by XLA' if use_xla(config, strategy, data.sizes) else ''
    console.line(f'Devices: {strategy.num_replicas_in_sync} x {device}{compiled}.')
    console.line(
        f'Epochs: {config.epoch_count} to {config.total_epochs}, {data.steps_per_epoch} steps each of batch '
        f'{config.batch_size}; {trainer.total_steps} steps in all, {trainer.step} done.'
    )
    console.line(f'Run directory: {run_directory}. To watch: tensorboard --logdir {config.checkpoints_dir}')


if __name__ == '__main__':
    options.run_program('cyclegan_tf.train', options.parse_training, main)
