"""Saves and restores a run's complete state: one tf.train.Checkpoint, and which of them to keep or delete."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Optional

import tensorflow as tf
from google.protobuf import text_format

from cyclegan_tf.errors import UserError
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.runs.checkpoints import CheckpointInfo, Damaged, choose, refusal, scan, verify
from cyclegan_tf.runtime.files import sync, whole_file, write_json

_MEASURED = '.measured'  # after a checkpoint's prefix: a file with the results of its evaluation
_KEPT_LATEST = 2  # in latest/: the newest, and one to fall back to if it is damaged


@dataclasses.dataclass(frozen=True)
class Restored:
    """The outcome of restoring.

    Attributes:
        found: the checkpoint that was restored.
        deleted: checkpoints of later steps, which were deleted.
        damaged: damaged checkpoints, which are no longer listed.
    """

    found: CheckpointInfo
    deleted: list[CheckpointInfo]
    damaged: list[Damaged]


class Checkpoints:
    """Saves and restores a run's complete state.

    The run's directory has three folders: latest/ holds the newest state and the one before it, epochs/ those at the
    ends of epochs, and best/ the one with the best results.

    Args:
        run_directory: directory of the run.
        model: its networks, optimizers, pools, schedule and step.
        progress: the running means.
        keep: number of checkpoints of epochs that are kept; 0 keeps all.
        writes: whether saving writes files and restoring deletes them; False for all workers but one.
    """

    def __init__(
        self, run_directory: pathlib.Path, model: BaseModel, progress: tf.Module, keep: int, writes: bool = True
    ):
        self._run_directory, self._model, self._writes = run_directory, model, writes
        self._checkpoint = tf.train.Checkpoint(model=model, progress=progress)
        self._keep = keep
        self._open_managers()

    def _open_managers(self) -> None:
        """Makes the checkpoint managers, which read the lists of checkpoints on disk."""
        # A manager first writes all files under another name, and lists the checkpoint last, so that a kill at any
        # moment leaves a complete one listed. It deletes none (max_to_keep): _save does, when the new list is
        # physically on disk.
        self._latest, self._epochs, self._best = (
            tf.train.CheckpointManager(
                self._checkpoint, str(self._run_directory / folder), max_to_keep=None, checkpoint_name=name
            )
            for folder, name in (('latest', 'step'), ('epochs', 'epoch'), ('best', 'epoch'))
        )

    def _save(self, manager: tf.train.CheckpointManager, number: int, keep: int) -> None:
        """Saves, then deletes all but the newest `keep` (0: deletes none); each action is on disk before the next.

        Raises:
            OSError: there is no space or no permission; previous checkpoints are unchanged.
        """
        if not self._writes:
            return
        # The callback runs before the manager lists the checkpoint.
        options = tf.train.CheckpointOptions(experimental_write_callbacks=[_sync_files])
        try:
            prefix = manager.save(checkpoint_number=number, options=options)
        except tf.errors.OpError as error:
            raise OSError(error.message.splitlines()[0].rpartition('}} ')[2]) from error
        sync([pathlib.Path(manager.directory) / 'checkpoint', pathlib.Path(manager.directory)])
        old = set(manager.checkpoints[:-keep]) if keep else set()
        assert prefix not in old
        self._forget(manager, old)
        if old:
            self._open_managers()  # otherwise they would list deleted checkpoints again

    def save_latest(self, step: int) -> None:
        """Saves the state after `step` steps."""
        self._save(self._latest, step, _KEPT_LATEST)

    def save_epoch(self, epoch: int) -> None:
        """Saves the state at the end of `epoch`."""
        self._save(self._epochs, epoch, self._keep)

    def save_best(self, epoch: int, measured: Mapping[str, Any]) -> None:
        """Saves the state at the end of `epoch` as the best one so far, with the results of its evaluation as JSON."""
        if not self._writes:
            return
        folder = self._run_directory / 'best'
        folder.mkdir(exist_ok=True)
        # Written before the checkpoint, without which it has no meaning: a kill in between leaves the old best one
        # with its own results.
        write_json(folder / f'epoch-{epoch}{_MEASURED}', measured)
        self._save(self._best, epoch, 1)
        for path in folder.glob(f'*{_MEASURED}'):
            if path.stem != f'epoch-{epoch}':
                path.unlink()

    def has_epoch(self, epoch: int) -> bool:
        """Whether the folder of epochs has the state at the end of `epoch`."""
        return _holds(self._epochs, epoch)

    def has_latest(self, step: int) -> bool:
        """Whether the folder of the latest has the state after `step` steps."""
        return _holds(self._latest, step)

    def newest(self) -> Optional[CheckpointInfo]:
        """The newest checkpoint that can be restored; None if there is none."""
        return next(iter(reversed(scan(self._run_directory)[0])), None)

    def best(self) -> Optional[dict[str, Any]]:
        """The results of the best checkpoint so far; None if there is none, or if it has no results."""
        path = pathlib.Path((self._best.latest_checkpoint or '') + _MEASURED)
        return json.loads(path.read_text()) if self._best.latest_checkpoint and path.is_file() else None

    def restore(self, epoch: str, when_read: Callable[[], object] = lambda: None, finite: bool = False) -> Restored:
        """Restores 'latest', 'best' or the end of an epoch, and deletes checkpoints of later steps.

        For 'latest', damaged checkpoints are skipped and the newest good one is restored. Their files are kept, but no
        longer listed.

        Args:
            epoch: 'latest', 'best' or the number of an epoch.
            when_read: called with the restored state, before anything is deleted. It returns when all workers have read
                their state, so that none still reads files that will be deleted; it raises if the state is of no use.
            finite: skip checkpoints with weights that are not finite.

        Raises:
            UserError: the checkpoint does not exist, is damaged, or does not fit the model.
        """
        available, damaged = scan(self._run_directory)
        candidates = list(available)
        while True:
            if not candidates and damaged:
                raise UserError(
                    f'{damaged[-1]}, and so are all other checkpoints of the run; restore one from a backup, or start '
                    f'the training again.'
                )
            wanted = choose(self._run_directory, candidates, epoch)
            candidates.remove(wanted)
            wrong = verify(wanted)
            if wrong is None:
                self._read(wanted)
                if not finite or _is_finite(self._model):
                    break
            elif epoch != 'latest':
                raise refusal(wrong)
            else:
                damaged.append(wrong)
                available.remove(wanted)
        later = [one for one in available if one.step > wanted.step]
        when_read()
        if not self._writes:
            return Restored(wanted, later, damaged)
        for manager in (self._latest, self._epochs, self._best):
            # Otherwise 'latest' would be an abandoned later state, and overwriting it would put good files at risk.
            self._forget(manager, {one.prefix for one in later})
            self._forget(manager, {one.prefix for one in damaged}, delete=False)
        self._open_managers()  # otherwise they would list deleted checkpoints again
        return Restored(wanted, later, damaged)

    def _read(self, checkpoint: CheckpointInfo) -> None:
        try:
            self._checkpoint.restore(checkpoint.prefix).assert_consumed()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise UserError(
                f"checkpoint '{checkpoint.prefix}' does not have the training state of this version of cyclegan_tf; "
                f'continue with the version that saved it, or start another run. Translating, evaluating and exporting '
                f'are still possible, since they need only its networks.'
            ) from error

    def tidy(self) -> None:
        """Deletes incomplete checkpoints, which a kill or a full disk has left."""
        for folder in ('latest', 'epochs', 'best'):
            for path in (self._run_directory / folder).glob('*_temp'):
                shutil.rmtree(path)
            for pattern in ('*.tempstate*', 'checkpoint.tmp*'):
                for path in (self._run_directory / folder).glob(pattern):
                    path.unlink()

    @staticmethod
    def _forget(manager: tf.train.CheckpointManager, prefixes: set[str], delete: bool = True) -> None:
        """Removes checkpoints from a manager's list on disk; the manager must be opened again afterwards."""
        kept = [prefix for prefix in manager.checkpoints if prefix not in prefixes]
        dropped = [prefix for prefix in manager.checkpoints if prefix in prefixes]
        if not dropped:
            return
        folder = pathlib.Path(manager.directory)
        state = tf.train.get_checkpoint_state(manager.directory)
        times = dict(zip(state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps))
        # The list first, then the files: a kill in between leaves files that are not listed.
        if kept:
            # Names without folders, as TensorFlow writes them, so that a run can be moved.
            state.model_checkpoint_path = pathlib.Path(kept[-1]).name
            state.all_model_checkpoint_paths[:] = [pathlib.Path(prefix).name for prefix in kept]
            state.all_model_checkpoint_timestamps[:] = [times[prefix] for prefix in kept]
            with whole_file(folder / 'checkpoint') as partial:
                partial.write_text(text_format.MessageToString(state))
                sync([partial])
        else:
            (folder / 'checkpoint').unlink()  # TensorFlow considers an empty list to be damaged
        sync([folder])
        for prefix in dropped if delete else ():
            for path in folder.glob(pathlib.Path(prefix).name + '.*'):
                path.unlink()


def _holds(manager: tf.train.CheckpointManager, number: int) -> bool:
    return any(prefix.rsplit('-', 1)[1] == str(number) for prefix in manager.checkpoints)


def _is_finite(model: BaseModel) -> bool:
    return all(
        bool(tf.reduce_all(tf.math.is_finite(variable)))
        for network in model.networks().values()
        for variable in network.variables
    )


def _sync_files(prefix: str) -> None:
    folder = pathlib.Path(prefix).parent
    sync([*folder.glob(pathlib.Path(prefix).name + '.*'), folder])
