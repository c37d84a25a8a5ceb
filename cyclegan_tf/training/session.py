"""A training session from settings to exit status: what is opened, restored, printed and refused around the trainer."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.data import training_data
from cyclegan_tf.data.test_images import open_test_pictures
from cyclegan_tf.distribution.cluster import Cluster, read_cluster
from cyclegan_tf.distribution.devices import Devices, open_devices
from cyclegan_tf.distribution.watch import Watch
from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation.evaluator import (
    Evaluation,
    choose_measures,
    describe_pairs,
    make_extractor,
    open_test_images,
)
from cyclegan_tf.evaluation.results import Results
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.translation import Translation
from cyclegan_tf.runs import checkpoints, initial_weights
from cyclegan_tf.runs.checkpoint_store import Checkpoints
from cyclegan_tf.runs.lock import RunLock
from cyclegan_tf.runs.summaries import Summaries
from cyclegan_tf.runs.wandb_log import WandbLog
from cyclegan_tf.runtime import garbage
from cyclegan_tf.runtime.console import Console
from cyclegan_tf.runtime.files import make_folder
from cyclegan_tf.runtime.hardware import choose_precision, device_kind, missing_gpu_warning
from cyclegan_tf.runtime.signals import StopSignals
from cyclegan_tf.runtime.start_times import StartTimes
from cyclegan_tf.settings.run_flags import save_config
from cyclegan_tf.settings.training import MEASURES, Config
from cyclegan_tf.training.page import RunPage
from cyclegan_tf.training.progress import Progress
from cyclegan_tf.training.timetable import Timetable
from cyclegan_tf.training.trainer import Interrupted, Trainer
from cyclegan_tf.translation.translator import Translator

TEST_PICTURES = 4  # of each domain, translated after every epoch for TensorBoard


def train(config: Config, stored: Optional[Config], times: StartTimes) -> int:
    """Trains a run; returns the exit status.

    Args:
        config: the run's settings.
        stored: the settings that it was last trained with, if it is continued.
        times: durations of the start-up so far.

    Raises:
        UserError: an error that the user can correct.
    """
    run_directory = pathlib.Path(config.checkpoints_dir) / config.run_name
    cluster = read_cluster(config.strategy)
    try:
        if cluster is None or cluster.worker == 0:
            return lead(config, stored, run_directory, cluster, times)
        # Only the first worker prints.
        with open(os.devnull, 'w') as devnull, Watch(cluster) as watch, StopSignals() as stop_signals:
            console = Console(config.images_per_step, devnull)
            return run(config, stored, run_directory, cluster, console, watch, stop_signals, times)
    except tf.errors.ResourceExhaustedError as error:
        raise out_of_memory(config) from error


def lead(
    config: Config,
    stored: Optional[Config],
    run_directory: pathlib.Path,
    cluster: Optional[Cluster],
    times: StartTimes,
) -> int:
    """Trains as the process that locks the run's directory and writes to it."""
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
            console.line(f'Took over the lock of {lock.taken_over}, which no longer runs.')
        return run(config, stored, run_directory, cluster, console, watch, stop_signals, times)


def run(
    config: Config,
    stored: Optional[Config],
    run_directory: pathlib.Path,
    cluster: Optional[Cluster],
    console: Console,
    watch: Watch,
    stop_signals: StopSignals,
    times: StartTimes,
) -> int:
    """Trains; returns the exit status."""
    is_chief = cluster is None or cluster.worker == 0
    check_directory(run_directory, config)
    begun = any(checkpoint.step for checkpoint in checkpoints.scan(run_directory)[0])
    for line in compare_with_stored(config, stored, begun):
        console.line(line)
    wandb_log, status = None, 1
    if is_chief and config.use_wandb:
        names = config.wandb_project_name, config.run_name
        repeats = repeats_steps(config, stored)
        wandb_log = WandbLog(run_directory, *names, dataclasses.asdict(config), repeats, console.line)
        times.mark('opening Weights & Biases')
    try:
        status = fit(config, run_directory, cluster, console, watch, stop_signals, times, wandb_log)
    finally:
        if wandb_log is not None:
            wandb_log.close(status)
    return status


def fit(
    config: Config,
    run_directory: pathlib.Path,
    cluster: Optional[Cluster],
    console: Console,
    watch: Watch,
    stop_signals: StopSignals,
    times: StartTimes,
    wandb_log: Optional[WandbLog],
) -> int:
    """Opens everything, and trains to the end; returns the exit status."""
    is_chief = cluster is None or cluster.worker == 0
    devices = open_devices(cluster, config.strategy, config.batch_size, config.num_devices, config.virtual_devices)
    stop_signals.renew()
    precision, slow = choose_precision(config.precision, config.emulate_precision)
    missing = missing_gpu_warning() if devices.kind == 'CPU' and not config.virtual_devices else None
    for warning in filter(None, (missing, slow)):
        console.line(warning)
    if config.deterministic == 'true' or (config.deterministic == 'auto' and devices.kind == 'CPU'):
        tf.config.experimental.enable_op_determinism()
    times.mark('opening devices')
    evaluation = open_evaluation(config, console) if is_chief else None
    times.mark('opening the evaluation of test images')
    data = training_data.open_training_data(config, console, devices.worker, devices.workers, times)
    test_images = open_test_pictures(config, TEST_PICTURES, console) if is_chief else None
    times.mark('reading test images')

    with devices.strategy.scope(), garbage.paused():
        # The run keeps its own precision, for another machine that continues it.
        computed = dataclasses.replace(config, precision=precision)
        model = MODELS[config.model](computed, sizes=data.sizes, jit_compile=use_xla(config, devices, data.sizes))
    times.mark('making networks')
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
            console.line(f'Warning: {damaged}; it is skipped, and training resumes from step {restored.found.step}.')
        console.line(f'Continuing from step {restored.found.step}.')
        if restored.deleted:
            console.line(f'Deleted {len(restored.deleted)} checkpoints of later steps, which this run will save again.')
        times.mark('restoring the checkpoint')
    else:
        check_images()
        if config.init_from:
            for line in initial_weights.begin(model):
                console.line(line)
            times.mark('taking weights to begin with')
    if is_chief:
        store.tidy()
        save_config(config, run_directory)

    step = int(model.step.numpy())
    # If no checkpoint records an evaluation at this step, it is repeated, and its tags are written again.
    again = ('eval/',) if int(progress.measured.numpy()) < step else ()
    summaries = Summaries(run_directory, is_chief, step, again, config.log_csv, wandb_log)
    total_steps = Timetable(config, data.steps_per_epoch).total_steps
    page = RunPage(run_directory, config, total_steps, summaries.curves, is_chief)
    evaluate = functools.partial(measure, evaluation, Translator(config, model), console) if evaluation else None
    outputs = store, summaries, page, console, stop_signals
    trainer = Trainer(model, progress, devices, config, data, test_images, evaluate, *outputs, times)
    log_setup(console, config, run_directory, devices, model, data, trainer)
    summaries.configuration(dataclasses.asdict(config), trainer.step)
    times.mark("opening the run's files")
    if trainer.step >= trainer.total_steps:
        console.line(f'Epoch {config.total_epochs}, the last one, is already done; raise n_epochs or n_epochs_decay.')
    elif trainer.step >= trainer.last_step:
        console.line(
            f'Step {trainer.step} is done already, and max_steps is {config.max_steps}; raise it, or set --max_steps=0 '
            f'to train to the end.'
        )
    try:
        trainer.train()
        part(devices, watch)
    except Interrupted as interruption:
        part(devices, watch)
        console.line(f'{interruption} at step {trainer.step}: the state is saved; --continue_train resumes from here.')
        return 128 + interruption.number
    except tf.errors.OpError as error:
        # An error inside the stream of images arrives as TensorFlow's; `data` has the message for the user.
        if data.failure is None:
            raise
        raise data.failure from error
    left = f' of {trainer.total_steps} (max_steps)' if trainer.step < trainer.total_steps else ''
    console.line(f'Done: {trainer.step} steps{left}, in {run_directory}.')
    return 0


def part(devices: Devices, watch: Watch) -> None:
    """Waits until all workers are done and the chief has saved; after that, each may end on its own."""
    devices.part()
    watch.end()  # closing the stream of images may take longer than other workers exist


def check_directory(run_directory: pathlib.Path, config: Config) -> None:
    """Raises UserError if the run's directory would be overwritten, or if it cannot be resumed."""
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


def open_evaluation(config: Config, console: Console) -> Optional[Evaluation]:
    """The evaluation for --eval_freq, or None without it. Whatever is missing for it is reported before training."""
    if config.eval_freq is None:
        return None
    images = open_test_images(config, 'test', config.eval_images, config.eval_load_size, 'eval_load_size')
    measures = choose_measures(config.eval_metrics, images, 'eval_metrics')
    for line in describe_pairs(images, measures, config.eval_metrics):
        console.line(line)
    name = (config.keep_best or '').partition('_')[0]
    if name in MEASURES and name not in measures:
        raise UserError(
            f'`keep_best` ({name}) is not among the measures of these test images ({", ".join(measures)}); '
            f'add it to --eval_metrics, or set another.'
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
    """A translator that calls `between` before every batch, which may raise an exception to stop the evaluation."""

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

    def translate_floats(self, images: np.ndarray, direction: str, names: Sequence[str] = ()) -> np.ndarray:
        """See evaluator.Translators."""
        self.between()
        return self.translator.translate_floats(images, direction, names)


def measure(evaluation: Evaluation, translator: Translator, console: Console, between: Callable[[], None]) -> Results:
    """Evaluates the current model, and calls `between` between batches; names each image that cannot be used once."""
    known = len(evaluation.problems)
    results = evaluation(Interruptible(translator, between))
    for line in evaluation.problems[known:]:
        console.line(f'Skipped: {line}')
    return results


def compare_with_stored(config: Config, stored: Optional[Config], begun: bool = True) -> list[str]:
    """One line for each setting that a continued run changes.

    Args:
        config: the settings now.
        stored: the settings that the run was last trained with, if any.
        begun: whether the run has done a step; until then, as with imported weights, dataroot may still be set.

    Raises:
        UserError: a setting has changed that must not change; the message has both values.
    """
    if stored is None:
        return []
    lines = []
    for field in dataclasses.fields(config):
        new, old = getattr(config, field.name), getattr(stored, field.name)
        if field.name == 'dataroot':
            # The path of a local folder can be written in several ways.
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
        lines.append(f'{field.name} is now {new}; it was {old}.')
    return lines


def repeats_steps(config: Config, stored: Optional[Config]) -> bool:
    """Whether a run, continued after a kill, does the steps since its checkpoint as it did them before."""
    if stored is None or config.epoch != 'latest':
        return False
    return all(
        getattr(config, field.name) == getattr(stored, field.name)
        for field in dataclasses.fields(config)
        if field.metadata['group'] not in ('run', 'files', 'evaluation') and field.name != 'max_steps'
    )


def use_xla(config: Config, devices: Devices, sizes) -> bool:
    """Whether to compile with XLA. --jit_compile=auto does so on GPUs, where the step gets faster, unlike on CPUs.

    'auto' does not if images differ in size, since XLA compiles again for each size; 'true' accepts that.
    """
    if 'batch' in config.norms.values() and devices.replicas > 1:
        if config.jit_compile == 'true':
            raise UserError('`jit_compile` (true) cannot compile batch norm over several devices; set it to false.')
        return False
    if config.jit_compile == 'auto':
        return devices.kind == 'GPU' and None not in sizes
    return config.jit_compile == 'true'


def out_of_memory(config: Config) -> UserError:
    """The error for devices with too little memory, with the remedies."""
    kind = device_kind()
    remedies = [f'--crop_size (now {config.crop_size})', f'--ngf and --ndf ({config.ngf}, {config.ndf})']
    if config.batch_size > 1:
        remedies.insert(0, f'--batch_size (now {config.batch_size}; --accumulate_steps makes up for it)')
    if config.pool_size:
        remedies.append(f'--pool_size ({config.pool_size})')
    lower = f'lower {", ".join(remedies[:-1])} or {remedies[-1]}'
    again = '' if config.recompute_grads or config.norms['generator'] == 'batch' else 'set --recompute_grads, or '
    return UserError(f'the memory of the {kind} is too small for this training; {again}{lower}.')


def log_setup(console, config, run_directory, devices, model, data, trainer) -> None:
    """Prints what will run."""
    for name, network in model.networks().items():
        kind = model.kind(name)
        count = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        console.line(f'Network {name}: {kind}, {count:,} parameters.')
        if config.verbose:
            network.summary(print_fn=console.line)
    until = f', up to step {config.max_steps}' if trainer.last_step < trainer.total_steps else ''
    compiled = ', compiled by XLA' if use_xla(config, devices, data.sizes) else ''
    console.line(f'Devices: {devices.describe()}{compiled}.')
    console.line(
        f'Epochs: {config.epoch_count} to {config.total_epochs}, {data.steps_per_epoch} steps each of batch '
        f'{config.images_per_step}; {trainer.total_steps} steps in all, {trainer.step} done{until}.'
    )
    page = '' if config.no_html else f'{run_directory / "index.html"}, or '
    console.line(f'Run directory: {run_directory}. To watch: {page}tensorboard --logdir {config.checkpoints_dir}')
