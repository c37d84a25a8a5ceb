"""A run's checkpoints: which exist, which are damaged, and restoring the networks of one."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection
from typing import Optional

import numpy as np
import tensorflow as tf

from cyclegan_tf.errors import UserError, first_line
from cyclegan_tf.models import averages
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.settings.fields import validate_epoch

_STEP = 'model/step/.ATTRIBUTES/VARIABLE_VALUE'
_UNTRAINED = '.untrained'  # after a checkpoint's prefix: a file with the names of networks that were given no weights

# What TensorFlow's reader raises for damaged files: its own errors, and Python's for OUT_OF_RANGE and others.
_READ_ERRORS = (tf.errors.OpError, ValueError, IndexError, NotImplementedError)


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """A complete checkpoint.

    Attributes:
        prefix: prefix of its files.
        step: number of steps done.
        epoch: number of the epoch, if it was saved at the end of one.
        untrained: networks, such as 'G_B', whose weights are only initialised; see mark_untrained.
        is_best: whether it is kept because its results are the best.
    """

    prefix: str
    step: int
    epoch: Optional[int]
    untrained: frozenset[str] = frozenset()
    is_best: bool = False


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A checkpoint that is listed but cannot be read.

    Attributes:
        prefix: prefix of its files.
        reason: TensorFlow's error message.
    """

    prefix: str
    reason: str

    @property
    def name(self) -> str:
        """'latest', 'best' or the number of its epoch."""
        path = pathlib.Path(self.prefix)
        return path.name.rsplit('-', 1)[1] if path.parent.name == 'epochs' else path.parent.name

    def __str__(self):
        return f"checkpoint '{self.prefix}' is damaged ({self.reason})"


def scan(run_directory: pathlib.Path) -> tuple[list[CheckpointInfo], list[Damaged]]:
    """The complete checkpoints of a run, oldest first, and the damaged ones, of which not even the step can be read.

    A checkpoint that was being written during a kill is not included. Damage inside complete files is found only when
    they are read completely: see verify.

    Raises:
        UserError: a list of checkpoints is damaged.
    """
    found, damaged = [], []
    # In the order in which they are saved at a step: the last one records the most of what was done after that step.
    for name in ('latest', 'best', 'epochs'):
        folder = run_directory / name
        complete, wrong = _scan_folder(folder)
        # A training that runs at the same time deletes old checkpoints after it has listed new ones.
        while wrong and not {one.prefix for one in wrong} <= set(_listed(folder)):
            complete, wrong = _scan_folder(folder)
        found += complete
        damaged += wrong
    return sorted(found, key=lambda checkpoint: checkpoint.step), damaged


def _scan_folder(folder: pathlib.Path) -> tuple[list[CheckpointInfo], list[Damaged]]:
    found, damaged = [], []
    for prefix in _listed(folder):
        try:
            step = int(tf.train.load_checkpoint(prefix).get_tensor(_STEP))
        except _READ_ERRORS as error:
            damaged.append(Damaged(prefix, first_line(error)))
            continue
        epoch = None if folder.name == 'latest' else int(prefix.rsplit('-', 1)[1])
        mark = pathlib.Path(prefix + _UNTRAINED)
        untrained = frozenset(mark.read_text().split()) if mark.is_file() else frozenset()
        found.append(CheckpointInfo(prefix, step, epoch, untrained, folder.name == 'best'))
    return found, damaged


def _listed(folder: pathlib.Path) -> list[str]:
    """Prefixes in TensorFlow's own list, which names a checkpoint only after all its files are in place."""
    path = folder / 'checkpoint'
    if not path.exists():
        return []
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except ValueError:
        state = None
    if state is None:
        raise UserError(
            f"'{path}', the list of the checkpoints in its folder, cannot be read; delete it to continue from the "
            f'checkpoints in the other folders of the run.'
        )
    return list(state.all_model_checkpoint_paths)


def verify(checkpoint: CheckpointInfo) -> Optional[Damaged]:
    """Reads a checkpoint completely and compares TensorFlow's checksum of every tensor; None if it is intact."""
    try:
        reader = tf.train.load_checkpoint(checkpoint.prefix)
        for name in reader.get_variable_to_dtype_map():
            reader.get_tensor(name)
    except _READ_ERRORS as error:
        return Damaged(checkpoint.prefix, first_line(error))
    return None


def find_all(run_directory: pathlib.Path) -> list[CheckpointInfo]:
    """The complete checkpoints of a run, oldest first.

    Raises:
        UserError: one is damaged.
    """
    found, damaged = scan(run_directory)
    if damaged:
        raise refusal(damaged[0])
    return found


def refusal(damaged: Damaged) -> UserError:
    """The error for a damaged checkpoint."""
    return UserError(
        f'{damaged}; choose another with --epoch, or continue the training, which falls back to the newest good one.'
    )


def find(run_directory: pathlib.Path, epoch: str) -> CheckpointInfo:
    """The checkpoint for 'latest', 'best' or the number of an epoch.

    Raises:
        UserError: `epoch` is none of these; the checkpoint is damaged; or it does not exist, and the message lists
            those that do.
    """
    validate_epoch(epoch)
    found, damaged = scan(run_directory)
    for one in damaged:
        if epoch in ('latest', one.name):  # for 'latest', the damaged one may be the newest
            raise refusal(one)
    return choose(run_directory, found, epoch)


def choose(run_directory: pathlib.Path, found: list[CheckpointInfo], epoch: str) -> CheckpointInfo:
    """The one of these checkpoints that `epoch` names; raises UserError if there is none."""
    if epoch == 'latest':
        wanted = found[-1:]
    else:
        wanted = [one for one in found if (one.is_best if epoch == 'best' else one.epoch == int(epoch))]
    if not wanted:
        present = ', '.join(map(str, sorted({one.epoch for one in found if one.epoch is not None}))) or 'none'
        remedy = 'train with --eval_freq and --keep_best to have one; ' if epoch == 'best' else ''
        raise UserError(
            f"run '{run_directory}' has no checkpoint for `epoch` ({epoch}); {remedy}it has checkpoints of epochs: "
            f'{present}.'
        )
    return wanted[-1]


def mark_untrained(run_directory: pathlib.Path, step: int, names: Collection[str]) -> None:
    """Records, for the checkpoint that save_latest(step) will write, which networks were given no weights.

    Later checkpoints, which training saves, have no such record.
    """
    mark = run_directory / 'latest' / f'step-{step}{_UNTRAINED}'
    mark.parent.mkdir(parents=True, exist_ok=True)
    if names:
        mark.write_text(''.join(f'{name}\n' for name in names))
    else:
        mark.unlink(missing_ok=True)


def read_weights(checkpoint: CheckpointInfo, name: str) -> dict[str, np.ndarray]:
    """The weights of an object of the model, such as 'g_a', by the paths of attributes that lead to them in it; none if
    the checkpoint has no such object.

    Raises:
        UserError: the checkpoint is damaged.
    """
    begin, end = f'model/{name}/', '/.ATTRIBUTES/VARIABLE_VALUE'
    try:
        reader = tf.train.load_checkpoint(checkpoint.prefix)
        keys = [key for key in reader.get_variable_to_shape_map() if key.startswith(begin) and key.endswith(end)]
        return {
            key[len(begin) : -len(end)]: reader.get_tensor(key) for key in sorted(keys) if '.OPTIMIZER_SLOT' not in key
        }
    except _READ_ERRORS as error:
        raise refusal(Damaged(checkpoint.prefix, first_line(error))) from error


def restore_networks(model: BaseModel, checkpoint: CheckpointInfo, weights: str = 'last') -> None:
    """Restores the networks of a model that was built without its training state.

    Args:
        model: the model; its step is restored, too.
        checkpoint: a checkpoint of its run.
        weights: 'average': the generators get the running means of their weights, if the run keeps these; 'last': all
            networks get their weights of the last step.

    Raises:
        UserError: the checkpoint is damaged, or of another architecture.
    """
    restored = model
    if weights == 'average' and model.config.ema_decay:
        restored = tf.Module()
        restored.step = model.step
        for name, network in model.networks().items():
            if model.config.networks[name].kind == 'generator':
                setattr(restored, averages.attribute(name), network)
    try:
        status = tf.train.Checkpoint(model=restored).restore(checkpoint.prefix)
        status.assert_existing_objects_matched().expect_partial()
    except tf.errors.OpError as error:
        raise refusal(Damaged(checkpoint.prefix, first_line(error))) from error
    except (ValueError, AssertionError) as error:
        raise UserError(f"checkpoint '{checkpoint.prefix}' does not fit: {error}") from error
