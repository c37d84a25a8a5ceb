"""A training from its settings to its end: what is opened, restored, told and refused around the trainer."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import training_data
from cyclegan_tf.data.test_images import open_test_pictures
from cyclegan_tf.distribution.cluster import Cluster, read_cluster
from cyclegan_tf.distribution.devices import Devices, open_devices
from cyclegan_tf.distribution.watch import Watch
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation.evaluator import Evaluation, choose_measures, make_extractor, open_test_images
from cyclegan_tf.evaluation.results import Results
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.runs import checkpoints
from cyclegan_tf.runs.checkpoint_store import Checkpoints
from cyclegan_tf.runs.lock import RunLock
from cyclegan_tf.runs.summaries import Summaries
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.runtime.files import make_folder
from cyclegan_tf.runtime.hardware import device_kind, half_precision_warning, missing_gpu_warning
from cyclegan_tf.runtime.signals import StopSignals
from cyclegan_tf.settings.run_flags import save_config
from cyclegan_tf.settings.training import MEASURES, Config
from cyclegan_tf.training.progress import Progress
from cyclegan_tf.training.trainer import Interrupted, Trainer
from cyclegan_tf.translation.translator import Translator

TEST_PICTURES = 4  # of each domain, translated after every epoch for TensorBoard


def train(config: Config, stored: Optional[Config]) -> int:
    """Trains a run; returns the exit status.

    Args:
        config: its settings.
        stored: those that it was last trained with, if it is continued.

    Raises:
        UserError: what a user can mend.
    """
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    cluster = read_cluster(config.strategy)
    try:
        if cluster is None or cluster.worker == 0:
            return lead(config, stored, run_directory, cluster)
        # One worker speaks for all.
        with open(os.devnull, 'w') as nothing, Watch(cluster) as watch, StopSignals() as stop_signals:
            console = Console(config.images_per_step, nothing)
            return run(config, stored, run_directory, cluster, console, watch, stop_signals)
    except tf.errors.ResourceExhaustedError as error:
        raise out_of_memory(config) from error


def lead(config: Config, stored: Optional[Config], run_directory: pathlib.Path, cluster: Optional[Cluster]) -> int:
    """Trains as the process that writes into the run's directory, which is its own meanwhile."""
    console = Console(config.images_per_step)
    make_folder('checkpoints_dir', config.checkpoints_dir, run_directory)
    with (
        RunLock(run_directory) as lock,
        Watch(cluster, lock.release) as watch,
        StopSignals(lock.release) as stop_signals,
    ):
        if lock.warning:
            console.line(lock.warning)
        if lock.taken_over:
            console.line(f'Took over the lock of {lock.taken_over}, which is gone.')
        return run(config, stored, run_directory, cluster, console, watch, stop_signals)


def run(
    config: Config,
    stored: Optional[Config],
    run_directory: pathlib.Path,
    cluster: Optional[Cluster],
    console: Console,
    watch: Watch,
    stop_signals: StopSignals,
) -> int:
    """Trains; returns the exit status."""
    is_chief = cluster is None or cluster.worker == 0
    check_directory(run_directory, config)
    begun = any(found.step for found in checkpoints.scan(run_directory)[0])
    for line in compare_with_stored(config, stored, begun):
        console.line(line)

    devices = open_devices(cluster, config.strategy, config.batch_size, config.num_devices, config.virtual_devices)
    stop_signals.renew()
    if devices.kind == 'CPU':
        missing = None if config.virtual_devices else missing_gpu_warning()
        for warning in filter(None, (missing, half_precision_warning(config.precision))):
            console.line(warning)
    if config.deterministic == 'true' or (config.deterministic == 'auto' and devices.kind == 'CPU'):
        tf.config.experimental.enable_op_determinism()
    evaluation = open_evaluation(config) if is_chief else None
    data = training_data.open_training_data(config, console, devices.worker, devices.workers)
    test_images = open_test_pictures(config, TEST_PICTURES, console) if is_chief else None

    with devices.strategy.scope():
        model = MODELS[config.model](config, sizes=data.sizes, jit_compile=use_xla(config, devices, data.sizes))
    progress = Progress(len(model.metric_names))
    store = Checkpoints(run_directory, model, progress, config.keep_checkpoints, is_chief)

    def check_images():
        progress.check_epoch(data.steps_per_epoch, int(model.step.numpy()), config.dataroot)

    if config.continue_train:

        def when_read():
            check_images()
            devices.exchange([0])

        restored = store.restore(config.epoch, when_read)
        for damaged in restored.damaged:
            console.line(f'Warning: {damaged}; it is left aside, and training resumes from step {restored.found.step}.')
        console.line(f'Continuing from step {restored.found.step}.')
        if restored.deleted:
            console.line(f'Deleted {len(restored.deleted)} checkpoints of later steps, which this run will make again.')
    else:
        check_images()
    if is_chief:
        store.tidy()
        save_config(config, run_directory)

    step = int(model.step.numpy())
    # A measure of this step that no checkpoint knows of is taken again.
    again = ('eval/',) if int(progress.measured.numpy()) < step else ()
    summaries = Summaries(run_directory, is_chief, step, again)
    evaluate = functools.partial(measure, evaluation, Translator(config, model), console) if evaluation else None
    places = store, summaries, console, stop_signals
    trainer = Trainer(model, progress, devices, config, data, test_images, evaluate, *places)
    log_setup(console, config, run_directory, devices, model, data, trainer)
    summaries.configuration(dataclasses.asdict(config), trainer.step)
    if trainer.step >= trainer.total_steps:
        console.line(f'Epoch {config.total_epochs}, the last one, is done already; raise n_epochs or n_epochs_decay.')
    try:
        trainer.train()
        part(devices, watch)
    except Interrupted as interruption:
        part(devices, watch)
        console.line(f'{interruption} at step {trainer.step}: the state is saved; --continue_train goes on from here.')
        return 128 + interruption.number
    except tf.errors.OpError as error:
        # What goes wrong inside the stream arrives as TensorFlow's error; the sentence for the user is here.
        if data.failure is None:
            raise
        raise data.failure from error
    console.line(f'Done: {trainer.step} steps, in {run_directory}.')
    return 0


def part(devices: Devices, watch: Watch) -> None:
    """Waits until all workers have done all, the chief has saved too; from then on each may go."""
    devices.exchange([0])
    watch.end()  # taking down the stream of images may last longer than others are here


def check_directory(run_directory: pathlib.Path, config: Config) -> None:
    """Refuses a run's directory that would be overwritten, or that cannot be resumed."""
    has_checkpoint = any(checkpoints.scan(run_directory))
    if has_checkpoint and not config.continue_train:
        raise UserError(
            f"run '{run_directory}' holds a checkpoint; resume it with --continue_train, or set another --name."
        )
    if config.continue_train and not has_checkpoint:
        raise UserError(
            f"run '{run_directory}' holds no checkpoint to continue from; check --name and --checkpoints_dir, "
            f'or leave out --continue_train.'
        )


def open_evaluation(config: Config) -> Optional[Evaluation]:
    """What measures the model for --eval_freq, or None. What is missing for it shows before training."""
    if config.eval_freq is None:
        return None
    images = open_test_images(config, 'test', config.eval_images, config.eval_load_size, 'eval_load_size')
    measures = choose_measures(config.eval_metrics, images, 'eval_metrics')
    name = (config.keep_best or '').partition('_')[0]
    if name in MEASURES and name not in measures:
        raise UserError(
            f'`keep_best` ({name}) is not among what these test images are measured by ({", ".join(measures)}); '
            f'name it in --eval_metrics, or set another.'
        )
    if name == 'identity' and config.input_nc != config.output_nc:
        raise UserError(
            f'`keep_best` (identity) needs equal channels, but input_nc is {config.input_nc} and output_nc '
            f'{config.output_nc}; set another.'
        )
    extractor = make_extractor(config) if {'kid', 'fid'} & set(measures) else None
    return Evaluation(images, measures, extractor, 'eval_metrics')


@dataclasses.dataclass(frozen=True)
class Interruptible:
    """A translator to measure that calls `between` before every batch, which may raise to stop."""

    translator: Translator
    between: Callable[[], None]

    @property
    def translations(self) -> Mapping[str, Translation]:
        """See evaluator.Translators."""
        return self.translator.translations

    @property
    def test_errors(self) -> Collection[str]:
        """See evaluator.Translators."""
        return self.translator.test_errors

    def translate_floats(self, images: np.ndarray, direction: str) -> np.ndarray:
        """See evaluator.Translators."""
        self.between()
        return self.translator.translate_floats(images, direction)


def measure(evaluation: Evaluation, translator: Translator, console: Console, between: Callable[[], None]) -> Results:
    """Measures the model as it is now, and calls `between` between batches; names images that cannot be used once."""
    known = len(evaluation.problems)
    results = evaluation(Interruptible(translator, between))
    for line in evaluation.problems[known:]:
        console.line(f'Left aside: {line}')
    return results


def compare_with_stored(config: Config, stored: Optional[Config], begun: bool = True) -> list[str]:
    """One line for each setting that a continued run changes.

    Args:
        config: the settings now.
        stored: those that the run was last trained with, if any.
        begun: it has done a step; before, as with imported weights, it may still be told where its images are.

    Raises:
        UserError: a setting that cannot change, with both values.
    """
    if stored is None:
        return []
    lines = []
    for field in dataclasses.fields(config):
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
        if field.metadata['fixed'] and (begun or field.name != 'dataroot'):
            raise UserError(
                f'`{field.name}` ({new}) is not what the run was trained with ({old}); leave it out, '
                f'or start another run with another --name.'
            )
        lines.append(f'{field.name} is now {new}, it was {old}.')
    return lines


def use_xla(config: Config, devices: Devices, sizes) -> bool:
    """What --jit_compile comes to: 'auto' is on for GPUs, where the step gains; on CPUs it loses.

    'auto' is off too where images differ in size, since XLA compiles anew for each size; 'true' does just that.
    """
    if config.norm == 'batch' and devices.replicas > 1:
        if config.jit_compile == 'true':
            raise UserError('`jit_compile` (true) cannot compile batch norm over several devices; set it to false.')
        return False
    if config.jit_compile == 'auto':
        return devices.kind == 'GPU' and None not in sizes
    return config.jit_compile == 'true'


def out_of_memory(config: Config) -> UserError:
    """What to do where the devices have too little memory."""
    kind = device_kind()
    remedies = [f'--crop_size (now {config.crop_size})', f'--ngf and --ndf ({config.ngf}, {config.ndf})']
    if config.batch_size > 1:
        remedies.insert(0, f'--batch_size (now {config.batch_size}; --accumulate_steps makes up for it)')
    if config.pool_size:
        remedies.append(f'--pool_size ({config.pool_size})')
    lower = f'lower {", ".join(remedies[:-1])} or {remedies[-1]}'
    again = '' if config.recompute_grads or config.norm == 'batch' else 'set --recompute_grads, or '
    return UserError(f'the memory of the {kind} is too small for this; {again}{lower}.')


def log_setup(console, config, run_directory, devices, model, data, trainer) -> None:
    """Says what will run."""
    for name, network in model.networks().items():
        kind = model.kind(name)
        count = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        console.line(f'Network {name}: {kind}, {count:,} parameters.')
        if config.verbose:
            network.summary(print_fn=console.line)
    compiled = ', compiled by XLA' if use_xla(config, devices, data.sizes) else ''
    console.line(f'Devices: {devices.describe()}{compiled}.')
    console.line(
        f'Epochs: {config.epoch_count} to {config.total_epochs}, {data.steps_per_epoch} steps each of batch '
        f'{config.images_per_step}; {trainer.total_steps} steps in all, {trainer.step} done.'
    )
    console.line(f'Run directory: {run_directory}. To watch: tensorboard --logdir {config.checkpoints_dir}')
