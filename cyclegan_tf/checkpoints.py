"""One tf.train.Checkpoint for the complete state: save, restore, what to keep."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Optional

import tensorflow as tf

from cyclegan_tf.errors import UserError
from cyclegan_tf.models.interface import Model

_STEP = 'model/step/.ATTRIBUTES/VARIABLE_VALUE'


@dataclasses.dataclass(frozen=True)
class Found:
    """A complete checkpoint: the prefix of its files, its step, and its epoch if it was saved at the end of one."""

    prefix: str
    step: int
    epoch: Optional[int]


def find_all(run_directory: pathlib.Path) -> list[Found]:
    """The complete checkpoints of a run, the oldest first. One that was being written during a kill is not among them.

    Raises:
        UserError: a checkpoint is damaged.
    """
    found = []
    for folder in ('epochs', 'latest'):
        # TensorFlow's own list names a checkpoint only after all its files are in place.
        state = tf.train.get_checkpoint_state(str(run_directory / folder))
        for prefix in state.all_model_checkpoint_paths if state else ():
            try:
                step = int(tf.train.load_checkpoint(prefix).get_tensor(_STEP))
            except (tf.errors.OpError, ValueError) as error:
                raise UserError(f"checkpoint '{prefix}' is damaged; delete its files to go on from another.") from error
            epoch = int(prefix.rsplit('-', 1)[1]) if folder == 'epochs' else None
            found.append(Found(prefix, step, epoch))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def find(run_directory: pathlib.Path, epoch: str) -> Found:
    """The checkpoint for 'latest' or the number of an epoch.

    Raises:
        UserError: there is none; the message lists what there is.
    """
    found = find_all(run_directory)
    wanted = found[-1:] if epoch == 'latest' else [one for one in found if one.epoch == int(epoch)]
    if not wanted:
        present = ', '.join(str(one.epoch) for one in found if one.epoch is not None) or 'none'
        raise UserError(
            f"run '{run_directory}' has no checkpoint for `epoch` ({epoch}); those of epochs that it has: {present}."
        )
    return wanted[-1]


def restore_networks(model: Model, checkpoint: Found) -> None:
    """Puts the weights into a model that was built without its training state.

    Raises:
        UserError: the checkpoint is damaged, or of another architecture.
    """
    try:
        status = tf.train.Checkpoint(model=model).restore(checkpoint.prefix)
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise UserError(f"checkpoint '{checkpoint.prefix}' does not fit: {error}") from error


class Checkpoints:
    """Saves and restores a run's complete state.

    Two folders in the run's directory: latest/ holds the newest state, epochs/ those at the ends of epochs.

    Args:
        run_directory: of the run.
        model: its networks, optimizers, pools, schedule and step.
        progress: the running means.
        keep: checkpoints of epochs that are kept; 0 keeps all.
    """

    def __init__(self, run_directory: pathlib.Path, model: Model, progress: tf.Module, keep: int):
        self._run_directory = run_directory
        self._checkpoint = tf.train.Checkpoint(model=model, progress=progress)
        # A manager writes all files under another name first and lists the checkpoint last, before it deletes old
        # ones: a kill at any moment leaves a complete one listed.
        self._latest = tf.train.CheckpointManager(
            self._checkpoint, str(run_directory / 'latest'), max_to_keep=1, checkpoint_name='step'
        )
        self._epochs = tf.train.CheckpointManager(
            self._checkpoint, str(run_directory / 'epochs'), max_to_keep=keep or None, checkpoint_name='epoch'
        )

    def save_latest(self, step: int) -> None:
        """Saves the state after `step` steps."""
        self._latest.save(checkpoint_number=step)

    def save_epoch(self, epoch: int) -> None:
        """Saves the state at the end of `epoch`."""
        self._epochs.save(checkpoint_number=epoch)

    def restore(self, epoch: str) -> tuple[Found, list[Found]]:
        """Restores 'latest' or the end of an epoch, and deletes what was saved after it.

        Returns:
            What was restored, and what was deleted: without that, 'latest' would name the abandoned future, and saving
            over it would put good files at risk.

        Raises:
            UserError: there is no such checkpoint, it is damaged, or its state does not fit the model.
        """
        wanted = find(self._run_directory, epoch)
        try:
            self._checkpoint.restore(wanted.prefix).assert_consumed()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise UserError(f"checkpoint '{wanted.prefix}' does not fit: {error}") from error
        later = [one for one in find_all(self._run_directory) if one.step > wanted.step]
        for manager in (self._latest, self._epochs):
            gone = {one.prefix for one in later}
            self._forget(manager, gone)
        return wanted, later

    @staticmethod
    def _forget(manager: tf.train.CheckpointManager, prefixes: set[str]) -> None:
        kept = [prefix for prefix in manager.checkpoints if prefix not in prefixes]
        dropped = [prefix for prefix in manager.checkpoints if prefix in prefixes]
        if not dropped:
            return
        state = tf.train.get_checkpoint_state(manager.directory)
        times = dict(zip(state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps))
        # The list first, then the files: a kill in between leaves files that nobody lists.
        tf.compat.v1.train.update_checkpoint_state(
            manager.directory,
            model_checkpoint_path=kept[-1] if kept else '',
            all_model_checkpoint_paths=kept,
            all_model_checkpoint_timestamps=[times[prefix] for prefix in kept],
        )
        for prefix in dropped:
            for path in pathlib.Path(manager.directory).glob(pathlib.Path(prefix).name + '.*'):
                path.unlink()
